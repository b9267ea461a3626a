# SPDX-License-Identifier: MIT
"""QEMUs that somebody else started are given devices of a lab, and give them back.

They are started by plain scripts, as a reader of orchestrator(1) would.  Where no guest is needed there is none: a machine
that has only its firmware has PCI ports, too, and can be asked for all that counts.
"""

import json
import os
import re
import signal
import socket
import threading

import harness
import initramfs
from harness import case, patched_qemu_at_length, wait_for
from qmp import QmpError, listens, qmp_ask

LAB = {"version": 1, "networks": {"lan": {"uplink": {"type": "nat"}}}, "portals": {"shared": {"size": "16MiB"}, "odd": {"size": "12MiB"}},
       "vms": {"n1": {"nics": [{"network": "lan"}], "portals": ["shared"]}}}
# Of which nothing has to boot.
SMALL = {"version": 1, "networks": {"lan": {}}, "portals": {"shared": {"size": "16MiB"}, "odd": {"size": "12MiB"}, "bar": {"size": "64MiB"}},
         "vms": {"n1": {"nics": [{"network": "lan"}], "sockets": "none"}}}

SHARED = "-machine q35,accel=tcg,memory-backend=mem0 -m 256M -object memory-backend-memfd,id=mem0,size=256M,share=on"
PORTS = " ".join(f"-device pcie-root-port,id=hot{i},chassis={i + 1}{',pref64-reserve=32M' * (i == 0)}" for i in range(4))
BOOT_S = 120


# ---- somebody else's QEMU ----------------------------------------------------------------------------------------------

class Theirs:
    """Its monitor, held only while something is asked."""

    def __init__(self, path):
        self.path = path

    def ask(self, command, **arguments):
        return qmp_ask(self.path, command, **arguments)

    def ours(self):
        """What of the lab is in it."""
        found = [c["label"] for c in self.ask("query-chardev") if c["label"].startswith("vl.")]
        return found + [p["name"] for p in self.ask("qom-list", path="/machine/peripheral") if p["name"].startswith("vl.")]

    def firmware_is_done(self):
        """It numbers the ports' buses first, and says last where their memory is."""
        ports = [d["pci_bridge"]["bus"]["prefetchable_range"] for d in self.ask("query-pci")[0]["devices"] if "pci_bridge" in d]
        return all(memory["base"] < memory["limit"] for memory in ports)


def start(place, name, *words, qemu="qemu-system-x86_64"):
    """A QEMU by a script of its own, its guest's console on our end of its standard streams."""
    script = place.root / f"{name}.sh"
    script.write_text(f"#!/bin/sh\nexec {qemu} -nographic -no-reboot "
                      f"-qmp unix:{place.root}/{name}.qmp,server=on,wait=off {' '.join(words)}\n")
    console = harness.Console(place, "sh", script, cwd=place.root)
    place.consoles.append(console)
    monitor = Theirs(place.root / f"{name}.qmp")
    wait_for(f"{name}'s monitor", 30, lambda: listens(monitor.path))
    return console, monitor


def bare(place, name, words=f"{SHARED} {PORTS}"):
    """One whose firmware finds nothing to boot."""
    console, monitor = start(place, name, "-vga none", words)
    wait_for(f"the firmware of {name}", 60, monitor.firmware_is_done)
    return console, monitor


def boot(place, name, words=SHARED, qemu="qemu-system-x86_64"):
    """One with the tiny guest, which gets nothing else from the lab's makers: a root shell on its console."""
    kernel, initrd = initramfs.tiny(place)
    console, monitor = start(place, name, words, PORTS, f"-kernel {kernel} -initrd {initrd} -append console=ttyS0", qemu=qemu)
    wait_for(f"the shell of {name}", BOOT_S, lambda: "root shell" in console._pump())  # pylint: disable=protected-access
    console.process.stdin.write(b"dmesg -n 1\n")
    return console, monitor


def end(console, monitor):
    """As its owner ends it."""
    try:
        monitor.ask("quit")
    except (OSError, ValueError, QmpError):
        pass
    console.process.wait(20)


