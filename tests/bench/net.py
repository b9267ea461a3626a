# SPDX-License-Identifier: MIT
"""The switch against DPDK's vhost library, Open vSwitch with DPDK, and VDE.

net-64b-*, net-1518b-*: both sides serve two vhost-user sockets from core 0, and the same generator, dpdk-testpmd with two
virtio-user ports (one queue pair of 1024, merged receive buffers, split or packed rings), sends and
receives on core 1.  It starts with 32 bursts of 32 frames a port and then sends every frame back that it gets, so both
directions run at full load.  The generator alone counts, and only what it has received: a frame counts once
for each time it has passed the switch from one port to the other.  What is lost anywhere does not count,
and no longer circulates.  The mean length of the frames received must be the length sent.  The generator's
own limit, where it is the lower one, is the result: it holds back the quicker side.

What each side does is not the same:
  - ours is the switch as it is: it learns the source and looks up the destination of each frame (the
    generator's two ports have addresses of their own, and each sends to the other's), counts, checks every
    descriptor, and looks at its control socket now and then.  It copies a frame once, from ring to ring.
    After each run its own counters are asked whether frames were forwarded to one port, not flooded.
  - dpdk-vhost-io is testpmd in `io` mode: whatever comes in at one port goes out at the other, unseen.  The
    library has no way from ring to ring, so a frame is copied twice, into a packet buffer and out of it.
    The buffers of a burst are used again by the next, so they stay in the cache.
  - ovs-dpdk is Open vSwitch with its userspace datapath and one bridge of action NORMAL, which learns and looks up.

Ours is this repository's release build, the peers are the distribution's packages; all of them choose quicker code
when they run.  Where the kernel gives huge pages (root alone can ask it to), the generator and both DPDK peers have
them, whoever is measured; ours never asks for any.  Each result says which it was.

net-64b-vde: a vde_switch cannot be reached by virtio-user.  Its load is bench_vde, two plugs in one thread; ours has the
generator as above.  So the note says what each had.

net-N-ports: our own figure, with further ports connected that are silent, against that without these, of the same switch and
the same generator: two generators differ by a half in what they make of caches and bursts.

Both sides poll, so whatever else runs on their cores takes from them directly.  Frames are therefore
counted in short windows, and only those windows count in which the kernel kept neither the switch nor the
generator waiting for its core: the same rule for both sides.  A side that goes to sleep by itself has
nobody to blame, and its window counts.

Latency, accuracy of delays and rates: net_link.py.  64 KiB frames: net_gso.py.  Several threads: net_threads.py.
"""
import contextlib
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

import net_gso
import net_link
import net_peers
import net_threads
from bench import Failed, Result, progress, stop
from calm import PATIENCE, WINDOW_S, core_use, cpu_seconds, was_calm
from net_peers import SWITCH_CORE
from testpmd import START_TIMEOUT_S, Testpmd

GENERATOR_CORE = 1
MAC = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]
SETTLE_S = 0.05
HUGE_MB = 1536  # generator, peer, and what Open vSwitch asks for


def control(path, method, **params):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        answer = json.loads(s.makefile().readline())
        if "error" in answer:
            raise Failed(f"{method}: {answer['error']['message']}")
        return answer["result"]


