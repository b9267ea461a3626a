# SPDX-License-Identifier: MIT
"""TCP between guests: large frames pass whole where both sides take them, are cut where one does not, and no byte is
changed on either way."""
import json
import os
import signal
import socket
import time

from harness import case, main, wait_for

MIB = 1 << 20
LAB = {
    "version": 1,
    "name": "offload",
    "networks": {"lan": {"subnet": "10.9.0.0/24"}},
    "vms": {name: {"nics": [{"network": "lan", "ip": f"10.9.0.{i}"}]} for i, name in enumerate(("one", "two"), 1)},
}


def ask(place, method, params=None):
    """A request to the switch, as any client of its control socket makes it."""
    path = next(place.runtime.rglob("lan.ctl"))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}).encode() + b"\n")
        line = s.makefile().readline()
    answer = json.loads(line)
    assert "result" in answer, answer
    return answer["result"]


def state(place, port):
    """What the switch says of a port; None while there is no switch."""
    try:
        return next(p["state"] for p in ask(place, "port.list")["ports"] if p["name"] == port)
    except (OSError, ValueError, StopIteration):
        return None


def counters(place):
    return {port["name"].split(".")[0]: port["counters"] for port in ask(place, "stats")["ports"]}


def transfer(place, lab, source, target, size):
    """Sends random bytes by TCP; returns what the switch counted meanwhile, by VM."""
    where = LAB["vms"][target]["nics"][0]["ip"]
    place.run("exec", "-l", lab, source, "--", "sh", "-c", f"head -c {size} /dev/urandom > /tmp/sent")
    sent = place.run("exec", "-l", lab, source, "--", "md5sum", "/tmp/sent").out.split()[0]
    # Its input never ends, or it would close the connection at once.
    listener = place.start("exec", "-l", lab, target, "--", "sh", "-c",
                           "[ -e /tmp/hold ] || mkfifo /tmp/hold; nc -l -p 5001 <>/tmp/hold | md5sum")
    wait_for("the listener", 20, lambda: ":1389 " in place.run(  # 5001 in hexadecimal
        "exec", "-l", lab, target, "--", "cat", "/proc/net/tcp", "/proc/net/tcp6", code=None).out)
    before = counters(place)
    place.run("exec", "-l", lab, source, "--", "sh", "-c", f"nc {where} 5001 < /tmp/sent")
    got = listener.communicate(timeout=60)[0].split()[0]
    assert got == sent, f"sent {sent}, got {got}"
    after = counters(place)
    return {vm: {name: after[vm][name] - before[vm][name] for name in after[vm]} for vm in after}


def mean_egress(moved, vm):
    return moved[vm]["egress_bytes"] / moved[vm]["egress_frames"]


def no_drops(moved):
    lost = {(vm, name): n for vm, of in moved.items() for name, n in of.items()
            if n and "_drop_" in name and name != "egress_drop_full"}  # a full ring is TCP's to see
    assert not lost, lost


@case("guest to guest, TCP's large frames pass whole and intact")
def whole(place):
    lab = place.lab(LAB)
    place.run("up", lab)
    for source, target in (("one", "two"), ("two", "one")):
        moved = transfer(place, lab, source, target, 32 * MIB)
        no_drops(moved)
        assert moved[source]["ingress_bytes"] >= 32 * MIB
        assert mean_egress(moved, target) > 4000, f"{mean_egress(moved, target):.0f} bytes a frame: no TSO"
    for port in ask(place, "port.list")["ports"]:
        features = int(port["features"], 16)
        wanted = 1 << 0 | 1 << 1 | 1 << 7 | 1 << 8 | 1 << 11 | 1 << 12  # CSUM, GUEST_CSUM, TSO4 and 6, both ways
        assert features & wanted == wanted, port["features"]


@case("for a port that is to get complete frames they are cut and summed up, and a guest that checks finds no fault")
def cut(place):
    lab = place.lab(LAB)
    place.run("up", lab)
    port = next(p["name"] for p in ask(place, "port.list")["ports"] if p["name"].startswith("two"))
    ask(place, "port.set", {"name": port, "offloads": False})
    moved = transfer(place, lab, "one", "two", 8 * MIB)
    no_drops(moved)
    assert moved["one"]["ingress_bytes"] / moved["one"]["ingress_frames"] > 4000, "the sender did not use TSO"
    assert mean_egress(moved, "two") <= 1514, f"{mean_egress(moved, 'two'):.0f} bytes a frame"
    errors = place.run("exec", "-l", lab, "two", "--", "sh", "-c",
                       "awk '/^Tcp: [0-9]/ {print $NF}' /proc/net/snmp").out.strip()  # InCsumErrors
    assert errors == "0", f"TCP found {errors} bad checksums"


@case("a link that is taken down loses its carrier in the guest, also past a switch that was killed, and gets it back")
def carrier(place):
    lab = place.lab(LAB)
    place.run("up", lab)

    def seen():
        return place.run("exec", "-l", lab, "one", "--", "cat", "/sys/class/net/eth0/carrier").out.strip()

    assert seen() == "1"
    place.run("link", "down", "-l", lab, "one")
    wait_for("the guest to see no carrier", 5, lambda: seen() == "0")
    os.kill(place.pid_of("vhost-user-net"), signal.SIGKILL)
    wait_for("the switch to be back", 20, lambda: state(place, "two.0") == "running")
    time.sleep(1.5)  # QEMU has connected again by now
    assert seen() == "0"
    place.run("link", "up", "-l", lab, "one")
    wait_for("the guest to see the carrier", 5, lambda: seen() == "1")
    place.run("exec", "-l", lab, "one", "--", "ping", "-c", "1", "-W", "5", "10.9.0.2")


if __name__ == "__main__":
    main()
