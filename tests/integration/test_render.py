#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is rendered of random labs, given to who is to take it: QEMU and libvirt.

In the environment: VHOST_LAB_TEST_LABS, how many labs (4); VHOST_LAB_TEST_QEMU, another QEMU.
"""

import itertools
import json
import os
import re
import struct
import subprocess
from pathlib import Path

import harness
from daemons import Daemons
from harness import case, wait_for
from libvirtd import Libvirt
from qmp import listens, qmp_ask

LABS = int(os.environ.get("VHOST_LAB_TEST_LABS", "4"))
QEMU = os.environ.get("VHOST_LAB_TEST_QEMU")
MIB = 1 << 20


# ---- labs ---------------------------------------------------------------------------------------------------------------

def random_lab(place, seed):
    """A lab file of this host's architecture, whose kernel and initrd are there."""
    build = Path(os.environ.get("VHOST_LAB_BUILD", place.top / "build-check"))
    text = subprocess.run([build / "tests/unit/random_lab_text", str(seed), "6"], capture_output=True, text=True,
                          check=True).stdout
    kernel, initrd = tiny(place)
    lab = json.loads(text)
    lab["name"] = f"random-{seed}"  # nothing is left over from one to the next
    lab["images"]["own"] = {"kernel": kernel, "initrd": initrd}
    for vm in lab["vms"].values():
        vm.pop("arch", None)
    return lab


def tiny(place):
    """The kernel and initrd of the built-in image."""
    lab = place.lab({"version": 1, "networks": {}, "vms": {"a": {"sockets": "none"}}})
    words = argv_of(place, lab, "a")
    return words[words.index("-kernel") + 1], words[words.index("-initrd") + 1]


def largest(place):
    """A lab whose one VM has of everything as much as there may be."""
    disks = {f"d{i}": {"image": f"d{i}.img", "readonly": i % 2 == 0} for i in range(16)}
    doors = {f"p{i}": {"mode": "ro"} if i % 2 else {} for i in range(7)}
    lab = {"version": 1, "name": "largest",
           "networks": {"lan": {"subnet": "10.0.0.0/16"}},
           "portals": {name: {"size": "8MiB"} for name in (*doors, "p7")},
           "vms": {"n": {"nics": [{"network": "lan", "queues": 1 + i % 2} for i in range(16)], "distros": disks,
                         "portals": {**doors, "p7": {"door": "ivshmem"}}}}}
    return place.lab(lab)


# ---- QEMU ---------------------------------------------------------------------------------------------------------------

def argv_of(place, lab, vm):
    env = {"ORCHESTRATOR_QEMU": QEMU} if QEMU else None
    (found,) = place.run("render", "--json", "qemu", lab, vm, timeout=600, env=env).json()["vms"]
    return found["argv"]


def options(argv, option):
    """The values of every such option, each as a dictionary; what has no key is "type"."""
    for word, value in itertools.pairwise(argv):
        if word != option:
            continue
        parts = [part.replace("\0", ",") for part in value.replace(",,", "\0").split(",")]
        yield {key: text for key, _, text in (part.partition("=") if "=" in part else ("type", "=", part)
                                              for part in parts)}


def qcow2(path, size):
    """An empty disk image: a header, and tables that map nothing."""
    cluster = 1 << 16
    header = struct.pack(">4sIQIIQIIQQIIQ", b"QFI\xfb", 2, 0, 0, 16, size, 0, 1, 2 * cluster, cluster, 1, 0, 0)
    with open(path, "wb") as file:
        file.write(header)
        file.seek(cluster)
        file.write(struct.pack(">Q", 3 * cluster))  # the refcount table: one block
        file.seek(3 * cluster)
        file.write(struct.pack(">4H", 1, 1, 1, 1))
        file.truncate(4 * cluster)


