# SPDX-License-Identifier: MIT
# The example: a Kubernetes of three machines, each a NixOS with k3s, on one switch with a way out by NAT.
{ lib, mkLab, mkNodeImage, pkgs }:
let
  inherit (pkgs.stdenv.hostPlatform) system;
  secret = "k3s-token";
  addresses = {
    server = "192.168.100.10";
    agent-1 = "192.168.100.11";
    agent-2 = "192.168.100.12";
  };
  role = name: if name == "server" then "server" else "agent";
  k3s = "/run/current-system/sw/bin/k3s";

  node = name: nodeIP: mkNodeImage {
    inherit name system;
    modules = [
      {
        system.stateVersion = lib.trivial.release;
        vhost-lab.node = {
          role = role name;
          inherit nodeIP;
          serverAddr = lib.mkIf (name != "server") "https://${addresses.server}:6443";
          tokenCredential = secret;
        };
      }
    ];
  };
  vm = name: ip: {
    role = "k3s-${role name}";
    memory = if name == "server" then "3GiB" else "2GiB";
    vcpus = 2;
    arch = lib.removeSuffix "-linux" system;
    nics = [ { network = "cluster"; inherit ip; } ];
    probes = [
      {
        name = "k3s";
        command = "/run/current-system/sw/bin/systemctl is-active --quiet k3s";
        interval = "2s";
        hint = "orchestrator exec ${name} -- /run/current-system/sw/bin/journalctl -u k3s";
      }
    ];
  };
  nodes = lib.mapAttrs node addresses;
in
{
  inherit nodes;
  tree = mkLab {
    inherit pkgs;
    lab = {
      name = "k3s";
      description = "A Kubernetes of three machines";
      networks.cluster = {
        subnet = "192.168.100.0/24";
        uplink = {
          type = "nat";
          forward = [ "tcp:127.0.0.1:6443:server:6443" ];
        };
      };
      vms = lib.mapAttrs vm addresses;
      tests = [
        {
          name = "nodes";
          vm = "server";
          command = [ k3s "kubectl" "wait" "--for=condition=Ready" "node" "--all" "--timeout=300s" ];
          timeout = "6m";
          hint = "orchestrator exec server -- ${k3s} kubectl get nodes,pods -A";
        }
        {
          name = "all-three";
          vm = "server";
          command = [ k3s "kubectl" "get" "nodes" "--output=name" ];
          stdout = "^node/agent-1\\nnode/agent-2\\nnode/server\\n$";
        }
      ];
    };
    disks = nodes;
    credentials = lib.mapAttrs (_: _: [ secret ]) addresses;
  };
}
