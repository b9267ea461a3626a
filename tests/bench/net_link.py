# SPDX-License-Identifier: MIT
"""What a link does to single frames: how long they take, how exactly they are delayed, how exactly they are limited.

The load is bench_link, for both sides: network cards of its own in one thread that polls, on core 1.  It knows when each
frame became visible to the switch and when it lay in the receiver's memory.

net-latency-*: one frame at a time, 60 bytes.  The peer is testpmd in `io` mode, which polls always.  "idle": gaps of 500 us on
	average; "poll": the same, ours being told to look for a millisecond before it sleeps (net-idle-cpu-poll is what that costs in
	silence); "busy": other frames every 5 us keep ours awake.
net-latency-wake: a frame every 10 ms on average, so that ours has gone to sleep; the peer is a process that does nothing but
	sleep on an eventfd and pass on (relay.h): what the kernel takes to wake anybody.
net-delay-*: |time - request| at its 99th percentile, a frame every 2 ms on average, with "precise"; wanted is less than 50 us.
	The peer is a process that does nothing but spin on that core and pass on when it is time (relay.h): what the machine's
	other work does to anybody.  The note has what is reached without "precise".
net-10-links: ten links of 100 Mbit/s, each with a profile of its own besides; the largest deviation from 100 Mbit/s.
"""
import contextlib
import json
import statistics
import subprocess
import tempfile
import time

import net_peers
from bench import Failed, Result, stop

LOAD_CORE = 1
LOAD_TIMEOUT_S = 120
DELAY_WANT_US = 50
RATE_BPS = 100_000_000
RATE_WANT = 0.01
# What each of the ten does besides; none of it changes what gets through.
PROFILES = [{}, {"delay-ns": 1_000_000}, {"delay-ns": 10_000_000}, {"delay-ns": 50_000_000},
            {"delay-ns": 5_000_000, "jitter-ns": 1_000_000, "keep-order": True}, {"limit-packets": 100},
            {"limit-bytes": 150_000}, {"delay-ns": 20_000_000, "limit-packets": 1000}, {"burst-bytes": 30_000},
            {"delay-ns": 2_000_000, "jitter-ns": 500_000, "distribution": "normal", "keep-order": True}]


