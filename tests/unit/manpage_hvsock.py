# SPDX-License-Identifier: MIT
"""vhost-user-hvsock(8) names every counter with its text, every control method with its members, every word for a
port and no others.  Arguments: the folder of the daemon."""

import re
import sys
from pathlib import Path


def plain(text):
    return " ".join(text.split()).rstrip(".").lower()


def documented(page, title):
    """{name: text} of the paragraphs "*name*\n\ttext" in a section."""
    section = page.partition(f"\n# {title}\n")[2].partition("\n# ")[0]
    return {name: plain(text) for name, text in re.findall(r"^\*([\w.]+)\*(?: \{.*\})?\n\t((?:.+\n\t?)+)", section, re.M)}


def main():
    folder = Path(sys.argv[1])
    page = (folder / "vhost-user-hvsock.8.scd").read_text(encoding="utf-8")
    problems = []

    rows = [row for name in ("stats.h", "client.h")
            for row in re.findall(r'X\((\w+),\s*"([^"]+)"\)', (folder / name).read_text(encoding="utf-8"))]
    counters = {name: plain(text) for name, text in rows if name != "name"}
    assert len(counters) > 20, "are the tables still where this looks?"
    found = documented(page, "COUNTERS")
    for name in sorted(counters.keys() | found.keys()):
        if counters.get(name) != found.get(name):
            problems.append(f"counter {name}: {counters.get(name)!r} in the code, {found.get(name)!r} in the page")

    methods = re.findall(r'^\t\{ "([\w.]+)", \w+, "([^"]*)" \}', (folder / "ctl.c").read_text(encoding="utf-8"), re.M)
    assert len(methods) >= 8, methods
    for name, members in methods:
        words = ",".join(f'"{m.rstrip("?")}"' + ("?" if m.endswith("?") else "") for m in members.split(",") if m)
        if f"*{name}* {{{words}}}\n" not in page:
            problems.append(f"method {name} {{{words}}} is not in the page")

    profile = re.findall(r"X\((\w+), (\d)\)", (folder / "ports.h").read_text(encoding="utf-8"))
    assert len(profile) == 6, profile
    for word, offset in profile:
        if not re.search(rf"{50000 + int(offset)}\n:.\s?\*{word}\*", page):
            problems.append(f"port {50000 + int(offset)} {word} is not in the page")

    print("\n".join(problems))
    sys.exit(1 if problems else 0)


main()
