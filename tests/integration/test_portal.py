# SPDX-License-Identifier: MIT
"""Portals of a lab: machines and the host share memory, and outlive each other."""

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import harness
from harness import case, patched_qemu_at_length, wait_for

PAIR = {"version": 1, "networks": {}, "portals": {"shared": {"size": "16MiB"}},
        "vms": {"left": {"portals": ["shared"]}, "right": {"portals": ["shared"]}}}


class Portal:
    """The tool in the lab's machines, and on the host."""

    def __init__(self, place, lab, name="shared"):
        self.place, self.lab, self.name = place, lab, name

    def guest(self, vm, *words, **more):
        return self.place.run("exec", "-l", self.lab, vm, "--", "portal", "-p", self.name, *words, **more)

    def host(self, *words, code=0, stdin=b""):
        build = Path(os.environ.get("VHOST_LAB_BUILD", self.place.top / "build-check"))
        done = subprocess.run([build / "vhost-user/portal/client/portal-static", "-p", "unix:" + self.report()["attach"],
                               *words], input=stdin, capture_output=True, env=self.place.env, timeout=60)
        assert done.returncode == code, (words, done)
        return done.stdout

    def report(self):
        return next(p for p in self.place.status(self.lab)["portals"] if p["name"] == self.name)

    def counters(self, method="stats"):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.report()["control-socket"])
            s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode() + b"\n")
            return json.loads(s.makefile().readline())["result"]

    def names(self):
        return {line.split()[-1] for line in self.host("ls").decode().splitlines()}


@case("examples/portal-pair: what one machine publishes the other and the host read, and down leaves nothing")
def pair(place):
    lab = place.example("portal-pair")
    place.run("up", lab, timeout=600)
    portal = Portal(place, lab)
    blob = os.urandom(3 << 20)
    (place.root / "blob").write_bytes(blob)
    place.run("cp", "-l", lab, place.root / "blob", "left:/tmp/blob")
    portal.guest("left", "put", "--background", "blob", "/tmp/blob")
    assert portal.host("cat", "blob") == blob
    hashed = place.run("exec", "-l", lab, "right", "--", "sh", "-c", "portal -p shared cat blob | sha256sum")
    assert hashed.out.split()[0] == hashlib.sha256(blob).hexdigest(), hashed.out
    place.run("test", lab)

    report = portal.report()
    assert report["stage"] == "running" and report["use"]["names"] == 1, report
    assert report["use"]["leases"] == 1 and report["use"]["free-mib"] < report["use"]["arena-mib"] - 4, report
    assert [vm["vm"] for vm in report["vms"]] == ["left", "right"], report
    table = place.run("status", lab).out
    assert re.search(r"^shared +running +left, right +62 MiB ", table, re.M), table
    assert place.run("exec", "-l", lab, "left", "--", "readlink", "/dev/portal/shared").out == "/dev/dax0.0\n"
    served = place.start("exec", "-l", lab, "left", "--", "portal", "-p", "shared", "bench", "--serve", "--once", "b")
    figures = portal.guest("right", "bench", "--wait", "30s", "--time", "200ms", "--sizes", "64,4096", "--verify", "b").out
    assert re.search(r"round trip +[\d.]+ us", figures) and len(re.findall(r"records +[\d.]+ M/s", figures)) == 2, figures
    assert served.wait(30) == 0, served.communicate()
    served.communicate()
    place.run("down", lab, "--cleanup")
    assert place.files() == [], place.files()


@case("kill -9 of a portal's daemon, of the socket daemon and of a machine: the others keep what they have, the dead's comes back")
def deaths(place):
    lab = place.lab(PAIR)
    place.run("up", lab, timeout=600)
    portal = Portal(place, lab)
    portal.guest("left", "put", "--background", "of-left", "/bin/busybox")
    portal.guest("right", "put", "--background", "of-right", "/etc/hosts")
    free = portal.report()["use"]["free-mib"]

    os.kill(place.pid_of("vhost-user-portal"), signal.SIGKILL)
    wait_for("the daemon to be back", 30, lambda: portal.report()["restarts"] == 1 and "use" in portal.report())
    wait_for("both to have found it", 30, lambda: portal.report()["use"]["leases"] == 2)
    assert portal.names() == {"of-left", "of-right"}, portal.names()
    assert portal.guest("left", "cat", "of-right").out == place.run("exec", "-l", lab, "right", "--", "cat", "/etc/hosts").out

    returned = portal.counters()["returns"]
    os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
    wait_for("both to have come back by the next one", 30, lambda: portal.counters()["returns"] == returned + 2)
    assert portal.names() == {"of-left", "of-right"}, portal.names()

    os.kill(place.qemu("left"), signal.SIGKILL)
    wait_for("what the dead machine had", 30, lambda: portal.names() == {"of-right"})
    assert portal.report()["use"]["recovered-leases"] >= 1
    assert portal.report()["use"]["free-mib"] > free
    assert portal.guest("right", "check").out is not None
    assert place.vms(lab)["right"]["stage"] == "ready"
    place.run("start", "-l", lab, "left", timeout=300)
    assert portal.guest("left", "cat", "of-right").out.startswith("127.0.0.1")


def mapped(place, vm):
    """How the VM's QEMU has mapped its portal."""
    maps = Path(f"/proc/{place.qemu(vm)}/maps").read_text()
    return {line.split()[1] for line in maps.splitlines() if line.endswith(".arena")}


