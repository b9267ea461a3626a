# SPDX-License-Identifier: MIT
"""What a guest of the patched QEMU's Hyper-V has to do, one function each; matrix-vmbus runs them.

A function takes the host, the guest and matrix-vmbus's arguments, and returns what its cell says, None for "ok".  It leaves the guest
with the echo that it found in it (Ends.serve())."""
import contextlib
import os
import pathlib
import random
import re
import tempfile
import threading
import time

import foreign
import guests
import socket_ends
from net_pair import counters
from socket_ends import ECHO_PORT, HOST_PORT

SINK_PORT, SOURCE_PORT, KERNEL_PORT, ROOT_PORT, HELD_PORT = 6002, 6003, 6004, 6005, 6006
BULK = 50 << 20
MODULES = ["hv_sock", "hv_vmbus"]
# Around a ring's and a packet's bounds.
SIZES = [0, 1, 7, 8, 9, 4095, 4096, 4097, 16383, 20440, 65536, 131073, 400_000]
BOOT = "cat /proc/sys/kernel/random/boot_id"
MIB = 1 << 20
MEMORY = 256 * MIB  # guests.Guest's


class Shape:
    """One way to make a machine."""

    def __init__(self, kernel, machine, vcpus, thread="multi", uefi=False):
        self.kernel, self.machine, self.vcpus, self.thread, self.uefi = kernel, machine, vcpus, thread, uefi

    def __str__(self):
        return f"Linux {self.kernel} | {self.machine}{', UEFI' if self.uefi else ''} | {self.vcpus}, {self.thread}"


def extra_files(kernel):
    """Modules that a cell loads by itself."""
    return {"lib/hv_balloon.ko": kernel.module("hv_balloon")}


class Host(socket_ends.Ends):
    """The daemon with one VM, a switch, and what serves the guest on the host."""

    def __init__(self, stack, directory, build, cid=None):
        super().__init__(directory)
        self.stack, self.directory, self.cid, self.switch = stack, directory, cid, None
        self.build, self.daemon = build, guests.hvsock(directory, build, {"a": cid})
        stack.callback(self.daemon.close)
        block = socket_ends.pattern()
        self.held = threading.Event()
        self.listen(HELD_PORT, self.hold)
        self.listen(HOST_PORT, socket_ends.echo)
        self.listen(SINK_PORT, socket_ends.sink(block))
        self.listen(SOURCE_PORT, socket_ends.source(block, BULK))

    def listen(self, port, serve):
        self.stack.callback(socket_ends.Listener(f"{self.directory}/a.vs", port, serve).close)

    def hold(self, s):
        """Says that there is one, and keeps it."""
        self.held.set()
        s.recv(1)

    def guest(self, qemu, shape, initramfs, beside=False, **more):
        """`beside`: a network card and a balloon, too."""
        devices = ["-bios", str(foreign.root_of("ovmf") / "usr/share/ovmf/OVMF.fd")] if shape.uefi else []
        if beside:
            self.switch = guests.switch(self.directory, self.build, ["a"])
            self.stack.callback(self.switch.close)
            # Linux gives no memory away where it thinks that it may hibernate.
            devices += ["-device", "hv-balloon,id=balloon0", "-global",
                        "ICH9-LPC.disable_s4=1" if shape.machine == "q35" else "PIIX4_PM.disable_s4=1"]
            more = {"net": f"{self.directory}/a.net", "address": "10.9.0.1/24", **more}
        sockets = {"hvsock": f"{self.directory}/a.vu"} if not self.cid else {}
        kernel = guests.Kernel(shape.kernel)
        guest = guests.Guest(self.directory, "a", qemu, kernel, initramfs, f"{self.directory}/a.vu" if self.cid else None,
                             machine_type=shape.machine, vcpus=shape.vcpus, accel=f"tcg,thread={shape.thread}", devices=devices,
                             **{**sockets, **more})
        self.stack.callback(guest.close)
        # What `again` boots.
        self.listen(KERNEL_PORT, sender(kernel.image))
        self.listen(ROOT_PORT, sender(initramfs))
        return guest


def sender(path):
    def serve(s):
        s.sendall(pathlib.Path(path).read_bytes())

    return serve


