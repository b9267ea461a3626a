# SPDX-License-Identifier: MIT
"""Programs of other Debian suites, run here without being installed.

Their packages, and all that they depend on, are unpacked into a directory of the cache; nothing in them is configured
or run as root.  A small script beside them starts each program with the loader and the libraries that came with it, so
it needs no chroot and sees this host's files and sockets.  Removing the directory is all it takes to get newer ones.
"""
import os
import pathlib
import shlex
import shutil
import subprocess
import sys

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "vhost-lab-tests"
MIRROR = "http://deb.debian.org/debian"

# name: suite, packages, further suite that is preferred, architecture if it is not this host's
SETS = {
    "linux-6.1": ("bookworm", ["linux-image-cloud-amd64"], None),
    "linux-6.12": ("trixie", ["linux-image-cloud-amd64"], None),
    "linux-sid": ("sid", ["linux-image-cloud-amd64"], None),
    "linux-6.1-aarch64": ("bookworm", ["linux-image-cloud-arm64", "busybox-static"], None, "arm64"),
    "linux-source-6.1": ("bookworm", ["linux-source-6.1"], None),
    "linux-source-6.12": ("trixie", ["linux-source-6.12"], None),
    "vhost-device-vsock": ("sid", ["vhost-device-vsock"], None),
    # Runs by its own paths alone: in a root of its own (tests/integration/libvirtd.py).
    "libvirt-11.3": ("trixie", ["libvirt-daemon-system", "libvirt-daemon", "libvirt-daemon-driver-qemu", "libvirt-daemon-log",
                                "libvirt-clients", "qemu-system-x86", "qemu-utils", "seabios", "bash", "coreutils", "dash", "grep",
                                "sed", "libc-bin", "base-files", "procps"], None),
    "nix": ("trixie", ["nix-bin"], None),
    "ovmf": ("trixie", ["ovmf"], None),
    "qemu-10.0": ("trixie", ["qemu-system-x86", "seabios"], None),
    "qemu-11.1": ("trixie", ["qemu-system-x86", "seabios"], "trixie-backports"),
}


def need(command, package=None):
    """Install a program of this host's suite, as root only."""
    if not shutil.which(command):
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package or command], check=True,
                       stdout=sys.stderr)


def _unpack(name, root):
    suite, packages, preferred, *arch = SETS[name]
    need("mmdebstrap")
    print(f"unpacking {' '.join(packages)} of {preferred or suite} into {root}", file=sys.stderr)
    part = root.with_name(root.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    # A mirror of a past day is as good.
    argv = ["mmdebstrap", "--quiet", "--variant=extract", "--aptopt=Acquire::Check-Valid-Until \"false\"",
            f"--include={','.join(packages)}", *(f"--architectures={name}" for name in arch)]
    if preferred:
        argv.append(f"--aptopt=APT::Default-Release \"{preferred}\"")
    argv += [suite, str(part), f"deb {MIRROR} {suite} main"]
    if preferred:
        argv.append(f"deb {MIRROR} {preferred} main")
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    part.rename(root)


def root_of(name):
    """The directory of the set NAME, unpacked first where needed."""
    root = CACHE / "roots" / name
    if not root.exists():
        _unpack(name, root)
    return root


def program(name, command):
    """A path that starts COMMAND of the set NAME."""
    root = root_of(name)
    script = CACHE / "bin" / name / command
    lib = root / "usr/lib/x86_64-linux-gnu"
    words = [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", str(lib), str(root / "usr/bin" / command)]
    if command.startswith("qemu-system-"):
        words += ["-L", str(root / "usr/share/qemu"), "-L", str(root / "usr/share/seabios")]
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(f"#!/bin/sh\nQEMU_MODULE_DIR={shlex.quote(str(lib / 'qemu'))} "
                      f"exec {shlex.join(words)} \"$@\"\n", encoding="utf-8")
    script.chmod(0o755)
    return str(script)


if __name__ == "__main__":
    print(program(*sys.argv[1:]) if sys.argv[2:] else root_of(sys.argv[1]))
