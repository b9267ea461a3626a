# SPDX-License-Identifier: MIT
"""The daemon of sockets against vhost-device-vsock.

Both sides serve one vhost-user socket and the same host sockets (P, P_<port>) from core 0, with all their threads.
bench_hvsock on core 1 is the guest and the host's programs at once, the same for both: its driver fills the rings as
Linux does (128 entries, 4 KiB of receive buffer, packets of up to 64 KiB, 256 KiB of credit a connection), its host
end reads and writes Unix sockets.  It compares every byte with what was sent, counts only what has arrived, and ends
with an error where a connection was lost, a byte was wrong or the device broke a rule of its credit.

A stream is one connection whose sender writes pieces of one size; on the host's side small pieces are written with
sendmmsg(), many to a system call, or the writer would be what is measured.  A connect is a whole life: request,
response, close, reset, seen by both ends, 32 at a time.

The peer is the distribution's package (of a newer suite, unpacked and run with its own libraries) with its default
options; what it does not have (SEQPACKET) is not measured.

Both share the cores with whatever else runs, so only windows count in which neither the daemon nor the load was kept
waiting (calm.py).  The load's own limit, where it is the lower one, is the result: it holds back the quicker side.
The note of each stream therefore has the daemons' own time for a GB, too.
"""
import contextlib
import json
import mmap
import os
import pathlib
import resource
import statistics
import struct
import subprocess
import tempfile
import time

import foreign
from bench import Failed, Result, progress, stop
from calm import PATIENCE, WINDOW_S, core_use, cpu_seconds, was_calm

DAEMON_CORE = 0
LOAD_CORE = 1
START_TIMEOUT_S = 20
PEER = "vhost-device-vsock"
CONNECTIONS_AT_ONCE = 32
IDLE_CONNECTIONS = 1000
IDLE_S = 10