def load(bench, mode, sockets, **options):
    """What bench_link says at its end."""
    argv = ["taskset", "-c", str(LOAD_CORE), bench.program("tests/bench/bench_link"), mode]
    for s in sockets:
        argv += ["--socket", s]
    for name, value in options.items():
        argv += [f"--{name.replace('_', '-')}"] + ([] if value is True else [str(value)])
    done = subprocess.run(argv, capture_output=True, text=True, timeout=LOAD_TIMEOUT_S, check=False)
    if done.returncode != 0:
        raise Failed(f"bench_link {mode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


@contextlib.contextmanager
def silent_cards(bench, sockets, core):
    argv = ["taskset", "-c", str(core), bench.program("tests/bench/bench_link"), "idle"]
    for s in sockets:
        argv += ["--socket", s]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        if "idle" not in process.stdout.readline():
            raise Failed("the silent cards did not connect")
        yield
    finally:
        stop(process)


def on(switch, measure):
    with tempfile.TemporaryDirectory(prefix="bench-link-") as directory, switch(directory) as (sockets, _):
        time.sleep(0.2)
        return measure(directory, sockets)


def bare(bench, **options):
    """The same from and to a process that does nothing but pass on."""
    return load(bench, "latency", [], bare=net_peers.SWITCH_CORE, **options)


def waking(bench, ours):
    """A frame for a switch that sleeps, against anybody that sleeps."""
    name, options = "net-latency-wake", {"frames": 400, "gap_us": 10000}
    seen = {True: [], False: []}

    def side(is_ours):
        seen[is_ours].append(on(ours, lambda _, sockets: load(bench, "latency", sockets, **options)) if is_ours else
                             bare(bench, sleep=True, **options))
        return seen[is_ours][-1]["p50"]

    a, b = bench.pairs(name, lambda: side(True), lambda: side(False))
    p99 = [statistics.median(r["p99"] for r in seen[x]) for x in (True, False)]
    return Result(case=name, ours=statistics.median(a), peer=statistics.median(b), peer_name="bare eventfd", unit="µs, p50",
                  want=0.5, runs=len(a), more_is_better=False, ratios=[y / x for x, y in zip(a, b)],
                  note=f"both sleep when a frame comes; p99: ours {p99[0]:.1f}, peer {p99[1]:.1f} µs")


def latency(bench, ours, name, want, note, **options):
    frames = 4000
    seen = {True: [], False: []}

    def side(is_ours):
        def measure(_, sockets):
            return load(bench, "latency", sockets, frames=frames, **options)
        report = on(ours if is_ours else net_peers.dpdk_io, measure)
        seen[is_ours].append(report)
        return report["p50"]

    a, b = bench.pairs(name, lambda: side(True), lambda: side(False))
    p99 = [statistics.median(r["p99"] for r in seen[x]) for x in (True, False)]
    return Result(case=name, ours=statistics.median(a), peer=statistics.median(b), peer_name="dpdk-vhost-io", unit="µs, p50",
                  want=want, runs=len(a), more_is_better=False, ratios=[y / x for x, y in zip(a, b)],
                  note=f"{note}; p99: ours {p99[0]:.1f}, peer {p99[1]:.1f} µs")


def timer(bench):
    """How late anybody is on the switch's core who sleeps for half a millisecond."""
    argv = ["taskset", "-c", str(net_peers.SWITCH_CORE), bench.program("tests/bench/bench_link"), "timer", "--gap-us", "500"]
    return json.loads(subprocess.run(argv, check=True, capture_output=True, text=True, timeout=LOAD_TIMEOUT_S).stdout)


def delay(bench, ours, control, ms):
    def measure(precise):
        def run(directory, sockets):
            for port in ("port0", "port1"):
                control(f"{directory}/ctl", "link.reset", port=port)
            control(f"{directory}/ctl", "link.set", port="port1", direction="to-guest", precise=precise, **{"delay-ns": ms * 1_000_000})
            return load(bench, "latency", sockets, frames=2000, gap_us=2000, expect_us=ms * 1000)
        return on(ours, run)

    def spinning():
        return bare(bench, frames=2000, gap_us=2000, expect_us=ms * 1000)

    runs = [(measure(True), spinning(), measure(False)) for _ in range(bench.runs)]
    errors, floor, sleepy = ([run[i]["p99"] for run in runs] for i in range(3))
    sleeper = timer(bench)
    return Result(case=f"net-delay-{ms}ms", ours=statistics.median(errors), peer=statistics.median(floor),
                  peer_name="bare thread that spins", unit="µs, p99", want=0.5, runs=len(errors), more_is_better=False,
                  ratios=[y / x for x, y in zip(errors, floor)],
                  note=f"wanted: less than {DELAY_WANT_US} µs; p50 ours {statistics.median(r[0]['p50'] for r in runs):.1f}, "
                       f"peer {statistics.median(r[1]['p50'] for r in runs):.1f}; p99 {min(errors):.1f}..{max(errors):.1f}, "
                       f"peer {min(floor):.1f}..{max(floor):.1f}; without \"precise\" p99 {statistics.median(sleepy):.1f}, and "
                       f"a bare thread that sleeps is late by p50 {sleeper['p50']:.1f}, p99 {sleeper['p99']:.1f} µs")


def ten_links(bench, ours, control):
    def measure(directory, sockets):
        for i, profile in enumerate(PROFILES, 1):
            control(f"{directory}/ctl", "link.set", port=f"port{i}", direction="from-guest",
                    **{"rate-bps": RATE_BPS, "limit-packets": 200, **profile})
        return load(bench, "rate", sockets, seconds=max(bench.seconds, 3), size=1514, offer=1.3 * RATE_BPS)["bps"]

    runs = [on(lambda d: ours(d, 1 + len(PROFILES)), measure) for _ in range(bench.runs)]
    worst = [max(abs(bps / RATE_BPS - 1) for bps in run) for run in runs]
    return Result(case="net-10-links", ours=100 * statistics.median(worst), peer=100 * RATE_WANT, peer_name="wanted deviation",
                  unit="%", want=1.0, runs=len(runs), more_is_better=False,
                  note=f"largest deviation of ten links from 100 Mbit/s; {100 * min(worst):.2f}..{100 * max(worst):.2f} %")


def cases(bench, ours, control):
    if bench.wants("net-latency-idle"):
        yield latency(bench, ours, "net-latency-idle", 0.5, "a frame every 500 µs and nothing else: ours sleeps and is woken",
                      gap_us=500)
    if bench.wants("net-latency-poll"):
        yield latency(bench, lambda d: ours(d, poll_us=1000), "net-latency-poll", 0.5,
                      'the same with "poll-us": 1000, so that ours sleeps after a millisecond of silence', gap_us=500)
    if bench.wants("net-latency-busy"):
        yield latency(bench, ours, "net-latency-busy", 0.5, "others every 5 µs keep ours awake", gap_us=500, spin=True)
    if bench.wants("net-latency-wake"):
        yield waking(bench, ours)
    for ms in (1, 10, 100):
        if bench.wants(f"net-delay-{ms}ms"):
            yield delay(bench, ours, control, ms)
    if bench.wants("net-10-links"):
        yield ten_links(bench, ours, control)
