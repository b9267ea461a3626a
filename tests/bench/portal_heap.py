# SPDX-License-Identifier: MIT
"""The portal's heap on shared memory against malloc() on private memory: glibc's and mimalloc.

portal-heap-CASE-N: the workload in N processes at once, each a client of one arena, against N processes with malloc.
	prodcon with two is a producer and a consumer process that passes handles; the peer's are two threads of one process.
	What separates the heap from mimalloc is instructions: about 100 a pair against 44 (threadtest, by callgrind; glibc 180).
	The 56 are what it promises: a word in the arena for each block, written twice, by which a dead client's blocks
	are found; a bitmap that no peer can write to, in place of a list through the blocks; and that a free finds out a
	stranger's block, a place inside of one, and a second free, which mimalloc takes for granted.
portal-heap-recover: milliseconds until 10^5 blocks of a dead client are back, against the 50 that it may take.
"""
import ctypes.util
import json
import os
import statistics
import subprocess

import foreign
from bench import Failed, Result

WORKLOADS = ("threadtest", "shbench", "larson", "prodcon")
MILLIONS = 8  # of pairs, in each process


def measure(program, case, allocator, processes, preload=None):
    environment = dict(os.environ, LD_PRELOAD=preload) if preload else None
    out = subprocess.run([program, case, allocator, str(processes), str(MILLIONS)], env=environment,
                         capture_output=True, text=True, timeout=120, check=False)
    # Without the library that is to be loaded before it the program runs nevertheless, and only the loader says so.
    if out.returncode != 0 or out.stderr:
        raise Failed(f"{case}, {processes} x {preload or allocator}: {out.stderr.strip()}")
    return next(iter(json.loads(out.stdout).values()))


def peers():
    if not ctypes.util.find_library("mimalloc"):
        foreign.need("mimalloc", "libmimalloc2.0")
    return [("glibc", None), ("mimalloc", ctypes.util.find_library("mimalloc"))]


def cases(bench):
    program = None
    for workload in WORKLOADS:
        for processes in (1, 2):
            for peer, preload in peers():
                name = f"portal-heap-{workload}-{processes}-{peer}"
                if not bench.wants(name):
                    continue
                program = program or bench.program("tests/bench/bench_portal_heap")
                ours, theirs = bench.pairs(name, lambda w=workload, p=processes: measure(program, w, "portal", p),
                                           lambda w=workload, p=processes, l=preload: measure(program, w, "malloc", p, l))
                yield Result(case=name, ours=statistics.median(ours), peer=statistics.median(theirs), peer_name=peer,
                             unit="Mpairs/s", want=1.0, runs=bench.runs, ratios=[o / t for o, t in zip(ours, theirs)])
    if bench.wants("portal-heap-recover"):
        program = program or bench.program("tests/bench/bench_portal_heap")
        times = [measure(program, "recover", "portal", 1) for _ in range(bench.runs)]
        yield Result(case="portal-heap-recover", ours=statistics.median(times), peer=50.0, peer_name="limit", unit="ms",
                     want=1.0, runs=bench.runs, more_is_better=False, note="10^5 blocks of 64 to 463 bytes")
