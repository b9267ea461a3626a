# SPDX-License-Identifier: MIT
"""What bench_gso measures: it runs both sides in turn on one core, and each of its lines is one run.

net-gso-*: 64 KiB frames from guest to guest against memcpy() of the same bytes.
net-profile-*: 64 B frames where each link has a profile, both ways, against the same switch without.  What is sent is below
	the rate.
net-ports-*: 64 B frames between two ports, 62 more being connected and silent, against the same switch without these.  Unlike
	net-64-ports there is no generator, whose own luck with caches and bursts differs from start to start.
"""
import json
import statistics
import subprocess

from bench import Failed, Result

WHAT = {
    "gso-64k-4096": "mergeable buffers of a page, as Linux posts them",
    "gso-64k-1536": "mergeable buffers of 1536 bytes, 43 to a frame",
    "gso-64k-big": "17 pages to a buffer",
    "ports-64b-64": "two of 64 ports are busy; the switch's time alone, without generator",
    "profile-64b-rate": "100 Gbit/s on each link",
    "profile-64b-delay": "1 ms on each link",
    "profile-64b-both": "100 Gbit/s and 1 ms on each link",
}


def cases(bench, program):
    for shape, what in WHAT.items():
        for ring in ("split", "packed"):
            name = f"net-{shape}-{ring}"
            if not bench.wants(name):
                continue
            lines = []
            for _ in range(bench.runs):
                out = subprocess.run(["taskset", "-c", "1", program, str(bench.seconds), f"{shape}-{ring}"],
                                     capture_output=True, text=True, check=False)
                if out.returncode != 0 or out.stderr:
                    raise Failed(f"{name}: {out.stderr.strip()}")
                lines.append(json.loads(out.stdout))
            ours, peer = (statistics.median(line[side] for line in lines) for side in ("ours", "peer"))
            yield Result(case=name, ours=ours, peer=peer, peer_name=lines[0]["peer_name"], unit=lines[0]["unit"],
                         want=0.95 if shape.startswith("ports") else 0.8,
                         runs=bench.runs, note=what, more_is_better=lines[0]["unit"] == "GB/s", ratios=[line["ratio"] for line in lines])
