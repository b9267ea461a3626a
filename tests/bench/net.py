# SPDX-License-Identifier: MIT
"""The switch against DPDK's vhost library.

Both sides serve two vhost-user sockets from core 0, and the same generator, dpdk-testpmd with two
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
  - the peer is testpmd in `io` mode: whatever comes in at one port goes out at the other, unseen.  The
    library has no way from ring to ring, so a frame is copied twice, into a packet buffer and out of it.
    The buffers of a burst are used again by the next, so they stay in the cache.
So the lookups are to our disadvantage, and the second copy is to the peer's.

Both are built for any x86-64 and choose quicker code when they run, if at all: ours as this repository's
release build, which has the C library copy long frames; the peer as the distribution's package, which has
its own copy loop, of SSE width then.  Bursts are of each side's own size: 64 frames in ours, 32 (testpmd's
default) in the peer.  Neither uses huge pages: they are not there by default, and the switch must not need
them.  A peer built for this very CPU, with huge pages, may do better; that is not measured here.

Both sides poll, so whatever else runs on their cores takes from them directly.  Frames are therefore
counted in short windows, and only those windows count in which the kernel kept neither the switch nor the
generator waiting for its core: the same rule for both sides.  A side that goes to sleep by itself has
nobody to blame, and its window counts.
"""
import contextlib
import json
import os
import re
import select
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

from bench import Failed, Result, progress, stop
from calm import PATIENCE, WINDOW_S, core_use, cpu_seconds, was_calm

SWITCH_CORE = 0
GENERATOR_CORE = 1
MAC = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"]
START_TIMEOUT_S = 60
SETTLE_S = 0.05


