# SPDX-License-Identifier: MIT
# Daemons, CLI, the guest's agent, libportal with portal(1), manual pages, completions, schema: what `meson install` installs.
{
  lib,
  stdenv,
  makeWrapper,
  meson,
  ninja,
  pkg-config,
  scdoc,
  writeShellScriptBin,
  pkgsStatic,
  cmocka,
  git,
  glib,
  jsmn,
  json_c,
  libarchive,
  libpcap,
  libslirp,
  libvirt,
  libxml2,
  openssh,
  python3,
  qemu,
  vde2,
  xxHash,
  # Which suites to run once it is built; none: the tests are not built.
  suites ? [ ],
  # More that these suites want.
  testInputs ? [ ],
}:
let
  tested = suites != [ ];
  # The build takes musl-gcc for what runs in guests, small and static.  Its headers are not those of the build's own compiler.
  musl = writeShellScriptBin "musl-gcc" ''
    exec ${pkgsStatic.stdenv.cc}/bin/${pkgsStatic.stdenv.cc.targetPrefix}cc \
      -isystem ${jsmn}/include -isystem ${lib.getDev xxHash}/include "$@"
  '';
  root = ../..;
in
stdenv.mkDerivation {
  pname = "vhost-lab";
  version = "0.1.0";

  src = lib.fileset.toSource {
    inherit root;
    fileset = lib.fileset.unions (
      map (name: root + "/${name}") [ "meson.build" "meson_options.txt" "orchestrator" "qemu-patches" "vhost-user" ]
      ++ lib.optionals tested (
        map (name: root + "/${name}") [
          ".ci"
          ".clang-format"
          ".clang-tidy"
          "HACKING.md"
          "LICENSE"
          "README.md"
          "SECURITY.md"
          "check"
          "doc"
          "examples"
          "flake.nix"
          "flake.lock"
          "nix"
          "quickstart"
          "tests"
        ]
      )
    );
  };

  postPatch = "patchShebangs .";

  nativeBuildInputs = [
    glib # glib-compile-resources
    makeWrapper
    meson
    musl
    ninja
    pkg-config
    scdoc
  ];
  buildInputs = [
    glib
    jsmn
    json_c
    libarchive
    libpcap
    libslirp
    libvirt
    libxml2
    vde2
    xxHash
  ];

  mesonFlags = [ (lib.mesonBool "tests" tested) ];

  doCheck = tested;
  checkInputs = lib.optionals tested [ cmocka ];
  nativeCheckInputs = lib.optionals tested ([ git python3 ] ++ testInputs);
  checkPhase = ''
    runHook preCheck
    # The style suite lists tracked files.
    (cd "$NIX_BUILD_TOP/$sourceRoot" && git init -q && git add -A)
    meson test --no-rebuild --print-errorlogs ${lib.concatMapStringsSep " " (suite: "--suite=${suite}") suites}
    runHook postCheck
  '';

  # What it runs as programs; the libraries that it loads it knows by their paths.
  postInstall = ''
    wrapProgram $out/bin/orchestrator --suffix PATH : ${lib.makeBinPath [ qemu openssh ]}
  '';

  meta = {
    description = "Labs of virtual machines, by unprivileged vhost-user daemons";
    license = lib.licenses.mit;
    platforms = [ "x86_64-linux" "aarch64-linux" ];
    mainProgram = "orchestrator";
  };
}
