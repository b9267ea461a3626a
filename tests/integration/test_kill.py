# SPDX-License-Identifier: MIT
"""`kill -9` of any one process takes no other one down."""

import fcntl
import os
import re
import signal
import socket
import threading
import time

import harness
from harness import case
from qmp import Monitor

TWO = {"version": 1, "vms": {"n1": {}, "n2": {}}}
THREE = {"version": 1, "vms": {"n1": {}, "n2": {}, "n3": {}}}


def up(place, text=TWO):
    lab = place.lab(text)
    place.run("up", lab)
    return lab


@case("kill -9 of the CLI while VMs boot: the lab comes up all the same")
def kill_cli(place):
    lab = place.lab(TWO)
    cli = place.start("up", lab)
    harness.wait_for("the first QEMU", 60, lambda: place.qemus())
    cli.kill()
    cli.communicate()
    harness.wait_for("all ready", 90, lambda: all(
        vm["stage"] == "ready" for vm in place.vms(lab).values()), 0.3)
    assert len(place.qemus()) == 2


@case("Ctrl-C on up: exit 130, a word on how to look further, and the lab goes on")
def interrupt_cli(place):
    lab = place.lab(TWO)
    cli = place.start("up", lab)
    harness.wait_for("the first QEMU", 60, lambda: place.qemus())
    cli.send_signal(signal.SIGINT)
    _, err = cli.communicate(timeout=20)
    assert cli.returncode == 130, (cli.returncode, err)
    assert "orchestrator status" in err and "orchestrator down" in err, err
    harness.wait_for("all ready", 90, lambda: all(
        vm["stage"] == "ready" for vm in place.vms(lab).values()), 0.3)


@case("kill -9 of the supervisor: VMs and switch go on, status says so, up adopts them")
def kill_supervisor(place):
    lab = up(place, THREE)
    before = place.qemus()
    switch = place.pid_of("vhost-user-net")
    os.kill(place.pid_of(r"orchestrator supervise"), signal.SIGKILL)
    time.sleep(0.5)
    assert place.qemus() == before and place.pid_of("vhost-user-net") == switch
    status = place.run("status", lab, code=None)
    assert "supervisor" in status.out + status.err, (status.out, status.err)
    place.run("up", lab)
    assert place.qemus() == before and place.pid_of("vhost-user-net") == switch
    assert all(vm["stage"] == "ready" for vm in place.vms(lab).values())
    console = place.console("n1", lab)
    assert console.sh("ping -c 1 -W 5 n3")[0] == 0
    # What was adopted is watched: its death is seen.
    os.kill(place.qemu("n2"), signal.SIGKILL)
    harness.wait_for("n2 reported", 10, lambda: place.vms(lab)["n2"]["stage"] == "failed", 0.2)


@case("kill -9 of the supervisor while somebody holds a QEMU's monitor: the next one says so")
def kill_supervisor_held(place):
    harness.only_as_processes("libvirt has the monitor")
    lab = up(place, {"version": 1, "vms": {"n1": {}}})
    log = place.state / "vhost-lab/labs" / lab.parent.name / "supervisor.log"
    with Monitor(place.runtime / "vhost-lab" / lab.parent.name / "n1.qmp") as monitor:
        assert monitor.ask("query-status")["running"]
        os.kill(place.pid_of(r"orchestrator supervise"), signal.SIGKILL)
        place.run("up", lab)
        harness.wait_for("a word on it", 20, lambda: "n1.qmp does not answer yet" in log.read_text())


@case("kill -9 of the switch under traffic: it is back within 2 s, no VM reboots")
def kill_switch(place):
    lab = up(place)
    before = place.qemus()
    old = place.pid_of("vhost-user-net")
    console = place.console("n1", lab)
    console.sh("ping -c 1 -W 5 n2")
    uptime = float(console.sh("cut -d' ' -f1 /proc/uptime")[1])
    # 40 echo requests, 0.1 s apart; the switch dies after the first ten.
    console.process.stdin.write(b"ping -i 0.1 -c 40 -W 1 n2 > /tmp/ping; echo fini''shed\n")
    time.sleep(1)
    os.kill(old, signal.SIGKILL)
    harness.wait_for("the end of ping", 60, lambda: "finished\n" in console._pump())
    out = console.sh("cat /tmp/ping")[1]
    seen = sorted(int(n) for n in re.findall(r"seq=(\d+)", out))
    assert seen, out
    gaps = [(b - a - 1) * 0.1 for a, b in zip(seen, seen[1:])]
    assert place.pid_of("vhost-user-net") != old
    assert 39 in seen, out
    assert max(gaps) <= 2.0, f"silent for {max(gaps):.1f} s: {out}"
    assert place.qemus() == before
    assert float(console.sh("cut -d' ' -f1 /proc/uptime")[1]) > uptime
    assert all(vm["stage"] == "ready" for vm in place.vms(lab).values())


def uptime(place, lab, vm):
    """By the agent; None while it does not answer."""
    answer = place.run("exec", "-l", lab, vm, "--", "cut", "-d ", "-f1", "/proc/uptime", code=None)
    return float(answer.out) if answer.code == 0 else None


