# SPDX-License-Identifier: MIT
# lib.mkNodeImage: a NixOS configuration as a machine of a lab, { disk, kernel, initrd, append, config }: a qcow2 with its root
# file system, and what QEMU boots it by, as mkLab's `disks` take it.
#
#   mkNodeImage { name = "server"; system = "x86_64-linux"; modules = [ { vhost-lab.node = { … }; } ]; }
{ self, nixpkgs, lib }:
{
  name,
  modules,
  system ? "x86_64-linux",
  # MiB beyond what the system takes; the file grows as the machine writes.
  freeSpace ? 16384,
}:
let
  os = nixpkgs.lib.nixosSystem {
    modules = [
      self.nixosModules.node
      {
        networking.hostName = lib.mkDefault name;
        nixpkgs.hostPlatform = lib.mkDefault system;
        nixpkgs.overlays = [ self.overlays.default ];
        vhost-lab.node.enable = lib.mkDefault true;
      }
    ] ++ modules;
  };
  inherit (os.config.system.build) toplevel;
  image = import "${nixpkgs}/nixos/lib/make-disk-image.nix" {
    inherit lib;
    inherit (os) config pkgs;
    name = "node-${name}";
    format = "qcow2";
    # A bare file system: the kernel comes from outside.
    partitionTableType = "none";
    installBootLoader = false;
    copyChannel = false;
    additionalSpace = "${toString freeSpace}M";
  };
in
{
  inherit (os) config;
  image = image;
  disk = "${image}/nixos.qcow2";
  kernel = "${toplevel}/kernel";
  initrd = "${toplevel}/initrd";
  append = "init=${toplevel}/init ${toString os.config.boot.kernelParams}";
}
