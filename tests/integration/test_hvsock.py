# SPDX-License-Identifier: MIT
"""The socket daemon alone, with a QEMU started by hand as vhost-user-hvsock(8) tells it: no supervisor, no agent.

The guest is the tiny one with this host's socat laid over it: a program nobody here wrote, on both ends.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import harness
import initramfs
from harness import case, wait_for
from qmp import qmp_ask

STREAM = 8 << 20  # bytes of a stream that is hashed: seconds under TCG
CID = 3
BOOT_S = 120

# In place of the tiny guest's own: modules, then a shell on the second serial port.
INIT = """#!/bin/busybox sh
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
for module in $(cat /lib/modules/order; sed -n 's/^vsock: //p' /lib/modules/demand); do insmod "/lib/modules/$module"; done
stty -F /dev/ttyS1 raw -echo
while :; do setsid sh </dev/ttyS1 >/dev/ttyS1 2>&1; done
"""


# ---- the guest ---------------------------------------------------------------------------------------------------------

def boot_files(place):
    """The tiny guest's kernel, and its initramfs with ours behind it: later files replace earlier ones."""
    kernel, initrd = initramfs.tiny(place)
    tiny = initrd.read_bytes()
    if b"vmw_vsock_virtio_transport.ko" not in tiny:
        raise harness.Skip("the tiny guest has no vsock modules")
    if not shutil.which("socat"):
        raise harness.Skip("no socat on this host")
    overlay = initramfs.cpio([("hvsock-init", stat.S_IFREG | 0o755, INIT.encode()), *initramfs.program(shutil.which("socat"))])
    shutil.copy(kernel, place.root / "vmlinuz")
    (place.root / "initrd").write_bytes(initramfs.over(tiny, overlay))


def daemon_program(place):
    return Path(os.environ.get("VHOST_LAB_BUILD", place.top / "build-check")) / "vhost-user/hvsock/vhost-user-hvsock"