# ---- the lab -----------------------------------------------------------------------------------------------------------

def attach(place, lab, name, *words, code=0, qmp=None):
    return place.run("attach", "-l", lab, "--qmp", qmp or place.root / f"{name}.qmp", *words, name, code=code)


def guests(place, lab):
    return place.status(lab)["guests"]


def guest_sh(console, command, seconds=30):
    status, text = console.sh(command, seconds)
    assert status == 0, (command, status, text)
    return text


def give_address(console, address):
    wait_for("the card in the guest", 20, lambda: console.sh("ip link show eth0")[0] == 0)
    guest_sh(console, f"ip addr add {address} dev eth0 && ip link set eth0 up")


def reaches(console, address):
    return console.sh(f"ping -c 1 -W 2 {address} >/dev/null")[0] == 0


def lease(console):
    """The portal's names: the lease comes by its sockets, the memory by its device."""
    status, text = console.sh("portal -t 5s -p shared ls")
    return status == 0 and "greeting" in text


def leases(console, address):
    """What is kept free for it comes by DHCP, and nothing else does."""
    wait_for("the card in the guest", 20, lambda: console.sh("ip link show eth0")[0] == 0)
    said = guest_sh(console, "ip link set eth0 up; udhcpc -i eth0 -n -q -t 20 -T 1 -s /bin/true 2>&1", 60)
    assert f"lease of {address.split('/')[0]} obtained" in said, said


def as_a_vm(place, lab, console, n1):
    """The verbs that look at VMs' links, and reach into VMs, know it."""
    def link(*words):
        return place.run("link", *words, "-l", lab)

    assert re.search(r"^web\.0 +lan +up *$", link("list").out, re.M), link("list").out
    link("set", "web", "loss=100%")
    assert place.run("link", "show", "web:lan", "-l", lab, "--json").json()["guest"] == "web"
    assert guests(place, lab)[0]["nics"][0]["link"]["to-guest"] == {"loss": 1.0}, guests(place, lab)[0]
    assert not reaches(console, n1)
    link("reset", "web")
    wait_for("the guest to reach the lab again", 20, lambda: reaches(console, n1))

    link("down", "web.0")
    wait_for("the guest to see no carrier", 20, lambda: guest_sh(console, "cat /sys/class/net/eth0/carrier").strip() == "0")
    assert not reaches(console, n1)
    link("up", "web")
    wait_for("the guest to reach the lab once more", 20, lambda: reaches(console, n1))

    assert place.run("exec", "-l", lab, "web", "--", "cat", "/sys/class/net/eth0/operstate").out.strip() == "up"
    assert place.run("exec", "-l", lab, "n1", "--", "ping", "-c", "1", "-W", "5", "web", code=None).code == 0, "by its name"
    assert place.run("stats", "-l", lab, "web", "--json").json()[0]["ports"][0]["name"] == "web.0"
    assert "\nHost web\n" in (place.state / "vhost-lab/labs" / place.status(lab)["name"] / "ssh_config").read_text(encoding="utf-8")
    assert "web" in place.run("__complete", "link", "set", "-l", lab, "w").out


