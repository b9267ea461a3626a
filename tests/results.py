#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Keeps tests/RESULTS.md: one section a suite, replaced in place by its last result.

As a program: `results.py SECTION < markdown`; as a module: record(section, markdown).
Each section is headed by the commit and the machine it was obtained on.
"""

import datetime
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "tests" / "RESULTS.md"
HEAD = """# Last results of the suites that run by name

Written by the suites themselves: do not edit. Ratios count, not seconds: the machines are shared.
"""


def machine():
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            model = re.sub(r"\s+", " ", line.partition(":")[2]).strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    virtual = subprocess.run(["systemd-detect-virt"], capture_output=True, text=True, check=False).stdout.strip() \
        if shutil.which("systemd-detect-virt") else ""
    return (f"{len(os.sched_getaffinity(0))} × {model}, {memory:.0f} GiB, Linux {os.uname().release}"
            + (f", {virtual}" if virtual else ""))


def commit():
    name = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True,
                          text=True, check=False).stdout.strip() or "unknown"
    changed = subprocess.run(["git", "-C", ROOT, "status", "--porcelain", "-uno", "--", ".",
                              ":!tests/RESULTS.md"], capture_output=True, text=True, check=False).stdout
    return name + (" with uncommitted changes" if changed.strip() else "")


def record(section, markdown):
    text = FILE.read_text(encoding="utf-8") if FILE.exists() else HEAD
    parts = re.split(r"(?m)^## ", text)
    sections = {part.split("\n", 1)[0].strip(): part.split("\n", 1)[1].strip() for part in parts[1:]}
    today = datetime.date.today().isoformat()
    sections[section] = f"Commit {commit()}, {today}, {machine()}.\n\n{markdown.strip()}"
    FILE.write_text(HEAD + "".join(f"\n## {name}\n{body}\n" for name, body in sorted(sections.items())),
                    encoding="utf-8")


if __name__ == "__main__":
    record(sys.argv[1], sys.stdin.read())