class Daemon:
    def __init__(self, place, *args):
        self.argv = [daemon_program(place), *map(str, args)]
        self.place = place
        self.start()

    def start(self):
        with open(self.place.root / "hvsock.log", "ab") as log:
            self.process = subprocess.Popen(self.argv, env=self.place.env, stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log)
        wait_for("the daemon's control socket", 20, self._answers)

    def _answers(self):
        assert self.process.poll() is None, (self.place.root / "hvsock.log").read_text()
        try:
            return self.call("hello")
        except OSError:
            return None

    def call(self, method, **params):
        with socket.socket(socket.AF_UNIX) as s, s.makefile("rw") as stream:
            s.connect(str(self.place.root / "hvsock.ctl"))
            stream.write(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n")
            stream.flush()
            answer = json.loads(stream.readline())
        assert "result" in answer, answer
        return answer["result"]

    def state(self):
        return self.call("vm.list")["vms"][0]["state"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        """Ends it in good order."""
        self.process.terminate()
        assert self.process.wait(20) == 0, self.process.returncode
        left = [path.name for path in self.place.root.iterdir() if stat.S_ISSOCK(path.lstat().st_mode)
                and path.name in ("a.vu", "a.vu.vs", "a.vu.vs.seq", "hvsock.ctl")]
        assert not left, left


class Guest:
    """A QEMU, and the shell on its guest's second serial port."""

    def __init__(self, place, argv):
        self.place = place
        self.log = place.root / "qemu.log"
        self.process = subprocess.Popen(argv, env=place.env, cwd=place.root, stdin=subprocess.DEVNULL,
                                        stdout=open(self.log, "wb"), stderr=subprocess.STDOUT)
        self.shell = wait_for(f"the serial port: {self.said()}", 30, self._connect)
        self.text = ""

    def said(self):
        return self.log.read_text(errors="replace")[-2000:]

    def _connect(self):
        assert self.process.poll() is None, self.said()
        shell = socket.socket(socket.AF_UNIX)
        try:
            shell.connect(str(self.place.root / "sh"))
        except OSError:
            shell.close()
            return None
        shell.settimeout(0.2)
        return shell

    def send(self, command):
        """Starts something whose output nobody waits for."""
        self.shell.sendall(command.encode() + b"\n")

    def sh(self, command, seconds=60):
        """Runs a command; its exit status and output."""
        mark = os.urandom(4).hex()
        self.text = ""
        self.send(f"echo {mark[:4]}''{mark[4:]}; {{ {command}\n}}; echo {mark[4:]}''{mark[:4]} $?")
        pattern = re.compile(f"{mark}\n(.*){mark[4:]}{mark[:4]} (\\d+)\n", re.S)
        end = time.monotonic() + seconds
        while not (found := pattern.search(self.text)):
            assert time.monotonic() < end, f"no end of {command!r}: {self.text[-300:]!r}; {self.said()}"
            with contextlib.suppress(TimeoutError):
                chunk = self.shell.recv(65536)
                assert chunk, self.said()
                self.text += chunk.decode(errors="replace").replace("\r", "")
        return int(found.group(2)), found.group(1)

    def boot(self):
        end = time.monotonic() + BOOT_S
        while True:
            try:
                return self.sh("true", 3)
            except (AssertionError, ConnectionError):
                if time.monotonic() > end or self.process.poll() is not None:
                    raise

    def qmp(self, command, **arguments):
        return qmp_ask(self.place.root / "qmp", command, **arguments)

    def close(self):
        self.shell.close()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def recipe(place):
    """The commands of the page's EXAMPLES, as words: the daemon's, QEMU's."""
    page = (place.top / "vhost-user/hvsock/vhost-user-hvsock.8.scd").read_text(encoding="utf-8")
    block = re.search(r"^# EXAMPLES\n.*?```\n(.*?)```", page, re.S | re.M).group(1)
    text = block.replace("\\\\\n", " ").replace("/tmp/", f"{place.root}/")
    daemon, qemu = (line.split() for line in text.split("&\n"))
    return daemon, qemu


def qemu_version():
    text = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    return tuple(int(word) for word in re.search(r"version (\d+)\.(\d+)", text).groups())


def qemu_words(words, place, reconnecting):
    """What the page says to change, and what this suite needs: a shell, QMP, an init, no KVM."""
    changed = ["--preconfig"] if reconnecting else []
    changed[:0] = words[:1]
    for word in words[1:]:
        word = word.replace("accel=kvm:tcg", "accel=tcg").replace("console=ttyS0", "console=ttyS0 quiet")
        if word.startswith("vhost-user-vsock-pci") and qemu_version() < (10, 0):
            word += ",vectors=0"
        if word.startswith("socket,id=vs0") and reconnecting:
            word += ",reconnect-ms=1000" if qemu_version() >= (9, 2) else ",reconnect=1"
        changed.append(word)
    changed[changed.index("-append") + 1] += " rdinit=/hvsock-init"
    return [*changed, "-cpu", "max", "-no-reboot", "-serial", "mon:stdio", "-serial",
            f"unix:{place.root}/sh,server=on,wait=off", "-qmp", f"unix:{place.root}/qmp,server=on,wait=off"]


def chardev_connected(guest):
    return any(c["label"] == "vs0" and "disconnected" not in c["filename"] for c in guest.qmp("query-chardev"))


@contextlib.contextmanager
def machine(place, reconnecting=False, config=None):
    """Daemon and guest by the page's recipe, or by what it says of those that outlive the daemon."""
    boot_files(place)
    daemon_words, qemu = recipe(place)
    if config:
        (place.root / "hvsock.json").write_text(json.dumps(config))
        daemon_words += ["--config", place.root / "hvsock.json"]
    daemon = Daemon(place, *daemon_words[1:])
    guest = None
    try:
        guest = Guest(place, qemu_words(qemu, place, reconnecting))
        if reconnecting:
            wait_for("QEMU to connect", 20, lambda: chardev_connected(guest))
            guest.qmp("x-exit-preconfig")
        guest.boot()
        wait_for("the guest's driver", 20, lambda: daemon.state() == "running")
        yield daemon, guest
    finally:
        if guest:
            guest.close()
        if daemon.process.poll() is None:
            daemon.close()


# ---- the host's ends ---------------------------------------------------------------------------------------------------

def p_path(place):
    return str(place.root / "a.vu.vs")


def connect(place, port, data=b"", suffix="", kind=socket.SOCK_STREAM):
    """A host's client: the line and, with it, its first data.  Connected: the socket; refused: None."""
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(30)
    s.connect(p_path(place) + suffix)
    if kind == socket.SOCK_STREAM:
        s.sendall(f"CONNECT {port}\n".encode() + data)
    else:
        s.send(f"CONNECT {port}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        try:
            chunk = s.recv(1 if kind == socket.SOCK_STREAM else 64)
        except ConnectionResetError:
            chunk = b""
        if not chunk:
            s.close()
            return None
        answer += chunk
    assert re.fullmatch(rb"OK \d+\n", answer), answer
    return s


def connect_when_listening(place, port, **kwargs):
    return wait_for(f"port {port} of the guest", 30, lambda: connect(place, port, **kwargs), 0.2)


def listen(place, port, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(f"{p_path(place)}_{port}")
    s.listen(16)
    s.settimeout(30)
    return s


def receive_all(s):
    digest, size = hashlib.sha256(), 0
    while chunk := s.recv(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def guest_hash(guest, path):
    status, text = guest.sh(f"sha256sum {path}; stat -c %s {path}", 60)
    assert status == 0, text
    digest, _, size = text.split()
    return int(size), digest


def run_daemon(place, *args):
    """To its end; exit status, output, log."""
    done = subprocess.run([daemon_program(place), *map(str, args)], env=place.env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30)
    return done.returncode, done.stdout, done.stderr


# ---- cases -------------------------------------------------------------------------------------------------------------

@case("the program: capabilities, mistakes of the operator, VMs of the command line, nothing left behind")
def program_itself(place):
    code, out, _ = run_daemon(place, "--print-capabilities")
    assert code == 0 and json.loads(out)["type"] == "vsock", out

    config = place.root / "c.json"
    vm = {"name": "n1", "cid": 3, "socket-path": f"{place.root}/n1.vu", "uds-path": f"{place.root}/n1.vs"}
    to_host = {"vm": "n2", "direction": "to-host", "guest-port": 1, "host": "tcp:1"}
    for text, words in (('{"vms": [', ["c.json:1:10: error"]),
                        (json.dumps({"vms": [{**vm, "cid": 2}]}), ["/vms/0/cid: outside 3..4294967294"]),
                        (json.dumps({"vms": [vm, {**vm, "name": "n2", "socket-path": f"{place.root}/n2.vu"}]}),
                         ["there is a VM of that name or CID"]),
                        (json.dumps({"vms": [{**vm, "uds-path": f"{place.root}/no/n1.vs"}]}), ["No such file"]),
                        (json.dumps({"vms": [vm], "forwards": [to_host]}), ["no VM of that name"]),
                        (json.dumps({"vms": [vm], "journal": f"{place.root}/no/journal"}), ["no/journal"])):
        config.write_text(text)
        code, _, err = run_daemon(place, "--config", config)
        assert code == 1 and len(err.splitlines()) == 1, (text, code, err)
        assert any(word in err for word in words), err
        assert [p.name for p in place.root.iterdir() if stat.S_ISSOCK(p.lstat().st_mode)] == [], text
    assert run_daemon(place)[0] == 2

    daemon = Daemon(place, "--socket-path", place.root / "a.vu", "--socket-path", place.root / "b.vu", "--control",
                    place.root / "hvsock.ctl")
    listed = [(v["name"], v["cid"], v["uds-path"]) for v in daemon.call("vm.list")["vms"]]
    assert listed == [("port0", 3, f"{place.root}/a.vu.vs"), ("port1", 4, f"{place.root}/b.vu.vs")], listed
    assert connect(place, 22) is None  # no guest
    daemon.kill()
    daemon.start()  # over what was left
    daemon.close()


@case("the page's recipe: socat in the guest and the host talk, both ways, STREAM, SEQPACKET and forwards")
def recipe_works(place):
    with machine(place) as (daemon, guest):
        # Host to guest, eight mebibytes that begin behind the CONNECT line.
        payload = os.urandom(STREAM)
        guest.send("socat -u VSOCK-LISTEN:1234 CREATE:/tmp/in </dev/null 2>/dev/null &")
        s = connect_when_listening(place, 1234)
        s.sendall(payload)
        s.shutdown(socket.SHUT_WR)
        assert s.recv(1) == b""
        s.close()
        assert guest_hash(guest, "/tmp/in") == (STREAM, hashlib.sha256(payload).hexdigest())

        # Guest to host.
        listener = listen(place, 4321)
        guest.sh(f"head -c {STREAM} /dev/urandom >/tmp/out")
        guest.send("socat -u OPEN:/tmp/out VSOCK-CONNECT:2:4321 2>/dev/null &")
        s, _ = listener.accept()
        assert receive_all(s) == guest_hash(guest, "/tmp/out")
        s.close()

        # An echo: half-close passes in both directions.
        guest.send("socat VSOCK-LISTEN:7,fork EXEC:cat </dev/null 2>/dev/null &")
        s = connect_when_listening(place, 7, data=b"early ")
        s.sendall(b"late")
        s.shutdown(socket.SHUT_WR)
        assert b"".join(iter(lambda: s.recv(64), b"")) == b"early late"
        s.close()
        assert connect(place, "00000007-facb-11e6-bd58-64006a7986d3x") is None

        # Nobody listens: a refusal on both sides, at once.
        assert connect(place, 9999) is None
        begin = time.monotonic()
        status, text = guest.sh("socat - VSOCK-CONNECT:2:9999 </dev/null 2>&1")
        assert status == 1 and "reset" in text.lower() and time.monotonic() - begin < 5, text

        # Messages keep their bounds.
        listener = listen(place, 55, socket.SOCK_SEQPACKET)
        guest.send("(printf one; sleep 1; printf three) | socat -u - VSOCK-CONNECT:2:55,type=5 2>/dev/null &")
        s, _ = listener.accept()
        s.settimeout(30)
        assert [s.recv(64), s.recv(64), s.recv(64)] == [b"one", b"three", b""]
        s.close()
        guest.send("socat VSOCK-LISTEN:56,type=5 EXEC:cat </dev/null 2>/dev/null &")
        s = connect_when_listening(place, 56, suffix=".seq", kind=socket.SOCK_SEQPACKET)
        s.send(b"message")
        assert s.recv(64) == b"message"
        s.close()

        # Forwards, while it runs.
        forward = daemon.call("forward.add", vm="port0", direction="to-guest", **{"guest-port": 7}, host="tcp:0")
        address = forward["host"].split(":")
        with socket.create_connection((address[1], int(address[2])), 30) as s:
            s.sendall(b"over tcp")
            assert s.recv(64) == b"over tcp"
            daemon.call("forward.remove", id=forward["id"])
            s.sendall(b"stands")
            assert s.recv(64) == b"stands"
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((address[1], int(address[2])), 5).close()
            raise AssertionError("a forward that was removed still listens")
        with socket.socket(socket.AF_UNIX) as app:
            app.bind(str(place.root / "app"))
            app.listen(1)
            app.settimeout(30)
            daemon.call("forward.add", vm="port0", direction="to-host", **{"guest-port": 50001},
                        host=f"unix:{place.root}/app")
            guest.send("echo hello | socat - VSOCK-CONNECT:2:50001 2>/dev/null &")
            s, _ = app.accept()
            s.settimeout(30)
            assert s.recv(64) == b"hello\n"
            s.close()
        listed = daemon.call("forward.list")["forwards"]
        assert [(f["service"], f["connected"]) for f in listed] == [("PLAN9", 1)], listed
        wait_for("connections to end", 20, lambda: daemon.call("vm.list")["vms"][0]["connections"] == 0)


@case("10,000 connects, rubbish and clients that say nothing or die: a stream beside them goes on")
def rude_clients(place):
    with machine(place) as (daemon, guest):
        guest.send("socat VSOCK-LISTEN:7,fork EXEC:cat </dev/null 2>/dev/null &")
        steady = connect_when_listening(place, 7)
        idle = [socket.socket(socket.AF_UNIX) for _ in range(64)]
        for s in idle:
            s.connect(p_path(place))
        for number in range(10_000):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(p_path(place))
                if number % 4 == 1:
                    s.send(os.urandom(200))
                elif number % 4 == 2:
                    s.send(b"CONNECT 9")
                elif number % 100 == 3:
                    s.send(b"CONNECT 9999\n")
            if number % 1000 == 0:
                steady.sendall(b"still here")
                assert steady.recv(64) == b"still here"
        stats = wait_for("all clients to be counted", 20, lambda: (
            (c := daemon.call("stats")["vms"][0]["clients"])["clients"] >= 10_065 and c))
        assert stats["lines_bad"] >= 2400, stats
        for s in idle:
            s.close()
        fds = Path(f"/proc/{daemon.process.pid}/fd")
        wait_for("descriptors to be closed", 20, lambda: len(list(fds.iterdir())) < 40)
        assert connect(place, 9999) is None
        steady.sendall(b"at last")
        assert steady.recv(64) == b"at last"
        steady.close()


@case("kill -9 of the daemon: the guest's sockets end, its successor serves the same guest")
def daemon_killed(place):
    with machine(place, reconnecting=True, config={"journal": f"{place.root}/journal"}) as (daemon, guest):
        guest.send("(socat -u VSOCK-LISTEN:1234 CREATE:/tmp/in </dev/null 2>/dev/null; echo ended >/tmp/ended) &")
        s = connect_when_listening(place, 1234)
        s.sendall(b"before")
        wait_for("the bytes to be in the guest", 20, lambda: guest.sh("cat /tmp/in")[1] == "before")
        daemon.kill()
        guest.qmp("stop")
        assert s.recv(1) == b""
        s.close()
        daemon.start()
        wait_for("QEMU to connect again", 20, lambda: chardev_connected(guest))
        guest.qmp("cont")
        wait_for("the guest's driver", 20, lambda: daemon.state() == "running")
        wait_for("the guest's socket to end", 20, lambda: guest.sh("cat /tmp/ended 2>/dev/null")[1] == "ended\n")

        guest.send("socat VSOCK-LISTEN:7,fork EXEC:cat </dev/null 2>/dev/null &")
        s = connect_when_listening(place, 7)
        s.sendall(b"after")
        assert s.recv(64) == b"after"
        s.close()
        listener = listen(place, 4321)
        guest.send("echo out | socat -u - VSOCK-CONNECT:2:4321 2>/dev/null &")
        s, _ = listener.accept()
        s.settimeout(30)
        assert s.recv(64) == b"out\n"
        s.close()


if __name__ == "__main__":
    harness.main()
