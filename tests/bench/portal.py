# SPDX-License-Identifier: MIT
"""The Portal's rings against other queues between two processes.

Each queue is a program of its own around the same race (ring_race.h): one process on core 0 writes messages, one on core 1
reads and checks every word.  The others get room for CAPACITY messages, ours as many bytes as these have: its records'
words lie in them, too, and so it has room for half as many single messages of 8 bytes.  Peers are the distribution's packages, compiled here: DPDK's
rte_ring with elements by value, Concurrency Kit's ck_ring, Boost's spsc_queue.  moodycamel's readerwriterqueue is in no
Debian package, and so not here.  The peer of a case is the best of them.

Only windows of 2 ms count in which the kernel took neither process off its core, and of these the median; on virtual
machines the two cores are neighbours at times and at times not, which is worth a factor of three to everybody, so runs are
short, each round has all queues in it, and a round's ratio is of its own figures.
"""
import json
import pathlib
import shlex
import statistics
import subprocess

import foreign
import portal_heap
import portal_vms
from bench import Failed, Result, progress

HERE = pathlib.Path(__file__).resolve().parent
CAPACITY = 4096
SECONDS = 0.05
ROUNDS = 15
TIMEOUT_S = 60
FLAGS = ["-O3", "-D_GNU_SOURCE"]


def need(header, package):
    if not pathlib.Path(header).exists():
        foreign.need(header, package)


def peers(directory):
    need("/usr/include/ck_ring.h", "libck-dev")
    need("/usr/include/boost/lockfree/spsc_queue.hpp", "libboost-dev")
    need("/usr/include/dpdk/rte_ring_elem.h", "libdpdk-dev")
    foreign.need("g++")
    dpdk = shlex.split(subprocess.run(["pkg-config", "--cflags", "libdpdk"], check=True, capture_output=True,
                                      text=True).stdout)
    programs = {
        "rte_ring": ["gcc", *FLAGS, *dpdk, str(HERE / "race_rte_ring.c"), "-lrte_ring", "-lrte_eal"],
        "ck_ring": ["gcc", *FLAGS, str(HERE / "race_ck_ring.c")],
        "boost spsc_queue": ["g++", *FLAGS, f"-DCAPACITY={CAPACITY}", str(HERE / "race_boost.cc")],
    }
    for name, argv in programs.items():
        program = directory / f"race_{argv[-1 if name != 'rte_ring' else -3].split('race_')[1].split('.')[0]}"
        subprocess.run([*argv, "-o", str(program)], check=True)
        programs[name] = program
    return programs


