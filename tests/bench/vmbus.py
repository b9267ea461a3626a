# SPDX-License-Identifier: MIT
"""Hyper-V sockets by the patched QEMU against virtio-vsock: one daemon, one QEMU, one kernel, guests side by side.

All guests are emulated (TCG), see the same Hyper-V, and have one CPU each and the same program (vsock_bench), which speaks AF_VSOCK
whatever that is made of.  They are up together, and used in turn, so that neighbours in time are a pair; who waits costs next to
nothing, and idle-qemu says how much.  Time is the host's.

A connect is a whole life: connect, 16 bytes there and back, close; one after the other, or 8 at once.  A stream is one connection
whose sender writes pieces of one size.  The guest has dialed it, and Linux gives such a one Hyper-V rings of 24 KiB; "dialed": the
host has, as for all that the orchestrator does in a guest, and they are 208 KiB if the guest's program says nothing.  "beside": the
same while a third guest sends all it can through the same daemon.

What Hyper-V costs a guest that has no use for it is told by two more pairs: boots of a kernel whose init switches the machine off,
from the start of QEMU to its end, and system calls by QEMU's processor time, of which they take one whole processor.

The trial's figures are those of the spike that showed the way, by which QEMU's main loop did the work on the rings: its best ones,
on a machine of the same kind.
"""
import contextlib
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time

import foreign
import guests
from bench import Failed, Result, progress, stop
from calm import cpu_seconds

KERNEL = "6.1"
OURS, PEER, BUSY = "hyperv", "virtio", "busy"
PEER_NAME = "virtio-vsock"
CIDS = {OURS: None, PEER: 3, BUSY: None}
HOST_PORT, GUEST_PORT, ANY_CID = 6000, 5000, 0xffffffff
SERVERS = 12  # on the host, for each guest; each has a connection at a time
CALLS = 4000000
IDLE_S = 5
BOOT_S = 120

BOOT_INIT = "#!/bin/busybox sh\nexec /bin/busybox poweroff -f\n"

TRIAL = {"vmbus-connects-g2h": 645, "vmbus-64k-g2h": 117}


class Lab:
    """The daemon, the guests, and who serves them on the host."""

    def __init__(self, stack, bench, directory, initramfs):
        self.stack, self.bench, self.directory, self.initramfs = stack, bench, directory, initramfs
        self.program = bench.program("tests/vsock_bench")
        self.daemon = guests.hvsock(directory, bench, CIDS)
        stack.callback(self.daemon.close)
        self.guests = {name: self._guest(name, **{"vsock" if cid else "hvsock": f"{directory}/{name}.vu"}) for name, cid in CIDS.items()}
        for name in CIDS:
            self._serve(name)
        _, said = self.guests[OURS].boot().sh("dmesg")
        if "Vmbus version:5." not in said:
            raise Failed(f"no VMBus in the guest: {said[-1000:]}")

    def _guest(self, name, vsock=None, hvsock=None, cpu_options=guests.HYPERV_CPU):
        guest = guests.Guest(self.directory, name, self.bench.patched_qemu(), guests.Kernel(KERNEL), self.initramfs[bool(hvsock)],
                             vsock, hvsock=hvsock, cpu_options=cpu_options)
        self.stack.callback(guest.close)
        return guest

    def fresh_guest(self, name, cpu_options):
        """Without sockets."""
        return self._guest(name, cpu_options=cpu_options).boot()

    def _serve(self, name):
        server = subprocess.Popen([self.program, "serve", f"{self.directory}/{name}.vs:{HOST_PORT}", str(SERVERS)])
        self.stack.callback(stop, server)
        self.guests[name].boot().sh(f"(vsock_bench serve vsock:{ANY_CID}:{GUEST_PORT} 1 </dev/null >/dev/null 2>&1 &)")

    def from_guest(self, name, what, *words):
        code, out = self.guests[name].sh(f"vsock_bench {what} vsock:2:{HOST_PORT} {' '.join(map(str, words))}", 120)
        if code != 0:
            raise Failed(f"{name}: {what}: {out.strip()}; the daemon: {self.daemon.said()[-500:]}")
        return tuple(map(float, out.split()[-2:]))

    def from_host(self, name, what, *words):
        done = subprocess.run([self.program, what, f"{self.directory}/{name}.vs:{GUEST_PORT}", *map(str, words)], capture_output=True,
                              text=True, timeout=120, check=False)
        if done.returncode != 0:
            raise Failed(f"{name}: {what}: {done.stderr.strip()}; the daemon: {self.daemon.said()[-500:]}")
        return tuple(map(float, done.stdout.split()))

    def cpu(self, name):
        """Seconds that the daemon, and this guest's QEMU, have had."""
        return cpu_seconds(self.daemon.process.pid), cpu_seconds(self.guests[name].process.pid)


