# SPDX-License-Identifier: MIT
"""A network with a way out: addresses, names, connections out and in, by a real guest's own tools."""

import contextlib
import hashlib
import http.server
import re
import socket
import threading

import harness
from harness import case

LAN = {"subnet": "192.168.77.0/24"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Page(http.server.BaseHTTPRequestHandler):
    """A page whose every byte tells its place, so that a wrong one is noticed by its sum."""

    body = b"".join(b"%07d\n" % i for i in range(1 << 17))

    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):  # pylint: disable=arguments-differ
        pass


@contextlib.contextmanager
def web_server():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def lab_with(place, uplink, **vms):
    return place.lab({"version": 1, "networks": {"lan": {**LAN, "uplink": {"type": "nat", **uplink}}},
                      "vms": vms or {"n1": {}, "n2": {}}})


def ask(port, text, seconds=30):
    """Connects through a forward, says a line, and returns all that is answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=seconds) as s:
        s.sendall(text)
        s.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
        return answer


@case("DHCP gives a guest the lab's address; names of VMs are known; out by HTTP; in by a forward, also after a reboot")
def way_out(place):
    port = free_port()
    with web_server() as web:
        lab = lab_with(place, {"host-loopback": True, "forward": [f"tcp:127.0.0.1:{port}:n1:7000"]})
        place.run("up", lab)
        vms = place.vms(lab)
        address = {name: vm["nics"][0]["ip"].split("/")[0] for name, vm in vms.items()}
        console = place.console("n1", lab)

        # As a guest that knows nothing of the lab: only what DHCP says.
        assert console.sh("ip addr flush dev eth0; ip route flush dev eth0; : >/etc/resolv.conf; sed -i /n2/d /etc/hosts")[0] == 0
        code, out = console.sh("udhcpc -i eth0 -n -q -f")
        assert code == 0, out
        assert f"lease of {address['n1']} obtained" in out, out
        assert f"inet {address['n1']}/24 " in console.sh("ip addr show eth0")[1]
        assert "default via 192.168.77.1 " in console.sh("ip route")[1]
        assert console.sh("cat /etc/resolv.conf")[1].split() == ["nameserver", "192.168.77.254"]

        for name in ("n2.lab", "n2"):
            code, out = console.sh(f"nslookup {name} 192.168.77.254")
            assert re.search(rf"Address:? *(1: *)?{re.escape(address['n2'])}\b", out), out
        assert "n2.lab" in console.sh(f"nslookup {address['n2']} 192.168.77.254")[1]
        code, out = console.sh("ping -c 2 -W 5 n2.lab")
        assert code == 0, out
        assert "NXDOMAIN" in console.sh("nslookup n9.lab 192.168.77.254")[1].upper()

        code, out = console.sh(f"wget -q -O - http://192.168.77.1:{web}/ | md5sum", 90)
        assert out.split()[0] == hashlib.md5(Page.body).hexdigest(), out

        assert console.sh("(nc -l -p 7000 -e cat >/dev/null 2>&1 &)")[0] == 0
        harness.wait_for("the forward to reach the guest", 20, lambda: ask_again(port) == b"hello\n")
        console.close()

        # The forward outlasts the guest.
        place.run("restart", "-l", lab, "n1")
        place.run("wait", "-l", lab, "n1")
        console = place.console("n1", lab)
        assert console.sh("(nc -l -p 7000 -e cat >/dev/null 2>&1 &)")[0] == 0
        harness.wait_for("the forward to reach the guest that was started anew", 30,
                         lambda: ask_again(port) == b"hello\n")
        # A megabyte there and back: the guest sends large segments, cut before they leave the lab.
        assert console.sh("(nc -l -p 7000 -e cat >/dev/null 2>&1 &)")[0] == 0
        harness.wait_for("a listener", 10, lambda: console.sh("netstat -ltn | grep -q :7000")[0] == 0)
        assert echo(port, Page.body) == Page.body


def echo(port, data):
    """Sends and receives at once, as an echo of more than both ends' buffers needs."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as s:
        sender = threading.Thread(target=lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
        sender.start()
        answer = b""
        while chunk := s.recv(65536):
            answer += chunk
        sender.join()
        return answer


def ask_again(port):
    try:
        return ask(port, b"hello\n", 3)
    except OSError:
        return None


@case("unless the lab says so, a guest reaches neither the host's loopback nor its link-local addresses")
def no_loopback(place):
    with web_server() as web:
        lab = lab_with(place, {}, n1={})
        place.run("up", lab)
        console = place.console("n1", lab)
        for target in ("192.168.77.1", "127.0.0.2", "169.254.169.254"):
            code, out = console.sh(f"ip route replace 127.0.0.2 via 192.168.77.1 2>/dev/null; "
                                   f"wget -q -T 5 -O - http://{target}:{web}/")
            assert code != 0 and not out.startswith("0000000"), (target, out)


harness.main()
