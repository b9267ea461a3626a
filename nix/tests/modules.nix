# SPDX-License-Identifier: MIT
# Our modules, evaluated by nixpkgs' own module system (real), or by our own: what they make of good settings, and that bad ones are errors.
# Each is { value } to be compared, or { fails } that must not evaluate.
{ real ? null }:
let
  nixpkgs = import ./nixpkgs { inherit real; };
  inherit (nixpkgs) lib;
  system = { nixpkgs.hostPlatform = "x86_64-linux"; };
  host = settings: (lib.nixosSystem { modules = [ system ../modules/vhost-lab.nix { services.vhost-lab = { enable = true; } // settings; } ]; }).config;
  node = settings: (lib.nixosSystem { modules = [ system ../modules/node.nix { vhost-lab.node = { enable = true; } // settings; } ]; }).config;
  emulation = (lib.nixosSystem {
    modules = [
      system
      ../modules/vhost-lab.nix
      ./nixpkgs/nixos/modules/virtualisation/qemu-vm.nix
      ../emulation.nix
      { services.vhost-lab.labs.a.lab.vms.n1 = { }; }
    ];
  }).config;
  unmet = config: map (a: a.message) (lib.filter (a: !a.assertion) config.assertions);
  names = lib.attrNames;

  off = (lib.nixosSystem { modules = [ system ../modules/vhost-lab.nix ../modules/node.nix ]; }).config;
  pair = host { labs.pair.lab.vms = { left = { }; right.vcpus = 2; }; };
  bare = host {
    switches.lan = { ports = { a = { }; b.vlan.access = 10; }; uplinks.nat = { type = "nat"; subnet = "10.0.0.0/24"; }; settings.mtu = 9000; };
    sockets.guests.vms.n1.cid = 1001;
    portals.shared = { clients.host.quiesce = true; settings.size = 67108864; };
  };
  server = node { role = "server"; nodeIP = "192.168.100.10"; sshKeys = [ "ssh-ed25519 AAAA" ]; };
  agent = node { role = "agent"; serverAddr = "https://192.168.100.10:6443"; interface = "lab0"; airGapped = false; extraFlags = [ "--debug" ]; };
  # Its services are set, unless it says otherwise itself.
  own = (lib.nixosSystem {
    modules = [ system ../modules/node.nix { vhost-lab.node.enable = true; networking.useDHCP = true; services.openssh.enable = false; } ];
  }).config;
  lab = labs: (host { inherit labs; }).systemd.services;
  daemons = bare.systemd;
in
{
  good = {
    "nothing is on unless asked for" = [ (names off.systemd.services) (names off.systemd.sockets) off.services.k3s.enable (names off.users.users) ];
    "a lab is a unit" = names pair.systemd.services;
    "of the user of labs" = {
      inherit (pair.systemd.services.vhost-lab-lab-pair.serviceConfig)
        User Group Type RemainAfterExit NoNewPrivileges ProtectSystem CapabilityBoundingSet;
    };
    "who reloads it has what the file says" =
      with pair.systemd.services.vhost-lab-lab-pair; [ reloadIfChanged (serviceConfig.ExecStart == serviceConfig.ExecReload) ];
    "it comes up with the host" = pair.systemd.services.vhost-lab-lab-pair.wantedBy;
    "or not" = (lab { a = { autoStart = false; lab.vms.n1 = { }; }; }).vhost-lab-lab-a.wantedBy;
    "the user is made" = [ (names pair.users.users) (names pair.users.groups) pair.users.users.vhost-lab.isSystemUser ];
    "another user is the host's own" = names (host { user = "kim"; group = "users"; }).users.users;
    "no assertion is unmet" = map unmet [ off pair bare server agent ];
    "daemons have a socket unit each" = names daemons.sockets;
    "and start with their first client" = map (unit: daemons.services.${unit}.wantedBy) (names daemons.services);
    "a switch's sockets" = daemons.sockets.vhost-lab-net-lan.socketConfig;
    "a switch's command" = daemons.services.vhost-lab-net-lan.serviceConfig.ExecStart;
    "sockets of a daemon of sockets" = daemons.sockets.vhost-lab-hvsock-guests.socketConfig.ListenStream;
    "a portal's" = daemons.sockets.vhost-lab-portal-shared.socketConfig.ListenStream;
    "a daemon's service" = removeAttrs daemons.services.vhost-lab-net-lan.serviceConfig [ "ExecStart" ];
    "a server of k3s" = {
      inherit (server.services.k3s) enable role serverAddr nodeIP tokenFile extraFlags images;
      ports = [ server.networking.firewall.allowedTCPPorts server.networking.firewall.allowedUDPPorts ];
    };
    "an agent of k3s" = {
      inherit (agent.services.k3s) enable role serverAddr nodeIP extraFlags images;
      ports = agent.networking.firewall.allowedTCPPorts;
    };
    "k3s starts with its token" = [
      server.systemd.services.k3s.wantedBy
      server.systemd.services.k3s.serviceConfig.LoadCredential
      server.systemd.paths.k3s-token.pathConfig
    ];
    "its kernel" = [ server.boot.kernelModules server.boot.kernelParams server.boot.kernel.sysctl ];
    "the agent of the lab" = { inherit (server.systemd.services.vhost-lab-agent) wantedBy unitConfig serviceConfig restartIfChanged; };
    "ssh" = [ server.services.openssh.enable server.users.users.root.openssh.authorizedKeys.keys ];
    "a node without a role has no k3s" = [ (node { }).services.k3s.enable (names (node { }).systemd.paths) ];
    "what a node sets gives way" = [ own.networking.useDHCP own.services.openssh.enable ];
    "the outer machine takes a lab that is given" = [
      (names emulation.systemd.services)
      emulation.systemd.services.vhost-lab-lab-a.unitConfig
      emulation.systemd.services.vhost-lab-given.unitConfig
      emulation.virtualisation.memorySize
    ];
  };
  # What systemd is to judge, and what daemons are to take.
  units =
    let
      of = suffix: set: lib.mapAttrs' (name: value: lib.nameValuePair "${name}.${suffix}" (removeAttrs value [ "path" "environment" ])) set;
      k3s = removeAttrs server.systemd.services [ "k3s" ];
    in
    of "service" (pair.systemd.services // daemons.services // k3s // emulation.systemd.services) // of "socket" daemons.sockets // of "path" {
      inherit (server.systemd.paths) k3s-token;
    };
  daemons = lib.mapAttrs
    (name: socket:
      let kind = lib.elemAt (lib.splitString "-" name) 2;
      in {
        inherit kind;
        program = "vhost-user-${kind}";
        sockets = socket.socketConfig.ListenStream;
        config = builtins.toJSON bare.services.vhost-lab.configurations.${name};
      })
    daemons.sockets;
  assertions = {
    "an agent without a server" = unmet (node { role = "agent"; });
    "a lab that says nothing" = unmet (host { labs.a = { }; });
    "a lab's name" = unmet (host { labs."a b".lab.vms.n1 = { }; });
    "the name of a switch's port" = unmet (host { switches.lan.ports."A" = { }; });
    "the name of a portal" = unmet (host { portals."/x" = { }; });
    "a lab that says two things" = unmet (host { labs.a = { lab.vms.n1 = { }; file = ./outputs.nix; }; });
  };
  bad = {
    "a wrong lab" = (lab { a.lab.vms.n1.memroy = "1GiB"; }).vhost-lab-lab-a.serviceConfig.ExecStart;
    "a role that is none" = (node { role = "master"; }).services.k3s.role;
    "an option that is none" = (node { rolle = "server"; }).services.k3s.role;
    "a port that is no text" = (node { role = "agent"; serverAddr = 6443; }).services.k3s.serverAddr;
    "a credential with a slash" = (node { role = "server"; tokenCredential = "../x"; }).services.k3s.tokenFile;
    "a tree that is a number" = (lab { a.tree = 1; }).vhost-lab-lab-a.serviceConfig.ExecStart;
    "memory that is a text" = (node { airGapped = "no"; role = "server"; }).services.k3s.images;
  };
}
