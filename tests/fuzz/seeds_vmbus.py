# SPDX-License-Identifier: MIT
"""Seeds of fuzz_vmpipe and fuzz_vmbus: programs that reach each of their steps.  Argument: the corpus folder, with the two in it."""

import random
import struct
import sys
from pathlib import Path

# ---- fuzz_vmpipe ----

WRITER, HEAD_FIRST = 0x40, 0x80
WRITE_INDEX, READ_INDEX, MASK, PENDING, FEATURES = range(5)


def head(word, value, aligned=False, huge=False):
    return bytes([0, word | (0x40 if aligned else 0) | (0x80 if huge else 0)]) + struct.pack(">H", value)


def raw(at, data):
    return bytes([1]) + struct.pack(">HB", at, len(data)) + data


TAKE, TAKE_ALL = bytes([2]), bytes([3])


def make(length):
    return bytes([4]) + struct.pack(">H", length)


def want(length):
    return bytes([6]) + struct.pack(">H", length)


def packet(length):
    return bytes([7]) + struct.pack(">H", length)


def first(pages, flags=0):
    """A first byte for so many pages, with these flags."""
    return bytes([next(b for b in range(256) if b % 7 == pages and b & 0xc0 == flags)])


def descriptor(kind=6, offset8=2, len8=4, pipe=1, length=8):
    return struct.pack("<HHHHQII", kind, offset8, len8, 0, 0, pipe, length)[:31]


VMPIPE = {
    "no-pages": first(0),
    "one-page": first(1),
    "two-pages-read": first(2) + packet(100) + TAKE,
    "round": first(3) + b"".join(packet(2000) + TAKE for _ in range(9)),
    "write-round": first(3, WRITER) + b"".join(make(3000) + head(READ_INDEX, i * 1500 % 8192, True) for i in range(9)),
    "write-full": first(2, WRITER) + make(0xffff) * 3,
    "end": first(4) + packet(0) + TAKE + packet(0) + TAKE_ALL,
    "waiting-writer": first(4) + want(4000) + packet(3000) + TAKE + packet(4000) + want(9000) + TAKE_ALL,
    "index-outside": first(4) + head(WRITE_INDEX, 0xffff) + TAKE,
    "index-odd": first(4) + head(WRITE_INDEX, 9) + TAKE_ALL,
    "index-huge": first(4) + head(WRITE_INDEX, 8, huge=True) + TAKE,
    "read-index-outside": first(4, WRITER) + head(READ_INDEX, 0xffff) + make(10),
    "open-outside": first(4, HEAD_FIRST) + bytes([0xff, 0xff, 0xff]),
    "open-within": first(5, HEAD_FIRST) + bytes([READ_INDEX | 0x40, 0x10, 0]) + packet(64) + TAKE,
    "cut-off": first(4) + raw(0, descriptor()) + head(WRITE_INDEX, 16) + TAKE,
    "longer-than-written": first(4) + raw(0, descriptor(len8=900)) + head(WRITE_INDEX, 40) + TAKE,
    "offset-in-head": first(4) + raw(0, descriptor(offset8=1)) + head(WRITE_INDEX, 40) + TAKE,
    "offset-behind-end": first(4) + raw(0, descriptor(offset8=4)) + head(WRITE_INDEX, 40) + TAKE,
    "data-longer": first(4) + raw(0, descriptor(length=9)) + head(WRITE_INDEX, 40) + TAKE,
    "foreign-type": first(4) + raw(0, descriptor(kind=7)) + head(WRITE_INDEX, 40) + TAKE,
    "foreign-pipe": first(4) + raw(0, descriptor(pipe=2)) + head(WRITE_INDEX, 40) + TAKE,
    "masks": first(4) + bytes([5, 1, 5, 0]) + packet(8) + TAKE,
}

# ---- fuzz_vmbus ----

HELLO, READY, RESET = bytes([0, 0]), bytes([0, 10]), bytes([0, 0x8a])
ADD, REMOVE = bytes([0, 1]), bytes([0, 0x85])


def connect(port, service=1):
    return bytes([0, 2, port, service])


def offered(channel, last=True):
    return bytes([0, 4 if last else 0x88, channel])


def opened(channel, shape=0):
    return bytes([0, 6, shape, channel])


def close(channel):
    return bytes([0, 8, channel])


def released(channel):
    return bytes([0, 9, channel])


def any_message(number, size, data=b"", with_fd=False):
    return bytes([0, 0x8f if with_fd else 11]) + data.ljust(64, b"\0")[:64] + bytes([number - 60, size])


