# SPDX-License-Identifier: MIT
"""QEMU's monitor, as everything in tests asks it."""

import contextlib
import json
import select
import socket

KNOCK_S = 10  # a QEMU that has not answered by then may never


class QmpError(Exception):
    """QEMU refuses what it was told."""


def listens(path):
    """Whether somebody does, without a call: a QEMU that has just begun may wait for the next one then, see Monitor."""
    with open("/proc/net/unix", encoding="utf-8", errors="replace") as file:
        return any(words[3] == "00010000" and words[-1] == str(path) for words in map(str.split, file))


class Monitor:
    """A connection to the one at a path.  QEMU serves one at a time: whoever holds it keeps everybody else out.  `knocked` tells
    whether it had to be called twice."""

    def __init__(self, path, seconds=60, knock_s=KNOCK_S):
        self._knock_s, self.knocked = knock_s, False
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(str(path))
            self._stream = self._socket.makefile("rw")
            self._await(path)
            self._stream.readline()
            self._send("qmp_capabilities")
            self._await(path)
            self._answer("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def _await(self, path):
        """Of a QEMU that has just begun two threads may see one call; the second waits for another, which nobody makes, and does
        nothing else (orchestrator/run/engine_qemu.c).  So knock; who calls while it has a client is hung up on."""
        if not select.select([self._socket], [], [], self._knock_s)[0]:
            self.knocked = True
            with socket.socket(socket.AF_UNIX) as another, contextlib.suppress(OSError):
                another.setblocking(False)
                another.connect(str(path))

    def ask(self, command, /, **arguments):
        self._send(command, **arguments)
        return self._answer(command)

    def _send(self, command, /, **arguments):
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()

    def _answer(self, command):
        while True:
            answer = json.loads(self._stream.readline())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise QmpError(f"{command}: {answer['error']['desc']}")

    def close(self):
        self._stream.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def qmp_ask(path, command, /, **arguments):
    """One question, by a connection of its own."""
    with Monitor(path) as monitor:
        return monitor.ask(command, **arguments)
