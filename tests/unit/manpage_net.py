# SPDX-License-Identifier: MIT
"""vhost-user-net(8) names every counter of a port and every control method with its members, and no others.
Argument: the folder of the daemon."""

import re
import sys
from pathlib import Path


def main():
    folder = Path(sys.argv[1])
    page = (folder / "vhost-user-net.8.scd").read_text(encoding="utf-8")
    problems = []

    counters = set(re.findall(r'X\((\w+),\s*"', (folder / "stats.h").read_text(encoding="utf-8")))
    assert len(counters) > 20, "is the table still where this looks?"
    section = page.partition("\n# COUNTERS\n")[2].partition("\n# ")[0]
    named = {name for line in re.findall(r"^\*\w+\*.*$", section, re.M) for name in re.findall(r"\*(\w+)\*", line)}
    for name in sorted(counters ^ named):
        problems.append(f"counter {name} is only in the {'code' if name in counters else 'page'}")

    source = (folder / "ctl.c").read_text(encoding="utf-8")
    methods = re.findall(r'^\t\{ "([\w.]+)", \w+,\s+(?:"([^"]*)"|(NULL|\w+)) \}', source, re.M)
    assert len(methods) >= 10, methods
    control = page.partition("\n# CONTROL\n")[2].partition("\n# ")[0].replace(", ", ",")
    for name, members, elsewhere in methods:
        words = ",".join(f'"{m.rstrip("?")}"' + ("?" if m.endswith("?") else "") for m in members.split(",") if m)
        if f"*{name}* " + ("" if elsewhere else f"{{{words}}}") not in control:
            problems.append(f"method {name} {{{words}}} is not in the page")

    links = page.partition("\n# LINKS\n")[2].partition("\n# ")[0]
    fields = re.findall(r'X\(\w+,\s+\w+,\s+"([\w.-]+)"', (folder / "impair_config.h").read_text(encoding="utf-8"))
    assert len(fields) > 40, fields
    for name in fields:
        whole, _, part = name.partition(".")
        where = re.search(rf"^.*\*{whole}\*(.*)$", links, re.M)
        if not where or (part and f'"{part}"' not in where[1]):
            problems.append(f"setting {name} is not in the page")
    rows = re.findall(r'\{ "([\w.]+)", link_ctl_\w+, "([^"]*)"( IMPAIR_MEMBERS)? \}',
                      (folder / "link_ctl.h").read_text(encoding="utf-8"))
    assert len(rows) >= 15, rows
    for name, members, settings in rows:
        words = ",".join(f'"{m.rstrip("?")}"' + ("?" if m.endswith("?") else "") for m in members.split(",") if m)
        if f"*{name}* {{{words}" + (",_settings_}" if settings else "}") not in control:
            problems.append(f"method {name} {{{words}}} is not in the page")

    print("\n".join(problems))
    sys.exit(1 if problems else 0)


main()