def memory(page, at, data):
    return bytes([3, page, at, len(data)]) + data


def host(what):
    return bytes([4, what])


def answer(how):
    return bytes([5, how])


def client(slot, port):
    return bytes([0xc6, slot, port])


SAY, HEAR, HALF, HANG_UP = 0xe1, 0x09, 0x31, 0x19  # of slot 1
PAUSE = bytes([0xc7])
OPEN1 = answer(1) + connect(1) + PAUSE + offered(1) + PAUSE + opened(1) + PAUSE


def guest_packet(page, index, data):
    padded = data + b"\0" * (-len(data) % 8)
    return memory(page, index, struct.pack("<HHHHQII", 6, 2, (24 + len(padded)) // 8, 0, 0, 1, len(data)) + padded[:23])


def word(page, which, value):
    return memory(page, 4 * which, struct.pack("<I", value))


VMBUS = {
    "hello-twice": HELLO,
    "ready": READY,
    "refused": answer(0) + connect(1) + PAUSE,
    "foreign-service": connect(1, 99) + PAUSE,
    "opened": OPEN1,
    "opened-and-closed": OPEN1 + close(1) + PAUSE + released(1) + PAUSE,
    "host-speaks": OPEN1 + host(SAY) + PAUSE + host(SAY) + PAUSE,
    "host-hangs-up": OPEN1 + host(HANG_UP) + PAUSE + close(1) + released(1) + PAUSE,
    "host-half-closes": OPEN1 + host(HALF) + PAUSE,
    "guest-speaks": OPEN1 + guest_packet(1, 0, b"0123456") + word(0, 0, 40) + PAUSE + host(HEAR),
    "guest-ends": OPEN1 + guest_packet(1, 0, b"") + word(0, 0, 32) + PAUSE + host(HANG_UP) + PAUSE,
    "guest-lies": OPEN1 + word(0, 0, 0x7fffffff) + PAUSE + host(SAY) + PAUSE,
    "reader-lies": OPEN1 + word(2, 1, 3) + host(SAY) + PAUSE,
    "open-outside": answer(1) + connect(1) + PAUSE + offered(1) + opened(1, 255) + PAUSE,
    "to-guest": client(1, 7) + PAUSE + offered(2) + PAUSE + opened(2, 9) + PAUSE + host(SAY) + PAUSE,
    "to-guest-not-offered": client(1, 7) + PAUSE + offered(0) + PAUSE,
    "to-guest-given-up": client(1, 7) + PAUSE + host(HANG_UP) + PAUSE + offered(2) + PAUSE + released(2) + PAUSE,
    "not-offered": answer(1) + connect(1) + PAUSE + offered(0) + PAUSE,
    "same-port": OPEN1 + host(HANG_UP) + PAUSE + connect(1) + PAUSE + close(1) + released(1) + PAUSE + offered(1) + PAUSE,
    "asked-twice": answer(1) + connect(1) + connect(1) + PAUSE + connect(1, 2) + PAUSE,
    "reset-when-open": OPEN1 + host(SAY) + RESET + PAUSE + OPEN1,
    "reset-when-offering": answer(1) + connect(1) + client(2, 7) + PAUSE + RESET + PAUSE + offered(1) + PAUSE,
    "memory-goes": OPEN1 + REMOVE + PAUSE + host(SAY) + PAUSE,
    "memory-comes-back": OPEN1 + REMOVE + PAUSE + released(1) + ADD + OPEN1,
    "unknown-channel": close(2) + PAUSE,
    "unknown-offer": offered(1) + PAUSE,
    "opened-twice": OPEN1 + opened(1) + PAUSE,
    "foreign-number": any_message(79, 8) + PAUSE,
    "odd-size": any_message(75, 9) + PAUSE,
    "too-many-descriptors": any_message(75, 8, with_fd=True) + PAUSE,
}


def main(corpus):
    for name, programs in (("vmpipe", VMPIPE), ("vmbus", VMBUS)):
        folder = corpus / name
        folder.mkdir(exist_ok=True)
        for program, data in programs.items():
            (folder / program).write_bytes(data)
        # One after the other in any order: what one leaves is what the next begins with.
        shuffled = random.Random(1)
        for i in range(4):
            parts = shuffled.sample(sorted(programs), 8)
            lead = programs[parts[0]][:1] if name == "vmpipe" else b""
            rest = b"".join(programs[p][1 if name == "vmpipe" else 0:] for p in parts)
            (folder / f"one-after-the-other-{i}").write_bytes(lead + rest)


main(Path(sys.argv[1]))
