# SPDX-License-Identifier: MIT
# What there is, by name.  What it is made of is in nix/; nix/README.md tells what of it was proved, and how.
{
  description = "Labs of virtual machines, by unprivileged vhost-user daemons";

  inputs.nixpkgs.url = "github:nixos/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      systems = [ "x86_64-linux" "aarch64-linux" ];
      pkgsOf = system: nixpkgs.legacyPackages.${system}.extend self.overlays.default;
      each = f: lib.genAttrs systems (system: f (pkgsOf system));
      ours = import ./nix { inherit self nixpkgs lib; };
    in
    {
      overlays.default = import ./nix/overlay.nix;
      lib = ours.lib;
      nixosModules = ours.modules;

      packages = each ours.packages;
      apps = each ours.apps;
      checks = each ours.checks;
      devShells = each ours.shells;

      nixosConfigurations = ours.configurations;
    };
}
