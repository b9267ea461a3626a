# SPDX-License-Identifier: MIT
# For who links libportal: the library, shared and static, its header and its pkg-config file, without the rest.
{ lib, stdenvNoCC, vhost-lab }:
stdenvNoCC.mkDerivation {
  pname = "libportal";
  inherit (vhost-lab) version;

  dontUnpack = true;
  installPhase = ''
    runHook preInstall
    mkdir -p $out/lib/pkgconfig $out/include
    cp -a ${vhost-lab}/lib/libportal.* $out/lib/
    cp ${vhost-lab}/include/portal.h $out/include/
    substitute ${vhost-lab}/lib/pkgconfig/portal.pc $out/lib/pkgconfig/portal.pc --replace-fail ${vhost-lab} $out
    runHook postInstall
  '';

  meta = vhost-lab.meta // {
    description = "Memory that virtual machines and host processes share";
    mainProgram = null;
  };
}
