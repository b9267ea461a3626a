# SPDX-License-Identifier: MIT
"""From one machine to another: the Portal's ring, sockets of vhost-user-hvsock, and TCP over vhost-user-net.

The same two guests have all three, and use them in turn, each time another one first.  Of all three the sender copies what it
sends, and the receiver what it gets.  They are emulated where there is no KVM, so that only ratios say
something, and no ratio is asked for.
"""
import contextlib
import json
import pathlib
import statistics
import tempfile

import foreign
import guests
from bench import Failed, Result, progress

QEMU, KERNEL = "10.0", "6.12"
SIZE = 64 << 20
VSOCK_PORT, PORT = 50100, 5000
CIDS = {"a": 3, "b": 4}
ADDRESS = {"a": "10.9.0.1", "b": "10.9.0.2"}
SIZES = {64: "64b", 4096: "4k", 65536: "64k"}
MS = 1000
PEERS = {"vsock": (str(CIDS["b"]), "vsock by vhost-user-hvsock"), "tcp": (ADDRESS["b"], "TCP over vhost-user-net")}


def start_portal(stack, directory, build):
    config = {"name": "bench", "size": SIZE, "path": f"{directory}/arena", "vsock-port": VSOCK_PORT,
              "clients": [{"name": name, "socket-path": f"{directory}/{name}.vs_{VSOCK_PORT}"} for name in CIDS]}
    pathlib.Path(directory, "portal.json").write_text(json.dumps(config), encoding="utf-8")
    daemon = guests.Daemon(directory, "portal", [
        build.program("vhost-user/portal/vhost-user-portal"), "--config", f"{directory}/portal.json",
        "--control", f"{directory}/portal.ctl"], [f"{directory}/portal.ctl"])
    stack.callback(daemon.close)


class Pair:
    """Two guests that reach each other in all three ways; b serves."""

    def __init__(self, stack, build):
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="portal-vms-"))
        start_portal(stack, directory, build)
        for daemon in (guests.hvsock(directory, build, CIDS), guests.switch(directory, build, CIDS)):
            stack.callback(daemon.close)
        kernel, qemu = guests.Kernel(KERNEL), guests.qemu_of(QEMU)
        programs = {"bin/portal": "vhost-user/portal/client/portal-static", "bin/portal_pair": "tests/portal_pair"}
        initramfs = pathlib.Path(directory, "root.cpio")
        initramfs.write_bytes(kernel.initramfs({name: pathlib.Path(build.program(path)).read_bytes()
                                                for name, path in programs.items()}, guests.PMEM_MODULES))
        for name in CIDS:
            guest = guests.Guest(directory, name, qemu, kernel, initramfs, f"{directory}/{name}.vu", f"{directory}/{name}.net",
                                 f"{ADDRESS[name]}/24", memory="256M,slots=1,maxmem=1G", devices=[
                                     "-object", f"memory-backend-file,id=p,mem-path={directory}/arena,size={SIZE},share=on",
                                     "-device", "virtio-pmem-pci,memdev=p"])
            stack.callback(guest.close)
            setattr(self, name, guest.boot())
        for words in ("portal -t 30s -p bench bench --serve pair", *(f"portal_pair serve {family} {PORT}" for family in PEERS)):
            self.b.sh(f"({words} </dev/null >/dev/null 2>&1 &)")

    def run(self, command):
        code, out = self.a.sh(command, 120)
        if code != 0:
            raise Failed(f"{command}: {out}")
        return out

    def ring(self):
        """{size: (nanoseconds a round trip, bytes a second)}, as sockets()."""
        told = {}
        for size in SIZES:
            lines = [json.loads(line) for line in self.run(
                f"portal -t 30s -p bench --json bench --wait 30s --time {MS}ms --sizes {size} pair").splitlines()]
            told[size] = (lines[0]["p50_ns"], lines[1]["bytes_per_s"])
        return told

    def sockets(self, family):
        return {size: tuple(map(int, self.run(f"portal_pair run {family} {PEERS[family][0]} {PORT} {size} {MS}").split()))
                for size in SIZES}


def measure(pair, number):
    ways = ["ring", *PEERS]
    first = number % len(ways)
    round_ = {way: pair.ring() if way == "ring" else pair.sockets(way) for way in ways[first:] + ways[:first]}
    progress("portal-vms: " + ", ".join(f"{way} {figures[64][0] / 1000:.0f} us, {figures[65536][1] / 1e6:.0f} MB/s of 64 KiB"
                                        for way, figures in round_.items()))
    return round_


def result(case, rounds, family, pick, scale, unit, more_is_better):
    ours, peer = ([pick(r[way]) / scale for r in rounds] for way in ("ring", family))
    return Result(case=case, ours=statistics.median(ours), peer=statistics.median(peer), peer_name=PEERS[family][1], unit=unit,
                  want=None, runs=len(rounds), more_is_better=more_is_better,
                  ratios=[a / b if more_is_better else b / a for a, b in zip(ours, peer)])


def cases(bench):
    if not bench.wants("portal-vms"):
        return
    foreign.need("busybox", "busybox-static")
    with contextlib.ExitStack() as stack:
        try:
            pair = Pair(stack, bench)
            rounds = [measure(pair, number) for number in range(bench.runs)]
        except guests.GuestError as error:
            raise Failed(str(error)) from error
    for family in PEERS:
        yield result(f"portal-vms-turn-{family}", rounds, family, lambda told: told[64][0], 1000, "us", False)
        for size, name in SIZES.items():
            yield result(f"portal-vms-{name}-{family}", rounds, family, lambda told, size=size: told[size][1], 1e6, "MB/s", True)
