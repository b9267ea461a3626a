# SPDX-License-Identifier: MIT
# The programs behind `nix run .#lab-up` and its kind, plain bash, with what they run in their PATH.
{ lib, runCommand, bash, coreutils, makeWrapper, qemu, vhost-lab }:
runCommand "vhost-lab-scripts"
  {
    nativeBuildInputs = [ makeWrapper ];
    buildInputs = [ bash ];
    meta = {
      description = "lab-up, lab-down, lab-status, emulation-vm";
      license = lib.licenses.mit;
      mainProgram = "lab-up";
    };
  }
  ''
    mkdir -p $out/bin
    for script in ${../scripts}/*; do
      install -m 755 "$script" $out/bin/
    done
    patchShebangs --host $out/bin
    for script in $out/bin/*; do
      wrapProgram "$script" --prefix PATH : $out/bin:${lib.makeBinPath [ coreutils vhost-lab qemu ]}
    done
  ''
