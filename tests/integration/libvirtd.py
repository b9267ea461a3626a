# SPDX-License-Identifier: MIT
"""A session's libvirt in a place of its own: started by hand, as one does without systemd, and ended by pid.

VHOST_LAB_TEST_LIBVIRT_ROOT names a root directory that holds another release of it (tests/foreign.py unpacks them). Then
libvirt, its QEMUs and virsh run in there, by bubblewrap; they see this host's /tmp, where all of a place lies, and its /dev.

VHOST_LAB_TEST_LIBVIRT_URI names one that runs already, and goes on afterwards: a system's.
"""

import os
import shlex
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from xml.etree import ElementTree

from harness import Result, Skip, wait_for

ROOT = os.environ.get("VHOST_LAB_TEST_LIBVIRT_ROOT")
GIVEN = os.environ.get("VHOST_LAB_TEST_LIBVIRT_URI")
START_S = 60  # one that sees its QEMUs for the first time asks each of them
END_S = 60    # libvirtd ends what it has begun


def inside(*argv):
    """The words that run a command where libvirt is."""
    if not ROOT:
        return list(argv)
    # A console is locked in /var/lock.
    return ["bwrap", "--ro-bind", ROOT, "/", "--dev-bind", "/dev", "/dev", "--proc", "/proc", "--ro-bind", "/sys", "/sys",
            "--bind", "/tmp", "/tmp", "--tmpfs", "/run", "--dir", "/run/lock", "--tmpfs", "/var/lock",
            "--ro-bind", "/etc/passwd", "/etc/passwd", "--ro-bind", "/etc/group", "/etc/group", "--", *argv]


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _end(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Libvirt:
    """qemu:///session of a place, or the one that is given; a context, which leaves no domain and no process behind."""

    uri = GIVEN or "qemu:///session"
    given = bool(GIVEN)

    def __init__(self, place):
        if not ROOT and not shutil.which("libvirtd"):
            raise Skip("no libvirtd on this host")
        self.place = place
        self.directory = place.runtime / "libvirt"
        self.defined = set()
        if ROOT:
            # What it knows of its QEMUs is not true of this host's.
            place.env["XDG_CACHE_HOME"] += "/" + Path(ROOT).name

    def __enter__(self):
        if not self.given:
            self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    # ---- the daemons ----------------------------------------------------------------------------------------------------

    def _daemon(self, name):
        done = subprocess.run(inside(name, "-d"), env=self.place.env, cwd=self.place.root, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=START_S, check=False)
        assert done.returncode == 0, f"{name}: {done.stderr}"

    def _answers(self):
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect(str(self.directory / "libvirt-sock"))
            return True
        except OSError:
            return False

    def start(self):
        """virtlogd, if it does not run yet, and libvirtd."""
        if not self.pid("virtlogd"):
            self._daemon("virtlogd")
        self._daemon("libvirtd")
        wait_for("libvirtd", START_S, self._answers)
        self.virsh("list", timeout=START_S)

    def pid(self, name):
        """Of libvirtd or virtlogd; None: it does not run."""
        try:
            pid = int((self.directory / f"{name}.pid").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return pid if _alive(pid) else None

    def kill(self):
        """kill -9 of libvirtd: its domains go on."""
        pid = self.pid("libvirtd")
        _end(pid, signal.SIGKILL)
        wait_for("libvirtd to be gone", 5, lambda: not _alive(pid))

    def qemus(self):
        """Its QEMUs: {domain: pid}."""
        found = {}
        directory = Path("/run/libvirt/qemu") if self.given else self.directory / "qemu" / "run"
        for file in directory.glob("*.pid"):
            text = file.read_text(encoding="utf-8").strip()
            # driver.pid is libvirtd's own.
            if file.stem != "driver" and text.isdigit() and _alive(int(text)):
                found[file.stem] = int(text)
        return found

    def stop(self):
        qemus = self.qemus()
        if self.given or self.pid("libvirtd"):
            for name in self.defined if self.given else self.domains("--all"):
                self.virsh("destroy", name, code=None)
                self.virsh("undefine", name, code=None)
        if self.given:
            return
        pids = [*qemus.values(), *filter(None, map(self.pid, ("libvirtd", "virtlogd")))]
        for pid in pids:
            _end(pid, signal.SIGTERM)
        try:
            wait_for("libvirt's processes to end", END_S, lambda: not any(map(_alive, pids)))
        except AssertionError:
            for pid in pids:
                _end(pid, signal.SIGKILL)
            raise

    # ---- virsh ----------------------------------------------------------------------------------------------------------

    def virsh(self, *args, code=0, timeout=60):
        """Runs virsh to its end; code=None accepts any exit status."""
        done = subprocess.run(inside("virsh", "--quiet", "--connect", self.uri, *map(str, args)), env=self.place.env,
                              cwd=self.place.root, text=True, capture_output=True, timeout=timeout, check=False,
                              stdin=subprocess.DEVNULL, errors="replace")
        if code is not None and done.returncode != code:
            raise AssertionError(f"virsh {' '.join(map(str, args))}: exit status {done.returncode}, not {code}\n"
                                 f"stdout: {done.stdout}\nstderr: {done.stderr}")
        return Result(done.returncode, done.stdout, done.stderr, 0)

    def define(self, file):
        """The name of the domain in that file."""
        said = self.virsh("define", "--validate", file).out
        name = ElementTree.parse(file).getroot().findtext("name")
        assert name in said or not said, said
        self.defined.add(name)
        return name

    def domains(self, *options):
        return self.virsh("list", "--name", *options).out.split()

    def state(self, name):
        return self.virsh("domstate", name).out.strip()

    def console(self, name):
        """The words that are `virsh console` on a terminal of its own."""
        script = self.place.root / f"console-{name}.sh"
        command = shlex.join(inside("virsh", "--quiet", "--connect", self.uri, "console", name))
        script.write_text(f"#!/bin/sh\nexec {command}\n", encoding="ascii")
        script.chmod(0o755)
        return ["socat", "-", f"EXEC:{script},pty,setsid,ctty,raw,echo=0"]
