# SPDX-License-Identifier: MIT
# The outer machine of emulation-vm boots, and a lab in it comes up, by services.vhost-lab.  The lab is a small one: its machines are
# emulated where the test's host does not nest.
{ mkLab, modules, pkgs, ... }:
let
  tree = mkLab {
    inherit pkgs;
    lab = {
      name = "pair";
      images.small = pkgs.vhost-lab-tiny.image;
      defaults.image = "small";
      vms = { left = { }; right = { }; };
    };
  };
in
{
  name = "vhost-lab-emulation-vm-boots";
  nodes.outer = {
    imports = [ modules.vhost-lab ../emulation.nix ];
    virtualisation = {
      memorySize = 3072;
      cores = 2;
      diskSize = 4096;
    };
    services.vhost-lab = {
      package = pkgs.vhost-lab;
      labs.pair = { inherit tree; };
      switches.bare.ports = { a = { }; b = { }; };
    };
  };

  testScript = ''
    run = "cd /; sudo -u vhost-lab env XDG_RUNTIME_DIR=/run XDG_STATE_HOME=/var/lib XDG_CACHE_HOME=/var/cache HOME=/var/lib/vhost-lab"

    outer.wait_for_unit("multi-user.target")
    outer.wait_for_unit("vhost-lab-lab-pair.service")
    with subtest("the machines of the lab reach each other"):
        outer.succeed(f"{run} orchestrator exec -l pair left -- ping -c 3 right")
    with subtest("a daemon of its own starts with its first client"):
        outer.fail("systemctl is-active vhost-lab-net-bare.service")
        outer.succeed("${pkgs.socat}/bin/socat -u OPEN:/dev/null UNIX-CONNECT:/run/vhost-lab-daemons/net/bare/a.sock")
        outer.wait_for_unit("vhost-lab-net-bare.service")
    with subtest("it ends with its unit"):
        outer.succeed("systemctl stop vhost-lab-lab-pair.service")
        outer.fail("pgrep -f 'qemu-system-.*pair'")
  '';
}
