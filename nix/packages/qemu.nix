# SPDX-License-Identifier: MIT
# nixpkgs' QEMU with our series: guests of any accelerator see a Hyper-V, and speak its sockets.
#
# The series is for one QEMU, Debian stable's, and is tested on that alone; so its source is taken, by the hashes of its .dsc, and
# not that of nixpkgs' own version.  Debian leaves firmware out of it: that is the one of nixpkgs' QEMU.
{ lib, fetchurl, qemu }:
let
  dir = ../../qemu-patches/10.0;
  version = "10.0.13";
  release = "${version}+ds-0+deb13u1";

  # Where Debian has it, and where it stays.
  source = { name, sha1, sha256 }: fetchurl {
    inherit name sha256;
    urls = [ "mirror://debian/pool/main/q/qemu/${name}" "https://snapshot.debian.org/file/${sha1}" ];
  };
  debian = source {
    name = "qemu_${release}.debian.tar.xz";
    sha1 = "8fd7672ce97e1b93405e6cb71e183158f87b6ff3";
    sha256 = "da73c092f5684c551b0334d675eb16a3dec91e1edea94759cfb1102fa4a0364e";
  };

  lines = lib.splitString "\n" (builtins.readFile (dir + "/series"));
  names = lib.filter (name: name != "" && !(lib.hasPrefix "#" name)) lines;
  pinned = lib.findFirst (lib.hasPrefix "version ") "" (lib.splitString "\n" (builtins.readFile (dir + "/base")));
in
assert lib.assertMsg (pinned == "version 1:${release}") "nix/packages/qemu.nix is of ${release}, qemu-patches/10.0/base of another release";
(qemu.override {
  minimal = true;
  enableBlobs = false;
  guestAgentSupport = false;
  hostCpuTargets = [ "x86_64-softmmu" ];
}).overrideAttrs (old: {
  pname = "qemu-vhost-lab";
  inherit version;
  src = source {
    name = "qemu_${version}+ds.orig.tar.xz";
    sha1 = "7617726069d7b00c2b7bd10aea8077b005913e5f";
    sha256 = "6a0888e806c2ffc0c5f0733e974f9aea55491950d3c47c98669c8b236dde59ae";
  };

  # Debian's patches first, as ours are made on them.
  prePatch = ''
    tar -xf ${debian}
    while read -r name _; do
      case $name in "" | "#"*) continue ;; esac
      patch -p1 --fuzz=0 <"debian/patches/$name"
    done <debian/patches/series
  '';
  patches = map (name: dir + "/${name}") names;

  configureFlags = old.configureFlags ++ [
    "--firmwarepath=${qemu}/share/qemu"
    "--with-pkgversion=vhost-lab"
  ];
  requiredSystemFeatures = [ ];
  passthru = old.passthru // { series = names; };

  meta = old.meta // {
    description = "QEMU whose guests see a Hyper-V under any accelerator, and speak its sockets";
    mainProgram = "qemu-system-x86_64";
    platforms = [ "x86_64-linux" "aarch64-linux" ];
  };
})
