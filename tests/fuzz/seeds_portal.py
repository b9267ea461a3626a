#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the seeds of fuzz_portal_leases: conversations that mean something.  Argument: the corpus folder."""

import struct
import sys
from pathlib import Path

HELLO, GET, PUT, PUBLISH, UNPUBLISH, BELL, QUIESCE, THAW, ACK, FLUSH, STAT, NOTIFY = range(1, 13)
EXTENT = 0x80  # argument(): n extents in bytes
OWNER = 0x90   # argument(): lease (bit 0), generation (bits 1-3) + 1


def say(who, kind, a0=0, a1=0, a2=0, letter=0, seq=1):
    return bytes([5 << 1 | who, kind, seq, a0, a1, a2, letter])


def hang_up(who):
    return bytes([2 << 1 | who])


def read(who):
    return bytes([3 << 1 | who])


def tamper(offset, data):
    return bytes([4 << 1]) + struct.pack("<H", offset // 4) + bytes([len(data)]) + data


def frame(who, kind, args=(), name=b"", seq=1):
    args = list(args) + [0] * (6 - len(args))
    return bytes([who]) + struct.pack("<IIiI6Q64s", kind, seq, 0, 0, *args, name)


def both():
    return say(0, HELLO, 1) + say(1, HELLO, 1)


SEEDS = {
    "life": both() + say(0, GET, 1, 2) + say(1, GET, 2, 3) + say(0, PUBLISH, 1, EXTENT | 2, 9, ord("x"))
    + say(0, PUT, 2, 1) + say(0, UNPUBLISH, letter=ord("x")) + say(0, PUT, 2, 1) + say(1, STAT) + read(0) + read(1),
    "death": both() + say(1, NOTIFY, 3) + say(0, GET, 3, 3) + say(0, PUBLISH, 1, EXTENT | 4, 9, ord("y")) + hang_up(0)
    + read(1) + say(0, HELLO, 1),
    "return": both() + say(1, GET, 1, 2) + hang_up(1) + say(1, HELLO, 1, 0, OWNER | 1) + say(1, PUT, 2, 1),
    "bells": both() + b"".join(say(0, BELL, OWNER | 1, i, seq=0) for i in range(100)) + read(1),
    "quiesce": both() + say(0, QUIESCE, 50, 50) + say(1, GET, 1, 2) + say(1, ACK, 1) + say(1, HELLO, 1) + say(0, THAW),
    "frozen-death": both() + say(1, GET, 1, 2) + say(0, QUIESCE, 0, 50) + hang_up(1) + hang_up(0) + read(1),
    "flush": both() + b"".join(say(0, FLUSH, seq=i) for i in range(1, 12)) + hang_up(0),
    "pieces": frame(0, HELLO, [1, 7, 0, 1], b"me") + bytes([1 << 1, 5]) + frame(0, STAT)[1:6] + bytes([1 << 1, 123])
    + frame(0, STAT)[6:] + read(0),
    "twice": both() + say(0, HELLO, 1) + say(1, 77) + say(0, STAT),
    "restart": both() + say(0, GET, 2, 3) + say(0, PUBLISH, 1, EXTENT | 5, 9, ord("z")) + tamper(0, b"")
    + say(0, HELLO, 1, 0, OWNER) + say(0, UNPUBLISH, letter=ord("z")) + say(0, PUT, 5, 2),
    "lies": both() + say(0, GET, 1, 2) + tamper(0x8000 + 32, struct.pack("<QQ", 0x10003, 0x0201000003)) + say(1, HELLO, 1)
    + tamper(0, struct.pack("<Q", 0xffffffffffffffff)) + tamper(128, struct.pack("<Q", 2 << 48 | 1 << 16 | 1)) + read(0),
}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in SEEDS.items():
        (folder / name).write_bytes(data)


main()
