# SPDX-License-Identifier: MIT
"""`render systemd`: a lab whose daemons are units, with nothing of ours that runs before somebody needs it.

systemd itself judges the units; no systemd runs where tests run, so a stand-in (activator.py) does what they say."""

import os
import re
import shutil
import signal
import subprocess

import harness
from activator import Activator
from harness import case, wait_for
from libvirtd import Libvirt

BOOT_S = 180
LAB = {
    "version": 1,
    "name": "units",
    "networks": {"lan": {"subnet": "10.9.0.0/24"}},
    "portals": {"sh": {"size": "8MiB"}},
    "vms": {
        "a": {"portals": ["sh"], "memory": "128MiB", "forwards": ["unix:/nowhere/at/all:80"]},
        "b": {"memory": "128MiB", "nics": [{"network": "lan", "impair": {"delay": "1ms"}}]},
    },
}


def render(place, form, lab, *more):
    directory = place.root / "units"
    place.run("render", form, lab, "--out", directory, *more, timeout=600)
    return directory


@case("systemd-analyze has nothing to say about the units of any example, of a session or of the system")
def verified(place):
    if not shutil.which("systemd-analyze"):
        raise harness.Skip("no systemd-analyze on this host")
    labs = sorted((place.top / "examples").glob("*/lab.json"))
    assert len(labs) > 3, labs
    for lab in [*labs, place.lab(LAB)]:
        for manager, uri in (("--user", "qemu:///session"), ("--system", "qemu:///system")):
            directory = place.root / f"{lab.parent.name}{manager}"
            place.run("render", "systemd", lab, "--uri", uri, "--out", directory)
            units = sorted(p for p in directory.iterdir() if p.suffix in (".socket", ".service", ".target"))
            assert units, lab
            done = subprocess.run(["systemd-analyze", manager, "--man=no", "verify", *units], env=place.env,
                                  capture_output=True, text=True, check=False)
            # Of other units of this host it may say what it likes.
            said = [line for line in (done.stdout + done.stderr).splitlines() if "vhost-lab" in line]
            assert not said, f"{lab} {manager}: {said}"
            assert done.returncode == 0 or manager == "--system", done.stderr


@case("install is a script that sh and shellcheck take, and says what it can do")
def installed(place):
    directory = render(place, "systemd", place.lab(LAB))
    done = subprocess.run(["sh", directory / "install", "--help"], env=place.env, capture_output=True, text=True,
                          check=False)
    assert done.returncode == 2 and "--autostart" in done.stderr and "--remove" in done.stderr, done
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--shell=sh", directory / "install"], check=True)


class Stub:
    """A directory of programs that write down how they were called, in place of a manager's."""

    def __init__(self, place, *names):
        self.directory, self.log = place.root / "stub", place.root / "stub.log"
        self.directory.mkdir()
        self.log.touch()
        for name in names:
            program = self.directory / name
            program.write_text(f"#!/bin/sh\necho {name} \"$@\" >>'{self.log}'\n"
                               "[ \"$3\" != metadata ] || echo \"<vl:vm owner='file'/>\"\n")
            program.chmod(0o755)

    def calls(self):
        text = self.log.read_text()
        self.log.write_text("")
        return text.splitlines()


