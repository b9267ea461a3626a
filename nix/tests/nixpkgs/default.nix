# SPDX-License-Identifier: MIT
# What our expressions take for nixpkgs where there is none: it has the attributes of attributes.json, each of which nixpkgs has by
# the file named there, and no other; whatever is asked for is told on standard error ("trace: asked pkgs.NAME").  Packages in it are
# sets with a name and a path that nothing is built from.
#
# With `real`, the path of nixpkgs' own lib, that is what is `lib` here, and modules are evaluated by its module system; without it
# a small one of our own serves (lib.nix, modules.nix).
{ real ? null }:
let
  attributes = builtins.fromJSON (builtins.readFile ../attributes.json);
  small = import ./lib.nix;
  # A nix older than 2.14 cannot look at files as the real one does.
  lib = (if real == null then small else import real // (if builtins ? readFileType then { } else { inherit (small) fileset; }))
    // { inherit nixosSystem; };

  store = name: "/nix/store/00000000000000000000000000000000-${name}";
  derivation = name: attrs: rec {
    type = "derivation";
    inherit name;
    version = "1.0";
    outPath = store name;
    drvPath = store "${name}.drv";
    outputName = "out";
    meta = { license = "a licence"; };
    passthru = { };
    dev = { outPath = store "${name}-dev"; };
    override = arguments: package name (attrs // { overridden = arguments; });
    overrideAttrs = change:
      let new = change { configureFlags = [ "--of-nixpkgs" ]; passthru = { }; meta = { license = "a licence"; }; };
      in package (new.pname or name) (attrs // new);
  } // attrs // (attrs.passthru or { });
  package = name: attrs: derivation name attrs;

  ofSystem = system:
    let
      isx86 = system == "x86_64-linux";
      base = builtins.mapAttrs (name: _: builtins.trace "asked pkgs.${name}" (special.${name} or (package name { }))) attributes.packages;
      stdenv = package "stdenv" {
        cc = package "cc" { targetPrefix = "static-"; };
        hostPlatform = { inherit system; isx86_64 = isx86; };
        mkDerivation = attrs: package (attrs.name or attrs.pname) (attrs // { made = "mkDerivation"; });
      };
      kernel = package "linux" {
        modDirVersion = "6.12.1";
        configfile = store "linux-config";
      };
      special = {
        inherit stdenv;
        stdenvNoCC = stdenv;
        pkgsStatic = package "pkgsStatic" { inherit stdenv; busybox = package "busybox-static" { }; };
        linux_6_12 = kernel;
        linuxPackages = { inherit kernel; };
        fetchurl = attrs: package attrs.name (attrs // { made = "fetchurl"; });
        formats.json = _: {
          type = lib.types.anything;
          generate = name: value: package name { made = "json"; text = builtins.toJSON value; };
        };
        mkShell = attrs: package "shell" (attrs // { made = "mkShell"; });
        python3 = package "python3" { withPackages = f: package "python3-with" { chosen = f (package "python3Packages" attributes.python); }; };
        python3Packages = builtins.mapAttrs (name: _: package name { }) attributes.python;
        runCommand = name: attrs: script: package name (attrs // { made = "runCommand"; inherit script; });
        testers.runNixOSTest = test: package test.name {
          made = "test";
          inherit (test) testScript;
          nodes = builtins.mapAttrs
            (_: node: nixosSystem { modules = [ node ./nixos/modules/virtualisation/qemu-vm.nix { nixpkgs.hostPlatform = system; } ]; })
            test.nodes;
        };
        writeShellScript = name: text: package name { made = "script"; inherit text; };
        writeShellScriptBin = name: text: package name { made = "script"; inherit text; };
        writeText = name: text: builtins.seq text (package name { made = "text"; inherit text; });
      };
      callPackage = set: path: given:
        let
          f = if builtins.isFunction path then path else import path;
          wanted = builtins.functionArgs f;
          found = builtins.listToAttrs (map (name: { inherit name; value = set.${name}; })
            (builtins.filter (name: !(given ? ${name}) && (!wanted.${name} || set ? ${name})) (builtins.attrNames wanted)));
          result = f (found // given);
        in
        result // { override = more: callPackage set path (given // more); };
      extended = overlays:
        let
          step = previous: overlay: previous // overlay final previous;
          final = builtins.foldl' step (base // {
            inherit lib;
            callPackage = callPackage final;
            extend = overlay: extended (overlays ++ [ overlay ]);
          }) overlays;
        in
        final;
    in
    extended [ ];

  legacyPackages = { x86_64-linux = ofSystem "x86_64-linux"; aarch64-linux = ofSystem "aarch64-linux"; };

  # A NixOS by the module system, with the options of options.nix for those of NixOS's that we set.
  nixosSystem = { modules }:
    let
      evaluated = lib.evalModules { modules = [ ./options.nix pkgsModule ] ++ modules; };
      pkgsModule = { config, lib, ... }: {
        options.nixpkgs.hostPlatform = lib.mkOption { type = lib.types.str; };
        options.nixpkgs.overlays = lib.mkOption { type = lib.types.listOf lib.types.raw; default = [ ]; };
        config._module.args.pkgs = legacyPackages.${config.nixpkgs.hostPlatform}.extend (import ../../overlay.nix);
        config.system.build.toplevel = package "nixos-system-${config.networking.hostName}" { };
        config.system.build.vm = package "nixos-vm" { };
      };
    in
    evaluated // { pkgs = evaluated._module.args.pkgs; };
in
{
  inherit lib legacyPackages;
  outPath = toString ./.;
}
