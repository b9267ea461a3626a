# SPDX-License-Identifier: MIT
"""QEMU's monitor, as everything in tests asks it."""

import json
import socket


class QmpError(Exception):
    """QEMU refuses what it was told."""


class Monitor:
    """A connection to the one at a path.  QEMU serves one at a time: whoever holds it keeps everybody else out."""

    def __init__(self, path, seconds=60):
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(seconds)
            self._socket.connect(str(path))
            self._stream = self._socket.makefile("rw")
            self._stream.readline()
            self.ask("qmp_capabilities")
        except BaseException:
            self._socket.close()
            raise

    def ask(self, command, /, **arguments):
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
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