def compared(bench, case, ours, peer, unit, want, more_is_better=True, peer_name=PEER_NAME, note=lambda: ""):
    a, b = bench.pairs(case, ours, peer)
    text = f"ours {min(a):.4g}..{max(a):.4g}, peer {min(b):.4g}..{max(b):.4g}"
    return Result(case, statistics.median(a), statistics.median(b), peer_name, unit, want, bench.runs, more_is_better,
                  note=text + note(), ratios=[x / y if more_is_better else y / x for x, y in zip(a, b)])


def against_trial(result):
    return Result(f"{result.case}-trial", result.ours, TRIAL[result.case], "the trial's", result.unit, 1.0, result.runs,
                  note="rings by a process of their own against rings in QEMU's main loop; not of the same run")


# ---- what goes through sockets -----------------------------------------------------------------------------------------

class Cost:
    """Processor time beside a figure: of the daemon and of QEMU, for a unit of the work."""

    def __init__(self, lab, unit, scale):
        self.lab, self.unit, self.scale, self.spent = lab, unit, scale, {OURS: [], PEER: []}

    def measured(self, name, measure):
        before = self.lab.cpu(name)
        rate, seconds = measure()
        self.spent[name].append([(b - a) * self.scale / (rate * seconds) for a, b in zip(before, self.lab.cpu(name))])
        return rate

    def note(self):
        text = [" and ".join(f"{statistics.median(column):.2f}" for column in zip(*self.spent[name])) for name in (OURS, PEER)]
        return f"; daemon's and QEMU's own time, {self.unit}: ours {text[0]}, peer {text[1]}"


def socket_case(lab, case, run, what, words, unit, want, scale=1.0, cost=None, more_is_better=True):
    ms = int(1000 * lab.bench.seconds)
    cost = Cost(lab, *cost) if cost else None

    def measured(name):
        def measure():
            figure, seconds = run(name, what, *words, ms)
            return figure / scale, seconds
        return cost.measured(name, measure) if cost else measure()[0]

    return compared(lab.bench, case, lambda: measured(OURS), lambda: measured(PEER), unit, want, more_is_better,
                    note=cost.note if cost else lambda: "")


def socket_cases(lab, wants, suffix="", want=True):
    """Those whose name, with this suffix, is wanted."""
    ms_each, s_each_gb = ("ms each", 1000), ("s for a GB", 1000)
    cases = [("connects-g2h", lab.from_guest, "connects", [1], "connects/s", 1.0, 1.0, ms_each),
             ("connects-h2g", lab.from_host, "connects", [1], "connects/s", 1.0, 1.0, ms_each),
             ("connects-g2h-8", lab.from_guest, "connects", [8], "connects/s", 1.0, 1.0, ms_each),
             ("4k-g2h", lab.from_guest, "put", [4096], "MB/s", 0.8, 1e6, s_each_gb),
             ("4k-h2g", lab.from_guest, "get", [4096], "MB/s", 0.8, 1e6, s_each_gb),
             ("64k-g2h", lab.from_guest, "put", [65536], "MB/s", 0.8, 1e6, s_each_gb),
             ("64k-h2g", lab.from_guest, "get", [65536], "MB/s", 0.8, 1e6, s_each_gb),
             ("64k-g2h-dialed", lab.from_host, "get", [65536], "MB/s", 0.8, 1e6, s_each_gb),
             ("64k-h2g-dialed", lab.from_host, "put", [65536], "MB/s", 0.8, 1e6, s_each_gb),
             ("turn", lab.from_guest, "turns", [64], "µs, p50", None, 1000, None)]
    for name, run, what, words, unit, wanted, scale, cost in cases:
        case = f"vmbus-{name}{suffix}"
        if wants(case):
            yield socket_case(lab, case, run, what, words, unit, wanted if want else None, scale, cost, what != "turns")


def beside(lab):
    """The same while a third guest is busy."""
    cases = [case for case in ("connects-g2h", "64k-h2g", "turn") if lab.bench.wants(f"vmbus-{case}-beside")]
    if not cases:
        return
    busy = lab.guests[BUSY]
    busy.sh(f"(vsock_bench put vsock:2:{HOST_PORT} 65536 100000000 </dev/null >/dev/null 2>&1 &)")
    yield from socket_cases(lab, lambda case: case in [f"vmbus-{name}-beside" for name in cases], "-beside", want=False)
    busy.sh("killall vsock_bench")


