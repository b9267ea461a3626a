# SPDX-License-Identifier: MIT
"""Real guests for the suites that run by name: any kernel of foreign.py under any QEMU, without the orchestrator.

A guest is that kernel, a static busybox, the modules of virtio-net and of its sockets, virtio's or Hyper-V's, and files of the
suite's own, in an initramfs.  It runs a root shell on its last serial port, which Guest.sh() speaks to.
"""
import contextlib
import dataclasses
import hashlib
import json
import lzma
import os
import pathlib
import re
import shutil
import socket
import stat
import subprocess
import sys
import time

import built
import foreign

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "integration"))
from qmp import QmpError, listens, qmp_ask  # noqa: E402

# In the order in which they can be loaded; what a kernel has built in, or has not, is left out.
MODULES = ["virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci", "failover",
           "net_failover", "virtio_net"]
# A kernel has one kind: who loads first.
SOCKET_MODULES = {"vsock": ["vsock", "vmw_vsock_virtio_transport_common", "vmw_vsock_virtio_transport", "vsock_diag"],
                  "hvsock": ["hv_vmbus", "vsock", "hv_sock"]}
# What shows shared memory: a virtio-pmem device as /dev/pmem0, or as /dev/dax0.0 if it is labelled so.
PMEM_MODULES = ["libnvdimm", "nd_virtio", "nd_btt", "nd_pmem", "device_dax", "dax_pmem", "virtio_pmem"]
LOOPBACK = "vsock_loopback"  # a transport of its own: /lib/vsock_loopback.ko, loaded by who wants it
BOOT_S = 400  # a host that others use too

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /run
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do insmod /lib/$module.ko; done </modules
ip link set lo up
address=$(sed -n 's/.*guest_address=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
if [ -n "$address" ]; then
	ip link set eth0 up
	ip addr add "$address" dev eth0
fi
shell=/dev/$(sed -n 's/.*guest_shell=\\([^ ]*\\).*/\\1/p' /proc/cmdline)
stty -F $shell raw -echo
while :; do setsid sh <$shell >$shell 2>&1; done
"""


class GuestError(Exception):
    """A guest does not do what it must."""


# ---- the initramfs -----------------------------------------------------------------------------------------------------

class Cpio:
    """The format of an initramfs ("newc")."""

    def __init__(self):
        self.parts, self.n = [], 0

    def add(self, name, mode, data=b""):
        self.n += 1
        encoded = name.encode() + b"\0"
        fields = [self.n, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0]
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + encoded
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def file(self, name, data, mode=0o755):
        self.add(name, stat.S_IFREG | mode, data)

    def directory(self, name):
        self.add(name, stat.S_IFDIR | 0o755)

    def bytes(self):
        self.add("TRAILER!!!", 0)
        return b"".join(self.parts)


class Kernel:
    """A kernel of foreign.py: "6.1", "6.12", "sid" (the newest there is), or "6.1-aarch64"."""

    def __init__(self, version):
        self.version = version
        self.arch = version.partition("-")[2] or "x86_64"
        root = foreign.root_of(f"linux-{version}")
        self.busybox = root / "bin/busybox" if self.arch != "x86_64" else pathlib.Path(shutil.which("busybox"))
        lib = root / "usr/lib/modules" if (root / "usr/lib/modules").exists() else root / "lib/modules"
        self.release = next(lib.glob("*/kernel")).parent.name
        self.image = next(path for path in (root / f"boot/vmlinuz-{self.release}", lib / self.release / "vmlinuz") if path.exists())
        self._modules = {re.sub(r"\.ko(\.xz)?$", "", path.name): path
                         for path in (lib / self.release / "kernel").rglob("*.ko*")}

    def module(self, name):
        data = self._modules[name].read_bytes()
        return lzma.decompress(data) if self._modules[name].suffix == ".xz" else data

    def initramfs(self, files, modules=(), sockets="vsock"):
        """Its modules, these as well, and busybox, and `files`: name -> bytes, all executable."""
        there = [name for name in [*MODULES, *SOCKET_MODULES[sockets], *modules] if name in self._modules]
        cpio = Cpio()
        parents = {str(parent) for name in files for parent in pathlib.PurePath(name).parents}
        for directory in sorted({"bin", "lib", "opt"} | parents - {"."}):
            cpio.directory(directory)
        cpio.file("bin/busybox", self.busybox.read_bytes())
        cpio.file("init", INIT.encode())
        cpio.file("modules", "".join(f"{name}\n" for name in there).encode())
        for name in there + [LOOPBACK] * (LOOPBACK in self._modules):
            cpio.file(f"lib/{name}.ko", self.module(name))
        for name, data in files.items():
            cpio.file(name, data)
        return cpio.bytes()


# ---- daemons -----------------------------------------------------------------------------------------------------------

class Daemon:
    """One of ours, from a build with sanitizers; close() fails on what they have found."""

    def __init__(self, directory, name, argv, ready):
        self.directory, self.name, self.argv, self.ready = pathlib.Path(directory), name, argv, ready
        self.start()

    def start(self):
        self._starts = getattr(self, "_starts", 0) + 1
        with open(self.directory / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(self.argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            env=built.environment(self.directory / f"{self.name}.sanitizer"))
        wait_for(f"{self.name} listens: {self.said()}", 20, self._listens)

    def _listens(self):
        if self.process.poll() is not None:
            raise GuestError(f"{self.name} has ended: {self.said()}")
        return all(os.path.exists(path) for path in self.ready)

    def said(self):
        return (self.directory / f"{self.name}.log").read_text(errors="replace")[-2000:]

    def kill(self):
        """As a crash would."""
        self.process.kill()
        self.process.wait()
        for path in self.ready:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise GuestError(f"{self.name} does not end: {self.said()}") from None
        if self.process.returncode != 0:
            raise GuestError(f"{self.name} ended with {self.process.returncode}: {self.said()}")
        found = [path.read_text(errors="replace") for path in self.directory.glob(f"{self.name}.sanitizer*")]
        if found:
            raise GuestError(f"{self.name}: {found[0][:2000]}")


def hvsock(directory, build, cids, **more):
    """The daemon of sockets with one VM for each of {name: cid}: NAME.vu is for QEMU, NAME.vs is P.  Without a CID its sockets are
    Hyper-V's."""
    directory = pathlib.Path(directory)
    config = {"vms": [{"name": name, **({"cid": cid} if cid else {"transport": "hvsock"}),
                       "socket-path": str(directory / f"{name}.vu"), "uds-path": str(directory / f"{name}.vs")}
                      for name, cid in cids.items()],
              "journal": str(directory / "journal"), **more}
    path = directory / "hvsock.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    program = build.program("vhost-user/hvsock/vhost-user-hvsock")
    return Daemon(directory, "hvsock", [program, "--config", str(path), "--control", str(directory / "hvsock.ctl")],
                  [str(directory / "hvsock.ctl"), *(str(directory / f"{name}.vu") for name in cids)])


def switch(directory, build, names, **more):
    """A network with a port for each name, at NAME.net; `more` goes into the object of each."""
    directory = pathlib.Path(directory)
    ports = [{"name": name, "socket-path": str(directory / f"{name}.net"), **more} for name in names]
    # So that packed rings survive a kill, too.
    for port in ports:
        port["state-path"] = str(directory / f"{port['name']}.place")
    path = directory / "net.json"
    path.write_text(json.dumps({"ports": ports}), encoding="utf-8")
    ready = [] if more.get("client") else [port["socket-path"] for port in ports]
    argv = [build.program("vhost-user/net/vhost-user-net"), "--config", str(path), "--control", f"{directory}/net.ctl"]
    return Daemon(directory, "net", argv, [f"{directory}/net.ctl", *ready])


# ---- guests ------------------------------------------------------------------------------------------------------------

def wait_for(what, seconds, condition, interval=0.05):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise GuestError(f"waited {seconds} s in vain: {what}")
        time.sleep(interval)
    return value


def qemu_version(qemu):
    text = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(word) for word in re.search(r"version (\d+)\.(\d+)", text).groups())


