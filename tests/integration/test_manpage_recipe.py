# SPDX-License-Identifier: MIT
"""The daemons' pages are enough to use them with QEMUs started by hand: what their EXAMPLES say is run, and works.

The commands are taken from the page's source, from between its marks, and given to a shell as they stand, but for another
directory in place of /tmp and an emulated processor.  The guest is the tiny one; it has no lab's configuration here, and
shows a root shell on its console, which -nographic puts on QEMU's standard streams.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import harness
import initramfs
from harness import case, wait_for

BOOT_S = 120


def recipe(place, name, daemon="net"):
    """The commands between the marks, as a reader of the page sees them."""
    path = f"vhost-user/{daemon}/vhost-user-{daemon}.8.scd"
    page = (place.top / path).read_text(encoding="utf-8")
    found = re.findall(rf"^; recipe {name}\n```\n(.*?)^```\n; end of recipe$", page, re.S | re.M)
    assert len(found) == 1, f"{path} has {len(found)} recipes called {name}"
    # Backslashes are doubled in scdoc's source.
    return found[0].replace("\\\\", "\\").replace("/tmp/", f"{place.root}/").replace("accel=kvm:tcg", "accel=tcg")


def prepare(place, *programs):
    """vmlinuz and initrd, with these programs of the host in it, in the directory where the commands run; and ours where a shell
    finds them."""
    if not shutil.which("socat"):
        raise harness.Skip("no socat on this host")
    kernel, initrd = initramfs.tiny(place)
    shutil.copy(kernel, place.root / "vmlinuz")
    overlays = [initramfs.cpio(list(initramfs.program(shutil.which(program)))) for program in programs]
    (place.root / "initrd").write_bytes(initramfs.over(initrd.read_bytes(), *overlays))
    build = Path(os.environ.get("VHOST_LAB_BUILD", place.top / "build-check"))
    bin_dir = place.root / "bin"
    bin_dir.mkdir()
    for program, path in (("vhost-user-net", "net/vhost-user-net"), ("vhost-user-hvsock", "hvsock/vhost-user-hvsock"),
                          ("vhost-user-portal", "portal/vhost-user-portal"), ("portal", "portal/client/portal-static")):
        (bin_dir / program).symlink_to(build / "vhost-user" / path)
    place.env["PATH"] = f"{bin_dir}:{place.env['PATH']}"


def shell(place, commands):
    return subprocess.run(["sh", "-c", commands], env=place.env, cwd=place.root, stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=30, check=True).stdout


def boot(place, commands):
    """Gives the commands, the last of which is a QEMU, to a shell; the console of what they start."""
    console = harness.Console(place, "sh", "-c", commands, cwd=place.root)
    place.consoles.append(console)
    return console


def prompt(console):
    wait_for("the guest's shell", BOOT_S, lambda: "root shell" in console._pump())  # pylint: disable=protected-access
    # No message of the kernel may come between what is looked for.
    console.process.stdin.write(b"dmesg -n 1\n")


def log_in(console, address):
    prompt(console)
    status, text = console.sh(f"ip addr add {address}/24 dev eth0 && ip link set eth0 up")
    assert status == 0, text


def reaches(console, address):
    return console.sh(f"ping -c 1 -W 2 {address} >/dev/null")[0] == 0


def power_off(console):
    """The guest ends its QEMU, and that the shell."""
    console.process.stdin.write(b"poweroff -f\n")
    console.process.communicate(timeout=30)


def switch(place):
    return place.pid_of(r"^vhost-user-net ")


@case("the page's two machines reach each other, a third port is made, and a switch that was killed is replaced")
def by_hand(place):
    prepare(place)
    network = recipe(place, "network")
    daemon, mark, qemu = network.partition("&\n")
    assert daemon.startswith("vhost-user-net ") and mark and qemu.strip().startswith("qemu-system-"), network
    one = boot(place, network)
    # "and the QEMU again for the other, with /tmp/b.vu and a MAC address of its own"
    other = qemu.replace("/a.vu", "/b.vu").replace("52:54:00:00:00:0a", "52:54:00:00:00:0b")
    assert other.count("/b.vu") == 1 and other.count(":0b") == 1, other
    two = boot(place, other)
    log_in(one, "10.0.0.1")
    log_in(two, "10.0.0.2")
    wait_for("the first machine to reach the second", 20, lambda: reaches(one, "10.0.0.2"))
    assert reaches(two, "10.0.0.1")

    added, listed = map(json.loads, shell(place, recipe(place, "port")).splitlines())
    assert added["id"] == 1 and "result" in added, added
    states = {port["name"]: port["state"] for port in listed["result"]["ports"]}
    assert states == {"port0": "running", "port1": "running", "c": "listening"}, states

    os.kill(switch(place), signal.SIGKILL)
    wait_for("the switch to be gone", 5, lambda: not reaches(one, "10.0.0.2"))
    subprocess.run(["sh", "-c", f"{daemon} </dev/null >>switch.log 2>&1 &"], env=place.env, cwd=place.root, check=True)
    wait_for("the machines to reach each other again", 30, lambda: reaches(one, "10.0.0.2"))

    for console in (one, two):
        power_off(console)
    os.kill(switch(place), signal.SIGTERM)
    wait_for("the switch to end", 10, lambda: not place.processes())
    left = [name for name in ("a.vu", "b.vu", "net.ctl") if (place.root / name).exists()]
    assert not left, left


def end(place, daemon):
    os.kill(place.pid_of(rf"^{daemon} "), signal.SIGTERM)
    wait_for(f"{daemon} to end", 10, lambda: not place.processes())


@case("the sockets' page: a machine is talked to, talks to the host, and has a port forwarded to it")
def sockets_by_hand(place):
    prepare(place, "socat")
    console = boot(place, recipe(place, "machine", "hvsock"))
    prompt(console)

    console.process.stdin.write(b"socat - VSOCK-LISTEN:1234 >/tmp/in &\n")

    def heard():
        """Until somebody listens there a connection is refused."""
        subprocess.run(["sh", "-c", recipe(place, "to guest", "hvsock")], input=b"hello guest\n", env=place.env, cwd=place.root,
                       capture_output=True, timeout=30, check=False)
        return "hello guest" in console.sh("cat /tmp/in")[1]
    wait_for("the guest to have been told", 20, heard)

    listener = subprocess.Popen(["sh", "-c", recipe(place, "to host", "hvsock")], env=place.env, cwd=place.root,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    wait_for("the listener", 10, (place.root / "a.vu.vs_1234").exists)
    assert console.sh("echo hello host | socat -u - VSOCK-CONNECT:2:1234")[0] == 0
    assert listener.communicate(timeout=20)[0] == b"hello host\n"

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    answer = json.loads(shell(place, recipe(place, "forward", "hvsock").replace("tcp:2222", f"tcp:{port}")))
    assert "result" in answer, answer
    console.process.stdin.write(b"socat VSOCK-LISTEN:22,fork EXEC:'echo of the guest' &\n")

    def told():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as s:
            return s.recv(64)
        return None
    wait_for("the guest by a port of the host", 20, lambda: told() == b"of the guest\n")
    # The daemon has its standard streams from the same shell.
    console.process.stdin.write(b"poweroff -f\n")
    console.process.wait(30)
    end(place, "vhost-user-hvsock")


@case("the portal's page: what the host has in an arena a machine sees in its memory")
def portal_by_hand(place):
    prepare(place)
    daemon = subprocess.Popen(["sh", "-c", recipe(place, "arena", "portal") + "wait\n"], env=place.env, cwd=place.root,
                              stdin=subprocess.DEVNULL, stderr=open(place.root / "portal.log", "wb"))
    wait_for("the daemon", 20, (place.root / "shared.sock").exists)
    uuid = re.search(rb"uuid +(\S+)", shell(place, recipe(place, "info", "portal"))).group(1).decode()
    console = boot(place, recipe(place, "machine", "portal"))
    prompt(console)
    # Where nothing loads modules for devices, as a distribution does.
    status, text = console.sh("for m in $(sed -n 's/^portal: //p' /lib/modules/demand); do insmod /lib/modules/$m; done")
    assert status == 0, text
    wait_for("the device", 20, lambda: console.sh("[ -e /dev/dax0.0 ]")[0] == 0)
    status, text = console.sh("portal -p dax:/dev/dax0.0 -l none info")
    assert status == 0 and uuid in text, (uuid, text)
    power_off(console)
    end(place, "vhost-user-portal")
    assert daemon.wait(10) == 0


if __name__ == "__main__":
    harness.main()
