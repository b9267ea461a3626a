# SPDX-License-Identifier: MIT
# What `nix run .#NAME` runs: the scripts, each told which lab it is about when it is not given another.
{ lib, pkgs, tree, emulator }:
let
  run = name: variables: script: {
    type = "app";
    program = "${pkgs.writeShellScript "run-${name}" ''
      ${lib.concatStrings (lib.mapAttrsToList (variable: value: "export ${variable}=${value}\n") variables)}
      exec ${pkgs.vhost-lab-scripts}/bin/${script} "$@"
    ''}";
    meta.description = "vhost-lab: ${name}";
  };
  lab = { VHOST_LAB_TREE = "${tree}"; };
  outer = { VHOST_LAB_VM = "${emulator.config.system.build.vm}/bin/run-${emulator.config.system.name}-vm"; };
in
{
  default = run "lab-up" lab "lab-up";
  lab-up = run "lab-up" lab "lab-up";
  lab-down = run "lab-down" lab "lab-down";
  lab-status = run "lab-status" lab "lab-status";
  emulation-vm = run "emulation-vm" outer "emulation-vm";
  emulation-vm-bg = run "emulation-vm-bg" outer "emulation-vm --background";
}