@case("kill -9 of the daemon of sockets: exec works again, no VM reboots")
def kill_sockets(place):
    lab = up(place)
    before = place.qemus()
    was = uptime(place, lab, "n1")
    for _ in range(3):
        old = place.pid_of("vhost-user-hvsock")
        os.kill(old, signal.SIGKILL)
        harness.wait_for("exec", 30, lambda: all(uptime(place, lab, vm) for vm in ("n1", "n2")), 0.2)
        assert place.pid_of("vhost-user-hvsock") != old
        now = uptime(place, lab, "n1")
        assert now > was, (was, now)
        was = now
    assert place.qemus() == before
    harness.wait_for("the agents to have called again", 30, lambda: all(
        vm["sockets"]["agent"] == "ready" for vm in place.vms(lab).values()), 0.2)
    assert all(vm["stage"] == "ready" for vm in place.vms(lab).values())


@case("kill -9 of the daemon of sockets: a QEMU that finds its successor late is waited for")
def late_qemu(place):
    place.use_late_qemu("LATE_IDLE_MS=300")
    log = place.qemu_log("late", "n1")
    log.unlink(missing_ok=True)
    lab = up(place, {"version": 1, "name": "late", "vms": {"n1": {}}})
    was = uptime(place, lab, "n1")
    os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
    harness.wait_for("exec", 30, lambda: uptime(place, lab, "n1"), 0.2)
    assert uptime(place, lab, "n1") > was
    # Had it been told its rings before it was connected, it would have said so.
    log = log.read_text()
    assert "Failed to set msg fds" not in log, log


@case("kill -9 of supervisor and daemon of sockets: up brings exec back, no VM reboots")
def kill_supervisor_and_sockets(place):
    lab = up(place)
    before = place.qemus()
    was = uptime(place, lab, "n2")
    os.kill(place.pid_of(r"orchestrator supervise"), signal.SIGKILL)
    os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
    place.run("up", lab)
    harness.wait_for("exec", 30, lambda: all(uptime(place, lab, vm) for vm in ("n1", "n2")), 0.2)
    assert uptime(place, lab, "n2") > was
    assert place.qemus() == before


@case("kill -9 of a QEMU: reported with its reason, the rest untouched, start brings it back")
def kill_qemu(place):
    lab = up(place, THREE)
    victim = place.qemu("n2")
    rest = place.qemus() - {victim}
    os.kill(victim, signal.SIGKILL)
    harness.wait_for("n2 reported", 10, lambda: place.vms(lab)["n2"]["stage"] == "failed", 0.2)
    vms = place.vms(lab)
    assert re.search("signal 9|SIGKILL|[Kk]illed", str(vms["n2"])), vms["n2"]
    assert vms["n1"]["stage"] == vms["n3"]["stage"] == "ready"
    assert place.qemus() == rest
    console = place.console("n1", lab)
    assert console.sh("ping -c 1 -W 5 n3")[0] == 0
    place.run("start", "-l", lab, "n2")
    assert console.sh("ping -c 1 -W 5 n2")[0] == 0


@case("everything killed at once: gc and up both clear the wreck")
def kill_all(place):
    lab = up(place)
    for pid in place.processes():
        os.kill(pid, signal.SIGKILL)
    harness.wait_for("all dead", 10, lambda: not place.processes())
    place.run("gc")
    assert not any(path.is_socket() for path in (place.runtime / "vhost-lab").rglob("*"))
    place.run("up", lab)
    assert all(vm["stage"] == "ready" for vm in place.vms(lab).values())


def die_slowly(listener, lock):
    """As one does that has been killed and much memory to give back: its descriptors are the last to go."""
    listener.accept()[0].close()
    time.sleep(0.5)
    listener.close()
    time.sleep(0.5)
    lock.close()


@case("gc waits for a supervisor that is just dying, and names one that does not answer, whose lab goes on")
def gc_supervisor(place):
    lab = up(place, {"version": 1, "vms": {"n1": {}}})
    supervisor = place.pid_of(r"orchestrator supervise")
    os.kill(supervisor, signal.SIGSTOP)
    before = place.processes()
    done = place.run("gc", code=6)
    assert f"lab {lab.parent.name} is left alone: " in done.err and "supervisor" in done.err, done.err
    assert place.processes() == before
    os.kill(supervisor, signal.SIGCONT)
    assert place.run("gc").err == "" and place.processes() == before

    run, state = place.runtime / "vhost-lab" / lab.parent.name, place.state / "vhost-lab/labs" / lab.parent.name
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    harness.wait_for("the lock", 10, lambda: not held(state / "lock"))
    # Another gc has it.
    with open(state / "lock", "r+", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert place.run("gc").err == "" and (state / "state.json").exists()
    with socket.socket(socket.AF_UNIX) as listener, open(state / "lock", "r+", encoding="ascii") as lock:
        (run / "sup.sock").unlink()
        listener.bind(str(run / "sup.sock"))
        listener.listen()
        listener.settimeout(30)
        fcntl.flock(lock, fcntl.LOCK_EX)
        dying = threading.Thread(target=die_slowly, args=(listener, lock), daemon=True)
        dying.start()
        place.run("gc")
        dying.join()
    assert place.files() == []


def held(path):
    with open(path, "r+", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


harness.main()
