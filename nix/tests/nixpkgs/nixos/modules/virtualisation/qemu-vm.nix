# SPDX-License-Identifier: MIT
# The options of the outer machine that our modules set.
{ lib, ... }:
let
  option = type: default: lib.mkOption { inherit type default; };
  inherit (lib) types;
in
{
  options.virtualisation = {
    cores = option types.ints.positive 1;
    diskSize = option types.ints.positive 1024;
    memorySize = option types.ints.positive 1024;
    qemu.options = option (types.listOf types.str) [ ];
    vlans = option (types.listOf types.ints.unsigned) [ 1 ];
  };
}