def load(guest, *words, seconds=600):
    """vsock_load in the guest: its figures."""
    code, out = guest.sh(f"vsock_load {' '.join(map(str, words))}", seconds)
    found = dict(re.findall(r"(\w+) ([\d.]+)", out.splitlines()[-1] if out.strip() else ""))
    if code != 0 or not found:
        raise guests.GuestError(f"vsock_load {' '.join(map(str, words))}: {out.strip()[-300:]}")
    return {key: float(value) for key, value in found.items()}


def reachable(host, guest):
    """Both ways, whole."""
    host.from_host(guest)
    host.from_guest(guest, 2, HOST_PORT)


def whole_again(host, guest, args):
    """Of a guest that boots: it is what it was."""
    guest.boot()
    says(host, guest, args)
    host.serve(guest)
    reachable(host, guest)


def leave(guest, command):
    """A command by which the guest goes; boot() waits for the next."""
    guest.send(command)
    with contextlib.suppress(TimeoutError):
        while True:
            guest._receive()
    guest._text = b""


# ---- cells -------------------------------------------------------------------------------------------------------------

def says(_host, guest, _args):
    _, out = guest.sh("dmesg")
    for pattern in (r"Hypervisor detected: Microsoft Hyper-V", r"Vmbus version:5\.\d"):
        if not re.search(pattern, out):
            raise guests.GuestError(f"nothing like {pattern!r} in {out[-1500:]}")
    if found := re.search(r".*(Oops|BUG: (?!soft lockup)|kernel BUG|general protection).*", out):
        raise guests.GuestError(f"{found.group(0)!r} in {out[-3000:]}")
    _, modules = guest.sh("cat /proc/modules")
    if not re.search(r"(?m)^hv_sock ", modules):
        raise guests.GuestError(modules)
    return re.findall(r"Vmbus version:(5\.\d)", out)[-1]


def clock(_host, guest, _args):
    """The guest believes the TSC, and had better be right."""
    def look():
        """When it was at the earliest and at the latest, and what the guest had."""
        earliest, uptime = time.monotonic(), float(guest.sh("cut -d' ' -f1 /proc/uptime")[1])
        return earliest, time.monotonic(), uptime

    _, source = guest.sh("cat /sys/devices/system/clocksource/clocksource0/current_clocksource")
    first = look()
    time.sleep(5)
    second = look()
    passed = second[2] - first[2]
    if not 0.98 * (second[0] - first[1]) < passed < 1.02 * (second[1] - first[0]):
        raise guests.GuestError(f"{source.strip()}: {passed:.2f} s in {second[0] - first[1]:.2f} to {second[1] - first[0]:.2f}: "
                                + guest.sh("dmesg | grep -i tsc")[1])
    return source.strip()


def host_to_guest(host, guest, _args):
    host.from_host(guest)
    for size in SIZES:
        with socket_ends.connect(host.path(guest), ECHO_PORT) as s:
            if socket_ends.exchange(s, host.data[:size]) != host.data[:size]:
                raise guests.GuestError(f"{size} bytes came back as others")
    with socket_ends.connect(host.path(guest), ECHO_PORT) as s:
        if socket_ends.exchange(s, host.data[:3000], piece=1) != host.data[:3000]:
            raise guests.GuestError("single bytes came back as others")


def guest_to_host(host, guest, _args):
    host.from_guest(guest, 2, HOST_PORT)
    for size in SIZES:
        code, out = guest.sh(f"head -c {size} /tmp/data >/tmp/part; socat -t 20 - VSOCK-CONNECT:2:{HOST_PORT} </tmp/part >/tmp/back && "
                             "cmp /tmp/part /tmp/back", 90)
        if code != 0:
            raise guests.GuestError(f"{size} bytes came back as others: {out.strip()[-200:]}")


def bulk(_host, guest, _args):
    load(guest, "send", SINK_PORT, BULK)
    load(guest, "receive", SOURCE_PORT, BULK)


def connects(_host, guest, args):
    load(guest, "connects", HOST_PORT, args.cell_connects, seconds=60 + args.cell_connects)


