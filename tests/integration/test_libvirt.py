#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Labs in libvirt's hands."""

import os
import re
from xml.etree import ElementTree

import harness
from daemons import Daemons
from harness import case, wait_for
from libvirtd import Libvirt

QEMU_ARG = "{http://libvirt.org/schemas/domain/qemu/1.0}arg"
BOOT_S = 180


def sockets_of(file):
    """What a rendered domain wants to find: the sockets of its ports, and that of its socket device."""
    domain = ElementTree.parse(file).getroot()
    ports = [interface.find("source").get("path") for interface in domain.iterfind("devices/interface")]
    words = [re.fullmatch(r"socket,id=vs0,path=(.*)", arg.get("value")) for arg in domain.iter(QEMU_ARG)]
    (vsock,) = [word.group(1).replace(",,", ",") for word in words if word]
    return ports, vsock


def reaches(console, address):
    return console.sh(f"ping -c 1 -W 2 {address} >/dev/null")[0] == 0


def open_console(place, domain, words):
    console = harness.Console(place, *words)
    place.consoles.append(console)
    wait_for(f"an answer on the console of {domain}", BOOT_S, lambda: answers(console))
    # No message of the kernel may come between what is looked for.
    console.sh("dmesg -n 1")
    return console


def answers(console):
    assert console.process.poll() is None, console.process.stderr.read()
    try:
        return console.sh("true", 5)[0] == 0
    except (AssertionError, BrokenPipeError):
        return False


@case("rendered domains, by virsh alone: three nodes reach each other, and again after a kill -9 of the switch or libvirtd")
def virsh_alone(place):
    lab, out, nodes = place.example("three-nodes"), place.root / "x", ("n1", "n2", "n3")
    with Daemons(place) as daemons, Libvirt(place) as libvirt:
        place.run("render", "libvirt", lab, "--out", out, "--uri", libvirt.uri, timeout=600)
        wanted = {node: sockets_of(out / f"{node}.xml") for node in nodes}
        daemons.switch("lan", {f"{node}.0": ports[0] for node, (ports, _) in wanted.items()})
        daemons.sockets("sockets", {node: vsock for node, (_, vsock) in wanted.items()})
        for node in nodes:
            assert libvirt.define(out / f"{node}.xml") == f"three-nodes.{node}"
            libvirt.virsh("start", f"three-nodes.{node}", timeout=120)
        for node in nodes:
            wait_for(f"{node} to be ready", BOOT_S, lambda node=node: "ready 1" in (out / f"{node}.ready").read_text())
        first = open_console(place, "three-nodes.n1", libvirt.console("three-nodes.n1"))
        tty = libvirt.virsh("ttyconsole", "three-nodes.n2").out.strip()
        second = open_console(place, "three-nodes.n2", ["socat", "-", f"{tty},raw,echo=0"])
        assert reaches(first, "n2") and reaches(first, "n3") and reaches(second, "n3")
        assert "ping -c 1" in (out / "n1.console.log").read_text(errors="replace")
        # Defined again, it is the same domain, and runs on.
        libvirt.define(out / "n1.xml")
        running = libvirt.qemus()
        assert {f"three-nodes.{node}" for node in nodes} <= set(running)
        assert all(os.stat(f"/proc/{running[f'three-nodes.{node}']}").st_uid == os.getuid() for node in nodes)
        daemons.kill("lan")
        assert not reaches(first, "n3")
        daemons.again("lan")
        wait_for("n1 to reach n3 again", 30, lambda: reaches(first, "n3"))
        if not libvirt.given:
            # `virsh console` goes through libvirtd, and ends with it; the guests do not.
            libvirt.kill()
            assert reaches(second, "n1") and reaches(second, "n3")
            libvirt.start()
            assert libvirt.qemus() == running, (libvirt.qemus(), running)
            assert all(libvirt.state(f"three-nodes.{node}") == "running" for node in nodes)
        libvirt.virsh("destroy", "three-nodes.n3")
        assert not reaches(second, "n3")


@case("a portal's device stays in a domain that runs, whatever virsh is told: QEMU would die of losing it")
def stays(place):
    lab = place.lab({"version": 1, "name": "keep", "portals": {"shared": {"size": "16MiB"}},
                     "vms": {"n1": {"portals": {"shared": {"door": "ivshmem"}}}}})
    out = place.root / "x"
    with Daemons(place) as daemons, Libvirt(place) as libvirt:
        place.run("render", "libvirt", lab, "--out", out, "--uri", libvirt.uri, timeout=600)
        ports, vsock = sockets_of(out / "n1.xml")
        (device,) = ElementTree.parse(out / "n1.xml").getroot().iterfind("devices/shmem")
        (out / "device.xml").write_bytes(ElementTree.tostring(device))
        daemons.switch("lan", {"n1.0": path for path in ports})
        daemons.sockets("sockets", {"n1": vsock})
        daemons.portal("shared", 16 << 20, place.root / "arena", device.find("server").get("path"))
        domain = libvirt.define(out / "n1.xml")
        libvirt.virsh("start", domain, timeout=120)
        refusal = libvirt.virsh("detach-device", domain, out / "device.xml", "--live", code=1).err
        assert "does not support hot" in refusal, refusal
        assert libvirt.state(domain) == "running"
        assert f"alias name='{device.find('alias').get('name')}'" in libvirt.virsh("dumpxml", domain).out


@case("a libvirt that is not there, a URI that means none: one line with the way out")
def bad_uri(place):
    lab = place.example("three-nodes")
    place.env["LIBVIRT_AUTOSTART"] = "0"
    for uri, code, words in (("qemu:///sessio", 2, "must end in /session or /system"),
                             ("xen:///", 2, "must begin with"),
                             ("qemu:///session", 4, "no connection to qemu:///session: ")):
        done = place.run("render", "libvirt", lab, "--uri", uri, code=code)
        assert words in done.err and done.err.count("\n") == 1 and done.out == "", done.err
    done = place.run("render", "qemu", lab, "--uri", "qemu:///session", code=2)
    assert "--uri means nothing for this form" in done.err
    # Unsaid, it need not be there: the files may be for another host.
    done = place.run("render", "libvirt", lab, "n2", timeout=600)
    assert "rendered for libvirt 9.0.0" in done.err and done.out.count("<domain ") == 1
    assert ElementTree.fromstring(done.out).findtext("name") == "three-nodes.n2"


harness.main()
