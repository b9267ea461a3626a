# SPDX-License-Identifier: MIT
"""Links of a running lab: what is said about them holds, whoever is killed, and what is impossible changes nothing."""

import json
import os
import re
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import harness
from harness import case

TWO = {"version": 1, "name": "link", "defaults": {"memory": "128MiB"}, "vms": {"n1": {}, "n2": {}}}
THREE = {**TWO, "vms": {"n1": {}, "n2": {}, "n3": {}}}


def up(place, lab=None):
    path = place.lab(lab or THREE)
    place.run("up", path)
    return path


def ping(place, lab, vm, target, count=1):
    """How many of count pings were answered, and the mean time in ms."""
    out = place.run("exec", "-l", lab, vm, "--", "ping", "-c", count, "-i", "0.2", "-W", "2", target, code=None).out
    back = re.search(r"(\d+) packets received", out)
    assert back, out
    mean = re.search(r"min/avg/max = [\d.]+/([\d.]+)/", out)
    return int(back.group(1)), float(mean.group(1)) if mean else None


def answers(place, lab, vm, target):
    """Waits until it does: to ARP, who was out of reach is gone for up to three seconds more."""
    harness.wait_for(f"{target} to answer", 10, lambda: ping(place, lab, vm, target)[0] == 1)


def link(place, lab, *args, **kwargs):
    return place.run("link", "-l", lab, *args, **kwargs)


def shown(place, lab, name):
    return link(place, lab, "show", "--json", name).json()


def settings(place, lab, name, direction="to-guest"):
    """Without the seed, which is always there."""
    found = dict(shown(place, lab, name)[direction]["settings"])
    found.pop("seed", None)
    return found


def switch(place, network="lan"):
    return place.pid_of(rf"vhost-user-net .*/nets/{network}/")


def captures(place):
    """The ports that the switch is capturing."""
    path = re.search(r"--control (\S+)", place.processes()[switch(place)])[1]
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"capture.list"}\n')
        answer = json.loads(s.makefile().readline())
    return [port for capture in answer["result"]["captures"] for port in capture["ports"]]


@case("set, show, --for, reset: a link loses all, heals by itself, and heals when told")
def set_and_heal(place):
    lab = up(place)
    assert ping(place, lab, "n1", "n2")[0] == 1
    link(place, lab, "set", "n1", "loss=100%")
    assert settings(place, lab, "n1") == {"loss": 1.0}
    assert settings(place, lab, "n1", "from-guest") == {"loss": 1.0}
    assert ping(place, lab, "n1", "n2")[0] == 0
    assert ping(place, lab, "n3", "n2")[0] == 1, "another link was hit"
    text = link(place, lab, "show", "n1").out
    assert "loss 100%" in text and re.search(r"dropped.*loss +\d+", text), text
    assert "loss 100%" in place.run("status", lab).out
    # Merged by default; one direction; replaced.
    link(place, lab, "set", "-d", "to-guest", "n1", "delay=20ms")
    assert settings(place, lab, "n1") == {"loss": 1.0, "delay-ns": 20000000}
    assert settings(place, lab, "n1", "from-guest") == {"loss": 1.0}
    link(place, lab, "set", "--replace", "n1", "delay=50ms")
    assert settings(place, lab, "n1") == {"delay-ns": 50000000}
    back, mean = ping(place, lab, "n1", "n2", 3)
    assert back == 3 and mean >= 100, (back, mean)
    link(place, lab, "reset", "n1")
    assert settings(place, lab, "n1") == {}
    # For a time.
    link(place, lab, "set", "--for", "2s", "n1", "loss=100%")
    assert ping(place, lab, "n1", "n2")[0] == 0
    harness.wait_for("the loss to be over", 10, lambda: settings(place, lab, "n1") == {})
    assert ping(place, lab, "n1", "n2", 2)[0] == 2
    assert "loss" not in place.run("status", lab).out
    assert len(re.findall(r"\bup\b", link(place, lab, "list").out)) == 3


