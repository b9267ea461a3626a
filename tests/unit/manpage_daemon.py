# SPDX-License-Identifier: MIT
"""The page of a daemon names every counter, with its text where it gives texts, every control method with its members, and
what else is this daemon's own; and no others.  Argument: the folder of the daemon."""

import re
import sys
from pathlib import Path

FOLDER = Path(sys.argv[1])
PAGE = (FOLDER / f"vhost-user-{FOLDER.name}.8.scd").read_text(encoding="utf-8")
problems = []


def plain(text):
    return " ".join(text.split()).rstrip(".").lower()


def section(title):
    return PAGE.partition(f"\n# {title}\n")[2].partition("\n# ")[0]


def rows(pattern, at_least, *files):
    """What matches in the sources: so many at least, or this looks in the wrong place."""
    found = [row for name in files for row in re.findall(pattern, (FOLDER / name).read_text(encoding="utf-8"), re.M)]
    assert len(found) >= at_least, (pattern, found)
    return found


def want(there, what):
    if not there:
        problems.append(f"{what} is not in the page")


def signature(members):
    return ",".join(f'"{m.rstrip("?")}"' + ("?" if m.endswith("?") else "") for m in members.split(",") if m)


def counters_with_texts(*files):
    counters = {name: plain(text) for name, text in rows(r'X\((\w+),\s*"([^"]+)"\)', 16, *files) if name != "name"}
    found = {name: plain(text) for name, text in
             re.findall(r"^\*([\w.]+)\*(?: \{.*\})?\n\t((?:.+\n\t?)+)", section("COUNTERS"), re.M)}
    for name in sorted(counters.keys() | found.keys()):
        if counters.get(name) != found.get(name):
            problems.append(f"counter {name}: {counters.get(name)!r} in the code, {found.get(name)!r} in the page")


def methods():
    for name, members in rows(r'^\t\{ "([\w.]+)", \w+, "([^"]*)" \}', 8, "ctl.c"):
        want(f"*{name}* {{{signature(members)}}}\n" in PAGE, f"method {name} {{{signature(members)}}}")


def hvsock():
    counters_with_texts("stats.h", "client.h")
    methods()
    profile = rows(r"X\((\w+), (\d)\)", 6, "ports.h")
    assert len(profile) == 6, profile
    for word, offset in profile:
        port = 50000 + int(offset)
        want(re.search(rf"{port}\n:.\s?\*{word}\*", PAGE), f"port {port} {word}")


def portal():
    counters_with_texts("leases.h")
    methods()
    config = section("CONFIGURATION")
    for key in sorted(set(rows(r'strcmp\(key, "([\w-]+)"\)', 13, "config.c"))):
        want(f"*{key}*" in config or f"_{key}_" in config, f"member {key}")


def net():
    counters = set(rows(r'X\((\w+),\s*"', 21, "stats.h"))
    named = {name for line in re.findall(r"^\*\w+\*.*$", section("COUNTERS"), re.M) for name in re.findall(r"\*(\w+)\*", line)}
    for name in sorted(counters ^ named):
        problems.append(f"counter {name} is only in the {'code' if name in counters else 'page'}")
    control = section("CONTROL").replace(", ", ",")
    for name, members, elsewhere in rows(r'^\t\{ "([\w.]+)", \w+,\s+(?:"([^"]*)"|(NULL|\w+)) \}', 10, "ctl.c"):
        shown = "" if elsewhere else f"{{{signature(members)}}}"
        want(f"*{name}* {shown}" in control, f"method {name} {shown}")
    for name, members, settings in rows(r'\{ "([\w.]+)", link_ctl_\w+, "([^"]*)"( IMPAIR_MEMBERS)? \}', 15, "link_ctl.h"):
        shown = f"{{{signature(members)}" + (",_settings_}" if settings else "}")
        want(f"*{name}* {shown}" in control, f"method {name} {shown}")
    for name in rows(r'X\(\w+,\s+\w+,\s+"([\w.-]+)"', 41, "impair_config.h"):
        whole, _, part = name.partition(".")
        where = re.search(rf"^.*\*{whole}\*(.*)$", section("LINKS"), re.M)
        want(where and (not part or f'"{part}"' in where[1]), f"setting {name}")


{"hvsock": hvsock, "net": net, "portal": portal}[FOLDER.name]()
print("\n".join(problems))
sys.exit(1 if problems else 0)
