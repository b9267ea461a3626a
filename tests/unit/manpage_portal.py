# SPDX-License-Identifier: MIT
"""vhost-user-portal(8) names every counter with its text, every control method with its members, and every member of the
configuration.  Arguments: the folder of the daemon."""

import re
import sys
from pathlib import Path


def plain(text):
    return " ".join(text.split()).rstrip(".").lower()


def section(page, title):
    return page.partition(f"\n# {title}\n")[2].partition("\n# ")[0]


def main():
    folder = Path(sys.argv[1])
    page = (folder / "vhost-user-portal.8.scd").read_text(encoding="utf-8")
    problems = []

    rows = re.findall(r'X\((\w+),\s*"([^"]+)"\)', (folder / "leases.h").read_text(encoding="utf-8"))
    counters = {name: plain(text) for name, text in rows if name != "name"}
    assert len(counters) > 15, "is the table still where this looks?"
    found = {name: plain(text) for name, text in
             re.findall(r"^\*(\w+)\*\n\t((?:.+\n\t?)+)", section(page, "COUNTERS"), re.M)}
    for name in sorted(counters.keys() | found.keys()):
        if counters.get(name) != found.get(name):
            problems.append(f"counter {name}: {counters.get(name)!r} in the code, {found.get(name)!r} in the page")

    methods = re.findall(r'^\t\{ "([\w.]+)", \w+, "([^"]*)" \}', (folder / "ctl.c").read_text(encoding="utf-8"), re.M)
    assert len(methods) >= 9, methods
    for name, members in methods:
        words = ",".join(f'"{m.rstrip("?")}"' + ("?" if m.endswith("?") else "") for m in members.split(",") if m)
        if f"*{name}* {{{words}}}\n" not in page:
            problems.append(f"method {name} {{{words}}} is not in the page")

    config = section(page, "CONFIGURATION")
    keys = set(re.findall(r'strcmp\(key, "([\w-]+)"\)', (folder / "config.c").read_text(encoding="utf-8")))
    assert len(keys) > 12, keys
    for key in sorted(keys):
        if f"*{key}*" not in config and f"_{key}_" not in config:
            problems.append(f"member {key} is not in the page")

    print("\n".join(problems))
    sys.exit(1 if problems else 0)


main()