def provide(daemons, argv):
    """Everything that this command line wants to find."""
    chardevs = {o["id"]: o["path"] for o in options(argv, "-chardev") if "server" not in o and o["type"] == "socket"}
    devices = {o["chardev"]: o["type"] for o in options(argv, "-device") if "chardev" in o}
    for o in options(argv, "-chardev"):
        for path in filter(None, (o.get("path"), o.get("logfile"))):
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    ports = {name: path for name, path in chardevs.items() if name.startswith("vu")}
    if ports:
        daemons.switch("switch", ports)
    for name, path in chardevs.items():
        if devices.get(name) == "vhost-user-vsock-pci":
            daemons.sockets("sockets", {name: path})
        elif devices.get(name) == "ivshmem-doorbell":
            daemons.portal(name, 8 * MIB, Path(path).with_suffix(".arena"), path)
    for o in options(argv, "-object"):
        if o["type"] == "memory-backend-file" and not os.path.exists(o["mem-path"]):
            Path(o["mem-path"]).parent.mkdir(parents=True, exist_ok=True)
            with open(o["mem-path"], "wb") as file:
                file.truncate(int(o["size"].rstrip("M")) * MIB)
    for o in options(argv, "-blockdev"):
        qcow2(o["file.filename"], MIB) if o["driver"] == "qcow2" else Path(o["file.filename"]).write_bytes(bytes(MIB))
    for o in options(argv, "-fw_cfg"):
        Path(o["file"]).parent.mkdir(parents=True, exist_ok=True)
        Path(o["file"]).write_text("format 1\n", encoding="ascii")


def places_of(argv):
    """Where the devices of a command line are to be: [(slot, function)], sorted."""
    found = []
    for o in options(argv, "-device"):
        slot, _, function = o["addr"].partition(".")
        found.append((int(slot, 16), int(function or "0", 16)))
    assert len(set(found)) == len(found), found
    return sorted(found)


def expect_taken(place, argv):
    """QEMU starts with these words, its guest stopped, and shows each device at its place."""
    (monitor,) = (o["path"] for o in options(argv, "-chardev") if o["id"] == "qmp0")
    with open(place.root / "qemu.log", "w+b") as log:
        with subprocess.Popen([*argv, "-S"], env=place.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as qemu:
            try:
                wait_for("QEMU's monitor", 60, lambda: listens(monitor) or qemu.poll() is not None)
                assert qemu.poll() is None, (place.root / "qemu.log").read_text(errors="replace")
                (bus,) = qmp_ask(monitor, "query-pci")
                seen = {(device["slot"], device["function"]) for device in bus["devices"]}
                assert set(places_of(argv)) <= seen, (places_of(argv), seen)
                qmp_ask(monitor, "quit")
                qemu.wait(30)
            finally:
                qemu.kill()


def try_command_line(place, lab, vm):
    argv = argv_of(place, lab, vm)
    with Daemons(place) as daemons:
        provide(daemons, argv)
        expect_taken(place, argv)


@case("QEMU takes the command lines of the largest VM there can be and of random ones, each device at its place")
def qemu_takes_them(place):
    try_command_line(place, largest(place), "n")
    for seed in range(LABS):
        lab = random_lab(place, seed)
        # The one with the most to show.
        vm = max(lab["vms"], key=lambda name: len(json.dumps(lab["vms"][name])))
        try_command_line(place, place.lab(lab), vm)


# ---- libvirt ------------------------------------------------------------------------------------------------------------

@case("libvirt takes the domains of the largest VM and of random labs, and their marks come back")
def libvirt_takes_them(place):
    with Libvirt(place) as libvirt:
        labs = [largest(place), *(place.lab(random_lab(place, seed)) for seed in range(LABS))]
        for number, lab in enumerate(labs):
            out = place.root / f"x{number}"
            place.run("render", "libvirt", lab, "--out", out, "--uri", libvirt.uri, timeout=600)
            for file in sorted(out.glob("*.xml")):
                name = libvirt.define(file)
                mark = libvirt.virsh("metadata", name, "https://vhost-lab.org/xmlns/libvirt/1").out
                assert re.search(rf"<(\w+:)?vm [^>]*name=['\"]{file.stem}['\"]", mark), mark
                libvirt.virsh("undefine", name)


@case("what is rendered is for the libvirt that the lab names, unless another one is said")
def own_libvirt(place):
    own = "qemu:///system?socket=/nonexistent/libvirt-sock"
    lab = place.lab({"version": 1, "engine": {"name": "libvirt", "uri": own}, "vms": {"n1": {}}})
    told = place.run("render", "libvirt", lab, timeout=600).err
    assert own in told and "rendered for libvirt 9.0" in told, told
    assert place.run("render", "libvirt", lab, "--uri", own, code=4).err.count(own)
    assert "WantedBy=multi-user.target" in place.run("render", "systemd", lab).out
    assert "multi-user.target" not in place.run("render", "systemd", lab, "--uri", "qemu:///session").out


harness.main()