def many(host, guest, args):
    """Very many that are open at once, from the guest; and many of the host's at once."""
    load(guest, "many", HOST_PORT, args.many, seconds=120 + args.many)
    failed = []

    def one(number):
        try:
            with socket_ends.connect(host.path(guest), ECHO_PORT) as s:
                data = host.data[number:number + 20_000]
                back = socket_ends.exchange(s, data)
                if back != data:
                    failed.append(f"client {number}: {len(back)} bytes, or others")
        except (guests.GuestError, OSError) as error:
            failed.append(f"client {number}: {error}")

    threads = [threading.Thread(target=one, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise guests.GuestError("; ".join(failed[:3]))


def reload(host, guest, _args):
    """Out and in again; some kernels have the bus built in."""
    modules = [name for name in MODULES if guest.sh(f"test -e /lib/{name}.ko")[0] == 0]
    for _ in range(3):
        guest.sh("pkill -f socat.bin; sleep 1")
        for name in modules:
            # Sockets that are being closed hold it for some seconds.
            code, out = guest.sh(f"n=0; until rmmod {name}; do sleep 1; n=$((n + 1)); [ $n -lt 30 ] || exit 1; done")
            if code != 0:
                raise guests.GuestError(f"rmmod {name}: {out.strip()}")
        for name in reversed(modules):
            code, out = guest.sh(f"insmod /lib/{name}.ko")
            if code != 0:
                raise guests.GuestError(f"insmod {name}: {out.strip()}")
        host.serve(guest)
        reachable(host, guest)
    return None if modules == MODULES else f"{' '.join(modules)} alone"


def cpus(host, guest, _args):
    """All but the first go and come again while connections are made; one may be busy then, and stay."""
    code, count = guest.sh("ls -d /sys/devices/system/cpu/cpu[1-9]* 2>/dev/null | wc -l")
    if code != 0 or int(count) == 0:
        return "one CPU"
    guest.sh("rm -f /tmp/during; (vsock_load connects 6000 300 >/tmp/during 2>&1; echo done >>/tmp/during) </dev/null >/dev/null 2>&1 &")
    for on in (0, 1, 0, 1):
        guest.sh(f"for c in /sys/devices/system/cpu/cpu[1-9]*/online; do echo {on} >$c 2>/dev/null; done", 120)
    code, out = guest.sh("n=0; until grep -q done /tmp/during; do sleep 0.2; n=$((n + 1)); [ $n -lt 600 ] || exit 1; done; cat /tmp/during", 200)
    if code != 0 or " lost 0 " not in out:
        raise guests.GuestError(f"while CPUs came and went: {out.strip()}")
    reachable(host, guest)
    return None


def daemon(host, guest, _args):
    """Killed with a connection open: the guest is told, and the next daemon serves it."""
    host.held.clear()
    guest.sh(f"rm -f /tmp/ended; (socat VSOCK-CONNECT:2:{HELD_PORT} EXEC:'sleep 1000'; echo ended >/tmp/ended) </dev/null >/dev/null 2>&1 &")
    if not host.held.wait(60):
        raise guests.GuestError("the guest does not connect")
    host.daemon.kill()
    host.daemon.start()
    guests.wait_for("the guest's old connection ends", 30, lambda: guest.sh("test -e /tmp/ended")[0] == 0, 0.2)
    if not socket_ends.until(60, lambda: reachable(host, guest)):
        raise guests.GuestError("the new daemon is not reached")


def shared_regions(process):
    """In how many pieces a daemon has the guest's memory."""
    maps = pathlib.Path(f"/proc/{process.pid}/maps").read_text(encoding="utf-8")
    return sum("memfd:memory-backend-memfd" in line for line in maps.splitlines())


def beside(host, guest, _args):
    """A network card of vhost-user: its daemon has as many pieces of memory as without a VMBus, and frames pass."""
    guest.sh("pkill -f socat.bin; sleep 1; " + "; ".join(
        f"n=0; until rmmod {name} || [ $n -gt 30 ]; do sleep 1; n=$((n + 1)); done" for name in MODULES), 120)
    without = shared_regions(host.switch.process)
    for name in reversed(MODULES):
        guest.sh(f"insmod /lib/{name}.ko")
    host.serve(guest)
    reachable(host, guest)
    before = counters(host.directory)["a"]
    guest.sh("ping -c 3 -W 1 10.9.0.2")
    after = counters(host.directory)["a"]
    if after["ingress_frames"] < before["ingress_frames"] + 3:
        raise guests.GuestError(f"no frame has passed: {after}")
    with_bus = shared_regions(host.switch.process)
    if with_bus != without or without == 0:
        raise guests.GuestError(f"{without} pieces of memory without a VMBus, {with_bus} with it")
    guest.sh("insmod /lib/hv_balloon.ko")  # deaf for half a minute: balloon() comes later
    return f"{with_bus} region" + "s" * (with_bus > 1)


def balloon(_host, guest, _args):
    """A quarter of the memory is taken and given back.  The module stays: it has no way out."""
    bound = "ls -d /sys/bus/vmbus/drivers/hv_balloon/*-*"
    code, out = guest.sh(f"{bound} || {{ insmod /lib/hv_balloon.ko && {bound}; }}")
    if code != 0:
        raise guests.GuestError(f"hv_balloon: {out.strip()}")

    def actual():
        return guest.qmp("query-balloon")["actual"]

    def free():
        return int(guest.sh("sed -n 's/MemFree: *//p' /proc/meminfo")[1].split()[0]) * 1024

    whole, target = free(), MEMORY - 64 * MIB
    # QEMU's device waits for half a minute when the guest has agreed on a version.
    deadline = time.monotonic() + 120
    while actual() > target:
        guest.qmp("balloon", value=target)
        if time.monotonic() > deadline:
            raise guests.GuestError(f"{actual() >> 20} MiB, and not {target >> 20}: {guest.sh('dmesg | tail')[1]}")
        time.sleep(1)
    if free() > whole - 32 * MIB:
        raise guests.GuestError(f"{free() >> 20} MiB of {whole >> 20} are free still")
    guest.qmp("balloon", value=MEMORY)
    guests.wait_for("the memory is the guest's again", 60, lambda: actual() == MEMORY)


def again(host, guest, args):
    """kexec: the same kernel, started by the old one while sockets are in use."""
    for port, name in ((KERNEL_PORT, "kernel"), (ROOT_PORT, "root")):
        code, out = guest.sh(f"socat -u VSOCK-CONNECT:2:{port} CREATE:/tmp/{name}", 120)
        if code != 0:
            raise guests.GuestError(f"the {name} is not fetched: {out.strip()}")
    code, out = guest.sh("vsock_load kexec-load /tmp/kernel /tmp/root \"$(cat /proc/cmdline)\"", 120)
    if code != 0:
        raise guests.GuestError(out.strip())
    before = guest.sh(BOOT)[1]
    guest.sh("rm /tmp/kernel /tmp/root; (vsock_load connects 6000 100000) </dev/null >/dev/null 2>&1 &")
    leave(guest, "sleep 1; vsock_load kexec")
    whole_again(host, guest, args)
    if guest.sh(BOOT)[1] == before:
        raise guests.GuestError("the old kernel runs on")


def reboots(host, guest, args):
    for _ in range(args.cell_reboots):
        leave(guest, "reboot -f")
        whole_again(host, guest, args)


def resets(host, guest, args):
    for _ in range(args.cell_resets):
        time.sleep(random.choice((0.0, random.uniform(0, 1), random.uniform(0, 8))))
        guest.reset()
    whole_again(host, guest, args)


CELLS = [("VMBus", says), ("clock", clock), ("host → guest", host_to_guest), ("guest → host", guest_to_host), ("50 MiB, both ways", bulk),
         ("connects", connects), ("many at once", many), ("modules out and in", reload), ("beside vhost-user", beside),
         ("CPUs out and in", cpus), ("daemon killed", daemon), ("hv-balloon", balloon), ("kexec", again), ("reboots", reboots),
         ("resets", resets)]


@contextlib.contextmanager
def running(build, qemu, shape, files):
    """A guest with all that the cells look at, booted: (host, guest)."""
    kernel = guests.Kernel(shape.kernel)
    with tempfile.TemporaryDirectory(prefix="vmbus-") as directory, contextlib.ExitStack() as stack:
        initramfs = pathlib.Path(directory, "root.cpio")
        initramfs.write_bytes(kernel.initramfs({**files, **extra_files(kernel)}, sockets="hvsock"))
        host = Host(stack, directory, build)
        guest = host.guest(qemu, shape, initramfs, beside=True)
        guest.qmp("set-action", reboot="reset")
        host.serve(guest.boot())
        yield host, guest