@contextlib.contextmanager
def our_switch(program, directory, n_ports=2, **config):
    sockets = [f"{directory}/s{i}" for i in range(n_ports)]
    argv = ["taskset", "-c", str(SWITCH_CORE), program, "--control", f"{directory}/ctl", "--log-level", "error"]
    if config:
        pathlib.Path(directory, "config.json").write_text(
            json.dumps({name.replace("_", "-"): value for name, value in config.items()}), encoding="utf-8")
        argv += ["--config", f"{directory}/config.json"]
    for s in sockets:
        argv += ["--socket-path", s]
    process = subprocess.Popen(argv)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not os.path.exists(f"{directory}/ctl"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed("vhost-user-net did not start")
            time.sleep(0.01)
        yield sockets, process.pid
    finally:
        stop(process)


@contextlib.contextmanager
def generator(sockets, ring="split", huge=False):
    vdevs = [f"net_virtio_user{i},path={s},mac={MAC[i]},queues=1,queue_size=1024,mrg_rxbuf=1,in_order=0,"
             f"packed_vq={int(ring == 'packed')}" for i, s in enumerate(sockets)]
    pmd = Testpmd(GENERATOR_CORE, "bench-generator", vdevs,
                  # The frames that port i starts go to the address of the other port.
                  [f"--eth-peer={i},{MAC[1 - i]}" for i in range(2)], ["--single-file-segments"], huge)
    try:
        pmd.command("set fwd io")
        yield pmd
    finally:
        pmd.close()


def check_forwarding(ctl):
    """Ours must have forwarded by address; what it lost is told."""
    ports = control(ctl, "stats")["ports"]
    total = {k: sum(p["counters"][k] for p in ports) for k in ports[0]["counters"]}
    if total["ingress_flooded"] * 100 > total["ingress_frames"]:
        raise Failed(f"frames were flooded, not forwarded: {total}")
    lost = {k: v for k, v in total.items() if "_drop_" in k and v > 0}
    if lost:
        progress(f"  ours dropped {lost} of {total['ingress_frames']}, the surplus of new frames included")


def window(pmd, pids):
    """Seconds, frames received in them, and was it calm?

    The generator drops what its full ring does not take, as when the switch has lost its core for a moment.
    What circulates only ever becomes less by that, so each window starts with new frames."""
    pmd.command("stop")
    pmd.command("start tx_first 32")
    time.sleep(SETTLE_S)
    use, begin, frames = [core_use(pid) for pid in pids], time.monotonic(), pmd.received()[0]
    time.sleep(WINDOW_S)
    frames, seconds = pmd.received()[0] - frames, time.monotonic() - begin
    return seconds, frames, all(was_calm(a, b, seconds) for a, b in zip(use, map(core_use, pids)))


class Case:
    """What is sent, by which ring, and for how long."""

    def __init__(self, bench, name, length, ring="split", huge=False):
        # The length of a frame on a wire counts four bytes of checksum that a guest does not see.
        self.name, self.length, self.ring, self.huge = name, length - 4, ring, huge
        self.runs, self.seconds, self.bench = bench.runs, bench.seconds, bench

    def rate(self, pmd, pid):
        """Millions of frames a second through the switch, both directions together; and was it calm?"""
        windows = []
        deadline = time.monotonic() + PATIENCE * self.seconds
        while sum(t for t, _, calm in windows if calm) < self.seconds and time.monotonic() < deadline:
            windows.append(window(pmd, (pid, pmd.process.pid)))
        calm = [w for w in windows if w[2]]
        if 2 * len(calm) < len(windows):
            progress(f"  {len(calm)} of {len(windows)} windows were calm")
        counted = calm or windows
        rate = sum(n for _, n, _ in counted) / sum(t for t, _, _ in counted)
        if rate == 0:
            raise Failed("no frame came through")
        return rate / 1e6, bool(calm)

    def check_received(self, pmd):
        pmd.command("stop")
        frames, size = pmd.received()
        if size != frames * self.length:
            raise Failed(f"frames of {self.length} bytes were sent, and {size} bytes received in {frames} frames")

    def throughput(self, switch):
        """What rate() says of a switch and a generator of its own."""
        with tempfile.TemporaryDirectory(prefix="bench-net-") as directory, switch(directory) as (sockets, pid), \
                generator(sockets[:2], self.ring, self.huge) as pmd:
            pmd.command(f"set txpkts {self.length}")
            pmd.command("start")
            rate = self.rate(pmd, pid)
            if os.path.exists(f"{directory}/ctl"):
                check_forwarding(f"{directory}/ctl")
            self.check_received(pmd)
        return rate

    def with_and_without(self, switch, others, with_first):
        """The same of one switch and one generator, with and without `others`: two calls of rate()."""
        rates = {}
        with tempfile.TemporaryDirectory(prefix="bench-net-") as directory, switch(directory) as (sockets, pid), \
                generator(sockets[:2], self.ring, self.huge) as pmd:
            pmd.command(f"set txpkts {self.length}")
            for is_with in (with_first, not with_first):
                # The generator stands still while others come: it would send around what they say first.
                with others(sockets[2:]) if is_with else contextlib.nullcontext():
                    pmd.command("start")
                    rates[is_with] = self.rate(pmd, pid)
                    pmd.command("stop")
            check_forwarding(f"{directory}/ctl")
            self.check_received(pmd)
        return rates[True], rates[False]

    def against(self, ours, peer, peer_name, want, note):
        """Pairs of runs."""
        calm = {True: [], False: []}

        def measured(is_ours):
            rate, was_calm = self.throughput(ours if is_ours else peer)
            calm[is_ours].append(was_calm)
            return rate

        a, b = self.bench.pairs(self.name, lambda: measured(True), lambda: measured(False))
        return self.result(list(zip(zip(a, calm[True]), zip(b, calm[False]))), peer_name, want, note)

    def against_itself(self, ours, others, peer_name, want, note):
        """As many sessions, in each of which ours is measured with others and without."""
        pairs = []
        for i in range(self.bench.runs):
            pairs.append(self.with_and_without(ours, others, i % 2 == 0))
            (a, _), (b, _) = pairs[-1]
            progress(f"{self.name} {i + 1}/{self.bench.runs}: with {a:.3f}, without {b:.3f}, ratio {a / b:.3f}")
        return self.result(pairs, peer_name, want, note)

    def result(self, pairs, peer_name, want, note):
        """Of pairs of what rate() says.  Where at least one was calm on both sides, only such count."""
        good = [pair for pair in pairs if pair[0][1] and pair[1][1]]
        disturbed = len(pairs) - len(good)
        a, b = zip(*((x[0], y[0]) for x, y in good or pairs))
        note = (f"ours {min(a):.2f}..{max(a):.2f}, peer {min(b):.2f}..{max(b):.2f}; {note}; "
                f"{'huge pages' if self.huge else 'no huge pages'}")
        if disturbed:
            note += f"; {disturbed} of {len(pairs)} pairs were disturbed by other work" + (", and left out" if good else "")
        return Result(case=self.name, ours=statistics.median(a), peer=statistics.median(b), peer_name=peer_name,
                      unit="Mpps", want=want, runs=len(a), ratios=[x / y for x, y in zip(a, b)], note=note)


def throughput_cases(bench, program, huge):
    def ours(directory):
        return our_switch(program, directory)

    def dpdk(directory):
        return net_peers.dpdk_io(directory, huge=huge)

    for length, ring, want in ((64, "split", 1.0), (64, "packed", 1.0), (1518, "split", 1.5), (1518, "packed", 1.5)):
        name = f"net-{length}b-{ring}"
        if bench.wants(name):
            yield Case(bench, name, length, ring, huge).against(
                ours, dpdk, "dpdk-vhost-io", want, "ours learns and looks up, and copies once, the peer forwards unseen "
                "and copies twice")
    if bench.wants("net-64b-ovs"):
        yield Case(bench, "net-64b-ovs", 64, "split", huge).against(ours, net_peers.ovs_dpdk, "ovs-dpdk", 1.5,
                                                                      "both learn and look up")
    if bench.wants("net-64b-vde"):
        yield against_vde(bench, Case(bench, "net-64b-vde", 64, "split", huge), ours)


def against_vde(bench, case, ours):
    load = bench.program("tests/bench/bench_vde")
    a, b = bench.pairs(case.name, lambda: case.throughput(ours)[0],
                       lambda: net_peers.vde(load, GENERATOR_CORE, case.length, bench.seconds))
    return Result(case=case.name, ours=statistics.median(a), peer=statistics.median(b), peer_name="vde_switch",
                  unit="Mpps", want=10.0, runs=len(a), ratios=[x / y for x, y in zip(a, b)],
                  note="the peer's load is two plugs of libvdeplug in one thread, ours has virtio-user")


def port_cases(bench, program, huge):
    """Further ports come and go: they are connected, have said one word, and are silent."""
    for n_ports in (8, 64):
        name = f"net-{n_ports}-ports"
        if bench.wants(name):
            yield Case(bench, name, 64, "split", huge).against_itself(
                lambda d, n=n_ports: our_switch(program, d, n),
                lambda silent: net_link.silent_cards(bench, silent, GENERATOR_CORE),
                "ours with 2 ports", 0.95, f"two of {n_ports} ports are busy")


def idle_cases(bench, program):
    yield from idle_case(bench, "net-idle-cpu", "", lambda directory: our_switch(program, directory))
    yield from idle_case(bench, "net-idle-cpu-poll", '; "poll-us": 1000',
                         lambda directory: our_switch(program, directory, poll_us=1000))


def idle_case(bench, name, with_what, ours):
    """Percent of one core while two frontends are connected, have sent, and are silent."""
    if not bench.wants(name):
        return
    with tempfile.TemporaryDirectory(prefix="bench-net-") as directory, ours(directory) as (sockets, pid), \
            generator(sockets) as pmd:
        pmd.command("start tx_first 1")
        time.sleep(0.5)
        pmd.command("stop")
        time.sleep(1)
        begin, used = time.monotonic(), cpu_seconds(pid)
        time.sleep(10)
        used = 100 * (cpu_seconds(pid) - used) / (time.monotonic() - begin)
    yield Result(case=name, ours=max(used, 0.01), peer=1.0, peer_name="1 % of a core", unit="% CPU", want=1.0,
                 runs=1, more_is_better=False, note=f"two ports connected and silent, over 10 s{with_what}")


def run(bench):
    program = bench.program("vhost-user/net/vhost-user-net")
    if not shutil.which("dpdk-testpmd"):
        raise Failed("dpdk-testpmd is missing: apt-get install dpdk")
    with net_peers.huge_pages(HUGE_MB) as huge:
        yield from throughput_cases(bench, program, huge)
        yield from port_cases(bench, program, huge)
        yield from net_link.cases(bench, lambda directory, n=2, **config: our_switch(program, directory, n, **config),
                                  control)
    yield from net_gso.cases(bench, bench.program("tests/bench/bench_gso"))
    yield from net_threads.cases(bench, bench.program("tests/bench/bench_threads"))
    yield from idle_cases(bench, program)