@case("install puts the units where the user's systemd looks, defines machines, and takes all of it out again")
def put_in_place(place):
    directory = render(place, "systemd", place.lab(LAB))
    (directory / "a.xml").write_text("<domain/>")
    stub = Stub(place, "systemctl", "virsh", "loginctl")
    env = {**place.env, "PATH": f"{stub.directory}:{place.env['PATH']}"}
    units = place.root / ".config/systemd/user"

    systemctl = stub.directory / "systemctl"
    good = systemctl.read_text()
    systemctl.write_text("#!/bin/sh\necho Failed to connect to bus >&2\nexit 1\n")
    done = subprocess.run(["sh", directory / "install"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "no systemd answers (Failed to connect to bus)" in done.stderr, done
    assert done.stderr.count("\n") == 1 and not units.exists() and stub.calls() == [], done
    systemctl.write_text(good)

    subprocess.run(["sh", directory / "install", "--autostart"], env=env, check=True)
    calls = stub.calls()
    assert "systemctl --user restart vhost-lab-units.target" in calls, calls
    assert f"virsh --connect qemu:///session define {directory}/a.xml" in calls, calls
    assert "virsh --connect qemu:///session autostart units.a" in calls, calls
    assert "systemctl --user enable vhost-lab-units.target" in calls, calls
    assert "loginctl enable-linger" in calls, calls
    assert not any("units.b" in call for call in calls), calls  # it has no domain here
    assert (units / "vhost-lab-units.net-lan.socket").read_text() == \
        (directory / "vhost-lab-units.net-lan.socket").read_text()
    subprocess.run(["sh", directory / "install", "--remove"], env=env, check=True)
    assert "virsh --connect qemu:///session undefine units.a" in stub.calls()
    assert not list(units.iterdir()), list(units.iterdir())


def is_ready(directory, vm):
    return "ready 1" in (directory / f"{vm}.ready").read_text()


def reaches(console, address):
    return console.sh(f"ping -c 1 -W 2 {address} >/dev/null")[0] == 0


def answers(console):
    try:
        return console.sh("true", 5)[0] == 0
    except AssertionError:
        return False


def open_console(place, libvirt, domain):
    tty = libvirt.virsh("ttyconsole", domain).out.strip()
    console = harness.Console(place, "socat", "-", f"{tty},raw,echo=0")
    place.consoles.append(console)
    wait_for(f"an answer on the console of {domain}", BOOT_S, lambda: answers(console))
    console.sh("dmesg -n 1")  # no message of the kernel may come between what is looked for
    return console


def check_import(place, libvirt, directory):
    """What libvirt says of its domains is the lab again, whose domains are the same, word for word."""
    dumps = []
    for vm in ("a", "b"):
        dumps.append(place.root / f"{vm}.xml")
        dumps[-1].write_text(libvirt.virsh("dumpxml", f"units.{vm}").out)
    again = place.root / "again"
    done = place.run("import", *dumps, "--out", place.root / "again.json")
    assert done.err == "", f"nothing of it is lost: {done.err}"
    place.run("render", "libvirt", place.root / "again.json", "--out", again, "--uri", libvirt.uri, timeout=600)
    for vm in ("a", "b"):
        was, now = ((place_of / f"{vm}.xml").read_text().replace(f"{place_of}/", "") for place_of in (directory, again))
        # The hash is over paths, too.
        assert re.sub(r" text='\w+'", "", was) == re.sub(r" text='\w+'", "", now), f"{was}\n\nwas, and is\n\n{now}"


@case("virsh starts machines whose daemons nobody had started; those that are killed or ended come back; import has it all")
def virsh_alone(place):
    lab = place.lab(LAB)
    with Libvirt(place) as libvirt:
        directory = render(place, "systemd", lab, "--uri", "qemu:///session")
        render(place, "libvirt", lab, "--uri", libvirt.uri)
        units = Activator(directory, place.env)
        try:
            net, hvsock, portal = (units.services[f"vhost-lab-units.{name}"] for name in ("net-lan", "hvsock", "portal-sh"))
            arena = place.runtime / "vhost-lab/units/sh.arena"
            assert arena.stat().st_size == 8 << 20 and portal.starts == 1
            assert (net.starts, hvsock.starts) == (0, 0)
            for vm in ("a", "b"):
                libvirt.virsh("start", libvirt.define(directory / f"{vm}.xml"), timeout=120)
            wait_for("both guests", BOOT_S, lambda: is_ready(directory, "a") and is_ready(directory, "b"))
            assert (net.starts, hvsock.starts, portal.starts) == (1, 1, 1)
            # A forward that cannot be made keeps nobody from having sockets.
            assert "forward unix:/nowhere/at/all" in (directory / f"{hvsock.name}.log").read_text()

            console = open_console(place, libvirt, "units.a")
            assert console.sh("ping -c 2 -W 5 b >/dev/null", 60)[0] == 0
            assert console.sh("test -c /dev/dax0.0")[0] == 0
            os.kill(net.process.pid, signal.SIGKILL)
            wait_for("the switch after its death", 60, lambda: net.starts == 2 and reaches(console, "b"), 0.5)
            net.process.terminate()  # as `systemctl stop` of the service: its socket stays, and QEMU knocks
            wait_for("the switch that was ended", 60, lambda: net.starts == 3 and reaches(console, "b"), 0.5)
            assert (hvsock.starts, portal.starts) == (1, 1)
            check_import(place, libvirt, directory)
        finally:
            libvirt.stop()
            units.stop()
    assert not list((place.runtime / "vhost-lab/units").glob("*.vu")), "systemd's sockets are left"


if __name__ == "__main__":
    harness.main()
