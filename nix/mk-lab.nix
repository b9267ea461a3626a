# SPDX-License-Identifier: MIT
# lib.mkLab: an attribute set as a lab that can be run.
#
#   mkLab {
#     inherit pkgs;
#     lab = { name = "pair"; vms = { left = { }; right = { }; }; };    as in lab.json; lab(5) has the keys
#     disks.left = mkNodeImage { … };                                  VMs that start from a disk of their own
#     credentials.left = [ "token" ];                                  secrets that `lab-up` makes and gives to a VM
#   }
#
# What is wrong with the lab ends the evaluation, all of it at once, in the words of `orchestrator validate`, by the same table of
# keys.  The result is a directory for `lab-up` and services.vhost-lab: lab.json, name, disks, credentials.  When that is built,
# `orchestrator validate` has the last word.
{ lib, labs }:
{ pkgs, lab, disks ? { }, credentials ? { } }:
let
  # A VM with a disk boots its kernel from the store, and has the disk as the one called "system".
  booted = name: image: {
    image = name;
    distros = (lab.vms.${name}.distros or { }) // { system.image = "disks/${name}.qcow2"; };
  };
  strangers = lib.filter (name: !(lib.hasAttr name (lab.vms or { }))) (lib.attrNames (disks // credentials));
  whole = lab // lib.optionalAttrs (disks != { }) {
    images = (lab.images or { }) // lib.mapAttrs (_: image: { inherit (image) kernel initrd append; }) disks;
    vms = lab.vms // lib.mapAttrs (name: image: lab.vms.${name} // booted name image) disks;
  };
  json = labs.toJSON whole;
  name = lab.name or "lab";
  lines = list: lib.concatMapStrings (line: "${line}\n") list;
in
assert lib.assertMsg (strangers == [ ]) "mkLab: disks or credentials of machines that the lab has not: ${lib.concatStringsSep ", " strangers}";
pkgs.runCommand "lab-${name}"
  {
    inherit json;
    labName = name;
    disks = lines (lib.mapAttrsToList (vm: image: "${vm} ${image.disk}") disks);
    credentials = lines (lib.concatLists (lib.mapAttrsToList (vm: secrets: map (secret: "${vm} ${secret}") secrets) credentials));
    passAsFile = [ "json" "disks" "credentials" ];
    nativeBuildInputs = [ pkgs.vhost-lab ];
    preferLocalBuild = true;
    passthru = { lab = whole; inherit json; };
  }
  ''
    mkdir $out
    cp $jsonPath $out/lab.json
    cp $disksPath $out/disks
    cp $credentialsPath $out/credentials
    printf '%s\n' "$labName" >$out/name
    export HOME=$TMPDIR
    orchestrator validate $out/lab.json
  ''
