# SPDX-License-Identifier: MIT
"""Labs of Hyper-V's sockets on the patched QEMU, with the tiny guest's stock kernel.

Nothing is built here: where the cache has no QEMU of exactly this tree's series, the cases are skipped.  tests/matrix-vmbus has the
kernels, machines and numbers of CPUs, and everything that takes longer."""
import contextlib
import hashlib
import os
import re
import signal
import socket
import struct
import threading

import harness
from harness import case, wait_for

SERIES = "10.0"  # what "patched" means (orchestrator/host/caps.h)
BLOCK = 64 << 10  # of vsock_load
BULK = 4 << 20
HOST_PORT, SINK_PORT, SOURCE_PORT = 6000, 6002, 6003
BOOT_ID = "/proc/sys/kernel/random/boot_id"


def patched(place):
    """Puts the QEMU where qemu-patches/build would have put it, into a cache of the case's own."""
    qemu = harness.patched_qemu(place.top)
    if not qemu:
        raise harness.Skip("the cache has no QEMU of these patches: run qemu-patches/build once, some minutes, and this again")
    images = os.path.join(place.env["XDG_CACHE_HOME"], "vhost-lab/images")
    os.makedirs(images, exist_ok=True)
    cache = place.root / "cache/vhost-lab"
    (cache / "qemu" / SERIES / "bin").mkdir(parents=True)
    (cache / "qemu" / SERIES / "bin" / qemu.name).symlink_to(qemu)
    (cache / "images").symlink_to(images)
    place.env["XDG_CACHE_HOME"] = str(cache.parent)


def guest(place, lab, vm, *words, code=0, timeout=60):
    return place.run("exec", "-l", lab, vm, "--", *words, code=code, timeout=timeout).out


def answers(place, lab, vm):
    """Its boot's name, by the agent; "" while that cannot be reached."""
    done = place.run("exec", "-l", lab, vm, "--", "cat", BOOT_ID, code=None)
    return done.out.strip() if done.code == 0 else ""


def copied(place, lab, vm, size):
    """A file goes there and comes back, and has the same hash in the guest."""
    data = os.urandom(size)
    (place.root / "there").write_bytes(data)
    place.run("cp", "-l", lab, place.root / "there", f"{vm}:/tmp/file")
    assert guest(place, lab, vm, "sha256sum", "/tmp/file").split()[0] == hashlib.sha256(data).hexdigest()
    place.run("cp", "-l", lab, f"{vm}:/tmp/file", place.root / "back")
    assert (place.root / "back").read_bytes() == data


# ---- the host's listeners ----------------------------------------------------------------------------------------------

def receive(s, size):
    data = b""
    while len(data) < size and (chunk := s.recv(size - len(data))):
        data += chunk
    return data


