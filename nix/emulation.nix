# SPDX-License-Identifier: MIT
# The outer machine of emulation-vm: the same host of labs, inside one machine, on hosts that nest.  The lab it runs is the one of
# services.vhost-lab, or the file that the kernel's command line names (vhost-lab.lab=FILE) in the directory that it shares with
# its host.
{ config, lib, pkgs, ... }:
{
  networking.hostName = lib.mkDefault "emulation";
  system.stateVersion = lib.mkDefault lib.trivial.release;

  virtualisation = {
    memorySize = lib.mkDefault 12288;
    cores = lib.mkDefault 8;
    diskSize = lib.mkDefault 65536;
  };

  services.vhost-lab.enable = true;
  systemd.services = lib.mapAttrs'
    (name: _: lib.nameValuePair "vhost-lab-lab-${name}" {
      unitConfig.ConditionKernelCommandLine = "!vhost-lab.lab";
    })
    config.services.vhost-lab.labs
  // {
    vhost-lab-given = {
      description = "The lab that the host names";
      wantedBy = [ "multi-user.target" ];
      unitConfig = {
        ConditionKernelCommandLine = "vhost-lab.lab";
        RequiresMountsFor = "/tmp/shared";
      };
      path = [ config.services.vhost-lab.package config.services.vhost-lab.qemu ];
      environment.HOME = "/root";
      environment.XDG_RUNTIME_DIR = "/run";
      script = ''
        read -r line </proc/cmdline
        for word in $line; do
          case $word in vhost-lab.lab=*) exec orchestrator up --timeout=0 "/tmp/shared/''${word#*=}" ;; esac
        done
      '';
      serviceConfig = {
        Type = "oneshot";
        RemainAfterExit = true;
      };
    };
  };

  # Whoever reaches its serial line may do everything in it: it is a machine of the one who started it.
  services.getty.autologinUser = lib.mkDefault "root";
  environment.systemPackages = [ pkgs.socat ];
}
