# SPDX-License-Identifier: MIT
# Labs and single daemons as services of a NixOS host.
#
#   services.vhost-lab.labs.NAME        a lab, up with the host: by its text, checked when the system is evaluated, by its file, or as
#                                       a tree of lib.mkLab's
#   services.vhost-lab.switches.NAME    a vhost-user-net of its own, for QEMUs that somebody else starts; likewise portals and
#                                       sockets (vhost-user-hvsock).  systemd holds their sockets: a daemon runs from its first client on
#
# All of it runs as one user without privileges.
{ config, lib, pkgs, ... }:
let
  cfg = config.services.vhost-lab;
  inherit (lib) mapAttrs' mapAttrsToList mkEnableOption mkIf mkOption mkPackageOption nameValuePair optional types;
  labs = import ../lab;
  json = (pkgs.formats.json { }).type;
  daemonsDir = "${cfg.package}/libexec/vhost-lab";
  # Labs have theirs in /run/vhost-lab, as the orchestrator does it.
  run = "/run/vhost-lab-daemons";

  # Names become those of units, sockets and machines.
  isName = name: builtins.match "[a-z0-9]([a-z0-9-]*[a-z0-9])?" name != null;
  misnamed = what: set: map
    (name: {
      assertion = isName name;
      message = "services.vhost-lab.${what}: \"${name}\" is not a name: use a-z, 0-9 and '-', the latter not at the ends";
    })
    (lib.attrNames set);
  misnamedIn = what: member: set:
    misnamed what set ++ lib.concatLists (mapAttrsToList (name: d: misnamed "${what}.${name}.${member}" d.${member}) set);

  # What no process of ours needs.  Memory that is written and executed is the emulator's own way: QEMUs run without that one.
  hardening = {
    NoNewPrivileges = true;
    CapabilityBoundingSet = "";
    LockPersonality = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectControlGroups = true;
    ProtectHome = true;
    ProtectHostname = true;
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectProc = "invisible";
    ProtectSystem = "strict";
    RemoveIPC = true;
    RestrictAddressFamilies = [ "AF_UNIX" "AF_INET" "AF_INET6" "AF_NETLINK" ];
    RestrictNamespaces = true;
    RestrictRealtime = true;
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
    UMask = "0077";
  };

  # --- labs ---------------------------------------------------------------------------------------------------------------

  labOptions = { config, ... }: {
    options = {
      lab = mkOption {
        type = types.nullOr json;
        default = null;
        description = "The lab, as {manpage}`lab(5)` has it. Mistakes end the evaluation, in the words of {command}`orchestrator validate`.";
      };
      file = mkOption {
        type = types.nullOr types.path;
        default = null;
        description = "Its file.";
      };
      tree = mkOption {
        type = types.nullOr types.package;
        default = null;
        description = "What lib.mkLab makes: with disks and secrets.";
      };
      autoStart = mkOption {
        type = types.bool;
        default = true;
        description = "Bring it up with the host.";
      };
      timeout = mkOption {
        type = types.str;
        default = "15min";
        description = "How long its machines may take to be ready, as {manpage}`systemd.time(7)` has it.";
      };
      conditions = mkOption {
        type = types.attrsOf types.str;
        default = { };
        example = { ConditionKernelCommandLine = "!no-lab"; };
        description = "Conditions of its unit.";
      };
    };
  };

  # Up is what makes the lab be as its file says, so it is how the unit starts and how it is reloaded.  One that knows its lab by a
  # tree has that put into its state directory first.
  labService = labName: lab:
    let
      file =
        if lab.lab != null then pkgs.writeText "${labName}.lab.json" (labs.toJSON ({ name = labName; } // lab.lab))
        else lab.file;
      inTree = lab.tree != null;
      up = "${cfg.package}/bin/orchestrator up --timeout=0";
      start =
        if inTree then "${pkgs.vhost-lab-scripts}/bin/lab-up --timeout=0" else "${up} ${file}";
      stop =
        if inTree then "${pkgs.vhost-lab-scripts}/bin/lab-down" else "${cfg.package}/bin/orchestrator down ${file}";
    in
    nameValuePair "vhost-lab-lab-${labName}" {
      description = "Lab ${labName}";
      documentation = [ "man:orchestrator(1)" ];
      wantedBy = optional lab.autoStart "multi-user.target";
      wants = [ "network-online.target" ];
      after = [ "network-online.target" ];
      path = [ cfg.qemu pkgs.openssh ];
      reloadIfChanged = true;
      unitConfig = lab.conditions;
      environment = {
        # Below each of these, what is the orchestrator's is in vhost-lab.
        XDG_RUNTIME_DIR = "/run";
        XDG_STATE_HOME = "/var/lib";
        XDG_CACHE_HOME = "/var/cache";
        HOME = "/var/lib/vhost-lab";
      } // lib.optionalAttrs inTree { VHOST_LAB_TREE = "${lab.tree}"; };
      serviceConfig = hardening // {
        Type = "oneshot";
        RemainAfterExit = true;
        User = cfg.user;
        Group = cfg.group;
        SupplementaryGroups = [ "kvm" ];
        ExecStart = start;
        ExecReload = start;
        ExecStop = stop;
        TimeoutStartSec = lab.timeout;
        TimeoutStopSec = "2min";
        # What it leaves running, the supervisor and its children, ends by ExecStop.
        KillMode = "mixed";
        StateDirectory = "vhost-lab";
        StateDirectoryMode = "0700";
        CacheDirectory = "vhost-lab";
        CacheDirectoryMode = "0700";
        ReadWritePaths = [ "/run/vhost-lab" ];
        DeviceAllow = [ "/dev/kvm rw" "/dev/net/tun rw" ];
        DevicePolicy = "closed";
        LimitNOFILE = 65536;
      };
    };

  # --- daemons ------------------------------------------------------------------------------------------------------------

  # sockets: all that clients connect to; the control socket is one more.
  daemon = { kind, program, name, sockets, settings }:
    let
      unit = "vhost-lab-${kind}-${name}";
      dir = "${run}/${kind}/${name}";
      control = "${dir}/control";
      config = (pkgs.formats.json { }).generate "${unit}.json" settings;
    in
    {
      inherit settings unit;
      socket = {
        description = "Sockets of ${program} ${name}";
        documentation = [ "man:${program}(8)" ];
        wantedBy = [ "sockets.target" ];
        socketConfig = {
          ListenStream = [ control ] ++ sockets;
          SocketUser = cfg.user;
          SocketGroup = cfg.group;
          SocketMode = "0660";
          DirectoryMode = "0755";
          RemoveOnStop = true;
        };
      };
      service = {
        description = "${program} ${name}";
        documentation = [ "man:${program}(8)" ];
        requires = [ "${unit}.socket" ];
        after = [ "${unit}.socket" ];
        # QEMUs wait for it as long as they live, and connect again when it is another.
        startLimitIntervalSec = 0;
        serviceConfig = hardening // {
          Type = "notify";
          User = cfg.user;
          Group = cfg.group;
          ExecStart = "${daemonsDir}/${program} --config ${config} --control ${control}";
          Restart = "on-failure";
          RestartSec = "200ms";
          PrivateDevices = true;
          MemoryDenyWriteExecute = true;
          StateDirectory = "vhost-lab";
          ReadWritePaths = [ run ];
          LimitNOFILE = 65536;
        };
      };
    };

  # Options of what has members with a socket each.
  membersOption = what: example: mkOption {
    type = types.attrsOf json;
    default = { };
    inherit example;
    description = "Its ${what}, by name: members of its configuration, without the sockets, which are {file}`${run}`'s.";
  };
  settingsOption = program: mkOption {
    type = json;
    default = { };
    description = "What else its configuration says: see {manpage}`${program}(8)`.";
  };
  settingsOf = daemon: member: list: daemon.settings // { ${member} = list; };

  switch = switchName: d:
    let path = port: "${run}/net/${switchName}/${port}.sock";
    in daemon {
      kind = "net";
      program = "vhost-user-net";
      name = switchName;
      sockets = map path (lib.attrNames d.ports);
      settings = settingsOf d "ports" (
        mapAttrsToList (port: more: { name = port; socket-path = path port; } // more) d.ports
        ++ mapAttrsToList (uplink: more: { name = uplink; } // more) d.uplinks
      );
    };
  sockets = socketsName: d:
    let
      path = vm: "${run}/hvsock/${socketsName}/${vm}.sock";
      uds = vm: "${run}/hvsock/${socketsName}/${vm}.vs";
    in
    daemon {
      kind = "hvsock";
      program = "vhost-user-hvsock";
      name = socketsName;
      sockets = lib.concatMap (vm: [ (path vm) (uds vm) ]) (lib.attrNames d.vms);
      settings = settingsOf d "vms" (
        mapAttrsToList (vm: more: { name = vm; socket-path = path vm; uds-path = uds vm; } // more) d.vms
      );
    };
  portal = portalName: d:
    let path = client: "${run}/portal/${portalName}/${client}.sock";
    in daemon {
      kind = "portal";
      program = "vhost-user-portal";
      name = portalName;
      sockets = map path (lib.attrNames d.clients);
      settings = { name = portalName; path = "/var/lib/vhost-lab/${portalName}.arena"; } // settingsOf d "clients" (
        mapAttrsToList (client: more: { name = client; socket-path = path client; mode = "rw"; } // more) d.clients
      );
    };
  daemons =
    mapAttrsToList switch cfg.switches ++ mapAttrsToList sockets cfg.sockets ++ mapAttrsToList portal cfg.portals;
in
{
  options.services.vhost-lab = {
    enable = mkEnableOption "vhost-lab: labs of virtual machines";
    package = mkPackageOption pkgs "vhost-lab" { };
    qemu = mkPackageOption pkgs "qemu" { example = "qemu-vhost-lab"; };
    user = mkOption {
      type = types.str;
      default = "vhost-lab";
      description = "Whom all of it runs as. Members of its group may connect QEMUs to the sockets of daemons.";
    };
    group = mkOption {
      type = types.str;
      default = "vhost-lab";
      description = "The group of that user.";
    };

    labs = mkOption {
      type = types.attrsOf (types.submodule labOptions);
      default = { };
      example = { pair.lab.vms = { left = { image = "small"; }; right = { image = "small"; }; }; };
      description = "Labs, by name.";
    };
    switches = mkOption {
      type = types.attrsOf (types.submodule {
        options = {
          ports = membersOption "ports for QEMUs" { n1.vlan.access = 100; n2 = { }; };
          uplinks = mkOption {
            type = types.attrsOf json;
            default = { };
            example = { nat = { type = "nat"; subnet = "10.0.0.0/24"; }; };
            description = "Its other ports: ways out.";
          };
          settings = settingsOption "vhost-user-net";
        };
      });
      default = { };
      description = "Switches for QEMUs that somebody else starts.";
    };
    sockets = mkOption {
      type = types.attrsOf (types.submodule {
        options = {
          vms = membersOption "machines" { n1.cid = 1001; };
          settings = settingsOption "vhost-user-hvsock";
        };
      });
      default = { };
      description = "Daemons of sockets for QEMUs that somebody else starts.";
    };
    configurations = mkOption {
      type = types.attrsOf json;
      internal = true;
      readOnly = true;
      default = lib.listToAttrs (map (d: nameValuePair d.unit d.settings) daemons);
      description = "What each daemon is told, by its unit.";
    };
    portals = mkOption {
      type = types.attrsOf (types.submodule {
        options = {
          clients = membersOption "clients" { host = { quiesce = true; }; };
          settings = settingsOption "vhost-user-portal";
        };
      });
      default = { };
      example = { shared = { clients.host = { }; settings.size = 67108864; }; };
      description = "Arenas of shared memory.";
    };
  };

  config = mkIf cfg.enable {
    assertions =
      mapAttrsToList
        (labName: lab: {
          assertion = lib.count (x: x != null) [ lab.lab lab.file lab.tree ] == 1;
          message = "services.vhost-lab.labs.${labName}: say one of lab, file and tree";
        })
        cfg.labs
      ++ misnamed "labs" cfg.labs
      ++ misnamedIn "switches" "ports" cfg.switches
      ++ lib.concatLists (mapAttrsToList (name: d: misnamed "switches.${name}.uplinks" d.uplinks) cfg.switches)
      ++ misnamedIn "sockets" "vms" cfg.sockets
      ++ misnamedIn "portals" "clients" cfg.portals;

    environment.systemPackages = [ cfg.package ];
    users.users = mkIf (cfg.user == "vhost-lab") {
      vhost-lab = {
        isSystemUser = true;
        inherit (cfg) group;
        home = "/var/lib/vhost-lab";
      };
    };
    users.groups = mkIf (cfg.group == "vhost-lab") { vhost-lab = { }; };

    systemd.tmpfiles.rules = [
      "d /run/vhost-lab 0700 ${cfg.user} ${cfg.group} -"
      "d ${run} 0755 root root -"
    ];
    systemd.sockets = lib.listToAttrs (map (d: nameValuePair d.unit d.socket) daemons);
    systemd.services =
      mapAttrs' labService cfg.labs // lib.listToAttrs (map (d: nameValuePair d.unit d.service) daemons);
  };
}
