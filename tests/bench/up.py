# SPDX-License-Identifier: MIT
"""`orchestrator up` of N tiny VMs to all ready, against a bare shell script that starts the
same switch and the same QEMUs and waits for the same ready marks.

Both sides get the same command lines: the script's are what `orchestrator render qemu` prints,
which is also the text that `up` runs.  Neither side's preparation (building the tiny image, making
directories and guest configurations for the script) nor its take-down is counted.  The script is
as lean as one can write it: it starts everything at once and looks every 20 ms, starting no
process to look or to wait, for that would take from the guests.
"""

import json
import os
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from bench import Result

WANT = round(1 / 1.1, 3)  # at most 1.1 times the script's time

SCRIPT = """set -eu
exec {{never}}<> <(:)
look_again() {{ read -rt 0.02 -u "$never" || :; }}
{daemon} --config {config} --control {control} 2>>{run}/switch.log &
echo $! >{run}/pids
for socket in {sockets}; do
	until [ -S "$socket" ]; do look_again; done
done
for script in {scripts}; do
	sh "$script" >>{run}/qemu.log 2>&1 </dev/null &
	echo $! >>{run}/pids
done
for mark in {marks}; do
	until [ -s "$mark" ]; do look_again; done
done
"""


class Lab:
    """A lab of n VMs with directories of its own."""

    def __init__(self, build, n):
        self.root = Path(tempfile.mkdtemp(prefix="vl-", dir="/tmp"))
        self.orchestrator = build / "orchestrator" / "orchestrator"
        self.daemon = build / "vhost-user" / "net" / "vhost-user-net"
        self.env = {**os.environ, "XDG_STATE_HOME": f"{self.root}/s", "XDG_RUNTIME_DIR": f"{self.root}/r"}
        (self.root / "r").mkdir(mode=0o700)
        self.file = self.root / "lab.json"
        self.file.write_text(json.dumps({"version": 1, "name": "bench", "vms": {f"n{i + 1}": {} for i in range(n)}}))
        self.state = self.root / "s/vhost-lab/labs/bench"
        self.run = self.root / "r/vhost-lab/bench"

    def cli(self, *args):
        begin = time.monotonic()
        subprocess.run([self.orchestrator, *args], env=self.env, check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        return time.monotonic() - begin

    def ours(self):
        seconds = self.cli("up", self.file)
        self.cli("down", "--cleanup", self.file)
        return seconds

    def prepare_script(self):
        """Takes from one `up` what the script needs, and writes the script."""
        self.cli("up", self.file)
        self.cli("render", "qemu", "--out", self.root / "scripts", self.file)
        shutil.copytree(self.state / "nets", self.root / "keep/nets")
        shutil.copytree(self.state / "vms", self.root / "keep/vms",
                        ignore=shutil.ignore_patterns("*.log", "ready"))
        self.cli("down", "--cleanup", self.file)
        config = json.loads((self.root / "keep/nets/lan/config.json").read_text())
        scripts = sorted((self.root / "scripts").glob("*.sh"))
        text = SCRIPT.format(
            daemon=self.daemon, config=self.state / "nets/lan/config.json", run=self.run,
            control=self.run / "lan.ctl",
            sockets=" ".join(port["socket-path"] for port in config["ports"]),
            scripts=" ".join(map(str, scripts)),
            marks=" ".join(str(self.state / "vms" / path.stem / "ready") for path in scripts))
        (self.root / "bare.sh").write_text(text)

    def bare(self):
        shutil.copytree(self.root / "keep", self.state)
        self.run.mkdir(parents=True, mode=0o700)
        begin = time.monotonic()
        try:
            subprocess.run(["bash", self.root / "bare.sh"], env=self.env, check=True, timeout=120)
            return time.monotonic() - begin
        finally:
            for pid in reversed((self.run / "pids").read_text().split()):
                os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.3)
            shutil.rmtree(self.state)
            shutil.rmtree(self.run)

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)


def run(b, build):
    """One result for each wanted case."""
    for n in (1, 3):
        case = f"up-{n}-tiny"
        if not b.wants(case):
            continue
        lab = Lab(Path(build).resolve(), n)
        try:
            lab.prepare_script()
            ours, peer = b.pairs(case, lab.ours, lab.bare)
        finally:
            lab.close()
        yield Result(case, statistics.median(ours), statistics.median(peer), "bare shell script", "s", WANT, b.runs,
                     more_is_better=False, ratios=[script / up for up, script in zip(ours, peer)])
