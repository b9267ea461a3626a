# SPDX-License-Identifier: MIT
# It takes the arguments of nixpkgs' file of this name, and nothing that one does not take.
{
  pkgs, lib, config, diskSize ? "auto", additionalSpace ? "512M", bootSize ? "256M", contents ? [ ], partitionTableType ? "legacy",
  installBootLoader ? true, touchEFIVars ? false, fsType ? "ext4", label ? "nixos", configFile ? null, postVM ? "", memSize ? 1024,
  onlyNixStore ? false, name ? "nixos-disk-image", format ? "raw", deterministic ? true, copyChannel ? true, additionalPaths ? [ ]
}:
assert builtins.elem partitionTableType [ "legacy" "legacy+gpt" "efi" "efixbootldr" "hybrid" "none" ];
assert builtins.elem format [ "qcow2" "qcow2-compressed" "vdi" "vpc" "raw" ];
pkgs.runCommand name { inherit additionalSpace format label partitionTableType; system = config.system.build.toplevel; } ""
