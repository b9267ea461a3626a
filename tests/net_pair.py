# SPDX-License-Identifier: MIT
"""A switch and two Linux guests on it, for the suites run by name."""
import json
import socket
import tempfile
import time

import guests

MIB = 8
PORT = 5000
ADDRESS = {"a": "10.9.0.1", "b": "10.9.0.2"}


class Failed(Exception):
    pass


def control(path, method, **params):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(path)
        s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        answer = json.loads(s.makefile().readline())
    if "error" in answer:
        raise Failed(f"{method}: {answer['error']['message']}")
    return answer["result"]


def counters(directory):
    return {p["name"]: p["counters"] for p in control(f"{directory}/net.ctl", "stats")["ports"]}


class Pair:
    """A switch and two guests on it."""

    def __init__(self, stack, build, qemu, kernel, initramfs, net_options="", queues=1):
        self.directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="matrix-net-"))
        self.switch = guests.switch(self.directory, build, "ab")
        stack.callback(self.switch.close)
        self.guest = {}
        for name, address in ADDRESS.items():
            self.guest[name] = guests.Guest(self.directory, name, qemu, kernel, initramfs, None, f"{self.directory}/{name}.net",
                                            f"{address}/24", net_options=net_options, queues=queues)
            stack.callback(self.guest[name].close)
        for guest in self.guest.values():
            self.boot(guest)

    @staticmethod
    def boot(guest):
        """Wait for it, and give it something to send."""
        guest.boot()
        guest.sh(f"dd if=/dev/urandom of=/tmp/data bs=1M count={MIB} 2>/dev/null")

    def reload(self, name):
        """Unbind its card's driver, and bind it again."""
        guest = self.guest[name]
        device = guest.sh("basename $(readlink /sys/class/net/eth0/device)")[1].strip()
        guest.sh(f"cd /sys/bus/virtio/drivers/virtio_net && echo {device} >unbind && sleep 0.5 && echo {device} >bind; sleep 1; "
                 f"ip link set eth0 up; ip addr add {ADDRESS[name]}/24 dev eth0")

    def reached(self):
        code, out = self.guest["a"].sh(f"ping -c 3 -s 1400 -W 5 {ADDRESS['b']}")
        if code != 0:
            raise Failed(out.strip()[-200:])

    @staticmethod
    def arrived(guest, seconds):
        """Wait until all of it is there, however long that takes a busy machine, unless nothing comes for so long."""
        size, grew = -1, time.monotonic()
        while guest.sh("[ -e /tmp/end ]")[0] != 0:
            now = int(guest.sh("[ -e /tmp/back ] && wc -c </tmp/back || echo 0")[1])
            if now != size:
                size, grew = now, time.monotonic()
            elif time.monotonic() - grew > seconds:
                raise Failed(f"{guest.name}: nothing has come for {seconds} s, after {size} bytes")
            time.sleep(0.5)
        guest.sh("rm /tmp/end")

    def sent(self, source, target, between=lambda: None, seconds=90):
        """The data of one guest to the other; `between` runs while they are under way."""
        a, b = self.guest[source], self.guest[target]
        # Its input never ends, or it would close the connection at once.
        b.sh(f"[ -e /tmp/hold ] || mkfifo /tmp/hold; rm -f /tmp/back; "
             f"(nc -l -p {PORT} <>/tmp/hold >/tmp/back 2>/dev/null; echo done >/tmp/end) >/dev/null 2>&1 & "
             f"until cat /proc/net/tcp* | grep -q ':{PORT:04X} .* 0A '; do sleep 0.1; done")
        a.sh(f"(nc {ADDRESS[target]} {PORT} </tmp/data >/dev/null 2>&1 &)")
        between()
        self.arrived(b, seconds)
        sums = [guest.sh(f"sha256sum <{path}")[1].split()[0] for guest, path in ((a, "/tmp/data"), (b, "/tmp/back"))]
        if sums[0] != sums[1]:
            raise Failed(f"{source} to {target}: {b.sh('ls -l /tmp/back')[1].strip()}")

    def both_ways(self):
        self.reached()
        self.sent("a", "b")
        self.sent("b", "a")