def qemu_of(version):
    """This host's QEMU if it is of that version ("7.2"), else one of a newer suite; None: there is none."""
    own = shutil.which("qemu-system-x86_64")
    if own and qemu_version(own) == tuple(map(int, version.split("."))):
        return own
    if f"qemu-{version}" not in foreign.SETS:
        return None
    return foreign.program(f"qemu-{version}", "qemu-system-x86_64")


def mac(name):
    return "52:54:00:" + hashlib.sha256(name.encode()).digest()[:3].hex(":")


@dataclasses.dataclass
class Machine:
    """What an architecture's guests differ in."""

    type: str
    ports: list  # serial ones: the console, if there is one of its own, and the shell


MACHINES = {"x86_64": Machine("q35", ["ttyS0", "ttyS1"]), "aarch64": Machine("virt", ["ttyAMA0"])}


# What makes a guest see a Hyper-V (qemu-patches/README.md).
HYPERV_CPU = "kvm=off,hv-relaxed=on,hv-vpindex=on,hv-synic=on,hv-tsc-invariant=on"


def cpu(qemu, arch="x86_64"):
    """As the orchestrator says it (orchestrator/render/qemu.h).  Under TCG, QEMU 7.2's cmpxchg16b now and then leaves rubbish in EFLAGS,
    and Linux 6.12 dies of it."""
    if arch == "aarch64":
        return "max,pauth-impdef=on"
    return "max,erms=off,fsrm=off" + (",fsrs=off" if qemu_version(qemu) >= (8, 1) else ",cx16=off")


