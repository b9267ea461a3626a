# SPDX-License-Identifier: MIT
"""Labs come up, are used, are changed, and go down again."""

import json
import os
import re
import stat
import subprocess

import harness
from harness import case
from qmp import Monitor, listens

ALL = ("n1", "n2", "n3")


@case("three VMs come up, are ready, reach each other by name, and go down without a trace")
def three_nodes(place):
    lab = place.example("three-nodes")
    up = place.run("up", lab)
    for name in ALL:
        assert re.search(rf"\b{name}\b.*ready", up.err), up.err

    vms = place.vms(lab)
    assert sorted(vms) == sorted(ALL), vms
    assert all(vm["stage"] == "ready" for vm in vms.values()), vms
    table = place.run("status", lab).out
    for name in ALL:
        assert re.search(rf"^{name}\s.*ready", table, re.M), table

    for name in ALL:
        console = place.console(name, lab)
        assert console.sh("hostname") == (0, f"{name}\n")
        for peer in ALL:
            code, out = console.sh(f"ping -c 2 -W 5 {peer}")
            assert code == 0, out
        console.close()

    sockets = [path for path in place.runtime.rglob("*") if path.is_socket()]
    assert sockets
    for path in sockets:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or \
            stat.S_IMODE(path.parent.stat().st_mode) == 0o700, path

    down = place.run("down", lab)
    assert not place.processes()
    left = place.files()
    assert left and all(path.endswith((".log", "/log")) for path in left), left
    left = [path for path in place.runtime.iterdir() if path.name != "libvirt"]
    assert not left, left
    assert "log" in down.err + down.out
    place.run("down", "--cleanup", lab)
    assert place.files() == []


@case("a second up has nothing to do, and touches no process")
def second_up(place):
    lab = place.example("three-nodes")
    place.run("up", lab)
    before = place.processes()
    again = place.run("up", lab)
    assert place.processes() == before
    assert "nothing to do" in again.out + again.err, again.err
    plan = place.run("plan", "--json", lab).json()
    assert plan["steps"] == [], plan


@case("up reconciles: a VM added to the file is started, one removed is stopped, the rest stays")
def reconcile(place):
    lab = place.lab({"version": 1, "vms": {"a": {}, "b": {}}})
    place.run("up", lab)
    pids = {name: place.qemu(name) for name in "ab"}
    lab.write_text(json.dumps({"version": 1, "vms": {"a": {}, "c": {"after": ["a"]}}}))
    steps = place.run("plan", lab).out
    assert "c" in steps and "b" in steps, steps
    place.run("up", lab)
    vms = place.vms(lab)
    assert sorted(vms) == ["a", "c"], vms
    assert place.qemu("a") == pids["a"]
    assert not os.path.exists(f"/proc/{pids['b']}")
    console = place.console("a", lab)
    code, out = console.sh("ping -c 1 -W 5 192.168.100." + vms["c"]["nics"][0]["ip"].split(".")[3].split("/")[0])
    assert code == 0, out


def waits_in_accept(place):
    """Whether that QEMU does, called as soon as it listens."""
    path = place.root / "late.qmp"
    words = ["-machine", "none", "-nodefaults", "-display", "none", "-qmp", f"unix:{path},server=on,wait=off"]
    with subprocess.Popen([place.env["ORCHESTRATOR_QEMU"], *words], stdin=subprocess.DEVNULL) as qemu:
        try:
            harness.wait_for("its monitor", 30, lambda: listens(path))
            with Monitor(path, knock_s=3) as monitor:
                monitor.ask("quit")
                qemu.wait(30)
                return monitor.knocked
        finally:
            qemu.kill()


@case("a QEMU that is about to take over its monitor's listener is not called there")
def late_monitor(place):
    harness.only_as_processes("libvirt calls it there")
    place.use_late_qemu("LATE_MONITOR_MS=300")
    if not waits_in_accept(place):
        raise harness.Skip("this QEMU may be called at any time")
    lab = place.lab({"version": 1, "vms": {"n1": {}, "n2": {"sockets": "none"}}})
    place.run("up", lab)
    assert all(vm["stage"] == "ready" for vm in place.vms(lab).values()), place.vms(lab)


@case("after is honoured: the later VM's QEMU starts when the earlier VM is ready")
def after(place):
    lab = place.lab({"version": 1, "vms": {"first": {}, "second": {"after": ["first"]}}})
    up = place.run("up", lab)
    ready = re.search(r"^.*\bfirst\b.*ready.*$", up.err, re.M)
    process = re.search(r"^.*\bsecond\b.*process.*$", up.err, re.M)
    assert ready and process and ready.start() < process.start(), up.err


