# SPDX-License-Identifier: MIT
"""Ports of a lab's switch that lead to something else than a QEMU of shared memory, with real guests behind them."""
import json
import os
import re
import socket
import subprocess

from harness import case, main, wait_for

MIB = 1 << 20


def lab_of(*names, name="uplinks", mtu=1500):
    return {
        "version": 1,
        "name": name,
        "networks": {"lan": {"subnet": "10.9.0.0/24", "mtu": mtu}},
        "vms": {vm: {"nics": [{"network": "lan", "ip": f"10.9.0.{1 + ('one', 'two').index(vm)}"}]} for vm in names},
    }


def ask(place, method, params=None, lab="uplinks"):
    """A request to the switch, as any client of its control socket makes it."""
    path = next(place.runtime.rglob(f"{lab}/lan.ctl"))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params or {}}).encode() + b"\n")
        line = s.makefile().readline()
    answer = json.loads(line)
    assert "result" in answer, answer
    return answer["result"]


def port(place, name):
    return next(p for p in ask(place, "port.list")["ports"] if p["name"] == name)


class Guest:
    """A QEMU that nobody but this test knows: its guest's memory is its own, its card one of QEMU's socket netdevs."""

    def __init__(self, place, name, netdev):
        other = place.root / "other.json"
        other.write_text(json.dumps(lab_of("one", "two")))
        place.run("render", "--out", place.root / "rendered", "qemu", other)
        words = place.run("render", "--json", "qemu", other, name).json()
        self.place, self.console = place, place.root / f"{name}.con"
        self.argv = self._rewrite(self._words(words, name), place.root / "rendered" / f"{name}.conf", netdev)
        self.start()

    @staticmethod
    def _words(answer, name):
        """The words of that VM, wherever they stand in what render answers."""
        found = []

        def look(value):
            if isinstance(value, list) and value and all(isinstance(v, str) for v in value) and f"guest={name}" in value:
                found.append(value)
            elif isinstance(value, (list, dict)):
                for v in value.values() if isinstance(value, dict) else value:
                    look(v)

        look(answer)
        assert len(found) == 1, answer
        return found[0]

    def _rewrite(self, words, conf, netdev):
        out, i = words[:1], 1
        while i < len(words):
            option, value = words[i], words[i + 1] if i + 1 < len(words) and not words[i + 1].startswith("-") else None
            i += 1 if value is None else 2
            if option == "-object" or (value and re.search(r"id=(vu|vs|qmp)0|vhost-user-vsock|chardev=qmp0", value)):
                continue
            if option == "-machine":
                value = value.replace(",memory-backend=mem0", "")
            elif option == "-fw_cfg":
                value = re.sub(r"file=.*", f"file={conf}", value)
            elif option == "-netdev":
                value = netdev
            elif option == "-chardev" and "id=con0" in value:
                value = f"socket,id=con0,path={self.console},server=on,wait=off"
            elif option == "-chardev" and "id=ready0" in value:
                value = "null,id=ready0"
            out += [option] if value is None else [option, value]
        return out

    def start(self):
        self.process = subprocess.Popen(self.argv, env=self.place.env, stdin=subprocess.DEVNULL)
        wait_for("the console's socket", 20, self.console.exists)
        self.serial = socket.socket(socket.AF_UNIX)
        self.serial.connect(str(self.console))
        self.serial.setblocking(False)
        self.text = ""

    def end(self):
        self.serial.close()
        self.process.kill()
        self.process.wait()
        self.console.unlink(missing_ok=True)

    def _pump(self):
        try:
            self.text += self.serial.recv(65536).decode(errors="replace").replace("\r", "")
        except BlockingIOError:
            pass
        return self.text

    def sh(self, command, seconds=60):
        """The output of a shell command in the guest, which has to succeed."""
        mark = os.urandom(4).hex()
        line = f"echo \"{mark[:4]}\"\"{mark[4:]}\"; {command}; echo \"{mark[4:]}\"\"{mark[:4]}\" $?\n"
        self.serial.sendall(line.encode())
        pattern = re.compile(f"^{mark}\n(.*?)^{mark[4:]}{mark[:4]} (\\d+)$", re.S | re.M)
        found = wait_for(f"the end of {command!r}, seen so far: {self.text[-300:]!r}", seconds,
                         lambda: pattern.search(self._pump()))
        assert found[2] == "0", found[1]
        return found[1]


def reaches(place, lab, address):
    return place.run("exec", "-l", lab, "one", "--", "ping", "-c", "1", "-W", "2", address, code=None).code == 0


def listening(text):
    return ":1389 " in text  # 5001 in hexadecimal


