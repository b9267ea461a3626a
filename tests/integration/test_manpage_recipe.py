# SPDX-License-Identifier: MIT
"""vhost-user-net(8) is enough to use the switch with QEMUs started by hand: what its EXAMPLES say is run, and works.

The commands are taken from the page's source, from between its marks, and given to a shell as they stand, but for another
directory in place of /tmp and an emulated processor.  The guest is the tiny one; it has no lab's configuration here, and
shows a root shell on its console, which -nographic puts on QEMU's standard streams.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import harness
from harness import case, wait_for

PAGE = "vhost-user/net/vhost-user-net.8.scd"
BOOT_S = 120


def recipe(place, name):
    """The commands between the marks, as a reader of the page sees them."""
    page = (place.top / PAGE).read_text(encoding="utf-8")
    found = re.findall(rf"^; recipe {name}\n```\n(.*?)^```\n; end of recipe$", page, re.S | re.M)
    assert len(found) == 1, f"{PAGE} has {len(found)} recipes called {name}"
    # Backslashes are doubled in scdoc's source.
    return found[0].replace("\\\\", "\\").replace("/tmp/", f"{place.root}/").replace("accel=kvm:tcg", "accel=tcg")


def prepare(place):
    """vmlinuz and initrd in the directory where the commands run, and the daemon where a shell finds it."""
    if not shutil.which("socat"):
        raise harness.Skip("no socat on this host")
    script = place.run("render", "qemu", place.lab({"version": 1, "vms": {"a": {"sockets": "none"}}}), timeout=600).out
    for word, name in (("kernel", "vmlinuz"), ("initrd", "initrd")):
        shutil.copy(re.search(rf"-{word} (\S+)", script).group(1), place.root / name)
    build = Path(os.environ.get("VHOST_LAB_BUILD", place.top / "build-check"))
    place.env["PATH"] = f"{build / 'vhost-user/net'}:{place.env['PATH']}"


def boot(place, commands):
    """Gives the commands, the last of which is a QEMU, to a shell; the console of what they start."""
    console = harness.Console(place, "sh", "-c", commands, cwd=place.root)
    place.consoles.append(console)
    return console


def log_in(console, address):
    wait_for(f"the shell of {address}", BOOT_S, lambda: "root shell" in console._pump())  # pylint: disable=protected-access
    # No message of the kernel may come between what is looked for.
    console.process.stdin.write(b"dmesg -n 1\n")
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

    done = subprocess.run(["sh", "-c", recipe(place, "port")], env=place.env, cwd=place.root, capture_output=True, text=True,
                          timeout=30, check=True)
    added, listed = map(json.loads, done.stdout.splitlines())
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


if __name__ == "__main__":
    harness.main()
