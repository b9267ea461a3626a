# SPDX-License-Identifier: MIT
# What `nix flake check` builds: packages, the suites that need no guest, and two tests with machines.
{ lib, mkLab, modules, pkgs, self }:
let
  suites = names: inputs: pkgs.vhost-lab.override { suites = names; testInputs = inputs; };
  test = file: pkgs.testers.runNixOSTest (import file { inherit lib mkLab modules pkgs; });
in
{
  inherit (pkgs) libportal vhost-lab;
  scripts = pkgs.vhost-lab-scripts;
  tiny = pkgs.vhost-lab-tiny;

  unit = suites [ "unit" "wire" "fuzz" "platform" ] (with pkgs; [
    dpkg
    graphviz
    iproute2
    librsvg
    libxml2
    patch
    python3Packages.jsonschema
    python3Packages.prometheus-client
    shellcheck
    spin
    systemd
    vde2
    wireshark-cli
  ]);
  style = suites [ "style" ] (with pkgs; [ clang-tools mandoc scdoc shellcheck ]);
  nix = suites [ "nix" ] (with pkgs; [ pkgs.nix shellcheck ]);

  k3s = test ./k3s.nix;
}
// lib.optionalAttrs pkgs.stdenv.hostPlatform.isx86_64 {
  inherit (pkgs) qemu-vhost-lab;
  wsl-kernel = pkgs.vhost-lab-wsl-kernel;
  emulation-vm-boots = test ./emulation-vm-boots.nix;
}
