# SPDX-License-Identifier: MIT
"""`--threads 2` against one thread: four ports, each sending frames of 64 bytes to its neighbour and back.  bench_threads runs
both in turn, and says of how many processors it had the use."""
import json
import statistics
import subprocess

from bench import Failed, Result

CASE = "net-threads-2"


def run(bench, program):
    """One line of bench_threads for each number of threads, by that number."""
    out = subprocess.run([program, str(bench.seconds), "1", "2"], capture_output=True, text=True, check=False)
    if out.returncode != 0:
        raise Failed(f"{CASE}: {out.stderr.strip()}")
    return {line["case"]: line for line in map(json.loads, out.stdout.splitlines())}


def cases(bench, program):
    if not bench.wants(CASE):
        return
    runs = [run(bench, program) for _ in range(bench.runs)]
    two, one = ([r[f"net-threads-{n}"] for r in runs] for n in (2, 1))
    cores = statistics.median(line["cores"] for line in two)
    yield Result(case=CASE, ours=statistics.median(line["ours"] for line in two),
                 peer=statistics.median(line["ours"] for line in one), peer_name="ours with 1 thread", unit="Mpps", want=1.7,
                 runs=bench.runs, ratios=[a["ours"] / b["ours"] for a, b in zip(two, one)],
                 note=f"four ports; two threads had {cores:.2f} processors, guests' share included")