@case("a guest of a plain script is given a card, sockets and memory, keeps them through kills, and gives them back under traffic")
def whole(place):
    lab = place.lab(LAB)
    up = place.start("up", lab)
    console, monitor = boot(place, "web")
    out, err = up.communicate(timeout=300)
    assert up.returncode == 0, (out, err)
    place.run("exec", "-l", lab, "n1", "--", "portal", "-p", "shared", "put", "--background", "greeting", "/etc/hosts")
    n1 = place.vms(lab)["n1"]["nics"][0]["ip"].split("/")[0]
    before = place.status(lab)

    everything = ("--network", "lan", "--sockets", "vsock", "--portal", "shared", "--json")
    given = attach(place, lab, "web", *everything).json()
    address = given["nics"][0]["ip"]
    assert given["stage"] == "attached" and given["sockets"]["cid"] > 2, given
    leases(console, address)
    give_address(console, address)
    assert guest_sh(console, "cat /sys/class/net/eth0/address").strip() == given["nics"][0]["mac"]
    wait_for("the guest to reach the lab", 20, lambda: reaches(console, n1))
    wait_for("the guest to have the portal", 30, lambda: lease(console))
    listed, = guests(place, lab)
    assert listed["nics"][0]["state"] == "running" and listed["sockets"]["state"] == "running", listed
    table = place.run("status", lab).out
    assert re.search(rf"^web +attached +lan, sockets, shared +{re.escape(address)} ", table, re.M), table
    as_a_vm(place, lab, console, n1)
    # The plan has nothing to do with it.
    assert place.run("plan", "--json", lab).json()["steps"] == []
    assert place.run("__complete", "detach", "-l", lab, "w").out == "web\n"

    os.kill(place.pid_of("vhost-user-net"), signal.SIGKILL)
    wait_for("the guest to reach the lab by the next switch", 30, lambda: reaches(console, n1))
    os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
    wait_for("its sockets by the next daemon", 40, lambda: lease(console))

    os.kill(place.status(lab)["supervisor"]["pid"], signal.SIGKILL)
    left, = wait_for("the supervisor to be gone", 10, lambda: guests(place, lab))
    assert left["stage"] == "attached" and left["nics"][0]["mac"] == given["nics"][0]["mac"], left
    place.run("up", lab, timeout=120)
    assert guests(place, lab)[0]["nics"][0]["state"] == "running"
    assert reaches(console, n1)

    flood = place.start("exec", "-l", lab, "n1", "--", "ping", "-i", "0.05", "-c", "2000", "-W", "1", address.split("/")[0])
    place.run("detach", "-l", lab, "web")
    assert monitor.ours() == [] and guests(place, lab) == [], monitor.ours()
    wait_for("the card to be gone", 10, lambda: console.sh("ls /sys/class/net/eth0")[0] != 0)
    assert guest_sh(console, "ls /sys/bus/pci/devices | wc -l")
    again = attach(place, lab, "web", "--network", "lan", "--json").json()
    assert [{**nic, "link": None} for nic in again["nics"]] == [{**nic, "link": None} for nic in given["nics"]], again
    give_address(console, address)
    wait_for("the lab to reach the guest again", 20,
             lambda: place.run("exec", "-l", lab, "n1", "--", "ping", "-c", "1", "-W", "2", address.split("/")[0], code=None).code == 0)
    flood.terminate()
    flood.communicate(timeout=20)
    assert place.vms(lab)["n1"]["uptime-ms"] > before["vms"][0]["uptime-ms"], "n1 was left alone"

    place.run("down", lab, "--cleanup")
    assert monitor.ours() == [] and place.files() == [], (monitor.ours(), place.files())
    assert console.sh("echo alive")[1] == "alive\n"
    end(console, monitor)


# ---- what it does without a guest --------------------------------------------------------------------------------------

class Door(threading.Thread):
    """A socket that is no QEMU's monitor: says its words to whoever comes, reads some lines, and hangs up."""

    def __init__(self, path, words, lines):
        super().__init__(daemon=True)
        self.words, self.lines = words, lines
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(4)
        self.start()

    def run(self):
        while True:
            peer, _ = self.socket.accept()
            with peer, peer.makefile("r") as stream:
                peer.sendall(self.words.encode())
                for _ in range(self.lines):
                    if not stream.readline():
                        break
                    peer.sendall(b'{"return": {}}\n')


GREETING = '{"QMP": {"version": {"qemu": {"major": 7, "minor": 2, "micro": 0}, "package": ""}, "capabilities": []}}\n'


def refused(place, lab, code, words, *args, name="web", qmp=None):
    done = attach(place, lab, name, *args, code=code, qmp=qmp)
    assert words in done.err and done.err.count("\n") == 1, done.err