def reconnect(qemu):
    """Every second, as this QEMU says it."""
    return "reconnect-ms=200" if qemu_version(qemu) >= (9, 2) else "reconnect=1"


class Guest:
    """A running QEMU.  `vsock` (or None) and `net` are vhost-user sockets; `options` go behind the device
    vhost-user-vsock-pci, `net_options` behind the card; `reconnecting` if its socket device shall find a daemon that has
    been replaced, which a card does always; `devices` is more of QEMU's command line, `memory` what -m says.  `hvsock` is the daemon's
    socket for a device of Hyper-V's; `machine_type`, `accel` and `cpu_options` are what QEMU calls so."""

    def __init__(self, directory, name, qemu, kernel, initramfs, vsock, net=None, address=None, options="",
                 reconnecting=False, net_options="", queues=1, devices=(), memory="256M", hvsock=None, machine_type=None,
                 accel="tcg", cpu_options="", vcpus=None):
        self.name, self.directory = name, pathlib.Path(directory)
        self._log = self.directory / f"{name}.log"
        self._text = b""
        # A busy host lets an emulated timer look dead; a kernel's tests of itself take seconds of it.
        machine = MACHINES[kernel.arch]
        append = (f"console={machine.ports[0]} guest_shell={machine.ports[-1]} quiet panic=-1 no_timer_check "
                  "cryptomgr.notests initcall_blacklist=init_kprobe_trace"
                  + (f" guest_address={address}" if address else ""))
        # First, as other devices may be on its bus.
        bus = ["-chardev", f"socket,id=hv0,path={hvsock},{reconnect(qemu)}", "-device", "vmbus-bridge",
               "-device", "vmbus-hvsock,id=hvsock0,chardev=hv0"] if hvsock else []
        argv = [qemu, "-name", name, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                "-machine", f"{machine_type or machine.type},memory-backend=mem0", "-accel", accel,
                "-cpu", cpu(qemu, kernel.arch) + (f",{cpu_options or HYPERV_CPU}" if hvsock else cpu_options and f",{cpu_options}"),
                "-m", memory,
                "-object", "memory-backend-memfd,id=mem0,size=256M,share=on",
                "-kernel", str(kernel.image), "-initrd", str(initramfs), "-append", append,
                *(["-chardev", f"file,id=con0,path={self.directory}/{name}.console", "-serial", "chardev:con0"]
                  if len(machine.ports) > 1 else []),
                "-chardev", f"socket,id=sh0,path={self.directory}/{name}.sh,server=on,wait=off", "-serial", "chardev:sh0",
                "-chardev", f"socket,id=qmp0,path={self.directory}/{name}.qmp,server=on,wait=off",
                "-mon", "chardev=qmp0,mode=control", "-smp", str(vcpus or queues), *bus, *devices]
        if vsock:
            argv += ["-chardev", f"socket,id=vs0,path={vsock}" + (f",{reconnect(qemu)}" if reconnecting else ""),
                     "-device", "vhost-user-vsock-pci,id=vsock0,chardev=vs0" + (f",{options}" if options else "")]
        if net:
            argv += ["-chardev", f"socket,id=vu0,path={net},{reconnect(qemu)}",
                     "-netdev", f"vhost-user,id=net0,chardev=vu0,queues={queues}",
                     # vhost-user-net(8): without KVM, QEMU before 10 dies of a card's MSI-X.
                     "-device", f"virtio-net-pci,netdev=net0,mac={mac(name)},romfile="
                     + (f",mq=on,vectors={2 * queues + 2}" if qemu_version(qemu) >= (10, 0) else ",mq=on,vectors=0")
                     + (f",{net_options}" if net_options else "")]
        if reconnecting:
            argv.append("--preconfig")
        with open(self._log, "wb") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        # From the beginning: nothing that it says is lost.
        self._shell = wait_for(f"{name}'s serial port", 30, lambda: self._connect("sh"))
        self._shell.settimeout(0.2)
        if reconnecting:
            # Such a chardev connects later than the device wants it to be.
            wait_for(f"{name}'s QEMU is at QMP", 30, lambda: listens(self.directory / f"{name}.qmp"))
            self.wait_connected()
            self.qmp("x-exit-preconfig")

    def wait_connected(self):
        """Until the device's chardev is."""
        wait_for(f"{self.name}'s chardev is connected", 20, lambda: any(
            c["label"] == "vs0" and not c["filename"].startswith("disconnected") for c in self.qmp("query-chardev")))

    def said(self):
        """What QEMU has said, and the end of the guest's console."""
        console = self.directory / f"{self.name}.console"
        return (self._log.read_text(errors="replace")
                + (console.read_text(errors="replace")[-4000:] if console.exists() else ""))

    def _connect(self, suffix):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(str(self.directory / f"{self.name}.{suffix}"))
        except OSError:
            s.close()
            if self.process.poll() is not None:
                raise GuestError(f"{self.name}: QEMU has ended: {self.said()}") from None
            return None
        return s

    def boot(self):
        """Wait for its shell.  What is sent before it asks may be lost in parts, and leave it in the middle of a line; QEMU's
        PL011 is deaf for good then."""
        try:
            wait_for(f"{self.name}'s prompt", BOOT_S, self._prompts)
        except GuestError as error:
            raise GuestError(f"{self.name} did not boot: {error}; {self.said()}") from error
        return self

    def reset(self):
        """Press its button; boot() waits for it again."""
        self.qmp("set-action", reboot="reset")
        self.qmp("system_reset")
        with contextlib.suppress(TimeoutError):
            while True:
                self._receive()
        self._text = b""

    def _prompts(self):
        with contextlib.suppress(TimeoutError):
            self._text += self._receive()
        return b"/ # " in self._text

    def send(self, command):
        """Start a command without waiting for it; what it says later is mixed into others' output."""
        self._shell.sendall(command.encode() + b"\n")

    def _receive(self):
        try:
            chunk = self._shell.recv(65536)
        except ConnectionError:
            chunk = b""
        if not chunk:
            self.process.wait()
            raise GuestError(f"{self.name}: QEMU has ended: {self.said()}")
        return chunk

    def sh(self, command, seconds=60):
        """Run a command; its exit status and output."""
        mark = os.urandom(4).hex()
        self._text = b""
        self.send(f"echo {mark[:4]}''{mark[4:]}; {{ {command}\n}}; echo {mark[4:]}''{mark[:4]} $?")
        pattern = re.compile(f"{mark}\r?\n(.*){mark[4:]}{mark[:4]} (\\d+)\r?\n".encode(), re.S)
        deadline = time.monotonic() + seconds
        while not (found := pattern.search(self._text)):
            if time.monotonic() > deadline:
                raise GuestError(f"{self.name}: no end of {command!r} in {seconds} s, so far: {self._text[-300:]!r}")
            with contextlib.suppress(TimeoutError):
                self._text += self._receive()
        return int(found.group(2)), found.group(1).decode(errors="replace").replace("\r", "")

    def qmp(self, command, **arguments):
        try:
            return qmp_ask(self.directory / f"{self.name}.qmp", command, **arguments)
        except (OSError, ValueError, QmpError) as error:
            raise GuestError(f"{self.name}: {error}") from error

    def close(self):
        self._shell.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
