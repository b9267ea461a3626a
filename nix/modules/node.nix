# SPDX-License-Identifier: MIT
# A NixOS that is a machine of a lab, and a node of k3s if it says a role: what kernel, network, agent and k3s want.
{ config, lib, pkgs, ... }:
let
  cfg = config.vhost-lab.node;
  inherit (lib) mkDefault mkEnableOption mkIf mkMerge mkOption mkPackageOption optional types;
  isServer = cfg.role == "server";
  credential = "/run/credstore/${cfg.tokenCredential}";
in
{
  options.vhost-lab.node = {
    enable = mkEnableOption "being a machine of a vhost-lab";
    package = mkPackageOption pkgs "vhost-lab" { };

    role = mkOption {
      type = types.nullOr (types.enum [ "server" "agent" ]);
      default = null;
      description = "What it is in a cluster of k3s; null: nothing.";
    };
    serverAddr = mkOption {
      type = types.str;
      default = "";
      example = "https://192.168.100.10:6443";
      description = "The server that an agent, or another server, joins.";
    };
    nodeIP = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "192.168.100.11";
      description = "Its address in the lab, which k3s tells the others; without it k3s takes the one of its default route.";
    };
    interface = mkOption {
      type = types.str;
      default = "eth0";
      description = "Its network interface in the lab, over which pods of different nodes reach each other.";
    };
    tlsSan = mkOption {
      type = types.listOf types.str;
      default = [ "127.0.0.1" ];
      description = "More names and addresses by which a server is called: 127.0.0.1 is a forward of the host.";
    };
    tokenCredential = mkOption {
      type = types.strMatching "[A-Za-z0-9._-]+";
      default = "k3s-token";
      description = ''
        Name of the credential with the cluster's token. k3s starts when {file}`/run/credstore` has it, where the host puts it
        ({command}`lab-up`, or {command}`orchestrator cp`): neither the store nor a command line ever has.
      '';
    };
    airGapped = mkOption {
      type = types.bool;
      default = true;
      description = "Bring the images that k3s itself runs, so that nothing has to be fetched.";
    };
    extraFlags = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "More flags of k3s.";
    };
    sshKeys = mkOption {
      type = types.listOf types.str;
      default = [ ];
      description = "Public keys that let root in by ssh. {command}`orchestrator shell` needs none.";
    };
  };

  config = mkIf cfg.enable (mkMerge [
    {
      # It boots by its kernel, which QEMU is given, from the disk that mkNodeImage makes.
      boot.loader.grub.enable = mkDefault false;
      boot.kernelParams = [ "console=ttyS0" ];
      boot.initrd.availableKernelModules = [ "virtio_blk" "virtio_pci" "virtio_net" ];
      boot.kernelModules = [ "vmw_vsock_virtio_transport" ];
      fileSystems."/" = mkDefault {
        device = "/dev/disk/by-label/nixos";
        fsType = "ext4";
        autoResize = true;
      };

      # Names, addresses and routes are what the lab says, set by the agent.
      networking.usePredictableInterfaceNames = mkDefault false;
      networking.useDHCP = mkDefault false;

      systemd.services.vhost-lab-agent = {
        description = "Agent of vhost-lab: programs, files and ports for the host";
        documentation = [ "man:vhost-lab-agent(8)" ];
        # Before the network: it needs none, and the host waits for it.
        wantedBy = [ "sysinit.target" ];
        after = [ "systemd-remount-fs.service" "systemd-tmpfiles-setup.service" "systemd-modules-load.service" ];
        before = [ "shutdown.target" ];
        conflicts = [ "shutdown.target" ];
        unitConfig = {
          DefaultDependencies = false;
          ConditionVirtualization = "vm";
        };
        serviceConfig = {
          ExecStart = "${cfg.package}/libexec/vhost-lab/vhost-lab-agent";
          Restart = "always";
          RestartSec = 1;
          KillMode = "mixed";
          TimeoutStopSec = 10;
          LimitNOFILE = 1048576;
          TasksMax = "infinity";
          OOMPolicy = "continue";
          OOMScoreAdjust = -900;
        };
        # What the host runs here outlives another version of it.
        restartIfChanged = false;
      };

      services.openssh.enable = mkDefault true;
      users.users.root.openssh.authorizedKeys.keys = cfg.sshKeys;

      systemd.tmpfiles.rules = [
        # Where secrets are put, and found by the services that load them.
        "d /run/credstore 0700 root root -"
        # What the host runs here is looked for where other distributions have programs.
        "L+ /usr/local/bin - - - - /run/current-system/sw/bin"
      ];
    }

    (mkIf (cfg.role != null) {
      assertions = [
        {
          assertion = cfg.role == "agent" -> cfg.serverAddr != "";
          message = "vhost-lab.node: an agent has to say its server (serverAddr)";
        }
      ];

      # cgroup v2 alone, and what pods' networks are made of.
      boot.kernelParams = [ "cgroup_no_v1=all" ];
      boot.kernelModules = [ "overlay" "br_netfilter" "vxlan" ];
      boot.kernel.sysctl = {
        "net.bridge.bridge-nf-call-iptables" = 1;
        "net.bridge.bridge-nf-call-ip6tables" = 1;
        "net.ipv4.ip_forward" = 1;
        "fs.inotify.max_user_instances" = mkDefault 8192;
      };

      networking.firewall = {
        allowedTCPPorts = [ 10250 ] ++ optional isServer 6443;
        allowedUDPPorts = [ 8472 ];
        trustedInterfaces = [ "cni0" "flannel.1" ];
      };

      services.k3s = {
        enable = true;
        inherit (cfg) role serverAddr nodeIP;
        tokenFile = "/run/credentials/k3s.service/${cfg.tokenCredential}";
        extraFlags =
          [ "--flannel-iface=${cfg.interface}" ]
          ++ lib.optionals isServer (map (name: "--tls-san=${name}") cfg.tlsSan)
          ++ cfg.extraFlags;
        images = optional cfg.airGapped config.services.k3s.package.airgap-images;
      };

      # Not with the system, but with its token; and once that is there, again whenever it ends.
      systemd.services.k3s = {
        wantedBy = lib.mkForce [ ];
        after = [ "vhost-lab-agent.service" ];
        serviceConfig.LoadCredential = [ "${cfg.tokenCredential}:${credential}" ];
      };
      systemd.paths.k3s-token = {
        description = "The token of k3s";
        wantedBy = [ "multi-user.target" ];
        pathConfig = {
          PathExists = credential;
          Unit = "k3s.service";
        };
      };
    })
  ]);
}
