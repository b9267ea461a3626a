# SPDX-License-Identifier: MIT
# The flake's outputs, for whoever has its inputs.  Each of packages, apps, checks and shells is a function of a package set that
# has the overlay.
{ self, nixpkgs, lib }:
let
  labs = import ./lab;
  modules = {
    default = modules.vhost-lab;
    vhost-lab = ./modules/vhost-lab.nix;
    node = ./modules/node.nix;
  };
  mkLab = import ./mk-lab.nix { inherit lib labs; };
  mkNodeImage = import ./mk-node-image.nix { inherit self nixpkgs lib; };
  k3s = pkgs: import ./labs/k3s.nix { inherit lib mkLab mkNodeImage pkgs; };

  # The outer machine of emulation-vm, with the example in it.
  emulator = system: lib.nixosSystem {
    modules = [
      modules.vhost-lab
      "${nixpkgs}/nixos/modules/virtualisation/qemu-vm.nix"
      ./emulation.nix
      ({ pkgs, ... }: {
        nixpkgs.hostPlatform = system;
        nixpkgs.overlays = [ self.overlays.default ];
        services.vhost-lab.labs.k3s.tree = (k3s pkgs).tree;
      })
    ];
  };
in
{
  inherit modules;

  lib = {
    inherit mkLab mkNodeImage;
    # A lab's mistakes, and what lab.json says, without a package set.
    labErrors = labs.errors;
    labToJSON = labs.toJSON;
  };

  packages = pkgs: {
    default = pkgs.vhost-lab;
    inherit (pkgs) libportal qemu-vhost-lab vhost-lab;
    tiny = pkgs.vhost-lab-tiny;
    wsl-kernel = pkgs.vhost-lab-wsl-kernel;
    k3s-lab = (k3s pkgs).tree;
    emulation-vm = (emulator pkgs.stdenv.hostPlatform.system).config.system.build.vm;
  };

  apps = pkgs: import ./apps.nix {
    inherit lib pkgs;
    tree = (k3s pkgs).tree;
    emulator = emulator pkgs.stdenv.hostPlatform.system;
  };

  checks = pkgs: import ./checks { inherit lib mkLab modules pkgs self; };

  shells = pkgs: { default = import ./shell.nix { inherit pkgs; }; };

  configurations = { emulator-vm = emulator "x86_64-linux"; };
}
