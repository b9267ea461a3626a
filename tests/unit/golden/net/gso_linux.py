#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Let Linux itself cut packets: write golden/net/gso.txt, against which test_offload.c holds what we do.

    unshare -rn tests/unit/golden/net/gso_linux.py > tests/unit/golden/net/gso.txt

A bridge between two taps stands for us.  One takes frames with a virtio-net header, the other none, so that the kernel
has to do what a header asks for.  Each packet is a line "name header frame", and what came out are the indented lines
below it.  Last written by Linux 6.18.
"""
import fcntl
import os
import select
import struct
import subprocess
import time

TUNSETIFF, TUNSETOFFLOAD, TUNSETVNETHDRSZ = 0x400454CA, 0x400454D0, 0x400454D8
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 2, 0x1000, 0x4000

ETHERNET = bytes.fromhex("525400000001525400000002")
A4, B4 = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
A6, B6 = bytes.fromhex("fd" + 28 * "0" + "01"), bytes.fromhex("fd" + 28 * "0" + "02")
TIMESTAMP = bytes.fromhex("0101080a0000000100000002")
PAYLOAD = bytes((i * i * 37 + 11 * i + 200) & 255 for i in range(50))
FIN, PSH, ACK, CWR = 0x01, 0x08, 0x10, 0x80
TCP, UDP = 6, 17
TCP4, UDP_L4, TCP6, ECN = 1, 5, 4, 0x80


def ones(data):
    data += b"\0" * (len(data) & 1)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def tcp(flags, options=b""):
    return struct.pack("!HHIIBBHHH", 5001, 40000, 0xFFFFFFF0, 0x01020304, (20 + len(options)) // 4 << 4, flags, 0x2000, 0, 0) + options


def udp(n):
    return struct.pack("!HHHH", 53, 5353, 8 + n, 0)


def ip4(protocol, l4, options=b"", ident=0xFFFF):
    at = 16 if protocol == TCP else 6
    l4 = l4[:at] + struct.pack("!H", ones(A4 + B4 + struct.pack("!HH", protocol, len(l4)))) + l4[at + 2:]
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 2, 4 * words + len(l4), ident, 0x4000, 64, protocol, 0, A4, B4) + options
    return b"\x08\0" + head[:10] + struct.pack("!H", ~ones(head) & 0xFFFF) + head[12:] + l4


def ip6(protocol, l4, extensions=b"", first=None):
    at = 16 if protocol == TCP else 6
    l4 = l4[:at] + struct.pack("!H", ones(A6 + B6 + struct.pack("!IHH", len(l4), 0, protocol))) + l4[at + 2:]
    return b"\x86\xdd" + struct.pack("!IHBB16s16s", 0x60200007, len(extensions) + len(l4), protocol if first is None else first, 64, A6, B6) + extensions + l4


def packet(name, kind, size, start, l4_len, frame, tags=""):
    offset = 6 if "uso" in name or "udp" in name else 16
    tag = bytes.fromhex(tags)
    header = struct.pack("<BBHHHHH", 1, kind, start + l4_len + len(tag) if kind else 0, size, start + len(tag), offset, 0)
    return name, header, ETHERNET + tag + frame


EXTENSIONS = bytes([60, 0, 1, 4, 0, 0, 0, 0, 6, 0, 1, 4, 0, 0, 0, 0])
PACKETS = [
    packet("tso4_ecn", TCP4 | ECN, 20, 34, 32, ip4(TCP, tcp(CWR | ACK | PSH | FIN, TIMESTAMP) + PAYLOAD)),
    packet("tso4_options", TCP4, 24, 38, 20, ip4(TCP, tcp(ACK | PSH) + PAYLOAD, bytes([1, 1, 1, 0]))),
    packet("tso4_one", TCP4, 1448, 34, 20, ip4(TCP, tcp(ACK | PSH) + PAYLOAD)),
    packet("tso4_odd", TCP4, 7, 34, 20, ip4(TCP, tcp(ACK | FIN) + PAYLOAD, ident=0)),
    packet("tso6", TCP6, 20, 54, 32, ip6(TCP, tcp(ACK | PSH | FIN, TIMESTAMP) + PAYLOAD)),
    packet("tso6_extensions", TCP6, 20, 70, 32, ip6(TCP, tcp(ACK | PSH | FIN, TIMESTAMP) + PAYLOAD, EXTENSIONS, 0)),
    packet("uso4", UDP_L4, 20, 34, 8, ip4(UDP, udp(50) + PAYLOAD)),
    packet("uso6", UDP_L4, 20, 54, 8, ip6(UDP, udp(50) + PAYLOAD)),
    packet("tso4_vlan", TCP4, 20, 34, 32, ip4(TCP, tcp(ACK | PSH, TIMESTAMP) + PAYLOAD), "81000064"),
    packet("tso4_qinq", TCP4, 20, 34, 32, ip4(TCP, tcp(ACK | PSH, TIMESTAMP) + PAYLOAD), "88a800c881000064"),
    packet("csum_udp4", 0, 0, 34, 8, ip4(UDP, udp(7) + PAYLOAD[:7])),
    packet("csum_tcp6", 0, 0, 54, 20, ip6(TCP, tcp(ACK) + PAYLOAD)),
]


def tap(name, vnet):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | (IFF_VNET_HDR if vnet else 0)))
    if vnet:
        fcntl.ioctl(fd, TUNSETVNETHDRSZ, struct.pack("i", 12))
        fcntl.ioctl(fd, TUNSETOFFLOAD, 0xF)
    return fd


def run(line):
    subprocess.run(line.split(), check=True)


def received(fd, seconds):
    while select.select([fd], [], [], seconds)[0]:
        yield os.read(fd, 70000)


def main():
    send, receive = tap("gso0", True), tap("gso1", False)
    run("ip link add gsobr type bridge")
    run("sysctl -qw net.ipv6.conf.all.disable_ipv6=1")
    for name in ("gso0", "gso1"):
        run(f"ip link set {name} master gsobr")
    for name in ("gso0", "gso1", "gsobr"):
        run(f"ip link set {name} up")
    time.sleep(1)
    for name, header, frame in PACKETS:
        list(received(receive, 0.2))
        os.write(send, header + frame)
        print(name, header.hex(), frame.hex())
        for segment in received(receive, 0.3):
            print("   ", segment.hex())


if __name__ == "__main__":
    main()
