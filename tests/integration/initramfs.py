# SPDX-License-Identifier: MIT
"""What a guest boots from that no lab has made: the tiny guest's own files, and others laid over them."""

import os
import re
import stat
import subprocess
from pathlib import Path


def tiny(place):
    """The tiny guest's kernel and initramfs."""
    script = place.run("render", "qemu", place.lab({"version": 1, "vms": {"a": {"sockets": "none"}}}), timeout=600).out
    return tuple(Path(re.search(rf"-{word} (\S+)", script).group(1)) for word in ("kernel", "initrd"))


def cpio(entries):
    """An initramfs ("newc") of (name, mode, bytes)."""
    out = bytearray()
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        encoded = name.encode() + b"\0"
        fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def program(path):
    """A dynamic program and all it needs, as entries."""
    listed = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(?:=> )?(/\S+) \(0x", listed)
    files = [*sorted(set(libraries)), os.path.realpath(path)]
    directories = sorted({str(parent) for file in files for parent in Path(file).parents} - {"/", "/bin", "/usr/bin"},
                         key=len)
    yield from ((directory[1:], stat.S_IFDIR | 0o755, b"") for directory in directories)
    yield from ((file[1:].replace("usr/bin/", "bin/"), stat.S_IFREG | 0o755, Path(file).read_bytes())
                for file in files)


def over(initramfs, *overlays):
    """Later files replace earlier ones."""
    whole = initramfs
    for overlay in overlays:
        whole += bytes(-len(whole) % 512) + overlay
    return whole
