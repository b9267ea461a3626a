# SPDX-License-Identifier: MIT
"""What a service manager does with the units of `render systemd`, for hosts where no systemd runs: it listens at the sockets,
starts a service when somebody connects (or at once, if the target wants it), passes it the listeners, waits for its READY=1,
starts it again if it does not end well, and listens on while it does not run.

It reads what the units say, and knows nothing of what they are for.  A setting that it does not know is an error: a test
must not pass because it was passed over."""

import fcntl
import os
import re
import select
import socket
import subprocess
import threading
import time
from pathlib import Path

# What it has no need to do anything about, here.
IDLE = {"Description", "Documentation", "PartOf", "Requires", "After", "Before", "StartLimitIntervalSec", "Type",
        "NoNewPrivileges", "UMask", "SocketMode", "DirectoryMode", "RemoveOnStop", "WantedBy"}
USED = {"ListenStream", "ExecStart", "Restart", "RestartSec", "Wants"}
START_S = 60


def read_unit(path):
    """{setting: [values]}"""
    settings = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith(("#", "[")):
            continue
        key, _, value = line.partition("=")
        assert key in IDLE | USED, f"{path}: {line}"
        settings.setdefault(key, []).append(value)
    return settings


def words_of(command):
    """The words of a command line, each in quotes or without."""
    words = []
    for quoted, bare in re.findall(r'"((?:\\.|[^"\\])*)"|(\S+)', command):
        word = re.sub(r"\\(.)", r"\1", quoted) if quoted else bare
        words.append(word.replace("%%", "%").replace("$$", "$"))
    return words


class Service:
    """A service and its socket unit."""

    def __init__(self, activator, name):
        self.activator, self.name = activator, name
        self.settings = read_unit(activator.directory / f"{name}.service")
        self.listeners, self.process = [], None
        self.starts = 0
        for path in read_unit(activator.directory / f"{name}.socket")["ListenStream"]:
            self._listen(path.replace("%%", "%"))

    def _listen(self, path):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(64)
        self.listeners.append(listener)

    def _pass_listeners(self):
        """In the child: they become 3, 4, ..."""
        high = [fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, 500) for listener in self.listeners]
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)

    def start(self):
        """Returns when it has said that it is ready."""
        ready = self.activator.directory / f"{self.name}.notify"
        ready.unlink(missing_ok=True)
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(str(ready))
        notify.settimeout(START_S)
        env = {**self.activator.env, "NOTIFY_SOCKET": str(ready), "LISTEN_FDS": str(len(self.listeners)),
               "LISTEN_FDNAMES": ":".join([f"{self.name}.socket"] * len(self.listeners))}
        self.starts += 1
        with open(self.activator.directory / f"{self.name}.log", "ab") as log:
            # Only the child knows its pid.
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                ["/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *words_of(self.settings["ExecStart"][0])],
                env=env, close_fds=False, preexec_fn=self._pass_listeners,  # pylint: disable=subprocess-popen-preexec-fn
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        assert notify.recv(64) == b"READY=1\n"
        notify.close()

    def look(self):
        """Once in a while: whether it has ended, and what is to follow."""
        if self.process and self.process.poll() is not None:
            well = self.process.returncode == 0
            self.process = None
            if not well and self.settings["Restart"] == ["on-failure"]:
                time.sleep(0.2)
                self.start()
        if not self.process and select.select(self.listeners, [], [], 0)[0]:
            self.start()

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(30)
        for listener in self.listeners:
            os.unlink(listener.getsockname())
            listener.close()


class Activator:
    """All units in a directory, as if their target had been started."""

    def __init__(self, directory, env):
        self.directory, self.env = Path(directory), env
        self.problem = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.services = {path.stem: Service(self, path.stem) for path in sorted(self.directory.glob("*.socket"))}
        (target,) = self.directory.glob("*.target")
        for unit in read_unit(target)["Wants"][0].split():
            if unit.endswith(".service"):
                self.services[unit.removesuffix(".service")].start()
        self._thread.start()

    def _run(self):
        try:
            while not self._ended.wait(0.05):
                for service in self.services.values():
                    service.look()
        except Exception as problem:  # pylint: disable=broad-exception-caught
            self.problem = problem

    def stop(self):
        self._ended.set()
        self._thread.join()
        for service in self.services.values():
            service.stop()
        if self.problem:
            raise self.problem
