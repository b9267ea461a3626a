# SPDX-License-Identifier: MIT
"""Seeds of fuzz_switch: programs that reach each of its steps.  Argument: the corpus folder to write to."""

import sys
from pathlib import Path


def vlan(port, mode, vid, bits=0, native=True):
    return bytes([4, port, mode | vid << 2 | (0 if native else 0x80), bits])


def port(number, what, *storm):
    return bytes([5, number, what, *storm])


def mirror(number, what, sources):
    return bytes([6, 1, number, what, sources])


def pin(what, *vid):
    return bytes([6, 0, what, *vid])


def mode(keep, between, milliseconds=0):
    return bytes([7, keep, between, milliseconds])


def burst(number, cut, *frames):
    return bytes([0, number, len(frames) - 1, cut]) + b"".join(frames)


def frame(length, dst, src, *tags, header=b""):
    kinds = bytes(tags) + b"\x02"
    return bytes([length, dst | src << 3]) + kinds + (b"\x01" + header if header else b"\x00")


ALL, TAG1, TAG2 = 5, 0, 4
CSUM = bytes([1, 0, 54, 0, 0, 0, 34, 0, 16, 0, 0, 0])
TSO = bytes([1, 1, 54, 0, 64, 0, 34, 0, 16, 0, 0, 0])

SEEDS = {
    "plain": burst(0, 0, frame(60, ALL, 0)) + burst(1, 7, frame(60, 0, 1), frame(13, 0, 1), frame(14, 0, 1)),
    "access": vlan(0, 1, 0) + vlan(1, 1, 0) + vlan(2, 3, 1, 3) + burst(0, 0, frame(60, ALL, 0)) + burst(2, 5, frame(64, 0, 1, TAG1)),
    "tunnel": vlan(0, 2, 0) + vlan(1, 3, 1, 1) + burst(0, 0, frame(64, ALL, 0, TAG2)) + burst(1, 13, frame(70, 0, 1, TAG1, TAG2)),
    "native": vlan(0, 3, 0, 15, native=False) + vlan(1, 3, 2, 1) + burst(1, 1, frame(60, ALL, 0)) + burst(0, 0, frame(17, ALL, 1, TAG1)),
    "offsets": vlan(0, 1, 0) + port(3, 0x0C) + burst(0, 0, frame(90, ALL, 0, header=CSUM), frame(200, ALL, 0, header=TSO)),
    "untag": vlan(0, 1, 0) + vlan(1, 3, 1, 1) + burst(1, 0, frame(90, ALL, 0, TAG1, header=CSUM), frame(200, ALL, 0, TAG1, header=TSO)),
    "stages": port(0, 0x2E) + port(1, 0x4E) + mode(1, 1) + vlan(2, 1, 0) + burst(0, 9, frame(60, ALL, 0), frame(60, ALL, 1)),
    "mirrors": mirror(0, 3 | 4 << 2, 3) + mirror(1, 1 | 3 << 2, 16) + burst(0, 0, frame(60, ALL, 0)) + burst(1, 0, frame(60, 0, 1)),
    "isolated": port(0, 0x0F) + port(1, 0x0F) + burst(0, 0, frame(60, ALL, 0)) + burst(1, 0, frame(60, 0, 1)),
    "storm": port(0, 0x1E, 0, 1) + burst(0, 0, *[frame(60, ALL, 0)] * 4) + mode(0, 0, 200) + burst(0, 0, frame(60, ALL, 0)),
    "pinned": pin(0x80 | 1 | 2 << 3, 0) + pin(2) + burst(0, 0, frame(60, 0, 1)) + burst(1, 0, frame(60, 1, 0)) + pin(2),
    "down": burst(0, 0, frame(60, ALL, 0)) + pin(1) + port(1, 0x06) + burst(0, 0, frame(60, 0, 1), frame(60, ALL, 1)) + burst(1, 0, frame(60, ALL, 2)),
}


def main():
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, seed in SEEDS.items():
        (folder / name).write_bytes(seed)


main()
