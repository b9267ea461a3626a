#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counts test cases of meson's JUnit logs: `summary.py testlog.junit.xml STATUS [ANOTHER STATUS]...`.

Prints each skip with its reason and each failure by name, then the plain line
"N passed, N failed, N skipped".  STATUS is what that `meson test` returned: a run that
failed without a failing case in its log (a crash, a time-out) counts as one failure.
Exit status: 0 when something ran and nothing failed, else 1.
"""

import re
import sys
import xml.etree.ElementTree as ET


def reasons(suite) -> dict:
    """Why cases of cmocka's were skipped, by their names, which are all that its own line says: they have printed it just before."""
    said = suite.findtext("system-out") or ""
    return {name: reason for reason, name in re.findall(r"^# SKIP (.*)\n(?:not )?ok \d+ # SKIP (.*)$", said, re.M)}


def count(path, status, failed, skipped) -> int:
    """The cases of one log that passed; the others are added to the lists."""
    passed, failed_before = 0, len(failed)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            # What tests printed is in there too, control characters and all.
            text = re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", file.read())
        suites = ET.fromstring(text.encode()).iter("testsuite")
    except (OSError, ET.ParseError) as error:
        print(f"{path}: {error}", file=sys.stderr)
        suites = []
    for suite in suites:
        why = reasons(suite)
        for case in suite.iter("testcase"):
            name = f"{suite.get('name')}: {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(name)
            elif case.find("skipped") is not None:
                reason = (case.findtext("system-out") or "").strip()
                skipped.append(f"{name}: {why.get(reason, reason) or 'no reason given'}")
            else:
                passed += 1
    if status != 0 and len(failed) == failed_before:
        failed.append(f"meson test ended with status {status}")
    return passed


def main() -> int:
    failed, skipped = [], []
    logs = zip(sys.argv[1::2], sys.argv[2::2], strict=True)
    passed = sum(count(path, int(status), failed, skipped) for path, status in logs)
    for line in skipped:
        print(f"skipped: {line}")
    for line in failed:
        print(f"failed: {line}")
    print(f"{passed} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