def told(program, *words):
    """The JSON object that a program prints."""
    try:
        done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"{program} {' '.join(words)}: no end in {TIMEOUT_S} s") from None
    if done.returncode != 0:
        raise Failed(f"{program} {' '.join(words)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def race(program, size, batch):
    """Millions of messages a second, or None if the machine was busy throughout."""
    said = told(program, "--size", str(size), "--batch", str(batch), "--capacity", str(CAPACITY), "--seconds", str(SECONDS))
    return said["rate"] / 1e6 if said["windows"] else None


def compare(bench, ours, others, size, batch):
    case = f"portal-ring-{size}b" + (f"-by-{batch}" if batch > 1 else "")
    rounds = []
    for _ in range(ROUNDS * 4):
        figures = {name: race(program, size, batch) for name, program in {"ours": ours, **others}.items()}
        if None not in figures.values():
            rounds.append(figures)
        if len(rounds) == ROUNDS:
            break
    if not rounds:
        raise Failed(f"{case}: the machine was never calm")
    middle = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    best = max(others, key=middle.get)
    progress(f"{case}: " + ", ".join(f"{name} {value:.1f}" for name, value in middle.items()))
    return Result(case=case, ours=middle["ours"], peer=middle[best], peer_name=best, unit="M/s", want=1.2, runs=len(rounds),
                  ratios=[r["ours"] / max(r[name] for name in others) for r in rounds],
                  note=", ".join(f"{name} {value:.1f}" for name, value in middle.items() if name != "ours"))


def run_turns(bench):
    """Turns, copies and wake-ups: bench_portal_turns runs both sides in slices by itself."""
    program = bench.program("tests/bench/bench_portal_turns")
    if bench.wants("portal-turn"):
        runs = [told(program, "turns") for _ in range(bench.runs)]
        for part in ("p50", "p99"):
            ours, raw = [[r[f"{side}_{part}"] for r in runs] for side in ("ring", "raw")]
            yield Result(case=f"portal-turn-{part}", ours=statistics.median(ours), peer=statistics.median(raw),
                         peer_name="a cache line to and fro", unit="ns", want=1 / 1.2, runs=len(runs), more_is_better=False,
                         ratios=[b / a for a, b in zip(ours, raw)])
    for size, name in ((4096, "4k"), (65536, "64k")):
        # The producer, who reserves and commits; and with the consumer's looks, too, which no copy has.
        rows = {f"portal-copy-{name}": ("ring_gb", "ratio", 0.95), f"portal-copy-both-{name}": ("both_gb", "both_ratio", None)}
        runs = [told(program, "copy", str(size)) for _ in range(bench.runs)] if any(map(bench.wants, rows)) else []
        for case, (rate, ratio, want) in rows.items():
            if bench.wants(case):
                yield Result(case=case, ours=statistics.median(r[rate] for r in runs),
                             peer=statistics.median(r["memcpy_gb"] for r in runs), peer_name="memcpy", unit="GB/s", want=want,
                             runs=len(runs), ratios=[r[ratio] for r in runs])
    if bench.wants("portal-wakes"):
        runs = [told(program, "wakes")["wakes_per_message"] for _ in range(bench.runs)]
        yield Result(case="portal-wakes", ours=max(statistics.median(runs), 1e-6), peer=0.01, peer_name="0.01", unit="wakes a message",
                     want=1.0, runs=len(runs), more_is_better=False)


LEASES = [(64, 8), (512, 2), (512, 64), (4096, 2), (4096, 64), (16384, 2), (16384, 64)]  # MiB, clients: 8 MiB for each
LEASES_LEAST = (64, 2)


def run_leases(bench):
    """What the daemon's answers cost, by the size of the arena and the number of clients: it should be the same everywhere."""
    program = bench.program("tests/bench/bench_portal_leases")
    for point in LEASES:
        names = {part: f"portal-leases-{point[0]}m-{point[1]}-{part}" for part in ("grant", "publish", "bell")}
        if not any(bench.wants(name) for name in names.values()):
            continue
        runs = [[told(program, str(mib), str(clients)) for mib, clients in (point, LEASES_LEAST)] for _ in range(bench.runs)]
        for part, name in names.items():
            here, least = zip(*([r[f"{part}_us"] for r in pair] for pair in runs))
            progress(f"{name}: {statistics.median(here):.1f}, the smallest {statistics.median(least):.1f}")
            if bench.wants(name):
                yield Result(case=name, ours=statistics.median(here), peer=statistics.median(least),
                             peer_name="{} MiB, {} clients".format(*LEASES_LEAST), unit="us", want=0.8, runs=bench.runs,
                             more_is_better=False, ratios=[b / a for a, b in zip(here, least)])


def run(bench):
    ours = bench.program("tests/bench/bench_portal_ring")
    others = peers(pathlib.Path(ours).parent)
    for size in (8, 64):
        for batch in (1, 32):
            if bench.wants(f"portal-ring-{size}b" + (f"-by-{batch}" if batch > 1 else "")):
                yield compare(bench, ours, others, size, batch)
    yield from run_turns(bench)
    yield from run_leases(bench)
    yield from portal_heap.cases(bench)
    yield from portal_vms.cases(bench)
