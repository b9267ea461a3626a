# SPDX-License-Identifier: MIT
"""The orchestrator: from a lab file to its plan and scripts, and `up` against a bare shell script.

plan-render-N: loading a lab of N VMs, planning it from nothing and rendering every VM's script, in one
process (bench_plan.c).  The peer is the limit, 200 ms whatever the size.
plan-render-linear: 1,000 VMs against ten times the time of 100.
up-N-tiny: see up.py.  up-3-libvirt: see up_libvirt.py.  exec-true, cp-1g: see verbs.py.
"""
import json
import statistics
import subprocess
from pathlib import Path

import up
import up_libvirt
import verbs
from bench import Result

LIMIT_MS = 200
SIZES = (10, 100, 1000)
PLAN_CASES = [f"plan-render-{n}" for n in SIZES] + ["plan-render-linear"]
UP_CASES = ["up-1-tiny", "up-3-tiny"]
LINEAR_WANT = 0.8  # a square would give 0.1
TRIES = 5  # the best of them is told: the rest is the machine's other business


def milliseconds(program, n):
    out = subprocess.run([program, str(n)], check=True, capture_output=True, text=True).stdout
    return json.loads(out)["total"] * 1000


def plan_render(b):
    program = b.program("tests/bench/bench_plan")
    totals = {n: [] for n in SIZES}
    for _ in range(b.runs):
        for n in SIZES:
            totals[n].append(min(milliseconds(program, n) for _ in range(TRIES)))
    for n in SIZES:
        if b.wants(f"plan-render-{n}"):
            yield Result(f"plan-render-{n}", statistics.median(totals[n]), LIMIT_MS, "limit", "ms", 1.0, b.runs,
                         more_is_better=False)
    if b.wants("plan-render-linear"):
        ratios = [10 * small / large for small, large in zip(totals[100], totals[1000])]
        yield Result("plan-render-linear", statistics.median(totals[1000]), 10 * statistics.median(totals[100]),
                     "10 x 100 VMs", "ms", LINEAR_WANT, b.runs, more_is_better=False, ratios=ratios)


def run(b):
    if any(map(b.wants, PLAN_CASES)):
        yield from plan_render(b)
    if not any(map(b.wants, (*UP_CASES, up_libvirt.CASE, *verbs.CASES))):
        return
    for program in ("vhost-user/net/vhost-user-net", "vhost-user/hvsock/vhost-user-hvsock",
                    "vhost-user/portal/client/portal-static", "orchestrator/agent/vhost-lab-agent"):
        b.program(program)
    build = Path(b.program("orchestrator/orchestrator")).parent.parent
    if any(map(b.wants, UP_CASES)):
        yield from up.run(b, build)
    if b.wants(up_libvirt.CASE):
        yield from up_libvirt.run(b, build)
    yield from verbs.run(b, build)
