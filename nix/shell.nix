# SPDX-License-Identifier: MIT
# What HACKING.md and ./check name: to compile, to run labs, to test.
{ pkgs }:
pkgs.mkShell {
  inputsFrom = [ pkgs.vhost-lab ];
  packages = with pkgs; [
    ansible
    bubblewrap
    clang-tools
    cmocka
    dropbear
    e2fsprogs
    gdb
    git
    graphviz
    iproute2
    libvirt
    librsvg
    libxml2
    mandoc
    openssh
    patch
    procps
    (python3.withPackages (python: [ python.jsonschema python.prometheus-client ]))
    qemu
    shellcheck
    socat
    spin
    tmux
    util-linux
    vde2
    wireshark-cli
  ];
}
