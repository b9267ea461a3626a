#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the seeds of fuzz_nat_dhcp, fuzz_nat_dns and fuzz_nat_packet: what guests send, and one for each kind of attack.

    tests/fuzz/seeds_nat.py [tests/fuzz/corpus]

The files are committed; this is how they were made.
"""
import ipaddress
import pathlib
import struct
import sys

N1 = bytes.fromhex("525400000001")
GATEWAY, DNS = "192.168.100.1", "192.168.100.254"
FIRST = "192.168.100.120"
DISCOVER, REQUEST, DECLINE, RELEASE, INFORM = 1, 3, 4, 7, 8


def ip(text):
    return ipaddress.ip_address(text).packed


# DHCP: conversations.

def option(code, value):
    return bytes([code, len(value)]) + value


def dhcp(kind, mac=b"\x52\x54\0\0\1\1", ciaddr="0.0.0.0", requested=None, server=None, more=b"", flags=0, giaddr="0.0.0.0"):
    options = option(53, bytes([kind]))
    if requested:
        options += option(50, ip(requested))
    if server:
        options += option(54, ip(server))
    return (struct.pack(">BBBBIHH", 1, 1, 6, 0, 0x1234, 0, flags) + ip(ciaddr) + bytes(8) + ip(giaddr) +
            mac + bytes(10) + bytes(192) + bytes([99, 130, 83, 99]) + options + more + b"\xff")


def talk(*messages, step=1):
    return b"".join(struct.pack(">HB", len(m), step) + m for m in messages)


OTHERS = [bytes([0x52, 0x54, 0, 0, 2, i]) for i in range(20)]
DHCP = {
    "host": talk(dhcp(DISCOVER, N1), dhcp(REQUEST, N1, requested="192.168.100.123", server=GATEWAY)),
    "pool": talk(dhcp(DISCOVER), dhcp(REQUEST, requested=FIRST, server=GATEWAY), dhcp(REQUEST, ciaddr=FIRST)),
    "reboot": talk(dhcp(REQUEST, requested="192.168.100.125"), dhcp(REQUEST, requested="10.0.0.1")),
    "release": talk(dhcp(REQUEST, requested=FIRST), dhcp(RELEASE, ciaddr=FIRST), dhcp(REQUEST, OTHERS[0], requested=FIRST)),
    "decline": talk(dhcp(REQUEST, requested=FIRST), dhcp(DECLINE, requested=FIRST), dhcp(DISCOVER)),
    "inform": talk(dhcp(INFORM, ciaddr="192.168.100.50")),
    "exhaust": talk(*[dhcp(DISCOVER, mac) for mac in OTHERS]),
    "expiry": talk(*[dhcp(REQUEST, mac, requested=FIRST) for mac in OTHERS[:4]], step=61),
    "moves": talk(dhcp(REQUEST, requested=FIRST), dhcp(REQUEST, requested="192.168.100.121"),
                  dhcp(REQUEST, OTHERS[0], requested=FIRST)),
    "client-id": talk(dhcp(DISCOVER, more=option(61, bytes(255)))),
    "broadcast": talk(dhcp(DISCOVER, flags=0x8000)),
    "relayed": talk(dhcp(DISCOVER, giaddr="10.0.0.1")),
    "option-beyond-end": talk(dhcp(DISCOVER)[:-1] + b"\x0c\xff"),
    "no-type": talk(dhcp(DISCOVER)[:240] + b"\xff"),
    "cut": talk(dhcp(DISCOVER)[:200]),
}

# DNS: one message, behind a byte that says whether the network is restricted.


def name(text):
    return b"".join(bytes([len(label)]) + label.encode() for label in text.split(".") if label) + b"\0"


def dns(text, kind=1, flags=0x0100, edns=False, cls=1, count=1):
    return (struct.pack(">HHHHHH", 0x1234, flags, count, 0, 0, int(edns)) + name(text) + struct.pack(">HH", kind, cls) +
            (b"\0" + struct.pack(">HHIH", 41, 4096, 0, 0) if edns else b""))


HEAD = struct.pack(">HHHHHH", 1, 0x0100, 1, 0, 0, 0)
DNS_SEEDS = {
    "a": dns("n1.lab"),
    "aaaa": dns("N2", 28),
    "any": dns("n1", 255),
    "ptr": dns("10.100.168.192.in-addr.arpa", 12),
    "ptr6": dns("a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", 12),
    "unknown": dns("n9.lab"),
    "domain": dns("lab"),
    "root": dns("", 2),
    "outside": dns("example.org"),
    "edns": dns("n1", edns=True),
    "edns-cut": dns("n1", edns=True)[:-1],
    "chaos": dns("version.bind", 16, cls=3),
    "answer": dns("n1", flags=0x8180),
    "update": dns("n1", flags=5 << 11),
    "two-questions": dns("n1", count=2),
    "pointer-to-itself": HEAD + b"\xc0\x0c\0\1\0\1",
    "pointer-forward": HEAD + b"\1a\xc0\x40\0\1\0\1",
    "dot-in-label": HEAD + b"\x06n1.lab\0\0\1\0\1",
    "label-beyond-end": HEAD + b"\x3fabc",
    "too-long": HEAD + (b"\x3f" + b"a" * 63) * 5 + b"\0\0\1\0\1",
    "head": HEAD,
}

# Frames, behind a byte: 1 restricted, 2 host-loopback.


def ether(payload, kind=0x0800, dst=b"\x52\x55" + ip(GATEWAY)):
    return dst + b"\x52\x54\0\0\0\x0a" + struct.pack(">H", kind) + payload


def ip4(payload, proto, dst, src="192.168.100.10", flags=0, ihl=5):
    return struct.pack(">BBHHHBBH", 0x40 | ihl, 0, ihl * 4 + len(payload), 1, flags, 64, proto, 0) + ip(src) + ip(dst) + \
        bytes(4 * (ihl - 5)) + payload


def ip6(payload, proto, dst, src="fd00::a"):
    return struct.pack(">IHBB", 6 << 28, len(payload), proto, 64) + ip(src) + ip(dst) + payload


def udp(port, payload=b"x"):
    return struct.pack(">HHHH", 1000, port, 8 + len(payload), 0) + payload


def tcp(port, flags=2):
    return struct.pack(">HHIIBBHHH", 1000, port, 1, 0, 5 << 4, flags, 1024, 0, 0)


PING = struct.pack(">BBHHH", 8, 0, 0, 1, 1)
ARP = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + b"\x52\x54\0\0\0\x0a" + ip("192.168.100.10") + bytes(6) + ip(GATEWAY)
PACKETS = {
    "arp": ether(ARP, 0x0806, b"\xff" * 6),
    "ping": ether(ip4(PING, 1, GATEWAY)),
    "dns": ether(ip4(udp(53), 17, DNS)),
    "dhcp": ether(ip4(udp(67), 17, "255.255.255.255", "0.0.0.0"), dst=b"\xff" * 6),
    "syn": ether(ip4(tcp(80), 6, "1.1.1.1")),
    "syn-gateway": ether(ip4(tcp(80), 6, GATEWAY)),
    "ack-gateway": ether(ip4(tcp(80, 16), 6, GATEWAY)),
    "loopback": ether(ip4(tcp(22), 6, "127.0.0.1")),
    "metadata": ether(ip4(tcp(80), 6, "169.254.169.254")),
    "options": ether(ip4(udp(9), 17, "1.1.1.1", ihl=15)),
    "fragment": ether(ip4(udp(9, bytes(64)), 17, "1.1.1.1", flags=0x2000)),
    "later-fragment": ether(ip4(bytes(64), 17, "1.1.1.1", flags=0x2008)),
    "tcp-fragment": ether(ip4(tcp(22), 6, GATEWAY, flags=0x2000)),
    "syn6": ether(ip6(tcp(80), 6, "2001:db8::1"), 0x86DD),
    "loopback6": ether(ip6(tcp(80), 6, "::1"), 0x86DD),
    "mapped6": ether(ip6(tcp(80), 6, "::ffff:127.0.0.1"), 0x86DD),
    "solicitation": ether(ip6(struct.pack(">BBHI", 135, 0, 0, 0) + ip("fd00::1"), 58, "ff02::1:ff00:1"), 0x86DD,
                          b"\x33\x33\xff\0\0\1"),
    "solicitation-to-nobody": ether(ip6(struct.pack(">BBHI", 135, 0, 0, 0) + ip("fd00::1"), 58, "::"), 0x86DD,
                                    b"\x33\x33\xff\0\0\1"),
    "extension": ether(ip6(bytes([6, 0]) + bytes(6) + tcp(80), 0, "2001:db8::1"), 0x86DD),
    "tagged": ether(struct.pack(">HH", 10, 0x0800) + ip4(PING, 1, GATEWAY), 0x8100),
    "length-lies": ether(ip4(udp(9), 17, "1.1.1.1")[:-1]),
}


def main():
    corpus = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "corpus")
    for folder, seeds, modes in (("nat_dhcp", DHCP, None), ("nat_dns", DNS_SEEDS, 2), ("nat_packet", PACKETS, 4)):
        directory = corpus / folder
        directory.mkdir(parents=True, exist_ok=True)
        for title, data in seeds.items():
            for mode in range(modes or 1):
                tail = f"-{mode}" if mode else ""
                (directory / (title + tail)).write_bytes((bytes([mode]) if modes else b"") + data)


main()
