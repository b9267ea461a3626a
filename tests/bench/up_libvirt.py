# SPDX-License-Identifier: MIT
"""`orchestrator up` of three tiny VMs to all ready, as domains of a session's libvirt, against the same lab as processes of
its own.

libvirtd runs before the clock does, and has seen its QEMU.  Root has no session of its own there: then an unprivileged
user runs both.
"""
import json
import os
import pathlib
import pwd
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from bench import ROOT, Result

sys.path.insert(0, str(ROOT / "tests/integration"))
import harness  # noqa: E402

CASE = "up-3-libvirt"


class Lab:
    """The lab under both engines, in directories of its own."""

    def __init__(self, build):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="vl-", dir="/tmp"))
        self.orchestrator = build / "orchestrator" / "orchestrator"
        self.user = harness.test_user() if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.root), "XDG_STATE_HOME": f"{self.root}/s",
                    "XDG_RUNTIME_DIR": f"{self.root}/r", "XDG_CACHE_HOME": f"{self.root}/c"}
        for directory in (self.root, self.root / "r"):
            directory.mkdir(mode=0o700, exist_ok=True)
            os.chown(directory, self.user.pw_uid, self.user.pw_gid)
        for engine in ("qemu", "libvirt"):
            self.file(engine).write_text(json.dumps({
                "name": "bench", "engine": engine, "vms": {f"n{i + 1}": {} for i in range(3)}}), encoding="utf-8")
            self.file(engine).chmod(0o644)

    def file(self, engine):
        return self.root / f"{engine}.json"

    def _run(self, *argv):
        if os.geteuid() == 0:
            argv = ("setpriv", f"--reuid={self.user.pw_uid}", f"--regid={self.user.pw_gid}", "--clear-groups", "--", *argv)
        subprocess.run(list(map(str, argv)), env=self.env, cwd=self.root, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def prepare(self):
        """The image, and what libvirt finds out once."""
        self._run("virtlogd", "-d")
        self._run("libvirtd", "-d")
        for engine in ("qemu", "libvirt"):
            self.up(engine)

    def up(self, engine):
        begin = time.monotonic()
        self._run(self.orchestrator, "up", self.file(engine))
        seconds = time.monotonic() - begin
        self._run(self.orchestrator, "down", "--cleanup", "bench")
        return seconds

    def close(self):
        for name in ("libvirtd", "virtlogd"):
            pid = harness.pid_in(self.root / "r/libvirt" / f"{name}.pid")
            if pid:
                harness.end(pid, signal.SIGTERM)
                harness.wait_for(f"{name} to end", 10, lambda name=name: not harness.pid_in(
                    self.root / "r/libvirt" / f"{name}.pid"))
        shutil.rmtree(self.root, ignore_errors=True)


def run(b, build):
    lab = Lab(pathlib.Path(build).resolve())
    try:
        lab.prepare()
        ours, peer = b.pairs(CASE, lambda: lab.up("libvirt"), lambda: lab.up("qemu"))
    finally:
        lab.close()
    yield Result(CASE, statistics.median(ours), statistics.median(peer), "the same by QEMU directly", "s", None, b.runs,
                 more_is_better=False, ratios=[direct / by for by, direct in zip(ours, peer)])
