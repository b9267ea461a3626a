# SPDX-License-Identifier: MIT
# A kernel for WSL2 with what labs want of a host and of a guest.  WSL starts it without an initramfs, so what it boots by is built
# in.  It is the kernel of kernel.org, not Microsoft's: /dev/dxg, the graphics of Windows, is not in it.
#
# %USERPROFILE%\.wslconfig, which share/vhost-lab/wslconfig holds, too:
#
#   [wsl2]
#   kernel=C:\\vhost-lab\\bzImage
#   nestedVirtualization=true
{ lib, runCommand, linux_6_12 }:
let
  inherit (lib.kernel) module no yes;

  # What WSL itself needs to come up.
  wsl = {
    HYPERV = yes;
    HYPERV_BALLOON = yes;
    HYPERV_NET = yes;
    HYPERV_STORAGE = yes;
    HYPERV_UTILS = yes;
    HYPERV_VSOCKETS = yes;
    PCI_HYPERV = yes;
    VSOCKETS = yes;
    SCSI = yes;
    BLK_DEV_SD = yes;
    EXT4_FS = yes;
    NET_9P = yes;
    NET_9P_FD = yes;
    "9P_FS" = yes;
    FUSE_FS = yes;
    VIRTIO_FS = yes;
    VIRTIO_PCI = yes;
    VIRTIO_PMEM = yes;
    OVERLAY_FS = yes;
    SQUASHFS = yes;
    BINFMT_MISC = yes;
    DEVTMPFS_MOUNT = yes;
  };
  # What a host of labs is glad of.  None of it is needed: `orchestrator doctor` says so.
  host = {
    KVM = yes;
    KVM_INTEL = yes;
    KVM_AMD = yes;
    KVM_HYPERV = yes;
    TUN = yes;
    VXLAN = yes;
    BRIDGE = module;
    VHOST_VSOCK = module;
    NET_SCH_NETEM = module;
    OPENVSWITCH = module;
    IKCONFIG = yes;
    IKCONFIG_PROC = yes;
    MEMFD_CREATE = yes;
    HUGETLBFS = yes;
  };
  # What guests of labs want: a kernel that starts here as well as in WSL.
  guest = {
    VIRTIO_NET = yes;
    VIRTIO_BLK = yes;
    VIRTIO_VSOCKETS = module;
    FW_CFG_SYSFS = yes;
    DEV_DAX = yes;
    DEV_DAX_PMEM = yes;
    BLK_DEV_PMEM = yes;
    BRIDGE_NETFILTER = module;
    VETH = module;
    NETFILTER_XT_MATCH_COMMENT = module;
    CGROUP_PIDS = yes;
    CPUSETS = yes;
    MEMCG = yes;
    MEMCG_V1 = no;
  };

  # Ours win over what nixpkgs has for all kernels; what a later kernel has not is passed over.
  kernel = linux_6_12.override {
    structuredExtraConfig = lib.mapAttrs (_: lib.mkForce) (wsl // host // guest);
    ignoreConfigErrors = true;
  };
  wslconfig = ''
    [wsl2]
    kernel=C:\\vhost-lab\\bzImage
    nestedVirtualization=true
  '';
in
runCommand "vhost-lab-wsl-kernel-${kernel.version}"
  {
    inherit wslconfig;
    passAsFile = [ "wslconfig" ];
    passthru = { inherit kernel; config = wsl // host // guest; };
    meta = {
      description = "Kernel for WSL2 with what labs want of host and guests";
      inherit (kernel.meta) license;
      platforms = [ "x86_64-linux" "aarch64-linux" ];
    };
  }
  ''
    mkdir -p $out/share/vhost-lab
    cp ${kernel}/${kernel.target or "bzImage"} $out/bzImage
    cp ${kernel.configfile} $out/config
    ln -s ${lib.getOutput "modules" kernel}/lib $out/lib
    cp $wslconfigPath $out/share/vhost-lab/wslconfig
  ''