@case("README's session on a fresh lab: nothing is lost, some is, and nothing again")
def readme_session(place):
    up(place)
    text = (Path(__file__).parents[2] / "README.md").read_text()
    block = next(b for b in text.split("```") if "\n$ orchestrator link set" in b)
    lines = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) == 4 and lines[-1].startswith("orchestrator link reset"), lines

    def run(line):
        done = subprocess.run(line.replace("orchestrator", str(place.orchestrator)), shell=True, env=place.env, cwd=place.root,
                              capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, (line, done.stderr)
        return done.stdout

    before, _, lossy, _ = [run(line) for line in lines]
    assert " 0% packet loss" in before, before
    assert 0 < int(re.search(r"(\d+)% packet loss", lossy)[1]) < 100 and "delay 20ms, loss 30%" in lossy, lossy
    assert " 0% packet loss" in run(lines[2].partition(";")[0])


@case("profile: the built-in ones and the lab's own; default is nothing")
def profiles(place):
    lab = up(place, {**THREE, "profiles": {"slow": {"delay": "30ms", "rate": "10mbit"}},
                     "vms": {"n1": {"nics": [{"profile": "slow"}]}, "n2": {}, "n3": {}}})
    assert settings(place, lab, "n1") == {"delay-ns": 30000000, "rate-bps": 10000000}
    assert shown(place, lab, "n1")["to-guest"]["profile"] == "slow"
    link(place, lab, "profile", "n2", "slow")
    assert settings(place, lab, "n2") == settings(place, lab, "n1")
    for name in ("constrained", "lossy", "wan", "satellite", "wifi"):
        link(place, lab, "profile", "n2", name)
        assert shown(place, lab, "n2")["from-guest"]["profile"] == name
        assert settings(place, lab, "n2"), name
    link(place, lab, "profile", "n2", "default")
    assert settings(place, lab, "n2") == {}
    # The file's word is where reset goes back to.
    link(place, lab, "profile", "n1", "default")
    assert settings(place, lab, "n1") == {}
    link(place, lab, "reset", "n1")
    assert settings(place, lab, "n1")["delay-ns"] == 30000000


@case("down and up: the guest loses its carrier and has it again")
def carrier(place):
    lab = up(place, TWO)

    def state():
        return place.run("exec", "-l", lab, "n1", "--", "cat", "/sys/class/net/eth0/carrier", code=None).out.strip()

    assert state() == "1"
    link(place, lab, "down", "n1")
    assert ping(place, lab, "n2", "n1")[0] == 0
    assert not shown(place, lab, "n1")["up"] and "down" in link(place, lab, "list").out
    harness.wait_for("the guest to see it", 10, lambda: state() == "0")
    link(place, lab, "up", "n1")
    harness.wait_for("the guest to see it", 10, lambda: state() == "1")
    answers(place, lab, "n2", "n1")
    link(place, lab, "down", "--for", "2s", "n1")
    assert ping(place, lab, "n2", "n1")[0] == 0
    harness.wait_for("the link to come up by itself", 10, lambda: shown(place, lab, "n1")["up"])
    answers(place, lab, "n2", "n1")


@case("a link that flaps takes the guest's carrier and gives it back, also past a kill -9 of the supervisor")
def flaps(place):
    lab = up(place, TWO)

    def state():
        return place.run("exec", "-l", lab, "n1", "--", "cat", "/sys/class/net/eth0/carrier", code=None).out.strip()

    def follow(times):
        for _ in range(times):
            harness.wait_for("the carrier to go", 10, lambda: state() == "0")
            harness.wait_for("the carrier to come", 10, lambda: state() == "1")

    link(place, lab, "set", "n1", "flap.up=2s", "flap.down=2s")
    follow(2)
    os.kill(place.pid_of(r"orchestrator supervise"), signal.SIGKILL)
    place.run("up", lab)
    follow(1)
    # Whatever it shows when the supervisor dies, it shows a carrier when there is one.
    harness.wait_for("the carrier to go", 10, lambda: state() == "0")
    os.kill(place.pid_of(r"orchestrator supervise"), signal.SIGKILL)
    harness.wait_for("the link to be up", 10, lambda: shown(place, lab, "n1")["up"])
    place.run("up", lab)
    link(place, lab, "reset", "n1")
    harness.wait_for("the carrier to stay", 10, lambda: state() == "1")
    answers(place, lab, "n2", "n1")


@case("kill -9 of the switch and of the supervisor: what was set is set again, and reset still works")
def killed(place):
    lab = up(place)
    before = place.qemus()
    link(place, lab, "set", "n1", "loss=100%", "delay=5ms")
    link(place, lab, "profile", "-d", "to-guest", "n2", "wan")
    link(place, lab, "down", "n3")
    link(place, lab, "set", "--for", "1h", "n2", "duplicate=1%")

    def holds():
        answer = link(place, lab, "show", "--json", "n1", code=None)
        if answer.code:
            return False
        way = shown(place, lab, "n2")["to-guest"]
        return (settings(place, lab, "n1") == {"loss": 1.0, "delay-ns": 5000000} and way.get("profile") == "wan"
                and way["settings"].get("duplicate") == 0.01 and way.get("reverts-in-ns", 0) > 0
                and settings(place, lab, "n2", "from-guest") == {"duplicate": 0.01}
                and not shown(place, lab, "n3")["up"])

    assert holds()
    old = switch(place)
    os.kill(old, signal.SIGKILL)
    harness.wait_for("another switch", 10, lambda: [p for p, c in place.processes().items()
                                                    if "vhost-user-net" in c and p != old])
    # It began with them: they are in force before any frame is there.
    config = json.loads(Path(re.search(r"--config (\S+)", place.processes()[switch(place)])[1]).read_text())
    assert {"method": "port.down", "params": {"name": "n3.0"}} in config["setup"], config
    assert [c["params"]["port"] for c in config["setup"] if c["method"] == "link.set"].count("n1.0") == 2, config
    harness.wait_for("the links to be as before", 10, holds)
    assert ping(place, lab, "n1", "n2")[0] == 0
    os.kill(place.pid_of(r"orchestrator supervise"), signal.SIGKILL)
    assert holds()
    place.run("up", lab)
    assert holds()
    os.kill(place.pid_of(r"orchestrator supervise"), signal.SIGKILL)
    os.kill(switch(place), signal.SIGKILL)
    place.run("up", lab)
    harness.wait_for("the links to be as before", 10, holds)
    assert place.qemus() == before
    for name in ("n1", "n2"):
        link(place, lab, "reset", name)
    link(place, lab, "up", "n3")
    answers(place, lab, "n1", "n2")
    assert "nothing to do" in place.run("plan", lab).out


@case("up of a changed file: only the links that changed are told, live, and no port is dropped")
def changed_file(place):
    lab = up(place, {**THREE, "vms": {"n1": {"nics": [{"impair": {"delay": "10ms"}}]}, "n2": {}, "n3": {}}})
    pids = place.processes().keys()
    link(place, lab, "set", "n2", "delay=1ms")
    text = json.loads(lab.read_text())
    text["vms"]["n1"]["nics"][0] = {"impair": {"delay": "30ms", "to-guest": {"loss": "1%"}}, "vlan": 7}
    text["vms"]["n3"]["nics"] = [{"vlan": 7}]
    text["networks"] = {"lan": {"rules": [{"name": "no-udp", "loss": "100%", "match": {"protocol": "udp"}}],
                                "mirrors": [{"name": "see", "from": ["n1"], "to": "n2"}]}}
    lab.write_text(json.dumps(text))
    plan = place.run("plan", "--json", lab).json()
    assert [step["kind"] for step in plan["steps"]] == ["net-update"], plan
    place.run("up", lab)
    assert place.processes().keys() == pids
    assert settings(place, lab, "n1") == {"delay-ns": 30000000, "loss": 0.01}
    assert settings(place, lab, "n1", "from-guest") == {"delay-ns": 30000000}
    assert settings(place, lab, "n2") == {"delay-ns": 1000000}, "what was set by hand is gone"
    assert ping(place, lab, "n3", "n1", 5)[0] >= 3
    assert ping(place, lab, "n3", "n2")[0] == 0, "another VLAN was reached"
    assert "nothing to do" in place.run("plan", lab).out
    # The file's new word about a link ends what was said by hand.
    text["vms"]["n2"]["nics"] = [{"impair": {"delay": "2ms"}}]
    del text["networks"]
    lab.write_text(json.dumps(text))
    place.run("up", lab)
    assert settings(place, lab, "n2") == {"delay-ns": 2000000}
    assert place.processes().keys() == pids


@case("bad values are errors that name them, and the link goes on as it was")
def bad_values(place):
    lab = up(place, TWO)
    link(place, lab, "set", "n1", "delay=3ms")
    for words, said in (
            (("n1", "loss=120%"), "loss: .*120%.*out of range"),
            (("n1", "delay=-5ms"), "delay: .*negative"),
            (("n1", "rate=0mbit"), "rate: .*out of range"),
            (("n1", "los=1%"), 'did you mean "loss"'),
            (("n1", "loss"), "not KEY=VALUE"),
            (("n1", "loss=1%", "delay=1"), "delay: .*unit"),
            (("n1", "reorder=5%", "delay=0ms"), "delay"),
            (("n9", "loss=1%"), 'no VM "n9"'),
            (("n1.3", "loss=1%"), "no such NIC"),
            (("n1:wan", "loss=1%"), "no NIC there")):
        done = link(place, lab, "set", *words, code=None)
        assert done.code in (1, 2) and re.search(said, done.err), (words, done.code, done.err)
        assert settings(place, lab, "n1") == {"delay-ns": 3000000}, words
    for args, said in (
            (("profile", "n1", "lossi"), "no profile"),
            (("set", "--for", "soon", "n1", "loss=1%"), "--for"),
            (("set", "-d", "sideways", "n1", "loss=1%"), "direction"),
            (("show", "n7"), 'no VM "n7"'),
            (("show", "lan"), "lan is a network, not a link"),
            (("show", "lan:nat"), 'network lan has no uplink "nat"'),
            (("frob", "n1"), '"frob" is none of list, show'),
            (("profile", "n1"), "usage: .* link profile LINK NAME"),
            (("reset", "--for", "3s", "n1"), "--for goes with"),
            (("down", "-d", "to-guest", "n1"), "--direction goes with"),
            (("list", "wan"), "no network")):
        done = link(place, lab, *args, code=None)
        assert done.code in (1, 2) and re.search(said, done.err), (args, done.code, done.err)
    assert ping(place, lab, "n1", "n2", 2)[0] == 2


def blocks(data):
    """The blocks of a pcapng file as (type, body)."""
    found, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        assert size % 4 == 0 and 12 <= size <= len(data) - at, (at, size, len(data))
        assert struct.unpack_from("<I", data, at + size - 4)[0] == size
        found.append((kind, data[at + 8:at + size - 4]))
        at += size
    return found


@case("capture: to standard output with a filter, to a file, to a full disk; a terminal is refused")
def capture(place):
    lab = up(place)
    reader = place.start("capture", "-l", lab, "n1", "icmp")
    raw = reader.stdout.buffer
    os.set_blocking(raw.fileno(), False)
    seen = b""

    def frames():
        nonlocal seen
        seen += raw.read(1 << 20) or b""
        try:
            return sum(1 for kind, _ in blocks(seen) if kind == 6)
        except (AssertionError, struct.error):
            return 0

    harness.wait_for("the capture's header", 20, lambda: frames() == 0 and seen)
    ping(place, lab, "n1", "n2", 2)
    harness.wait_for("four frames", 20, lambda: frames() >= 4)
    assert blocks(seen)[0][0] == 0x0A0D0D0A
    reader.send_signal(signal.SIGINT)
    _, err = reader.communicate(timeout=20)
    assert reader.returncode == 0 and "frames" in err, (reader.returncode, err)
    # To a file, by the switch.
    path = place.root / "n2.pcapng"
    writer = place.start("capture", "-l", lab, "-w", path, "-d", "from-guest", "n2:lan")
    harness.wait_for("the file", 20, path.exists)
    ping(place, lab, "n1", "n2", 2)
    writer.send_signal(signal.SIGINT)
    writer.communicate(timeout=20)
    assert writer.returncode == 0
    assert sum(1 for kind, _ in blocks(path.read_bytes()) if kind == 6) >= 2
    # A terminal that is closed ends it, too.
    left = place.start("capture", "-l", lab, "-w", place.root / "n3.pcapng", "n3")
    harness.wait_for("the file", 20, (place.root / "n3.pcapng").exists)
    left.send_signal(signal.SIGHUP)
    assert left.wait(20) == 0 and "frames" in left.stderr.read()
    # So does a death of which it cannot tell anybody.
    left = place.start("capture", "-l", lab, "-w", place.root / "killed.pcapng", "n2")
    harness.wait_for("the file", 20, (place.root / "killed.pcapng").exists)
    assert captures(place) == ["n2.0"], captures(place)
    left.kill()
    left.wait(20)
    harness.wait_for("the capture to end", 20, lambda: captures(place) == [])
    for args, said in ((("n9",), 'no VM "n9"'), (("n1", "tcp", "prot", "80"), "filter"), (("-w", "/nowhere/x", "n1"), "error: /nowhere/x: No such"),
                       (("-s", "3", "-w", "x", "n1"), "--snaplen"), (("-C", "1KiB", "-w", "x", "n1"), "--rotate"),
                       (("-C", "1MiB", "n1"), "--write"), (("-W", "3", "-w", "x", "n1"), "--rotate")):
        done = place.run("capture", "-l", lab, *args, code=None)
        assert done.code in (1, 2) and said in done.err, (args, done.code, done.err)
    # A reader that goes away ends it.
    done = subprocess.run(f"{place.orchestrator} capture -l {lab} n1 | head -c 8 >/dev/null", shell=True, env=place.env,
                          capture_output=True, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
    with harness.small_filesystem() as small:
        full = place.start("capture", "-l", lab, "-w", small / "full.pcapng", "n1")
        for _ in range(20):
            if full.poll() is not None:
                break
            place.run("exec", "-l", lab, "n1", "--", "ping", "-c", "20", "-i", "0.01", "-s", "1400", "n2", code=None)
        _, err = full.communicate(timeout=30)
        (small / "full.pcapng").unlink()
    assert full.returncode == 1 and "No space left" in err, (full.returncode, err)
    assert ping(place, lab, "n1", "n2", 2)[0] == 2
    last = place.start("capture", "-l", lab, "-w", place.root / "last.pcapng", "n1")
    harness.wait_for("the file", 20, (place.root / "last.pcapng").exists)
    os.kill(switch(place), signal.SIGKILL)
    _, err = last.communicate(timeout=20)
    assert last.returncode == 1 and err.endswith("error: the switch has ended\n"), (last.returncode, err)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@case("uplinks: NAT tells guests the way out, forwards come and go; a taken port is an error, and kept nowhere")
def nat(place):
    port, other, taken = free_port(), free_port(), socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    busy = taken.getsockname()[1]
    lab = up(place, {**TWO, "vms": {"n1": {}}, "networks": {"lan": {"subnet": "10.9.0.0/24", "uplink": {
        "type": "nat", "forward": [f"tcp:127.0.0.1:{port}:n1:7"]}}}})
    route = place.run("exec", "-l", lab, "n1", "--", "ip", "route").out
    assert "default via 10.9.0.1 dev eth0" in route, route
    assert "nameserver 10.9.0.254" in place.run("exec", "-l", lab, "n1", "--", "cat", "/etc/resolv.conf").out
    assert ping(place, lab, "n1", "10.9.0.1")[0] == 1
    place.run("exec", "-l", lab, "n1", "--", "sh", "-c", "nc -ll -p 7 -e cat >/dev/null 2>&1 &")

    def echoes(number):
        try:
            with socket.create_connection(("127.0.0.1", number), 5) as s:
                s.sendall(b"hello\n")
                return s.recv(100) == b"hello\n"
        except OSError:
            return False

    harness.wait_for("an echo through NAT", 20, lambda: echoes(port))
    place.run("forward", "-l", lab, "add", "lan", f"tcp:127.0.0.1:{other}:n1:7")
    harness.wait_for("an echo through the new one", 20, lambda: echoes(other))
    done = place.run("forward", "-l", lab, "add", "lan", f"tcp:127.0.0.1:{busy}:n1:7", code=None)
    assert done.code == 1 and str(busy) in done.err and "in use" in done.err, (done.code, done.err)
    for text, said in ((f"tcp:127.0.0.1:{other}:n9:7", 'no VM "n9"'), ("tcp:1", "written"), (f"tcp:127.0.0.1:{other}:n1:7", "already")):
        done = place.run("forward", "-l", lab, "add", "lan", text, code=None)
        assert done.code in (1, 2) and said in done.err, (text, done.err)
    listed = {f["forward"]: f["origin"] for f in place.run("forward", "-l", lab, "list", "lan", "--json").json()}
    assert listed == {f"tcp:127.0.0.1:{port}:n1:7": "file", f"tcp:127.0.0.1:{other}:n1:7": "added"}, listed
    old = switch(place)
    os.kill(old, signal.SIGKILL)
    harness.wait_for("the guest on the new switch", 30, lambda: ping(place, lab, "n1", "10.9.0.1")[0] == 1)
    harness.wait_for("both after a restart", 60, lambda: echoes(port) and echoes(other))
    place.run("forward", "-l", lab, "remove", "lan", f"tcp:127.0.0.1:{port}:n1:7")
    place.run("forward", "-l", lab, "remove", "lan", f"tcp:127.0.0.1:{other}:n1:7")
    assert not echoes(port) and not echoes(other)
    # An uplink is a link, too.
    link(place, lab, "set", "lan:nat", "loss=100%")
    assert ping(place, lab, "n1", "10.9.0.1")[0] == 0
    link(place, lab, "reset", "lan:nat")
    assert ping(place, lab, "n1", "10.9.0.1")[0] == 1
    taken.close()


@case("what a file asks for in vain is reported, and keeps no VM from starting: a taken port, a socket that is not there")
def in_vain(place):
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    busy = taken.getsockname()[1]
    lab = place.lab({**TWO, "networks": {"lan": {"uplinks": [
        {"type": "nat", "forward": [f"tcp:127.0.0.1:{busy}:n1:7"]}, {"type": "stream", "socket-path": "/nonexistent/socket", "client": True}]}}})
    done = place.run("up", lab, code=None)
    assert done.code != 0 and str(busy) in done.err, (done.code, done.err)
    assert all(vm["stage"] == "ready" for vm in place.vms(lab).values())
    assert ping(place, lab, "n1", "n2")[0] == 1
    (net,) = place.status(lab)["networks"]
    assert {u["name"]: u["state"] for u in net["uplinks"]}["stream"] == "down", net
    assert "stream (down)" in place.run("status", lab).out
    taken.close()


@case("stats: frames are counted, live and as JSON; metrics are text")
def stats(place):
    lab = up(place, {**THREE, "networks": {"lan": {}, "far": {}}, "vms": {
        "n1": {"nics": [{"network": "lan"}]}, "n2": {"nics": [{"network": "lan"}]}, "n3": {"nics": [{"network": "far"}]}}})

    def count(name):
        (net,) = place.run("stats", "-l", lab, "--json", name).json()
        (port,) = net["ports"]
        return port["counters"]["ingress_frames"]

    before = count("n1")
    ping(place, lab, "n1", "n2", 5)
    assert count("n1") >= before + 5
    assert re.search(r"n1\.0 +lan +\d+", place.run("stats", "-l", lab).out)
    assert "ingress_frames" in place.run("stats", "-l", lab, "n1").out
    live = place.start("stats", "-l", lab, "--watch", "--json")
    assert [net["network"] for net in json.loads(live.stdout.readline())] == ["lan", "far"]
    live.send_signal(signal.SIGINT)
    live.communicate(timeout=10)
    assert live.returncode == 0
    metrics = place.run("stats", "-l", lab, "--openmetrics").out
    lines = metrics.splitlines()
    assert lines[-1] == "# EOF" and lines.count("# EOF") == 1, lines[-3:]
    assert 'network="lan"' in metrics and 'network="far"' in metrics and 'port="n1.0"' in metrics, metrics[-500:]
    types = [line.split()[2] for line in lines if line.startswith("# TYPE ")]
    assert types and len(types) == len(set(types)), "a family comes twice"
    assert all(re.fullmatch(r"[a-z_]+\{[^{}]*\} \S+", line) for line in lines if not line.startswith("#")), metrics[:500]
    assert place.run("stats", "-l", lab, "--openmetrics", "--watch", code=None).code == 2
    assert place.run("stats", "-l", lab, "nn", code=None).code in (1, 2)


@case("examples/wan comes up, and its own tests pass")
def example(place):
    lab = place.example("wan")
    place.run("up", lab)
    begun = shown(place, lab, "branch")["to-guest"]["timeline"]
    link(place, lab, "set", "branch", "loss=3%")
    link(place, lab, "reset", "branch")
    assert shown(place, lab, "branch")["to-guest"]["timeline"] == begun == {"steps": 2, "next": 0}
    report = place.run("test", lab, code=None)
    assert report.code == 0, report.out
    assert "wan" in place.run("status", lab).out and Path(lab).exists()


harness.main()