def idle(lab):
    """Percent of a core, while all guests are up and silent."""
    before, begin = {name: lab.cpu(name) for name in (OURS, PEER)}, time.monotonic()
    time.sleep(IDLE_S)
    percent = {name: [100 * (b - a) / (time.monotonic() - begin) for a, b in zip(before[name], lab.cpu(name))] for name in before}
    if lab.bench.wants("vmbus-idle-daemon"):
        yield Result("vmbus-idle-daemon", max(percent[OURS][0], 0.01), 1.0, "1 % of a core", "% CPU", 1.0, 1, False,
                     note=f"three guests up and silent, over {IDLE_S} s")
    if lab.bench.wants("vmbus-idle-qemu"):
        yield Result("vmbus-idle-qemu", max(percent[OURS][1], 0.01), max(percent[PEER][1], 0.01), PEER_NAME, "% CPU", None, 1, False,
                     note="the guest's own clock ticks in it")


# ---- what Hyper-V costs the others -------------------------------------------------------------------------------------

def boot(qemu, initramfs, hyperv, cpu):
    """Seconds from the start of QEMU to its end; those of a processor are added to cpu[hyperv]."""
    options, devices = (f",{guests.HYPERV_CPU}", ["-device", "vmbus-bridge"]) if hyperv else ("", [])
    argv = [qemu, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35", "-accel", "tcg",
            "-cpu", guests.cpu(qemu) + options, "-m", "256M", "-kernel", str(guests.Kernel(KERNEL).image), "-initrd", str(initramfs),
            "-append", "quiet panic=-1 no_timer_check", *devices]
    begin, used = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          timeout=BOOT_S, check=False)
    if done.returncode != 0:
        raise Failed(f"boot: {done.stderr.strip()}")
    took, now = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu[hyperv].append(now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)
    return took


def boots(bench, directory):
    if not bench.wants("vmbus-boot"):
        return
    initramfs = pathlib.Path(directory, "boot.cpio")
    initramfs.write_bytes(guests.Kernel(KERNEL).initramfs({"init": BOOT_INIT.encode()}))
    qemu = bench.patched_qemu()
    boot(qemu, initramfs, True, {True: []})  # the first finds nothing in the host's cache
    cpu = {True: [], False: []}
    yield compared(bench, "vmbus-boot", lambda: boot(qemu, initramfs, True, cpu), lambda: boot(qemu, initramfs, False, cpu), "s",
                   0.97, more_is_better=False, peer_name="without Hyper-V",
                   note=lambda: f"; processor time: ours {statistics.median(cpu[True]):.2f} s, peer {statistics.median(cpu[False]):.2f} s")


def calls(lab):
    if not lab.bench.wants("vmbus-calls"):
        return
    # Both anew: the others' translated code is all that they have been through.
    hyperv, plain = lab.fresh_guest("fresh", guests.HYPERV_CPU), lab.fresh_guest("plain", "")

    def measured(guest):
        used = cpu_seconds(guest.process.pid)
        code, out = guest.sh(f"vsock_bench calls {CALLS}")
        if code != 0:
            raise Failed(f"calls: {out.strip()}")
        return CALLS / (cpu_seconds(guest.process.pid) - used) / 1e6

    yield compared(lab.bench, "vmbus-calls", lambda: measured(hyperv), lambda: measured(plain), "M/s of QEMU's processor", 1.0,
                   peer_name="without Hyper-V")
    hyperv.close()
    plain.close()


def cases(bench, stack):
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-vmbus-"))
    program = pathlib.Path(bench.program("tests/vsock_bench")).read_bytes()
    initramfs = {}
    for hyperv, sockets in ((True, "hvsock"), (False, "vsock")):
        initramfs[hyperv] = pathlib.Path(directory, f"{sockets}.cpio")
        initramfs[hyperv].write_bytes(guests.Kernel(KERNEL).initramfs({"bin/vsock_bench": program}, sockets=sockets))
    yield from boots(bench, directory)
    lab = Lab(stack, bench, directory, initramfs)
    yield from idle(lab)
    for result in socket_cases(lab, bench.wants):
        yield result
        if result.case in TRIAL:
            yield against_trial(result)
    yield from calls(lab)
    yield from beside(lab)


def run(bench):
    foreign.need("busybox", "busybox-static")
    with contextlib.ExitStack() as stack:
        try:
            yield from cases(bench, stack)
        except guests.GuestError as error:
            progress(str(error))
            raise Failed(str(error)) from error
