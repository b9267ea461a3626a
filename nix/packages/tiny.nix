# SPDX-License-Identifier: MIT
# The tiny guest for hosts without apt: nixpkgs' kernel and a static busybox, with the agent, in one initramfs.  It is laid out as
# orchestrator/image/tiny.c lays out its own, for the agent is the same.  In a lab:
#
#   images.small = pkgs.vhost-lab-tiny.image;
#   defaults.image = "small";
{ lib, runCommand, cpio, kmod, linuxPackages, pkgsStatic, vhost-lab, xz }:
let
  inherit (linuxPackages) kernel;
  modules = lib.getOutput "modules" kernel;
  guest = ../../orchestrator/image/guest;

  # As in tiny.c: loaded at boot, and when the agent needs them.
  boot = [ "qemu_fw_cfg" "virtio_pci" "virtio_net" "virtio_rng" "button" "evdev" ];
  demanded = {
    virtio_blk = [ "virtio_blk" ];
    ext4 = [ "ext4" ];
    squashfs = [ "squashfs" ];
    overlay = [ "overlay" ];
    isofs = [ "isofs" ];
    vfat = [ "vfat" ];
    loop = [ "loop" ];
    vsock = [ "vmw_vsock_virtio_transport" ];
    hvsock = [ "hv_vmbus" "hv_sock" ];
    portal = [ "virtio_pmem" "nd_pmem" "dax_pmem" "device_dax" ];
  };
  tiny = runCommand "vhost-lab-tiny"
    {
      nativeBuildInputs = [ cpio kmod xz ];
      passthru.image = {
        kernel = "${tiny}/kernel";
        initrd = "${tiny}/initrd";
        append = "console=ttyS0 quiet cryptomgr.notests 8250.nr_uarts=2 tsc=reliable no_timer_check rcupdate.rcu_expedited=1";
      };
    }
    ''
      mkdir -p $out root/{bin,dev,proc,sys,run,root,mnt,tmp,usr,var/log,etc/udhcpc,lib/modules}
      chmod 1777 root/tmp
      cp ${kernel}/${kernel.target or "bzImage"} $out/kernel

      cp ${pkgsStatic.busybox}/bin/busybox root/bin/
      for applet in $(root/bin/busybox --list); do
        [ "$applet" = busybox ] || ln -s busybox "root/bin/$applet"
      done
      cp ${vhost-lab}/libexec/vhost-lab/vhost-lab-agent root/bin/
      cp ${vhost-lab}/libexec/vhost-lab/portal-static root/bin/portal
      ln -s bin/vhost-lab-agent root/init
      ln -s bin root/sbin
      ln -s ../bin root/usr/bin
      ln -s ../bin root/usr/sbin
      ln -s ../run root/var/run
      echo 'root::0:0:root:/root:/bin/sh' >root/etc/passwd
      printf '%s\n' 'root:x:0:' 'tty:x:5:' >root/etc/group
      echo 'hosts: files dns' >root/etc/nsswitch.conf
      cp ${guest}/profile root/etc/profile
      install -m 755 ${guest}/udhcpc root/etc/udhcpc/default.script

      # The files of modules and of what they need, in the order of loading; none for what is built in or not there.
      add() {
        local path name
        { modprobe -d ${modules} -S ${kernel.modDirVersion} --show-depends "$1" 2>/dev/null || :; } | while read -r verb path _; do
          [ "$verb" = insmod ] || continue
          name=''${path##*/}
          name=''${name%%.ko*}
          case $path in
          *.xz) xz -dc "$path" >"root/lib/modules/$name.ko" ;;
          *) cp "$path" "root/lib/modules/$name.ko" ;;
          esac
          echo "$name.ko"
        done
      }
      for module in ${toString boot}; do add "$module"; done | awk '!seen[$0]++' >root/lib/modules/order
      ${lib.concatStrings (lib.mapAttrsToList (name: wanted: ''
        files=$(for module in ${toString wanted}; do add "$module"; done | awk '!seen[$0]++')
        [ -z "$files" ] || echo ${name}: $files >>root/lib/modules/demand
      '') demanded)}
      (cd root && find . -print0 | sort -z | cpio --null --create --format=newc --reproducible --owner=0:0) | gzip -9n >$out/initrd
    '';
in
tiny