@case("a guest without shared memory talks through a stream port with one that has it, and again after its QEMU's end")
def stream(place):
    lab = place.lab(lab_of("one"))
    place.run("up", lab)
    path = place.root / "far.sock"
    ask(place, "port.add", {"name": "far", "type": "stream", "socket-path": str(path)})
    assert port(place, "far")["state"] == "listening"
    guest = Guest(place, "two", f"stream,id=net0,server=off,addr.type=unix,addr.path={path}")
    try:
        wait_for("the guest to answer", 180, lambda: reaches(place, lab, "10.9.0.2"), 1)
        assert port(place, "far")["state"] == "running"
        guest.sh("true", 120)

        # TCP both ways, by its sums; large frames are cut for the stream, and none is lost but to a full socket.
        sent = place.run("exec", "-l", lab, "one", "--", "sh", "-c",
                         f"head -c {4 * MIB} /dev/urandom >/tmp/sent; md5sum </tmp/sent").out.split()[0]
        guest.sh("mkfifo /tmp/hold; (nc -l -p 5001 <>/tmp/hold | md5sum >/tmp/sum &)")
        wait_for("the listener", 30, lambda: listening(guest.sh("cat /proc/net/tcp /proc/net/tcp6")))
        place.run("exec", "-l", lab, "one", "--", "sh", "-c", "nc 10.9.0.2 5001 </tmp/sent")
        got = wait_for("the sum", 60, lambda: guest.sh("cat /tmp/sum").split())
        assert got[0] == sent, f"sent {sent}, got {got[0]}"

        listener = place.start("exec", "-l", lab, "one", "--", "sh", "-c",
                               "mkfifo /tmp/hold; nc -l -p 5001 <>/tmp/hold | md5sum")
        wait_for("the listener", 30, lambda: listening(place.run(
            "exec", "-l", lab, "one", "--", "cat", "/proc/net/tcp", "/proc/net/tcp6", code=None).out))
        sent = guest.sh(f"head -c {4 * MIB} /dev/urandom >/tmp/sent; md5sum </tmp/sent").split()[0]
        guest.sh("nc 10.9.0.1 5001 </tmp/sent", 120)
        got = listener.communicate(timeout=60)[0].split()[0]
        assert got == sent, f"sent {sent}, got {got}"
        counters = port(place, "far")["counters"]
        lost = {name: n for name, n in counters.items() if n and "_drop_" in name and name != "egress_drop_full"}
        assert not lost, lost
        assert counters["egress_bytes"] / counters["egress_frames"] <= 1514

        guest.end()
        wait_for("the port to listen again", 10, lambda: port(place, "far")["state"] == "listening")
        guest.start()
        wait_for("the guest to answer again", 180, lambda: reaches(place, lab, "10.9.0.2"), 1)
    finally:
        guest.end()
    ask(place, "port.remove", {"name": "far"})
    assert not path.exists()


@case("the same by datagrams, and by a stream that the switch connects")
def dgram_and_client(place):
    lab = place.lab(lab_of("one"))
    place.run("up", lab)
    ours, theirs = place.root / "ours", place.root / "theirs"
    for spec, netdev in (
            ({"type": "dgram", "local": str(ours), "remote": str(theirs)},
             f"dgram,id=net0,local.type=unix,local.path={theirs},remote.type=unix,remote.path={ours}"),
            ({"type": "stream", "socket-path": str(theirs), "client": True},
             f"stream,id=net0,server=on,addr.type=unix,addr.path={theirs}")):
        ask(place, "port.add", {"name": "far", **spec})
        guest = Guest(place, "two", netdev)
        try:
            wait_for(f"the guest to answer by {netdev}", 180, lambda: reaches(place, lab, "10.9.0.2"), 1)
            assert port(place, "far")["state"] == "running"
        finally:
            guest.end()
        ask(place, "port.remove", {"name": "far"})
        theirs.unlink(missing_ok=True)


@case("two labs are one network through a VXLAN tunnel, with the MTU that it leaves")
def vxlan(place):
    first = place.lab(lab_of("one", mtu=1450))
    second = place.lab(lab_of("two", name="uplinks2", mtu=1450))
    place.run("up", first)
    place.run("up", second)
    ends = {"uplinks": "127.0.7.1", "uplinks2": "127.0.7.2"}
    for lab, address in ends.items():
        peers = [a + ":14789" for a in ends.values() if a != address]
        ask(place, "port.add", {"name": "tunnel", "type": "vxlan", "vni": 7, "local": address + ":14789", "peers": peers,
                                "underlay-mtu": 1500}, lab)
    wait_for("the other lab's guest to answer", 30, lambda: reaches(place, first, "10.9.0.2"), 1)
    tunnel = port(place, "tunnel")
    assert tunnel["mtu"] == 1450, tunnel
    assert [peer["stations"] for peer in tunnel["peers"]] == [1], tunnel
    mtu = place.run("exec", "-l", first, "one", "--", "cat", "/sys/class/net/eth0/mtu").out.strip()
    assert mtu == "1450", mtu


if __name__ == "__main__":
    main()
