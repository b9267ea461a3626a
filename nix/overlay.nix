# SPDX-License-Identifier: MIT
final: prev: {
  vhost-lab = final.callPackage ./packages/vhost-lab.nix { };
  libportal = final.callPackage ./packages/libportal.nix { };
  qemu-vhost-lab = final.callPackage ./packages/qemu.nix { };
  vhost-lab-tiny = final.callPackage ./packages/tiny.nix { };
  vhost-lab-wsl-kernel = final.callPackage ./packages/wsl-kernel.nix { };
  vhost-lab-scripts = final.callPackage ./packages/scripts.nix { };
}
