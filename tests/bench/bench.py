# SPDX-License-Identifier: MIT
"""What the areas of tests/bench/run share: the build under test, pairs of runs, results."""
import dataclasses
import json
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import results  # noqa: E402


class Failed(Exception):
    """A case could not be run: said on stderr, exit 1."""


@dataclasses.dataclass
class Result:
    """One case.  A ratio above 1 means that ours is better, also where less is better."""

    case: str
    ours: float
    peer: float
    peer_name: str
    unit: str
    want: float  # None: the ratio is told, no more
    runs: int
    more_is_better: bool = True
    note: str = ""
    ratios: list = dataclasses.field(default_factory=list)

    @property
    def ratio(self):
        if self.ratios:
            return statistics.median(self.ratios)
        if self.more_is_better:
            return self.ours / self.peer
        return self.peer / self.ours

    def json(self):
        fields = {
            "case": self.case,
            "ours": round(self.ours, 3),
            "peer": round(self.peer, 3),
            "peer_name": self.peer_name,
            "unit": self.unit,
            "ratio": round(self.ratio, 3),
            "want": self.want,
            "runs": self.runs,
        }
        if self.note:
            fields["note"] = self.note
        return json.dumps(fields)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def stop(process):
    """End a process that we started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Bench:
    """The options of this run, and the programs under test."""

    def __init__(self, args):
        self.runs = args.runs
        self.seconds = args.seconds
        self._qemu = args.qemu
        self._cases = args.case
        self._build = pathlib.Path(args.build).resolve() if args.build else None

    def wants(self, case):
        return not self._cases or case in self._cases

    def program(self, path):
        """A program of the release build, brought up to date; `path` is relative to the build."""
        if self._build is None:
            self._build = ROOT / "build-bench"
            if not (self._build / "build.ninja").exists():
                subprocess.run(["meson", "setup", "--buildtype=release", "-Dbench=true",
                                str(self._build), str(ROOT)], check=True, stdout=sys.stderr)
        subprocess.run(["ninja", "-C", str(self._build), path], check=True, stdout=sys.stderr)
        return str(self._build / path)

    def patched_qemu(self):
        """The QEMU of qemu-patches, built if it is not there."""
        if not self._qemu:
            done = subprocess.run([ROOT / "qemu-patches/build"], check=True, stdout=subprocess.PIPE, text=True)
            self._qemu = done.stdout.strip()
        return self._qemu

    def pairs(self, case, ours, peer):
        """Run both in turn; the medians and the ratio of each pair.  Neighbours in time share
        whatever else the machine was doing, so the ratio of a pair is steadier than its figures."""
        a, b = [], []
        for i in range(self.runs):
            # Each goes first as often as the other.
            for is_ours in ((True, False) if i % 2 == 0 else (False, True)):
                (a if is_ours else b).append(ours() if is_ours else peer())
            progress(f"{case} {i + 1}/{self.runs}: ours {a[-1]:.3f}, peer {b[-1]:.3f}, "
                     f"ratio {a[-1] / b[-1]:.3f}")
        return a, b


def write_results(area, figures):
    """Replace the section of this area in tests/RESULTS.md."""
    lines = [f"`tests/bench/run {area}`; ratios above 1 mean that ours is better. Medians; the ratio is the median of the "
             "ratios of neighbouring runs.", "",
             "| case | ours | peer | unit | ratio | want | runs |", "|---|---|---|---|---|---|---|"]
    for r in figures:
        lines.append(f"| {r.case} | {r.ours:.3f} | {r.peer:.3f} ({r.peer_name}) | {r.unit} "
                     f"| {r.ratio:.2f} | {'none' if r.want is None else format(r.want, '.2f')} | {r.runs} |")
    notes = [f"- {r.case}: {r.note}" for r in figures if r.note]
    results.record(f"bench: {area}", "\n".join(lines + ([""] + notes if notes else [])))
