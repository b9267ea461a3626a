# SPDX-License-Identifier: MIT
"""Which windows of time count, where both sides poll and the machine is shared: those in which the kernel kept neither
of them waiting for its core.  The same rule for both; a side that goes to sleep by itself has nobody to blame."""
import os
import pathlib
import re

WINDOW_S = 0.25
CALM = 0.02  # share of a window that either side may wait for its core
PATIENCE = 8  # times the wanted seconds to find as many calm ones


def core_use(pid):
    """The busiest thread of a process: seconds that it has had a core so far, and has waited for one; and how
    often it has gone to sleep."""
    ran, waited, task = max((*map(int, (task / "schedstat").read_text().split()[:2]), task)
                            for task in pathlib.Path(f"/proc/{pid}/task").iterdir())
    slept = re.search(r"^voluntary_ctxt_switches:\s*(\d+)", (task / "status").read_text(), re.M)
    return ran / 1e9, waited / 1e9, int(slept.group(1))


def was_calm(before, after, seconds):
    """Had a process the core whenever it wanted it?"""
    ran, waited, slept = (b - a for a, b in zip(before, after))
    # A wait shows only when it is over; until then it shows as time that was not had.
    return waited <= CALM * seconds and (slept > 0 or ran >= (1 - 2 * CALM) * seconds)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
