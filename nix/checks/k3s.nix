# SPDX-License-Identifier: MIT
# Three nodes of k3s, each a machine of the NixOS test driver, whose network is our switch: they are plugged into vhost-user-net, and
# into nothing else but the driver's own way in.
{ lib, modules, pkgs, ... }:
let
  addresses = {
    server = "192.168.100.10";
    agent1 = "192.168.100.11";
    agent2 = "192.168.100.12";
  };
  names = lib.attrNames addresses;
  macOf = name: "52:54:00:6c:61:0${toString (lib.lists.findFirstIndex (other: other == name) 0 names)}";
  # The driver runs in a sandbox of its own: nobody else's /tmp.
  dir = "/tmp/vhost-lab";
  memory = 2560;

  node = name: { config, ... }: {
    imports = [ modules.node ];

    virtualisation = {
      memorySize = memory;
      cores = 2;
      diskSize = 8192;
      vlans = [ ];
      qemu.options = [
        # Memory that the switch can map.
        "-object memory-backend-memfd,id=mem0,size=${toString memory}M,share=on"
        "-machine memory-backend=mem0"
        "-chardev socket,id=lab0,path=${dir}/${name}.sock,reconnect-ms=200"
        "-netdev vhost-user,id=lab0,chardev=lab0"
        "-device virtio-net-pci,netdev=lab0,mac=${macOf name}"
      ];
    };
    systemd.network.links."10-lab" = {
      matchConfig.MACAddress = macOf name;
      linkConfig.Name = "lab0";
    };
    networking.interfaces.lab0.ipv4.addresses = [ { address = addresses.${name}; prefixLength = 24; } ];
    # k3s wants a default route; the driver's is 10.0.2.15 on every machine.
    networking.useDHCP = lib.mkForce true;

    vhost-lab.node = {
      enable = true;
      package = pkgs.vhost-lab;
      role = if name == "server" then "server" else "agent";
      serverAddr = lib.mkIf (name != "server") "https://${addresses.server}:6443";
      nodeIP = addresses.${name};
      interface = "lab0";
    };
  };
  switch = (pkgs.formats.json { }).generate "net.json" {
    ports = map (name: { inherit name; socket-path = "${dir}/${name}.sock"; }) names;
  };
in
{
  name = "vhost-lab-k3s";
  nodes = lib.mapAttrs (name: _: node name) addresses;

  testScript = ''
    import os
    import subprocess

    os.makedirs("${dir}", mode=0o700, exist_ok=True)
    switch = subprocess.Popen(["${pkgs.vhost-lab}/libexec/vhost-lab/vhost-user-net", "--config", "${switch}"])
    token = "a-secret-of-this-test"

    start_all()
    nodes = [server, agent1, agent2]
    for node in nodes:
        node.wait_for_unit("multi-user.target")

    with subtest("the switch joins them"):
        server.succeed("ping -c 3 ${addresses.agent1}", "ping -c 3 ${addresses.agent2}")
        agent1.succeed("ping -c 3 -s 1400 ${addresses.agent2}")

    with subtest("k3s waits for its token"):
        server.fail("systemctl is-active k3s")
        for node in nodes:
            node.succeed(f"umask 077; printf %s {token} >/run/credstore/k3s-token")
        server.wait_for_unit("k3s")
        server.fail("grep -r a-secret-of-this-test /proc/[0-9]*/cmdline")

    with subtest("three nodes are ready"):
        server.wait_until_succeeds("test $(k3s kubectl get nodes --no-headers | grep -cw Ready) = 3")
        server.succeed("k3s kubectl get nodes -o wide | grep -w agent1 | grep -w ${addresses.agent1}")

    with subtest("pods of k3s itself run"):
        server.wait_until_succeeds("k3s kubectl -n kube-system rollout status deploy/coredns --timeout=10s")

    with subtest("a switch that is killed comes back without a machine noticing"):
        switch.kill()
        switch.wait()
        switch = subprocess.Popen(["${pkgs.vhost-lab}/libexec/vhost-lab/vhost-user-net", "--config", "${switch}"])
        server.wait_until_succeeds("ping -c 1 -W 1 ${addresses.agent1}", timeout=30)
        server.wait_until_succeeds("test $(k3s kubectl get nodes --no-headers | grep -cw Ready) = 3")

    switch.terminate()
    assert switch.wait() == 0
  '';
}