@contextlib.contextmanager
def daemon(argv, directory):
    with open(f"{directory}/log", "wb") as log:
        process = subprocess.Popen(["taskset", "-c", str(DAEMON_CORE), *argv], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (os.path.exists(f"{directory}/vu") and os.path.exists(f"{directory}/P")):
            # The peer listens on P only when it has been asked for a connection, or from the start: either will do.
            if os.path.exists(f"{directory}/vu") and time.monotonic() > deadline - START_TIMEOUT_S + 1:
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{argv[0]} did not start: {pathlib.Path(directory, 'log').read_text()[-400:]}")
            time.sleep(0.01)
        yield process
    finally:
        stop(process)


def ours(program):
    def start(directory):
        config = {"vms": [{"name": "bench", "cid": 3, "socket-path": f"{directory}/vu", "uds-path": f"{directory}/P",
                           "limits": {"connections": 4096}}]}
        path = pathlib.Path(directory, "config.json")
        path.write_text(json.dumps(config), encoding="utf-8")
        return daemon([program, "--config", str(path), "--log-level", "warning"], directory)
    return start


def peer(directory):
    program = foreign.program(PEER, PEER)
    return daemon([program, "--vm", f"guest-cid=3,socket={directory}/vu,uds-path={directory}/P"], directory)


@contextlib.contextmanager
def load(program, directory, mode, *options):
    """bench_hvsock, and a function that reads its counter.  What it says at the end is in load.report."""
    counters = pathlib.Path(directory, "counters")
    counters.write_bytes(bytes(mmap.PAGESIZE))
    argv = ["taskset", "-c", str(LOAD_CORE), program, mode, "--socket", f"{directory}/vu", "--uds", f"{directory}/P",
            "--counters", str(counters), *options]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        with open(counters, "rb") as file, mmap.mmap(file.fileno(), mmap.PAGESIZE, prot=mmap.PROT_READ) as page:
            def count():
                return struct.unpack_from("=Q", page)[0]

            deadline = time.monotonic() + START_TIMEOUT_S
            while count() == 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    stop(process)
                    raise Failed(f"{mode}: no load: {process.communicate()[1].strip()}")
                time.sleep(0.01)
            yield process, count
    finally:
        stop(process)


def end(process, mode):
    """Have the load end, and say what it has seen."""
    process.terminate()
    out, err = process.communicate(timeout=60)
    if process.returncode != 0:
        raise Failed(f"{mode}: {err.strip() or f'the load ended with {process.returncode}'}")
    return json.loads(out)


class Run:
    """One run of one load against one daemon."""

    def __init__(self, side, program, seconds, mode, *options):
        self.windows = []
        with tempfile.TemporaryDirectory(prefix="bench-hvsock-") as directory, side(directory) as served, \
                load(program, directory, mode, *options) as (process, count):
            time.sleep(WINDOW_S)
            cpu, first = cpu_seconds(served.pid), count()
            deadline = time.monotonic() + PATIENCE * seconds
            while self._calm_seconds() < seconds and time.monotonic() < deadline:
                self._window((served.pid, process.pid), count)
            self.cpu_per_unit = (cpu_seconds(served.pid) - cpu) / max(count() - first, 1)
            self.report = end(process, mode)
        counted = [w for w in self.windows if w[2]] or self.windows
        self.calm = any(w[2] for w in self.windows)
        self.rate = sum(n for _, n, _ in counted) / sum(t for t, _, _ in counted)
        if self.rate == 0:
            raise Failed(f"{mode}: nothing came through")

    def _calm_seconds(self):
        return sum(t for t, _, calm in self.windows if calm)

    def _window(self, pids, count):
        use, begin, n = [core_use(pid) for pid in pids], time.monotonic(), count()
        time.sleep(WINDOW_S)
        n, seconds = count() - n, time.monotonic() - begin
        self.windows.append((seconds, n, all(was_calm(a, b, seconds) for a, b in zip(use, map(core_use, pids)))))


def compare(bench, sides, program, case, mode, options, figure, **result):
    """Pairs of runs; where at least one pair was calm on both sides, only such pairs count."""
    runs = {True: [], False: []}

    def measured(is_ours):
        run = Run(sides[0] if is_ours else sides[1], program, bench.seconds, mode, *options)
        runs[is_ours].append(run)
        return figure(run)

    bench.pairs(case, lambda: measured(True), lambda: measured(False))
    pairs = list(zip(runs[True], runs[False]))
    good = [pair for pair in pairs if pair[0].calm and pair[1].calm]
    a, b = zip(*(good or pairs))
    x, y = [figure(run) for run in a], [figure(run) for run in b]
    more = result.get("more_is_better", True)
    note = f"ours {min(x):.3g}..{max(x):.3g}, peer {min(y):.3g}..{max(y):.3g}"
    if mode in ("g2h", "h2g"):
        per_gb = [1e9 * statistics.median(run.cpu_per_unit for run in runs) for runs in (a, b)]
        note += f"; the daemon's own time for a GB: ours {per_gb[0]:.2f} s, peer {per_gb[1]:.2f} s"
    if len(good) < len(pairs):
        note += (f"; {len(pairs) - len(good)} of {len(pairs)} pairs were disturbed by other work"
                 + (", and left out" if good else ""))
    return Result(case=case, ours=statistics.median(x), peer=statistics.median(y), peer_name=PEER, runs=len(x),
                  ratios=[p / q if more else q / p for p, q in zip(x, y)], note=note, **result)


def idle_cpu(side, program):
    """Percent of one core while connections are open and silent."""
    with tempfile.TemporaryDirectory(prefix="bench-hvsock-") as directory, side(directory) as served, \
            load(program, directory, "idle", "--connections", str(IDLE_CONNECTIONS)) as (process, _):
        time.sleep(1)
        begin, used = time.monotonic(), cpu_seconds(served.pid)
        time.sleep(IDLE_S)
        percent = 100 * (cpu_seconds(served.pid) - used) / (time.monotonic() - begin)
        end(process, "idle")
        return percent


def run(bench):
    daemon_program = bench.program("vhost-user/hvsock/vhost-user-hvsock")
    program = bench.program("tests/bench/bench_hvsock")
    sides = (ours(daemon_program), peer)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 8192), hard), hard))

    for size, name in ((64, "64b"), (4096, "4k"), (65536, "64k")):
        for mode in ("g2h", "h2g"):
            case = f"hvsock-{name}-{mode}"
            if bench.wants(case):
                yield compare(bench, sides, program, case, mode, ("--size", str(size)), lambda run: run.rate / 1e6,
                              unit="MB/s", want=2.0)
    for mode in ("connects-g2h", "connects-h2g"):
        case = f"hvsock-{mode}"
        if bench.wants(case):
            yield compare(bench, sides, program, case, mode, ("--connections", str(CONNECTIONS_AT_ONCE)),
                          lambda run: run.rate, unit="connects/s", want=2.0)
    if bench.wants("hvsock-rtt"):
        yield compare(bench, sides, program, "hvsock-rtt", "rtt", (), lambda run: run.report["p50_us"], unit="µs",
                      want=1.0, more_is_better=False)
    if bench.wants("hvsock-idle-1000"):
        used = idle_cpu(sides[0], program)
        theirs = idle_cpu(sides[1], program)
        progress(f"hvsock-idle-1000: ours {used:.3f} %, peer {theirs:.3f} %")
        yield Result(case="hvsock-idle-1000", ours=max(used, 0.01), peer=1.0, peer_name="1 % of a core", unit="% CPU",
                     want=1.0, runs=1, more_is_better=False,
                     note=f"{IDLE_CONNECTIONS} connections open and silent, over {IDLE_S} s; {PEER}: {theirs:.2f} %")