@case("a one-VM lab: console, logs, stop, start, restart")
def one_vm(place):
    lab = place.example("one-vm")
    place.run("up", lab)
    (name,) = place.vms(lab)
    console = place.console(name, lab)
    assert console.sh("echo hello > /tmp/x; cat /tmp/x") == (0, "hello\n")
    console.close()
    assert "hello" in place.run("logs", "-l", lab, name).out
    place.run("stop", "-l", lab, name)
    assert place.vms(lab)[name]["stage"] == "stopped"
    assert not place.qemus()
    place.run("start", "-l", lab, name)
    assert place.vms(lab)[name]["stage"] == "ready"
    first = place.qemu(name)
    place.run("restart", "-l", lab, name)
    assert place.vms(lab)[name]["stage"] == "ready"
    assert place.qemu(name) != first
    console = place.console(name, lab)
    assert console.sh("cat /tmp/x")[0] != 0


def dawdle(place, lab):
    """Have the guest a take its time to stop: two seconds, until what heeds no signal is killed."""
    place.console("a", lab).sh("(trap '' TERM HUP; exec sleep 60) >/dev/null 2>&1 & true")


@case("start and up wait for a VM that is being stopped, and are refused while the lab is")
def crossing(place):
    lab = place.lab({"version": 1, "vms": {"a": {}}})
    place.run("up", lab)
    for verb in (("start", "-l", lab, "a"), ("up", lab)):
        dawdle(place, lab)
        stop = place.start("stop", "-l", lab, "a")
        harness.wait_for("a is stopping", 10, lambda: place.vms(lab)["a"]["stage"] == "stopping")
        place.run(*verb)
        assert place.vms(lab)["a"]["stage"] == "ready"
        stop.communicate(timeout=30)
        assert stop.returncode == 0
    dawdle(place, lab)
    down = place.start("down", lab)
    harness.wait_for("a is stopping", 10, lambda: place.vms(lab)["a"]["stage"] == "stopping")
    place.run("up", lab, code=7)
    place.run("start", "-l", lab, "a", code=7)
    down.communicate(timeout=30)
    assert down.returncode == 0
    assert not place.qemus()


@case("a guest that powers itself off is seen as stopped, and reboots are survived")
def guest_power(place):
    lab = place.lab({"version": 1, "vms": {"a": {}, "b": {}}})
    place.run("up", lab)
    pid = place.qemu("b")
    console = place.console("a", lab)
    console.process.stdin.write(b"poweroff\n")
    harness.wait_for("a is stopped", 30, lambda: place.vms(lab)["a"]["stage"] == "stopped", 0.3)
    console.close()
    assert place.vms(lab)["b"]["stage"] == "ready" and place.qemu("b") == pid
    place.run("up", lab)
    assert place.vms(lab)["a"]["stage"] == "ready"
    console = place.console("b", lab)
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    code, first = console.sh(boot_id)
    assert code == 0 and first, first
    console.process.stdin.write(b"reboot\n")

    def rebooted():
        # What is typed while nobody reads is lost: asked again until the guest answers.
        try:
            code, now = console.sh(boot_id, 5)
        except AssertionError:
            console.process.stdin.write(b"\x03")  # half a line has half of its quotes, and the shell waits for the others
            return False
        return code == 0 and now != first

    harness.wait_for("b's second boot", 90, rebooted)
    code, out = console.sh("ping -c 3 -W 5 a")
    assert code == 0, out
    assert place.qemu("b") == pid


@case("the rendered script brings up the same machine without the orchestrator")
def rendered_script(place):
    harness.only_as_processes("up runs no script")
    lab = place.example("one-vm")
    place.run("up", lab)
    script = place.run("render", "qemu", lab).out
    (name,) = place.vms(lab)
    running = place.qemu(name)
    with open(f"/proc/{running}/cmdline", "rb") as file:
        argv = file.read().decode().rstrip("\0").split("\0")
    quoted = subprocess.run(["sh", "-c", script.replace("exec ", "printf '%s\\n' ")],
                            capture_output=True, text=True, check=True).stdout.splitlines()
    # The supervisor has a monitor of its own, and lets the sockets' daemon die and come back, which takes its help at the start
    # (see render/qemu.h).
    for words in (["-preconfig"], ["-chardev", "socket,id=sup0,fd=3", "-mon", "chardev=sup0,mode=control"]):
        at = argv.index(words[-1]) - len(words) + 1
        assert argv[at:at + len(words)] == words, argv
        del argv[at:at + len(words)]
    kept = [re.sub(r"^(socket,id=vs0,.*),reconnect(-ms)?=\d+$", r"\1", word) for word in argv]
    assert kept != argv and quoted[1:] == kept[1:], (quoted, argv)


@case("two labs live side by side, found by name")
def two_labs(place):
    one = place.lab({"version": 1, "name": "one", "vms": {"a": {}}})
    two = place.lab({"version": 1, "name": "two", "vms": {"a": {}}})
    place.run("up", one)
    place.run("up", two)
    assert place.run("status", "one", "--json").json()["name"] == "one"
    assert place.run("status", code=None).code != 0  # two run: which one is not said
    place.run("down", "one")
    assert place.run("status", "--json").json()["name"] == "two"
    assert place.vms("two")["a"]["stage"] == "ready"


harness.main()
