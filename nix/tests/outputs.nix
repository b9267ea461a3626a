# SPDX-License-Identifier: MIT
# The flake's outputs for our stand-in of nixpkgs, as far as they can be told without building: names, texts, arguments.
{ real ? null, system ? "x86_64-linux" }:
let
  nixpkgs = import ./nixpkgs { inherit real; };
  outputs = (import ../../flake.nix).outputs { inherit self nixpkgs; };
  self = outputs // { outPath = toString ../..; };

  # What a package of the stand-in can tell of itself.
  plain = value:
    if builtins.isString value || builtins.isInt value || builtins.isBool value || value == null then value
    else if builtins.isList value then map plain value
    else if builtins.isPath value then baseNameOf value
    else if builtins.isAttrs value && value ? outPath then value.outPath
    else if builtins.isAttrs value then builtins.mapAttrs (_: plain) value
    else "a function";
  packageOf = p: builtins.mapAttrs (_: plain)
    (removeAttrs p [ "override" "overrideAttrs" "passthru" "config" "nodes" "series" "lab" "image" "dev" "type" "meta" "outPath" ])
    // { path = p.outPath; meta = plain (p.meta or { }); };
  machineOf = config: {
    inherit (config.virtualisation) memorySize vlans;
    inherit (config.services.k3s) enable role serverAddr nodeIP extraFlags;
    options = config.virtualisation.qemu.options;
    services = builtins.attrNames config.systemd.services;
    unmet = map (a: a.message) (builtins.filter (a: !a.assertion) config.assertions);
  };
in
{
  packages = builtins.mapAttrs (_: packageOf) outputs.packages.${system};
  apps = builtins.mapAttrs (_: app: plain app) outputs.apps.${system};
  checks = builtins.mapAttrs (_: packageOf) outputs.checks.${system};
  # The machines of tests, and the outer one of emulation-vm.
  machines = builtins.mapAttrs
    (_: check: builtins.mapAttrs (_: node: machineOf node.config) check.nodes)
    (builtins.listToAttrs (builtins.concatMap
      (name: let check = outputs.checks.${system}.${name}; in if check ? nodes then [ { inherit name; value = check; } ] else [ ])
      (builtins.attrNames outputs.checks.${system})));
  emulator = machineOf outputs.nixosConfigurations.emulator-vm.config;
  shell = plain outputs.devShells.${system}.default.packages;
  modules = builtins.attrNames outputs.nixosModules;
  lib = builtins.attrNames outputs.lib;
  configurations = builtins.attrNames outputs.nixosConfigurations;
  series = nixpkgs.lib.length outputs.packages.${system}.qemu-vhost-lab.series;
  k3s = builtins.fromJSON outputs.packages.${system}.k3s-lab.json;
}
