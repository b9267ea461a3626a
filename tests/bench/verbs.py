# SPDX-License-Identifier: MIT
"""The verbs that look into a guest, on a tiny VM that runs.

exec-true: the whole of `orchestrator exec n1 -- true`, from its start to its end, less what the guest itself
needs for a fork and an exec (a loop of its own shell, in the same minute).  The peer is the limit.
cp-1g: 1 GB of random bytes by `orchestrator cp` into the guest, stored and hashed on both ends, against the same bytes
as a raw stream into a program that throws them away.
"""
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import up
from bench import Result, progress

EXECS = 100  # of one run
LIMIT_MS = 5
COPY_WANT = 0.8
COPY_BYTES = 1_000_000_000
CHUNK = 1 << 24
CASES = ("exec-true", "cp-1g")

LOOP = """i=0; read begin rest </proc/uptime
while [ $i -lt {n} ]; do /bin/busybox true; i=$((i+1)); done
read end rest </proc/uptime; echo $begin $end"""


class Guest:
    """A lab of one VM that runs."""

    def __init__(self, build):
        self.lab = up.Lab(build, 1)
        text = self.lab.file.read_text().replace('"n1": {}', '"n1": {"memory": "3GiB", "nics": []}')
        self.lab.file.write_text(text)
        self.lab.cli("up", self.lab.file)

    def cli(self, *args, **more):
        """The seconds that it took, and its output."""
        begin = time.monotonic()
        done = subprocess.run([self.lab.orchestrator, *args], env=self.lab.env, cwd=self.lab.root, check=True,
                              **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **more})
        return time.monotonic() - begin, done.stdout

    def close(self):
        self.lab.cli("down", "--cleanup", self.lab.file)
        self.lab.close()


def exec_true(b, guest):
    above, whole = [], []
    for i in range(b.runs):
        times = [guest.cli("exec", "n1", "--", "true")[0] * 1000 for _ in range(EXECS)]
        _, out = guest.cli("exec", "n1", "--", "sh", "-c", LOOP.format(n=EXECS))
        begin, end = map(float, out.split())
        own = (end - begin) * 1000 / EXECS
        whole.append(statistics.median(times))
        above.append(whole[-1] - own)
        progress(f"exec-true {i + 1}/{b.runs}: p50 {whole[-1]:.2f} ms, the guest's own {own:.2f} ms")
    return Result("exec-true", statistics.median(above), LIMIT_MS, "limit", "ms", 1.0, b.runs, more_is_better=False,
                  note=f"p50 above the guest's own fork and exec; all of it takes {statistics.median(whole):.1f} ms")


def random_file(path):
    with open(path, "wb") as file:
        left = COPY_BYTES
        while left > 0:
            left -= file.write(os.urandom(min(CHUNK, left)))


def copy(b, guest):
    with tempfile.TemporaryDirectory(prefix="vl-", dir="/var/tmp") as directory:
        data = Path(directory) / "data"
        random_file(data)

        def ours():
            seconds, _ = guest.cli("cp", data, "n1:/root/data")
            guest.cli("exec", "n1", "--", "rm", "/root/data")
            return COPY_BYTES / 1e6 / seconds

        def raw():
            with open(data, "rb") as file:
                seconds, _ = guest.cli("exec", "n1", "--", "sh", "-c", "cat >/dev/null", stdin=file)
            return COPY_BYTES / 1e6 / seconds

        figures, peer = b.pairs("cp-1g", ours, raw)
    return Result("cp-1g", statistics.median(figures), statistics.median(peer), "raw stream", "MB/s", COPY_WANT, b.runs,
                  ratios=[a / p for a, p in zip(figures, peer)])


def run(b, build):
    """One result for each wanted case."""
    if not any(map(b.wants, CASES)):
        return
    guest = Guest(build)
    try:
        if b.wants("exec-true"):
            yield exec_true(b, guest)
        if b.wants("cp-1g"):
            yield copy(b, guest)
    finally:
        guest.close()
