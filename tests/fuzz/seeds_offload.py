#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the seeds of fuzz_offload: the packets that Linux was asked to cut, in several pieces, and one for each lie.

    tests/fuzz/seeds_offload.py [tests/fuzz/corpus]

The files are committed; this is how they were made.  The format is told at the top of fuzz_offload.c.
"""
import pathlib
import struct
import sys

HERE = pathlib.Path(__file__).resolve().parent
GOLDEN = HERE.parent / "unit/golden/net/gso.txt"


def packets():
    for line in GOLDEN.read_text().splitlines():
        if not line.startswith(" "):
            name, header, frame = line.split()
            yield name, bytes.fromhex(header), bytes.fromhex(frame)


def header(flags, kind, hdr_len, size, start, offset):
    return struct.pack("<BBHHHHH", flags, kind, hdr_len, size, start, offset, 0)


def seeds():
    known = {name: (h, f) for name, h, f in packets()}
    for name, (h, f) in known.items():
        yield name, bytes([0, 0]) + h + f
        yield name + "-in-pieces", bytes([1, 0b01001011]) + h + f
    h, f = known["tso4_options"]
    yield "cve-2024-11614-far-behind", bytes([0, 1]) + header(1, 0, 0, 0, 34, 900) + f + bytes(900 + 36 - len(f))
    yield "cve-2024-11614-at-the-end", bytes([0, 1]) + header(1, 0, 0, 0, 34, len(f) - 36) + f
    yield "cve-2022-2132-header-beyond-the-end", bytes([0, 0]) + h + (f[:50] + b"\xf0" + f[51:])[:60]
    yield "one-byte-segments", bytes([0, 0]) + header(1, 1, 0, 1, 38, 16) + f + bytes(1400)
    yield "too-many-segments", bytes([0, 0]) + header(1, 1, 0, 1, 38, 16) + f + bytes(3000)
    yield "fragment", bytes([0, 0]) + h + f[:20] + b"\x20\x01" + f[22:]
    yield "another-protocol", bytes([0, 0]) + h + f[:23] + b"\x11" + f[24:]
    h, f = known["tso6_extensions"]
    yield "extension-longer-than-the-packet", bytes([0, 0]) + h + f[:55] + b"\xff" + f[56:]
    yield "routing-header", bytes([0, 0]) + h + f[:20] + b"\x2b" + f[21:]
    yield "only-what-it-takes", bytes([0x3f, 0]) + h + f


def main():
    top = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "corpus") / "offload"
    top.mkdir(parents=True, exist_ok=True)
    for name, data in seeds():
        (top / name).write_bytes(data)


if __name__ == "__main__":
    main()
