# SPDX-License-Identifier: MIT
"""The ends of sockets that real guests are tested with: socat inside, which nobody here wrote, and echoes and loads on the host.
What is the same whatever the sockets are made of: virtio's (matrix) or Hyper-V's (matrix-vmbus)."""
import concurrent.futures
import contextlib
import hashlib
import os
import pathlib
import queue
import re
import shutil
import socket
import struct
import subprocess
import threading
import time

import foreign
import guests

ECHO_PORT, HOST_PORT = 5000, 6000
SIZE = 1 << 20
BLOCK = 64 << 10  # of vsock_load


def socat_files():
    """socat of this host with its libraries and loader, as files of an initramfs."""
    foreign.need("socat")
    path = pathlib.Path(shutil.which("socat")).resolve()
    lines = subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout
    libraries = set(re.findall(r"(/\S+) \(0x", lines))
    files = {f"opt/lib/{pathlib.Path(library).name}": pathlib.Path(library).read_bytes() for library in libraries}
    loader = next(name for name in files if "ld-linux" in name)
    files["opt/socat.bin"] = path.read_bytes()
    files["bin/socat"] = f"#!/bin/sh\nexec /{loader} --library-path /opt/lib /opt/socat.bin \"$@\"\n".encode()
    return files


# ---- the host's side ---------------------------------------------------------------------------------------------------

def connect(path, port, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.settimeout(30)
    s.connect(path)
    s.sendall(f"CONNECT {port}\n".encode())
    answer = b""
    while not answer.endswith(b"\n"):
        chunk = s.recv(1 if kind == socket.SOCK_STREAM else 64)
        if not chunk:
            raise guests.GuestError(f"CONNECT {port} was refused")
        answer += chunk
    if not re.fullmatch(rb"OK \d+\n", answer):
        raise guests.GuestError(f"CONNECT {port} was answered with {answer!r}")
    return s


def exchange(s, data, piece=65536):
    """Send, and return what comes back until the end."""
    back = []

    def receive():
        while chunk := s.recv(65536):
            back.append(chunk)

    thread = threading.Thread(target=receive)
    thread.start()
    for i in range(0, len(data), piece):
        s.sendall(data[i:i + piece])
    s.shutdown(socket.SHUT_WR)
    thread.join(60)
    if thread.is_alive():
        raise guests.GuestError("no end of what comes back")
    return b"".join(back)


class Listener:
    """Who serves at P_<port>, each client in a thread of its own."""

    def __init__(self, uds, port, serve, kind=socket.SOCK_STREAM):
        self.path, self._serve_one = f"{uds}_{port}", serve
        self.listener = socket.socket(socket.AF_UNIX, kind)
        self.listener.bind(self.path)
        self.listener.listen(128)
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                s, _ = self.listener.accept()
                threading.Thread(target=self._one, args=(s,), daemon=True).start()

    def _one(self, s):
        with s, contextlib.suppress(OSError):
            self._serve_one(s)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)


def send_back(s, chunks):
    while chunk := chunks.get():
        s.sendall(chunk)


def echo(s):
    """It reads on while nobody takes what it sends: one that writes without reading, as socat does within a block, would wait for
    itself once both ways are full."""
    chunks = queue.SimpleQueue()
    with concurrent.futures.ThreadPoolExecutor(1) as sender:
        done = sender.submit(send_back, s, chunks)
        while chunk := s.recv(65536):
            chunks.put(chunk)
        chunks.put(b"")
        done.result()


def pattern():
    """The block of vsock_load."""
    words, x, mask = [], 0x9e3779b97f4a7c15, (1 << 64) - 1
    for _ in range(BLOCK // 8):
        x ^= x << 13 & mask
        x ^= x >> 7
        x ^= x << 17 & mask
        words.append(x)
    return struct.pack(f"<{len(words)}Q", *words)


def sink(block):
    """Compare what comes, and say how much of it was right."""
    twice = block + block

    def serve(s):
        good = 0
        while chunk := s.recv(BLOCK):
            at = good % BLOCK
            if chunk != twice[at:at + len(chunk)]:
                break
            good += len(chunk)
        s.sendall(struct.pack("<Q", good))

    return serve


def source(block, size):
    def serve(s):
        for left in range(size, 0, -BLOCK):
            s.sendall(block[:min(left, BLOCK)])
        s.shutdown(socket.SHUT_WR)
        s.recv(1)

    return serve


# ---- a guest and its host ----------------------------------------------------------------------------------------------

class Ends:
    """A MiB through an echo at the other end and back, either way."""

    def __init__(self, directory):
        self.directory, self.data = directory, os.urandom(SIZE)

    def serve(self, guest, *more):
        """An echo in the guest, and data to send; `more` are further listeners of socat's."""
        # Who has ended half of it is waited for on a busy machine, too.
        listeners = "".join(f"socat -t 30 {words} & " for words in (f"VSOCK-LISTEN:{ECHO_PORT},fork,backlog=64 EXEC:cat", *more))
        guest.sh(f"({listeners}) </dev/null >/tmp/socat.log 2>&1; "
                 f"dd if=/dev/urandom of=/tmp/data bs=65536 count={SIZE // 65536} 2>/dev/null")
        if not until(60, lambda: connect(self.path(guest), ECHO_PORT).close()):
            raise guests.GuestError(f"nothing listens in {guest.name}: {guest.sh('cat /tmp/socat.log')[1]}")

    def path(self, guest):
        return f"{self.directory}/{guest.name}.vs"

    def from_host(self, guest):
        with connect(self.path(guest), ECHO_PORT) as s:
            back = exchange(s, self.data)
        if hashlib.sha256(back).digest() != hashlib.sha256(self.data).digest():
            raise guests.GuestError(f"{len(back)} bytes of {SIZE} came back, or others")

    @staticmethod
    def from_guest(guest, cid, port, options=""):
        code, out = guest.sh(f"socat -t 20 -b 4096 - VSOCK-CONNECT:{cid}:{port}{options} </tmp/data >/tmp/back && "
                             "cmp /tmp/data /tmp/back && echo same", 90)
        if code != 0 or "same" not in out:
            raise guests.GuestError(out.strip()[-200:] or f"exit {code}")


def until(seconds, condition):
    """Whether it comes true; what fails on the way is waited for."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(guests.GuestError, OSError):
            condition()
            return True
        time.sleep(0.2)
    return False
