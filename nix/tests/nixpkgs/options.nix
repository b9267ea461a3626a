# SPDX-License-Identifier: MIT
# The options of NixOS that our modules set, with the types that NixOS gives them, as far as a value of ours can tell; those of a
# unit are whatever systemd has.  Which file of nixpkgs has each: ../attributes.json.
{ lib, ... }:
let
  inherit (lib) mkOption types;
  option = type: default: mkOption { inherit type default; };
  list = type: option (types.listOf type) [ ];
  unit = types.submodule {
    freeformType = types.attrsOf types.anything;
    options = {
      description = option types.str "";
      documentation = list types.str;
      wantedBy = list types.str;
      requires = list types.str;
      wants = list types.str;
      after = list types.str;
      before = list types.str;
      conflicts = list types.str;
      path = list types.raw;
      script = option types.lines "";
      environment = option (types.attrsOf (types.nullOr types.str)) { };
      unitConfig = option (types.attrsOf types.anything) { };
      serviceConfig = option (types.attrsOf types.anything) { };
      socketConfig = option (types.attrsOf types.anything) { };
      pathConfig = option (types.attrsOf types.anything) { };
      restartIfChanged = option types.bool true;
      reloadIfChanged = option types.bool false;
      startLimitIntervalSec = option (types.nullOr types.int) null;
    };
  };
in
{
  options = {
    assertions = list types.raw;
    boot.initrd.availableKernelModules = list types.str;
    boot.kernel.sysctl = option (types.attrsOf types.raw) { };
    boot.kernelModules = list types.str;
    boot.kernelParams = list types.str;
    boot.loader.grub.enable = option types.bool true;
    environment.systemPackages = list types.raw;
    fileSystems = option
      (types.attrsOf (types.submodule {
        options = {
          device = option types.str "";
          fsType = option types.str "auto";
          autoResize = option types.bool false;
        };
      }))
      { };
    networking.firewall.allowedTCPPorts = list types.port;
    networking.firewall.allowedUDPPorts = list types.port;
    networking.firewall.trustedInterfaces = list types.str;
    networking.hostName = option types.str "nixos";
    networking.interfaces = option
      (types.attrsOf (types.submodule {
        options.ipv4.addresses = list (types.submodule {
          options = {
            address = mkOption { type = types.str; };
            prefixLength = mkOption { type = types.int; };
          };
        });
      }))
      { };
    networking.useDHCP = option types.bool true;
    networking.usePredictableInterfaceNames = option types.bool true;
    services.getty.autologinUser = option (types.nullOr types.str) null;
    services.k3s = {
      enable = option types.bool false;
      package = option types.raw { airgap-images = "the images of k3s"; };
      role = option (types.enum [ "server" "agent" ]) "server";
      serverAddr = option types.str "";
      nodeIP = option (types.nullOr types.str) null;
      tokenFile = option (types.nullOr types.path) null;
      extraFlags = option (types.either types.str (types.listOf types.str)) [ ];
      images = list types.raw;
    };
    services.openssh.enable = option types.bool false;
    system.build = option (types.attrsOf types.raw) { };
    system.name = option types.str "emulation";
    system.stateVersion = option types.str "";
    systemd.network.links = option (types.attrsOf types.anything) { };
    systemd.paths = option (types.attrsOf unit) { };
    systemd.services = option (types.attrsOf unit) { };
    systemd.sockets = option (types.attrsOf unit) { };
    systemd.tmpfiles.rules = list types.str;
    users.groups = option (types.attrsOf types.anything) { };
    users.users = option (types.attrsOf types.anything) { };
  };
}
