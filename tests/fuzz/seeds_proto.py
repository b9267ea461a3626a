#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the seeds of fuzz_session and fuzz_msg: conversations of real frontends, and one for each kind of attack.

    tests/fuzz/seeds_proto.py [tests/fuzz/corpus]

The files are committed; this is how they were made.  The formats are told at the top of fuzz_session.c and fuzz_msg.c.
"""
import pathlib
import struct
import sys

PAGE = 4096
MEMORY = 16 * PAGE
GPA = 0x40000000
UVA = 0x7F1200000000
NEED_REPLY = 8
NOFD = 0x100
MEM, KICK, CALL, BLOCKING, PIPE, DEAD_PIPE, NULL, PIPE_END, SOCKET, INFLIGHT, INFLIGHT_PACKED = range(11)

FEATURES = 1 << 32 | 1 << 30 | 1 << 29 | 1 << 28
PROTOCOL = 1 << 0 | 1 << 3 | 1 << 9 | 1 << 15


def req(number, payload=b"", n_fds=0, kind=0, flags=0):
    return struct.pack("<BBBBH", number, flags, n_fds, kind, len(payload)) + payload


def u64(value):
    return struct.pack("<Q", value)


def state(index, num):
    return struct.pack("<II", index, num)


def region(gpa=GPA, size=MEMORY, uva=UVA, offset=0):
    return struct.pack("<QQQQ", gpa, size, uva, offset)


def table(*regions):
    return struct.pack("<II", len(regions), 0) + b"".join(regions)


def addr(index, at, flags=0, desc=None, used=None, avail=None):
    return struct.pack("<IIQQQQ", index, flags, UVA + at if desc is None else desc,
                       UVA + at + 0x300 if used is None else used, UVA + at + 0x200 if avail is None else avail, 0)


def answer(request, result=0, flags=5):
    data = struct.pack("<IIIQ", request, flags, 8, result)
    return bytes([73, len(data)]) + data


ANSWER_MAP, ANSWER_UNMAP = answer(9), answer(10, 1)


def kick(ring=0):
    return bytes([64, ring])


def write(at, data):
    out = b""
    while data:
        out += struct.pack("<BHB", 65, at // 4, len(data[:252])) + data[:252]
        at, data = at + 252, data[252:]
    return out


def truncate(pages):
    return bytes([66, pages])


def raw(data):
    return bytes([67, len(data)]) + data


TURN, LISTEN = bytes([68]), bytes([69])

PACKED, IN_ORDER, LOG_ALL = 1 << 34, 1 << 35, 1 << 26
SPECIAL = PROTOCOL | 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5 | 1 << 12 | 1 << 13 | 1 << 16 | 1 << 19


def log(size, offset=0):
    return struct.pack("<QQ", size, offset)


def aligned(size):
    return (size + 63) & ~63


# See inflight.h: four rings of 16 entries.
INFLIGHT_SIZE = 4 * aligned(16 + 16 * 16) + 64 + 4 * aligned(56 + 16 * 8)
INFLIGHT_PACKED_SIZE = 4 * aligned(32 + 16 * 32) + 64 + 4 * aligned(56 + 16 * 8)


def inflight(size, n, queue_size, offset=0):
    return struct.pack("<QQHHI", size, offset, n, queue_size, 0)


def pipe(data):
    return bytes([70, len(data)]) + data


def scribble(which, at, data):
    return struct.pack("<BBHB", 72, which, at // 8, len(data)) + data


def desc(address, length, flags=0, following=0):
    return struct.pack("<QIHH", address, length, flags, following)


def negotiate(features=FEATURES, protocol=PROTOCOL):
    return req(1) + req(15) + req(16, u64(protocol)) + req(17) + req(36) + req(3) + req(1) + \
        req(2, u64(features), flags=NEED_REPLY) + LISTEN


def memory():
    return req(5, table(region()), 1, MEM, NEED_REPLY) + LISTEN


def ring(index, at, num=16, base=0, call=CALL, kick_kind=KICK):
    return req(8, state(index, num)) + req(10, state(index, base)) + req(9, addr(index, at)) + \
        req(12, u64(index), 1, kick_kind) + req(13, u64(index), 1, call) + req(14, u64(index), 1, CALL) + \
        req(18, state(index, 1), flags=NEED_REPLY) + LISTEN


def chain(at, *descs, heads=(0,)):
    """Descriptors, then available heads, then a kick."""
    avail = struct.pack("<HH", 0, len(heads)) + b"".join(struct.pack("<H", h) for h in heads)
    return write(at, b"".join(descs)) + write(at + 0x200, avail) + kick()


def stop(index):
    return req(11, state(index, 0)) + LISTEN


START = negotiate() + memory() + ring(0, 0) + ring(1, 0x1000)
OUT = desc(GPA + 0x8000, 64)
IN = desc(GPA + 0x9000, 1500, 2)

SESSION = {
    "qemu": START + chain(0, OUT) + stop(0) + stop(1) + negotiate() + ring(0, 0, base=1) + ring(1, 0x1000),
    "qemu-two-pairs": START + negotiate() + ring(2, 0x2000) + ring(3, 0x3000) + chain(0, OUT, IN, heads=(0, 1)),
    "virtio-user": req(3) + req(1) + req(15) + req(16, u64(9)) + req(13, u64(0), 1, CALL) + req(13, u64(1), 1, CALL) +
    req(2, u64(FEATURES)) + req(5, table(region()), 1, MEM) + ring(0, 0) + ring(1, 0x1000) + chain(0, OUT),
    "first-days": req(2, u64(1 << 32)) + memory() + ring(0, 0) + chain(0, OUT),
    "mem-slots": negotiate() + req(37, u64(0) + region(size=PAGE), 1, MEM, NEED_REPLY) +
    req(37, u64(0) + region(GPA + PAGE, MEMORY - PAGE, UVA + PAGE, PAGE), 1, MEM, NEED_REPLY) + ring(0, 0) +
    req(38, u64(0) + region(GPA + PAGE, MEMORY - PAGE, UVA + PAGE, PAGE), 1, MEM, NEED_REPLY) + kick() +
    req(38, u64(0) + region(size=PAGE), flags=NEED_REPLY) + kick(),
    "table-changes-while-running": START + memory() + req(5, table(region(uva=UVA + MEMORY)), 1, MEM, NEED_REPLY) +
    memory() + chain(0, OUT) + req(5, table(), flags=NEED_REPLY),
    "config": negotiate() + req(24, struct.pack("<III", 0, 12, 0) + bytes(12)) + req(24, struct.pack("<III", 12, 4, 0) + bytes(4)) +
    req(25, struct.pack("<III", 0, 4, 0) + b"abcd", flags=NEED_REPLY) + req(24, struct.pack("<III", 0xFFFFFFFF, 1, 0) + b"x"),
    "config-size-lies": negotiate() + req(24, struct.pack("<III", 0, 0xFFFFFFFF, 0)),
    "enable-disable": START + req(18, state(0, 0)) + kick() + req(18, state(0, 1)) + kick() + req(4) + kick(),
    "polled": negotiate() + memory() + req(8, state(0, 16)) + req(9, addr(0, 0)) + req(12, u64(NOFD)) + TURN + stop(0),
    "deaf": negotiate() + req(1) * 40,
    "unknown": negotiate() + req(60, b"x" * 100, 5, 0x10, NEED_REPLY) + req(31, bytes(24), 0, 0, NEED_REPLY) +
    req(32, bytes(24), 8, MEM, NEED_REPLY) + req(6, u64(2**64 - 1) * 2, 1, MEM, NEED_REPLY),
    "byte-by-byte": b"".join(raw(bytes([b])) for b in struct.pack("<III", 1, 1, 0)),
    "version-0": req(1, flags=0x80),
    "a-reply": req(1, flags=4),
    # Rings that the driver breaks, and a second try after each.
    "chain-loop": START + chain(0, desc(GPA + 0x8000, 16, 1, 1), desc(GPA + 0x8000, 16, 1, 0)) + stop(0) + ring(0, 0),
    "head-range": START + chain(0, OUT, heads=(16,)) + stop(0) + ring(0, 0),
    "avail-jump": START + write(0x200, struct.pack("<HH", 0, 40)) + kick(),
    "unmapped-buffer": START + chain(0, desc(GPA + MEMORY, 1)),
    "indirect": START + write(0x8000, desc(GPA + 0x9000, 64, 1, 1) + desc(GPA + 0xA000, 64, 2)) +
    chain(0, desc(GPA + 0x8000, 32, 4)),
    "indirect-nested": START + write(0x8000, desc(GPA + 0x8000, 16, 4)) + chain(0, desc(GPA + 0x8000, 16, 4)),
    # What has been a CVE elsewhere.
    "cve-2018-1059-ring-across-the-end": negotiate() + memory() + req(8, state(0, 1024)) + req(9, addr(0, MEMORY - 64)) +
    req(12, u64(0), 1, KICK, NEED_REPLY),
    "cve-2019-14818-surplus-fds": negotiate() + req(3, n_fds=33),
    "cve-2019-14818-ring-size": negotiate() + b"".join(req(8, state(0, n), flags=NEED_REPLY) for n in (0, 3, 65536, 2**32 - 1)),
    "cve-2020-10723-index": negotiate() + req(12, u64(0x104), 0, 0),
    "cve-2020-10723-index-truncated": negotiate() + req(18, state(0x100, 1)),
    "cve-2020-10725-ring-nowhere": negotiate() + memory() + req(8, state(0, 16)) + req(9, addr(0, 0, desc=0, used=0, avail=0)) +
    req(12, u64(0), 1, KICK, NEED_REPLY),
    "cve-2026-86561-region-size": negotiate() + req(5, table(region(size=2**64 - PAGE)), 1, MEM, NEED_REPLY) +
    req(5, table(region(offset=2**64 - PAGE, size=2 * PAGE)), 1, MEM, NEED_REPLY) +
    req(5, table(region(gpa=2**64 - PAGE)), 1, MEM, NEED_REPLY),
    "cve-2026-86565-size-while-running": START + req(8, state(0, 32768), flags=NEED_REPLY) + kick(),
    "cve-2026-86567-memory-gone": START + req(38, u64(0) + region(), flags=NEED_REPLY) + kick() + TURN,
    "truncated-memory": START + chain(0, OUT) + truncate(1) + kick() + kick(),
    "truncated-before-start": negotiate() + memory() + truncate(0) + ring(0, 0),
    "kick-is-a-file": negotiate() + memory() + ring(0, 0, kick_kind=MEM) + stop(0),
    "kick-ends": negotiate() + memory() + ring(0, 0, kick_kind=DEAD_PIPE) + TURN,
    "kick-blocks": negotiate() + memory() + ring(0, 0, kick_kind=BLOCKING) + TURN,
    "call-is-null": negotiate() + memory() + ring(0, 0, call=NULL) + chain(0, OUT),
    # Logging, inflight, state and what else a device may offer.
    "log": negotiate(protocol=SPECIAL) + memory() + req(6, log(4096), 1, MEM) + ring(0, 0) +
    req(2, u64(FEATURES | LOG_ALL), flags=NEED_REPLY) + req(9, addr(0, 0, 1)) + chain(0, IN) + req(7, b"", 1, CALL) + kick() +
    req(2, u64(FEATURES), flags=NEED_REPLY) + LISTEN,
    "log-truncated": negotiate(FEATURES | LOG_ALL, SPECIAL) + memory() + req(6, log(8192, 4096), 1, INFLIGHT) + ring(0, 0) +
    truncate(4) + chain(0, IN) + truncate(0) + kick(),
    "cve-2020-10722-log": negotiate(FEATURES | LOG_ALL, SPECIAL) + memory() + req(6, log(2**64 - 1), 1, MEM) +
    req(6, log(4096, 2**64 - 4096), 1, MEM) + req(6, log(1), 1, MEM) + ring(0, 0) + chain(0, IN) + LISTEN,
    "inflight": negotiate(protocol=SPECIAL) + req(31, inflight(0, 4, 16)) + LISTEN + req(32, inflight(INFLIGHT_SIZE, 4, 16), 1, INFLIGHT,
                                                                                          NEED_REPLY) +
    memory() + ring(0, 0) + chain(0, OUT) + stop(0) + ring(0, 0),
    "inflight-packed": negotiate(FEATURES | PACKED | IN_ORDER, SPECIAL) + req(31, inflight(0, 4, 16)) + LISTEN +
    req(32, inflight(INFLIGHT_PACKED_SIZE, 4, 16), 1, INFLIGHT_PACKED, NEED_REPLY) + memory() + ring(0, 0, base=0x80008000) +
    write(0, struct.pack("<QIHH", GPA + 0x8000, 64, 0, 0x80) * 4) + kick() + scribble(1, 0, bytes(range(240))) + kick() + stop(0) +
    ring(0, 0, base=0x80028002) + kick(),
    "cve-2021-3839-inflight-counts": negotiate(protocol=SPECIAL) + b"".join(
        req(31, inflight(0, n, size)) + req(32, inflight(2**64 - 1, n, size), 1, INFLIGHT, NEED_REPLY)
        for n, size in ((0, 0), (65535, 65535), (5, 16), (4, 32768), (4, 0))) + LISTEN,
    "cve-2026-86565-inflight-too-small": negotiate(protocol=SPECIAL) + req(32, inflight(INFLIGHT_SIZE, 4, 16), 1, INFLIGHT, NEED_REPLY) +
    memory() + ring(0, 0, num=64),
    "cve-2022-0669-inflight-again": negotiate(protocol=SPECIAL) + (req(31, inflight(0, 4, 16)) + LISTEN) * 20 +
    req(32, inflight(INFLIGHT_SIZE, 4, 16), 1, INFLIGHT) * 20,
    "state-save": negotiate(protocol=SPECIAL) + req(42, struct.pack("<II", 0, 0), 1, PIPE_END) + TURN + req(43) + LISTEN,
    "state-load": negotiate(protocol=SPECIAL) + req(42, struct.pack("<II", 1, 0), 1, PIPE) +
    pipe(b"u-st" + struct.pack("<I8sI", 1, b"fuzz", 4) + b"abcd") + bytes([71]) + TURN + req(43) + LISTEN,
    "state-never-ends": negotiate(protocol=SPECIAL) + req(42, struct.pack("<II", 1, 0), 1, PIPE) + pipe(bytes(255)) * 80 + req(43) + LISTEN,
    "status-and-reset": negotiate(protocol=SPECIAL) + req(39, u64(15)) + memory() + ring(0, 0) + req(40) + req(39, u64(0)) + kick() +
    ring(0, 0) + req(34) + kick() + negotiate(protocol=SPECIAL) + ring(0, 0) + chain(0, OUT) + LISTEN,
    "net": negotiate(protocol=SPECIAL) + req(19, u64(0x563412005452)) + req(20, u64(1500)) + req(20, u64(2**64 - 1)) +
    req(21, b"", 1, SOCKET) + memory() + ring(0, 0) + chain(0, OUT) + req(21, b"", 1, NULL) + kick(),
    "shmem": negotiate(protocol=SPECIAL | 1 << 22) + req(21, b"", 1, SOCKET) + req(44) + memory() + ring(0, 0) + ring(1, 0x1000) +
    chain(0, OUT) + ANSWER_MAP + kick(1) + ANSWER_UNMAP + kick(0) + ANSWER_UNMAP + kick(0) + LISTEN,
    "regions-of-no-file": negotiate() + req(5, table(region()), 1, KICK, NEED_REPLY) + req(5, table(region()), 1, NULL, NEED_REPLY),
    "regions-32": negotiate() + req(5, table(*(region(GPA + i * MEMORY, PAGE, UVA + i * MEMORY, i % 16 * PAGE) for i in range(32))), 32,
                                    MEM, NEED_REPLY),
}


def piece(data, n_fds=0):
    return bytes([len(data), n_fds]) + data


def wire(number, payload=b"", flags=1, size=None):
    return struct.pack("<III", number, flags, len(payload) if size is None else size) + payload


MSG = {
    "two-requests": piece(wire(1) + wire(15)),
    "byte-by-byte": b"".join(piece(bytes([b])) for b in wire(18, state(0, 1))),
    "fd-with-header": piece(wire(12, u64(0)), 1),
    "fd-with-payload": piece(wire(12, u64(0))[:12]) + piece(u64(0), 1),
    "fd-missing": piece(wire(12, u64(0))),
    "fd-surplus": piece(wire(12, u64(0)), 2),
    "fd-not-announced": piece(wire(12, u64(NOFD)), 1),
    "fds-33": piece(wire(3), 33),
    "fds-in-pieces": piece(wire(60, bytes(8))[:4], 32) + piece(wire(60, bytes(8))[4:], 1),
    "mem-table": piece(wire(5, table(region(), region(GPA + MEMORY))), 2),
    "mem-table-short": piece(wire(5, table(region())[:-8]), 1),
    "mem-table-count-lies": piece(wire(5, struct.pack("<II", 0x08000000, 0)), 0),
    "config": piece(wire(24, struct.pack("<III", 0, 4, 0) + bytes(4))),
    "config-size-lies": piece(wire(24, struct.pack("<III", 0, 5, 0) + bytes(4))),
    "unknown-with-fds": piece(wire(60, b"x" * 64), 3),
    "size-4096": piece(wire(60, size=4096)) + b"".join(piece(bytes(250)) for _ in range(16)) + piece(bytes(96)) + piece(wire(1)),
    "size-4097": piece(wire(60, size=4097)),
    "size-max": piece(wire(60, size=2**32 - 1)),
    "version-2": piece(wire(1, flags=2)),
    "a-reply": piece(wire(1, flags=5)),
    "half-a-header-then-end": piece(wire(1)[:7], 4),
    "half-a-payload-then-end": piece(wire(5, table(region()))[:20], 1),
}


def main():
    corpus = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus"
    for name, seeds in (("session", SESSION), ("msg", MSG)):
        (corpus / name).mkdir(parents=True, exist_ok=True)
        for seed, data in seeds.items():
            (corpus / name / seed).write_bytes(data)


main()
