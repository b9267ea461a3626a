#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts test cases of a meson JUnit log: `summary.py testlog.junit.xml STATUS`.

Prints each skip with its reason and each failure by name, then the plain line
"N passed, N failed, N skipped".  STATUS is what `meson test` returned: a run that
failed without a failing case in its log (a crash, a time-out) counts as one failure.
Exit status: 0 when something ran and nothing failed, else 1.
"""

import re
import sys
import xml.etree.ElementTree as ET


def main() -> int:
    path, status = sys.argv[1], int(sys.argv[2])
    passed, failed, skipped = 0, [], []
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            # What tests printed is in there too, control characters and all.
            text = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", file.read())
        suites = ET.fromstring(text.encode()).iter("testsuite")
    except (OSError, ET.ParseError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        suites = []
    for suite in suites:
        for case in suite.iter("testcase"):
            name = f"{suite.get('name')}: {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(name)
            elif case.find("skipped") is not None:
                reason = (case.findtext("system-out") or "").strip() or "no reason given"
                skipped.append(f"{name}: {reason}")
            else:
                passed += 1
    if status != 0 and not failed:
        failed.append(f"meson test ended with status {status}")
    for line in skipped:
        print(f"skipped: {line}")
    for line in failed:
        print(f"failed: {line}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