@case("a portal by its daemon is plugged into the patched QEMU, outlives that daemon, is let go of, and plugged in again")
def served(place):
    qemu = patched_qemu_at_length(place.top)
    lab = place.lab(LAB)
    up = place.start("up", lab)
    # It is built without the ROMs of the card that a machine has by itself.
    console, monitor = boot(place, "web", f"{SHARED.replace('-m 256M', '-m 256M,slots=1,maxmem=512M')} -nic none", qemu)
    out, err = up.communicate(timeout=300)
    assert up.returncode == 0, (out, err)
    place.run("exec", "-l", lab, "n1", "--", "portal", "-p", "shared", "put", "--background", "greeting", "/etc/hosts")
    # What udev does in a distribution.
    guest_sh(console, "cd /lib/modules; for f in $(sed -n 's/^portal: //p' demand); do insmod $f; done; cd")
    for _ in range(2):
        attach(place, lab, "web", "--sockets", "vsock", "--portal", "shared:vhost-user")
        assert {d["type"] for d in monitor.ask("query-memory-devices")} == {"virtio-pmem"}
        wait_for("the guest to have the portal", 30, lambda: lease(console))
        os.kill(place.pid_of("vhost-user-portal .*/shared"), signal.SIGKILL)
        wait_for("the guest to have it again", 30, lambda: lease(console))
        place.run("detach", "-l", lab, "web")
        assert monitor.ours() == [] and monitor.ask("query-memory-devices") == []
        assert not list(place.runtime.glob("**/web-p0.vu")) and console.sh("ls /sys/bus/dax/devices")[1].strip() == ""
    end(console, monitor)


@case("what cannot be attached is told in one line, with what to do, and leaves everything as it was")
def bad(place):
    lab = place.lab(SMALL)
    place.run("up", "--no-wait", lab, timeout=600)
    console, monitor = bare(place, "web")
    card = ("--network", "lan")
    refused(place, lab, 1, "No such file or directory", *card, qmp=place.root / "none.qmp")
    (place.root / "plain").write_text("no socket")
    refused(place, lab, 1, "no QEMU monitor at", *card, qmp=place.root / "plain")
    Door(place.root / "hmp", "QEMU 7.2 monitor - type 'help'\n(qemu) ", 0)
    refused(place, lab, 1, "is no QEMU monitor", *card, qmp=place.root / "hmp")
    Door(place.root / "short", GREETING, 4)
    refused(place, lab, 1, "has closed", *card, qmp=place.root / "short")
    with socket.socket(socket.AF_UNIX) as holder:
        holder.connect(str(monitor.path))
        holder.recv(4096)
        refused(place, lab, 1, "somebody else holds this monitor", *card)

    refused(place, lab, 2, 'no network "lam"', "--network", "lam")
    refused(place, lab, 2, "nothing to plug in")
    refused(place, lab, 2, "vsock", "--sockets", "hvsock")
    refused(place, lab, 2, 'no portal "none"', "--sockets", "vsock", "--portal", "none")
    refused(place, lab, 2, "--sockets vsock, too", "--portal", "shared")
    refused(place, lab, 2, "--permanent", "--sockets", "vsock", "--portal", "shared:pmem")
    refused(place, lab, 2, "power of two", "--sockets", "vsock", "--portal", "odd")
    refused(place, lab, 2, "no name for a guest", *card, name="Web")
    refused(place, lab, 7, "another name", *card, name="n1")
    refused(place, lab, 2, "no IPv4 address", *card, "--ip", "lan")
    refused(place, lab, 2, "of which card?", *card, "--ip", "wan=10.0.0.9")
    refused(place, lab, 2, "of which card?", *card, *card, "--mac", "52:54:00:00:00:01")
    refused(place, lab, 7, "is the address of n1.0 already", *card, "--ip", place.vms(lab)["n1"]["nics"][0]["ip"].split("/")[0])
    assert place.run("detach", "-l", lab, "nobody", code=2).err.count("\n") == 1
    assert place.run("attach", "-l", lab, *card, "web", code=2).err.count("--qmp")
    refused(place, lab, 4, "slots=1,maxmem=272M", "--sockets", "vsock", "--portal", "shared:pmem", "--permanent")
    refused(place, lab, 4, "5 free PCI ports are needed, and there are 4", *(card * 5))
    assert guests(place, lab) == [] and monitor.ours() == [], monitor.ours()

    said = ("--mac", "lan=52:54:00:0a:0b:0c", "--ip", "192.168.100.77")
    nic, = attach(place, lab, "web", *card, *said, "--json").json()["nics"]
    assert (nic["mac"], nic["ip"]) == ("52:54:00:0a:0b:0c", "192.168.100.77/24"), nic
    assert place.run("exec", "-l", lab, "web", "--", "true", code=1).err.count("attach --sockets vsock")
    refused(place, lab, 7, "is attached already", *card)
    # A lab file that takes away what it has is refused, and nothing is done.
    lab.write_text(json.dumps({**SMALL, "vms": {**SMALL["vms"], "web": {"sockets": "none"}}}))
    assert "orchestrator detach web" in place.run("up", lab, code=7).err
    lab.write_text(json.dumps(SMALL))
    end(console, monitor)
    wait_for("the guest whose QEMU has ended to be forgotten", 10, lambda: guests(place, lab) == [])
    assert not list(place.runtime.rglob("web-0.vu"))