class Testpmd:
    """dpdk-testpmd at its prompt."""

    PROMPT = b"testpmd> "

    def __init__(self, core, prefix, vdevs, options=(), eal=()):
        # Both of its threads, the prompt's and the forwarding one, on one core.
        # stdbuf: its answers would stay in its buffer, and only the prompt come out.
        argv = ["stdbuf", "-o0", "dpdk-testpmd", "--lcores", f"(0,1)@{core}", "--no-huge", "-m", "512", "--no-pci",
                f"--file-prefix={prefix}", *eal]
        for vdev in vdevs:
            argv += ["--vdev", vdev]
        argv += ["--", "-i", "--no-numa", "--nb-cores=1", "--total-num-mbufs=65536", *options]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT)
        os.set_blocking(self.process.stdout.fileno(), False)
        try:
            self._read_until(self.PROMPT)
        except Failed:
            self.close()
            raise

    def _read_until(self, pattern):
        """Output up to a prompt behind `pattern`.  Events print prompts of their own in between."""
        out, deadline = b"", time.monotonic() + START_TIMEOUT_S
        while not (out.endswith(self.PROMPT) and re.search(pattern, out, re.S)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Failed(f"testpmd does not answer: …{out[-400:].decode(errors='replace')}")
            chunk = self.process.stdout.read()
            if chunk == b"":
                raise Failed(f"testpmd ended: …{out[-400:].decode(errors='replace')}")
            out += chunk or b""
        return out.decode(errors="replace")

    def command(self, text, answer=b""):
        self.process.stdin.write(text.encode() + b"\n")
        self.process.stdin.flush()
        return self._read_until(answer)

    def received(self):
        """Frames received on all ports so far, and bytes in them."""
        text = self.command("show port stats all", rb"port 0 .*Tx-bps.*port 1 .*Tx-bps")
        return [sum(map(int, re.findall(rf"RX-{what}:\s*(\d+)", text))) for what in ("packets", "bytes")]

    def close(self):
        stop(self.process)


@contextlib.contextmanager
def peer_switch(directory):
    sockets = [f"{directory}/s{i}" for i in range(2)]
    pmd = Testpmd(SWITCH_CORE, f"bench-peer-{os.getpid()}",
                  [f"net_vhost{i},iface={s},queues=1" for i, s in enumerate(sockets)])
    try:
        pmd.command("set fwd io")
        pmd.command("start")
        yield sockets, pmd.process, None
    finally:
        pmd.close()


def control(path, method):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
        return json.loads(s.makefile().readline())["result"]


@contextlib.contextmanager
def our_switch(program, directory):
    sockets = [f"{directory}/s{i}" for i in range(2)]
    argv = ["taskset", "-c", str(SWITCH_CORE), program, "--control", f"{directory}/ctl", "--log-level", "error"]
    for s in sockets:
        argv += ["--socket-path", s]
    process = subprocess.Popen(argv)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not os.path.exists(f"{directory}/ctl"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed("vhost-user-net did not start")
            time.sleep(0.01)
        yield sockets, process, f"{directory}/ctl"
    finally:
        stop(process)


@contextlib.contextmanager
def generator(sockets, ring="split", options=()):
    vdevs = [f"net_virtio_user{i},path={s},mac={MAC[i]},queues=1,queue_size=1024,mrg_rxbuf=1,in_order=0,"
             f"packed_vq={int(ring == 'packed')}" for i, s in enumerate(sockets)]
    pmd = Testpmd(GENERATOR_CORE, f"bench-generator-{os.getpid()}", vdevs,
                  # The frames that port i starts go to the address of the other port.
                  [f"--eth-peer={i},{MAC[1 - i]}" for i in range(2)] + list(options),
                  ["--single-file-segments"])
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


def throughput(switch, ring, length, seconds):
    """Millions of frames a second through the switch, both directions together; and was it calm?
    `length` is what is in memory: without the checksum of a wire."""
    windows = []
    with tempfile.TemporaryDirectory(prefix="bench-net-") as directory, \
            switch(directory) as (sockets, process, ctl), generator(sockets, ring) as pmd:
        pmd.command(f"set txpkts {length}")
        pmd.command("start")
        deadline = time.monotonic() + PATIENCE * seconds
        while sum(t for t, _, calm in windows if calm) < seconds and time.monotonic() < deadline:
            windows.append(window(pmd, (process.pid, pmd.process.pid)))
        if ctl:
            check_forwarding(ctl)
        pmd.command("stop")
        frames, size = pmd.received()
        if size != frames * length:
            raise Failed(f"frames of {length} bytes were sent, and {size} bytes received in {frames} frames")
    calm = [w for w in windows if w[2]]
    if 2 * len(calm) < len(windows):
        progress(f"  {len(calm)} of {len(windows)} windows were calm")
    counted = calm or windows
    rate = sum(n for _, n, _ in counted) / sum(t for t, _, _ in counted)
    if rate == 0:
        raise Failed("no frame came through")
    return rate / 1e6, bool(calm)


def idle_cpu(switch, seconds):
    """Percent of one core while two frontends are connected, have sent, and are silent."""
    with tempfile.TemporaryDirectory(prefix="bench-net-") as directory, switch(directory) as (sockets, process, _):
        with generator(sockets) as pmd:
            pmd.command("start tx_first 1")
            time.sleep(0.5)
            pmd.command("stop")
            time.sleep(1)
            begin, used = time.monotonic(), cpu_seconds(process.pid)
            time.sleep(seconds)
            return 100 * (cpu_seconds(process.pid) - used) / (time.monotonic() - begin)


def forwarding(bench, ours, case, ring, length, want):
    """Pairs of runs.  Where at least one pair was calm on both sides, only such pairs count."""
    calm = {True: [], False: []}

    def measured(is_ours):
        # The length of a frame on a wire counts four bytes of checksum that a guest does not see.
        rate, was_calm = throughput(ours if is_ours else peer_switch, ring, length - 4, bench.seconds)
        calm[is_ours].append(was_calm)
        return rate

    a, b = bench.pairs(case, lambda: measured(True), lambda: measured(False))
    pairs = list(zip(a, b))
    good = [pair for pair, x, y in zip(pairs, calm[True], calm[False]) if x and y]
    disturbed = len(pairs) - len(good)
    a, b = zip(*(good or pairs))
    note = (f"ours {min(a):.2f}..{max(a):.2f}, peer {min(b):.2f}..{max(b):.2f}; ours learns and looks up, "
            "and copies once, the peer forwards unseen and copies twice; no huge pages")
    if disturbed:
        note += f"; {disturbed} of {len(pairs)} pairs were disturbed by other work" + (", and left out" if good else "")
    return Result(case=case, ours=statistics.median(a), peer=statistics.median(b), peer_name="dpdk-vhost-io",
                  unit="Mpps", want=want, runs=len(a), ratios=[x / y for x, y in zip(a, b)], note=note)


def run(bench):
    program = bench.program("vhost-user/net/vhost-user-net")
    if not shutil.which("dpdk-testpmd"):
        raise Failed("dpdk-testpmd is missing: apt-get install dpdk")

    def ours(directory):
        return our_switch(program, directory)

    for length, ring, want in ((64, "split", 1.0), (64, "packed", 1.0), (1518, "split", 1.5), (1518, "packed", 1.5)):
        case = f"net-{length}b-{ring}"
        if not bench.wants(case):
            continue
        yield forwarding(bench, ours, case, ring, length, want)

    if bench.wants("net-idle-cpu"):
        used = idle_cpu(ours, 10)
        yield Result(case="net-idle-cpu", ours=max(used, 0.01), peer=1.0, peer_name="1 % of a core", unit="% CPU",
                     want=1.0, runs=1, more_is_better=False, note="two ports connected and silent, over 10 s")