@case("a machine with \"ro\" reads, and can write neither by the tool nor otherwise")
def readonly(place):
    lab = place.lab({"version": 1, "networks": {}, "portals": {"p": {"size": "16MiB"}}, "vms": {
        "maker": {"portals": {"p": {"quota": "4MiB"}}}, "looker": {"portals": {"p": {"mode": "ro"}}}}})
    place.run("up", lab, timeout=600)
    portal = Portal(place, lab, "p")
    portal.guest("maker", "put", "--background", "thing", "/etc/hosts")
    assert "127.0.0.1" in portal.guest("looker", "cat", "thing").out
    refused = portal.guest("looker", "put", "mine", "/etc/hosts", code=1)
    assert "may only read" in refused.err, refused.err
    assert portal.names() == {"thing"}
    place.run("exec", "-l", lab, "maker", "--", "sh", "-c", "head -c 6000000 /dev/zero >/tmp/big")
    over = portal.guest("maker", "put", "big", "/tmp/big", code=1)
    assert "its share" in over.err, over.err
    # Whatever runs in the guest: its QEMU itself cannot.
    assert mapped(place, "maker") == {"rw-s"} and mapped(place, "looker") == {"r--s"}, mapped(place, "looker")


@case("a portal that changes is left alone while machines have it, then made anew; one with a file is the same again")
def changes(place):
    text = {"version": 1, "networks": {}, "portals": {"mem": {"size": "16MiB"}, "kept": {"size": "8MiB", "file": "kept.arena"}},
            "vms": {"a": {"portals": ["mem", "kept"]}}}
    lab = place.lab(text)
    place.run("up", lab, timeout=600)
    kept, mem = Portal(place, lab, "kept"), Portal(place, lab, "mem")
    uuid = re.search(rb"uuid +(\S+)", kept.host("info")).group(1)
    assert place.run("exec", "-l", lab, "a", "--", "ls", "/dev/portal").out.split() == ["kept", "mem"]

    text["portals"]["mem"]["size"] = "32MiB"
    text["vms"]["b"] = {"portals": ["mem"]}
    lab.write_text(json.dumps(text))
    told = place.run("up", lab, code=None, timeout=300)
    assert told.code == 6, (told.code, told.err)
    assert "portal mem keeps its old settings" in told.err, told.err
    assert "portal mem runs with other settings" in told.err, told.err
    assert "make anew portal mem  (size changed" in place.run("plan", lab).out
    assert mem.report()["needs-restart"] and mem.report()["use"]["arena-mib"] == 14, mem.report()

    place.run("stop", "-l", lab, "a")
    place.run("up", lab, timeout=600)
    assert mem.report()["use"]["arena-mib"] == 30 and not mem.report()["needs-restart"], mem.report()
    assert "mem" in place.run("exec", "-l", lab, "b", "--", "ls", "/dev/portal").out
    place.run("down", lab)
    assert (lab.parent / "kept.arena").stat().st_size == 8 << 20
    place.run("up", lab, timeout=600)
    assert re.search(rb"uuid +(\S+)", kept.host("info")).group(1) == uuid


def begun_anew(place, lab, vm):
    """A reboot of the guest, by its own kernel."""
    boot_id = ("exec", "-l", lab, vm, "--", "cat", "/proc/sys/kernel/random/boot_id")
    before, pid = place.run(*boot_id).out, place.qemu(vm)
    place.run("shutdown", "-l", lab, "--reboot", vm)
    wait_for(f"{vm} to have rebooted", 120, lambda: place.run(*boot_id, code=None).out not in ("", before))
    assert place.qemu(vm) == pid


@case("the door vhost-user by the patched QEMU: beside a card, of any size, over a reboot and kill -9 of the daemon; ro only reads")
def served(place):
    door = {"door": "vhost-user"}
    lab = place.lab({"version": 1, "defaults": {"qemu": patched_qemu_at_length(place.top)}, "portals": {"p": {"size": "10MiB"}}, "vms": {
        "maker": {"portals": {"p": door}}, "looker": {"portals": {"p": {**door, "mode": "ro"}}}}})
    place.run("up", lab, timeout=600)
    portal = Portal(place, lab, "p")
    assert "vhost-user-pmem-pci" in place.processes()[place.qemu("maker")]
    assert [(vm["vm"], vm["door"]) for vm in portal.report()["vms"]] == [("maker", "vhost-user"), ("looker", "vhost-user")]
    assert place.run("exec", "-l", lab, "maker", "--", "readlink", "/dev/portal/p").out == "/dev/dax0.0\n"
    portal.guest("maker", "put", "--background", "thing", "/etc/hosts")
    wanted = place.run("exec", "-l", lab, "maker", "--", "cat", "/etc/hosts").out
    assert portal.guest("looker", "cat", "thing").out == wanted and portal.host("cat", "thing").decode() == wanted
    assert "may only read" in portal.guest("looker", "put", "mine", "/etc/hosts", code=1).err
    assert mapped(place, "maker") == {"rw-s"} and mapped(place, "looker") == {"r--s"}, mapped(place, "looker")

    begun_anew(place, lab, "looker")
    assert portal.guest("looker", "cat", "thing").out == wanted
    place.run("exec", "-l", lab, "looker", "--", "ping", "-c1", "-W10", "maker")
    os.kill(place.pid_of("vhost-user-portal"), signal.SIGKILL)
    wait_for("the daemon to be back", 30, lambda: portal.report()["restarts"] == 1 and "use" in portal.report())
    wait_for("both QEMUs to have found it", 30, lambda: [d["state"] for d in portal.counters("info")["pmem"]] == ["running"] * 2)
    assert portal.guest("looker", "cat", "thing").out == wanted


harness.main()