@case("the words that a command line lacks are the ones that make it fit")
def fit(place):
    lab = place.lab(SMALL)
    place.run("up", "--no-wait", lab, timeout=600)
    plain = "-machine q35,accel=tcg -m 256M"
    console, monitor = bare(place, "web", plain)
    asked = ("--network", "lan", "--sockets", "vsock", "--portal", "shared:pmem", "--portal", "bar", "--permanent")
    told = attach(place, lab, "web", *asked, code=4).err
    words = " ".join(re.findall(r"with (-[^;\n]*)", told))
    assert all(word in words for word in ("share=on", "pcie-root-port", "pref64-reserve=128M", "maxmem")), told
    end(console, monitor)

    console, monitor = bare(place, "web", f"{plain} {words}")
    attach(place, lab, "web", *asked)
    assert sorted(d["data"]["id"] for d in monitor.ask("query-memory-devices")) == [f"vl.{place.status(lab)['name']}.web.shared"]
    # Nobody is there to let go of a device: the lab goes down all the same, and its QEMU goes on.
    stuck = place.run("down", lab, "--timeout", "0", timeout=120)
    assert stuck.seconds < 60 and monitor.ask("query-status")["running"]
    end(console, monitor)


class Between(threading.Thread):
    """Passes a monitor on, but for one order, which it keeps to itself; whoever comes afterwards is passed on whole."""

    def __init__(self, path, monitor, order):
        super().__init__(daemon=True)
        self.monitor, self.order = monitor, order.encode()
        self.kept = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(path))
        self.socket.listen(4)
        self.start()

    @staticmethod
    def answers(source, target):
        while data := source.recv(65536):
            target.sendall(data)

    def run(self):
        while True:
            client, _ = self.socket.accept()
            with client, socket.socket(socket.AF_UNIX) as qemu:
                qemu.connect(str(self.monitor.path))
                threading.Thread(target=self.answers, args=(qemu, client), daemon=True).start()
                while data := client.recv(65536):
                    if self.order in data and not self.kept.is_set():
                        self.kept.set()
                        continue
                    qemu.sendall(data)
                qemu.shutdown(socket.SHUT_RDWR)


@case("a supervisor that is killed in the middle of an attach: the next one takes out what there is")
def interrupted(place):
    lab = place.lab(SMALL)
    place.run("up", "--no-wait", lab, timeout=600)
    console, monitor = bare(place, "web")
    between = Between(place.root / "between", monitor, "device_add")
    attaching = place.start("attach", "-l", lab, "--qmp", place.root / "between", "--network", "lan", "web")
    assert between.kept.wait(30)
    assert guests(place, lab)[0]["stage"] == "attaching"
    os.kill(place.status(lab)["supervisor"]["pid"], signal.SIGKILL)
    attaching.communicate(timeout=30)
    assert attaching.returncode == 1
    wait_for("the chardev to be there still", 20, lambda: len(monitor.ours()) == 1)
    place.run("up", "--no-wait", lab)
    wait_for("the next supervisor to have cleared it away", 20, lambda: guests(place, lab) == [])
    assert monitor.ours() == []
    end(console, monitor)


if __name__ == "__main__":
    harness.main()