class Listeners:
    """What vsock_load speaks with: an echo, one who compares and counts, and one who sends what that has got first."""

    def __init__(self, uds):
        self.block, self.open = b"", []
        for port, serve in ((HOST_PORT, self.echo), (SINK_PORT, self.sink), (SOURCE_PORT, self.source)):
            s = socket.socket(socket.AF_UNIX)
            s.bind(f"{uds}_{port}")
            s.listen(64)
            self.open.append(s)
            threading.Thread(target=self.run, args=(s, serve), daemon=True).start()

    @staticmethod
    def run(listener, serve):
        with contextlib.suppress(OSError):
            while True:
                s, _ = listener.accept()
                with s:
                    serve(s)

    @staticmethod
    def echo(s):
        while chunk := s.recv(BLOCK):
            s.sendall(chunk)

    def sink(self, s):
        self.block, good = receive(s, BLOCK), BLOCK
        while (chunk := receive(s, BLOCK)) == self.block:
            good += len(chunk)
        s.sendall(struct.pack("<Q", good + (0 if not chunk else 1)))

    def source(self, s):
        for _ in range(BULK // BLOCK):
            s.sendall(self.block)
        s.shutdown(socket.SHUT_WR)
        s.recv(1)

    def close(self):
        for s in self.open:
            s.shutdown(socket.SHUT_RDWR)
            s.close()


@contextlib.contextmanager
def listeners(place, lab, vm):
    found = Listeners(place.vms(lab)[vm]["sockets"]["uds-path"])
    try:
        yield found
    finally:
        found.close()


def both_ways(place, lab, vm, connects):
    """The guest connects to the host, and sends and receives; the host connects to the guest with every exec and cp."""
    place.run("cp", "-l", lab, place.vsock_load, f"{vm}:/tmp/load")
    out = guest(place, lab, vm, "/tmp/load", "connects", str(HOST_PORT), str(connects), timeout=120)
    assert f"connects {connects} lost 0 " in out, out
    guest(place, lab, vm, "/tmp/load", "send", str(SINK_PORT), str(BULK), timeout=120)
    guest(place, lab, vm, "/tmp/load", "receive", str(SOURCE_PORT), str(BULK), timeout=120)


# ---- cases -------------------------------------------------------------------------------------------------------------

@case("examples/wsl-hvsock: a stock kernel sees a Hyper-V without KVM, exec and cp go through its sockets, its own tests pass")
def example(place):
    patched(place)
    lab = place.example("wsl-hvsock")
    place.run("up", lab)
    command = place.processes()[place.qemu("wsl")]
    assert str(place.env["XDG_CACHE_HOME"]) in command and "vmbus-hvsock" in command and "accel=tcg" in command, command
    assert "vmbus" not in place.processes()[place.qemu("plain")]
    place.run("test", lab, timeout=120)
    said = guest(place, lab, "wsl", "dmesg")
    assert "Hypervisor detected: Microsoft Hyper-V" in said, said
    assert re.search(r"Vmbus version:5\.\d", said), said
    assert "virtio_transport" not in guest(place, lab, "wsl", "cat", "/proc/modules")
    words = "".join(f"{n} of many words\n" for n in range(20_000))
    done = place.run("exec", "-l", lab, "wsl", "--", "sh", "-c", "cat; echo end >&2; exit 7", stdin=words, code=7)
    assert done.out == words and done.err.endswith("end\n"), (len(done.out), done.err)
    copied(place, lab, "wsl", 1 << 20)
    row = next(row for row in place.run("doctor", "--json", code=None).json()["rows"] if row["id"] == "hvsock")
    assert row["status"] == "ok", row


@case("connects and data both ways; the daemon's and the supervisor's kill -9, a reset and the modules' reload are survived")
def rough(place):
    patched(place)
    lab = place.lab({"version": 1, "name": "rough", "defaults": {"accel": "tcg", "sockets": "hvsock"},
                     "vms": {"a": {"vcpus": 2, "nics": []}}})
    place.run("up", lab)
    qemu, first = place.qemu("a"), answers(place, lab, "a")
    with listeners(place, lab, "a"):
        both_ways(place, lab, "a", 200)

        os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
        wait_for("exec by the next daemon", 30, lambda: answers(place, lab, "a") == first, 0.2)
        both_ways(place, lab, "a", 50)

        console = place.console("a", lab)
        console.process.stdin.write(b"echo b >/proc/sysrq-trigger\n")
        wait_for("exec after a reset", 90, lambda: answers(place, lab, "a") not in ("", first), 0.3)
        second = answers(place, lab, "a")
        both_ways(place, lab, "a", 50)

        # The agent's own connection is in use until nobody is there to take it.
        for name in (r"orchestrator supervise", "vhost-user-hvsock"):
            os.kill(place.pid_of(name), signal.SIGKILL)
        code, out = console.sh("n=0; while grep -q ^hv_ /proc/modules && [ $n -lt 200 ]; do "
                               "rmmod hv_sock; rmmod hv_vmbus; sleep 0.2; n=$((n + 1)); done 2>/dev/null; "
                               "grep -c ^hv_ /proc/modules; insmod /lib/modules/hv_vmbus.ko && insmod /lib/modules/hv_sock.ko", 90)
        assert code == 0 and out.split()[0] == "0", out
        place.run("up", lab)
        wait_for("exec after the reload", 60, lambda: answers(place, lab, "a") == second, 0.2)
        both_ways(place, lab, "a", 50)
    assert place.qemu("a") == qemu


if __name__ == "__main__":
    harness.main()
