#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The rules of the house that a program can check; prints TAP.

style.py SOURCE_ROOT BUILD_ROOT [CASE...]
"""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tidy import Tidy, cache_dir

ROOT = Path(sys.argv[1]).resolve()
BUILD = Path(sys.argv[2]).resolve()
CASES = []

# Who may include what from this repository: longest prefix wins.  An entry is a
# folder whose headers may be included; everything may include its own folder.
MAY_INCLUDE = {
    "vhost-user/lib": [],
    "vhost-user/net": ["vhost-user/lib"],
    "vhost-user/portal": ["vhost-user/lib"],
    "vhost-user/hvsock": ["vhost-user/lib"],
    "orchestrator": ["orchestrator"],
    "tests": ["tests", "vhost-user", "orchestrator"],
}
# Pure code does no I/O: these folders may not include what does.
PURE = {"orchestrator/plan", "orchestrator/render"}
IO_HEADERS = re.compile(r"<(sys/socket|sys/epoll|sys/mman|fcntl|unistd|dirent|gio/.*)\.h>|<gio/gio.h>")
# The headers of an inside are for the files of that inside only; glib never enters a daemon.
ONLY = {
    "vq_impl.h": re.compile(r"vhost-user/lib/vq(_split|_packed|_chain|_dirty)?\.c"),
    "session_impl.h": re.compile(r"vhost-user/lib/session(_request|_ring|_device|_region|_state|_backend)?\.c"),
    "control_impl.h": re.compile(r"vhost-user/lib/control(_request)?\.c"),
    "pcap/": re.compile(r"vhost-user/net/bpf\.c|tests/"),
    "libvdeplug": re.compile(r"vhost-user/net/port_vde\.c|tests/"),
    "json-c/": re.compile(r"vhost-user/lib/(control|backend)\.[ch]|vhost-user/(net|hvsock|portal)/((\w+_)?(ctl|json)(_impl)?|main|stats|config|portspec|port_type)\.[ch]|orchestrator/|tests/"),
    "libxml/": re.compile(r"orchestrator/import/xml\.c"),
    "glib": re.compile(r"orchestrator/|tests/"),
    "libvirt": re.compile(r"orchestrator/run/engine_libvirt(_\w+)?\.[ch]|tests/"),
}


# Another version of these tools formats and warns otherwise; this one decides.
CLANG = 14


class Skip(Exception):
    """This machine lacks what the case needs; the text says what."""


def clang_tool(name):
    out = subprocess.run([name, "--version"], capture_output=True, text=True, check=True).stdout
    version = int(re.search(r"version (\d+)", out).group(1))
    if version != CLANG:
        raise Skip(f"{name} {version} judges otherwise than {CLANG}, which decides")
    return name


def case(title):
    def register(function):
        CASES.append((title, function))
        return function

    return register


def tracked(*patterns):
    out = subprocess.run(["git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard",
                          "-z", "--", *patterns], capture_output=True, check=True).stdout
    return [Path(name) for name in sorted(out.decode().split("\0")) if name and (ROOT / name).exists()]


def text(path):
    return (ROOT / path).read_text(encoding="utf-8")


def rules_for(path):
    best = max((prefix for prefix in MAY_INCLUDE if str(path).startswith(prefix + "/")), key=len,
               default=None)
    return best, MAY_INCLUDE.get(best)


@case("include rules: a folder includes only what it may know")
def includes():
    wrong = []
    headers = {}
    for path in tracked("*.h"):
        headers.setdefault(path.name, []).append(path)
    for path in tracked("*.c", "*.h"):
        area, allowed = rules_for(path)
        for number, line in enumerate(text(path).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+([<"])([^">]+)[">]', line)
            if not found:
                continue
            where = f"{path}:{number}: {found.group(2)}"
            for name, only in ONLY.items():
                if found.group(2).startswith(name) and not only.match(str(path)):
                    wrong.append(where)
            if any(str(path).startswith(pure + "/") for pure in PURE) and IO_HEADERS.search(line):
                wrong.append(f"{where} (no I/O here)")
            if found.group(1) == "<":
                continue
            targets = headers.get(Path(found.group(2)).name, [])
            targets = [t for t in targets if str(t).endswith(found.group(2))]
            ok = not targets or area is None or any(
                str(t).startswith(area + "/") or any(str(t).startswith(a + "/") for a in allowed)
                for t in targets)
            if not ok:
                wrong.append(where)
    return wrong


@case("only tests include a .c file")
def include_c():
    return [f"{path}:{n}" for path in tracked("vhost-user/*.[ch]", "orchestrator/*.[ch]")
            for n, line in enumerate(text(path).splitlines(), 1)
            if re.match(r'\s*#\s*include\s+"[^"]+\.c"', line)]


@case("every source names its licence on the first or second line")
def spdx():
    sources = tracked("*.c", "*.h", "*.py", "*meson.build", "quickstart", "check", ".ci/run", "*.sh")
    return [str(path) for path in sources
            if not any("SPDX-License-Identifier: MIT" in line for line in text(path).splitlines()[:2])]


@case("every header opens with prose and has a guard")
def header_prose():
    wrong = []
    for path in tracked("vhost-user/*.h", "orchestrator/*.h"):
        content = text(path)
        prose = re.findall(r"/\*.*?\*/", content, re.S)
        if len(prose) < 2 or len(prose[1]) < 60:
            wrong.append(f"{path}: no opening comment")
        if not re.search(r"#ifndef \w+_H\b|#pragma once", content):
            wrong.append(f"{path}: no guard")
    return wrong


@case("every vhost-user request has a wire test")
def wire_tests():
    proto = text("vhost-user/lib/proto.h")
    requests = re.findall(r"^\s*X\(\s*([A-Z0-9_]+)\s*,\s*\d+", proto, re.M)
    if len(requests) < 15:
        return [f"only {len(requests)} requests found in proto.h: is this check still looking right?"]
    tests = " ".join(text(path) for path in tracked("tests/wire/*.c"))
    names = {path.name for path in tracked("tests/wire/*.c")}
    return [f"{name}: no tests/wire/test_wire_{name.lower()}.c and no test naming it"
            for name in requests
            if f"test_wire_{name.lower()}.c" not in names and not re.search(rf"\b\w*{name}\b", tests)]


@case("no file without a noun: util.c, misc.c, helpers.c, common.c")
def nouns():
    return [str(path) for path in tracked("*.c", "*.h")
            if path.stem in ("util", "utils", "misc", "helper", "helpers", "common")]


@case("files stay readable: no source over 1200 lines")
def size():
    return [f"{path}: {n} lines" for path in tracked("*.c", "*.h", "*.py")
            if (n := len(text(path).splitlines())) > 1200]


@case("no trailing white space, no tab after a space, a newline at the end")
def whitespace():
    wrong = []
    for path in tracked("*.c", "*.h", "*.py", "*.md", "*.scd", "*meson.build"):
        content = text(path)
        if content and not content.endswith("\n"):
            wrong.append(f"{path}: no newline at the end")
        wrong += [f"{path}:{n}" for n, line in enumerate(content.splitlines(), 1) if line != line.rstrip()]
    return wrong


@case("no marks of unfinished work")
def unfinished():
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    return [f"{path}:{n}: {line.strip()}" for path in tracked("*.c", "*.h", "*.sh", "quickstart", "check")
            for n, line in enumerate(text(path).splitlines(), 1) if marks.search(line)]


@case("clang-format has nothing to change")
def clang_format():
    tool = clang_tool("clang-format")
    sources = [str(path) for path in tracked("*.c", "*.h")]
    done = subprocess.run([tool, "--dry-run", "--Werror", *sources], cwd=ROOT, capture_output=True, text=True)
    return [line for line in done.stderr.splitlines() if "error:" in line] if done.returncode else []


@case("clang-tidy has nothing to say about the product")
def clang_tidy():
    tidy = Tidy(clang_tool("clang-tidy"), BUILD, ROOT / ".clang-tidy", cache_dir())
    product = [ROOT / "vhost-user", ROOT / "orchestrator"]
    found = tidy.run(lambda source: any(part in source.parents for part in product))
    print(f"# looked at {tidy.looked} sources, the others are as they were when they were clean")
    return found


TIDY_PROJECT = {
    "a.c": '#include "a.h"\nint a(void)\n{\n\treturn A;\n}\n',
    "a.h": "#ifndef A\n#define A 1\nint a(void);\n#endif\n",
    "b.c": "int b(void);\nint b(void)\n{\n\treturn 2;\n}\n",
    ".clang-tidy": "Checks: 'bugprone-*'\nWarningsAsErrors: '*'\nHeaderFilterRegex: '.*'\n",
}
FINDING = "static inline int f(char c)\n{\n\tif (c) {\n\t\treturn 1;\n\t} else {\n\t\treturn 1;\n\t}\n}\n#endif\n"


@case("clang-tidy's kept verdicts: for what has not changed, and never of a finding")
def clang_tidy_cache():
    tool, wrong = clang_tool("clang-tidy"), []
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)

        def write(name, content):
            (place / name).write_text(content)

        def expect(what, looked, findings, flags=""):
            write("compile_commands.json", json.dumps([
                {"directory": made, "file": name, "command": f"cc {flags} -MD -MQ o -MF d -o {name}.o -c {name}"}
                for name in ("a.c", "b.c")]))
            tidy = Tidy(tool, place, place / ".clang-tidy", place / "cache")
            found = tidy.run(lambda source: True)
            if tidy.looked != looked or bool(found) != findings:
                wrong.append(f"{what}: {tidy.looked} looked at instead of {looked}, {found}")

        for name, content in TIDY_PROJECT.items():
            write(name, content)
        expect("at first", 2, False)
        expect("again", 0, False)
        write("a.h", TIDY_PROJECT["a.h"].replace("1", "3"))
        expect("a changed header", 1, False)
        write("a.h", TIDY_PROJECT["a.h"].replace("#endif\n", FINDING))
        expect("a header with a finding", 1, True)
        expect("the same again", 1, True)
        write("a.h", TIDY_PROJECT["a.h"])
        expect("the first header", 0, False)
        expect("another flag", 2, False, "-DX")
        write(".clang-tidy", TIDY_PROJECT[".clang-tidy"].replace("bugprone-*", "bugprone-*,misc-*"))
        expect("another .clang-tidy", 2, False, "-DX")
        write("b.c", "not C\n")
        expect("what does not compile", 1, True, "-DX")
        expect("nor now", 1, True, "-DX")
    return wrong


@case("shellcheck has nothing to say")
def shellcheck():
    scripts = [str(path) for path in tracked() if (ROOT / path).is_file()
               and (ROOT / path).read_bytes()[:64].split(b"\n")[0] in (b"#!/usr/bin/env bash", b"#!/bin/sh", b"#!/bin/bash")]
    scripts += [str(path) for path in tracked(".ci/*.sh")]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode else []


@case("check: it knows every suite there is, and refuses any other name")
def check_suites():
    named = set(re.search(r"^suites=\((.*)\)$", text("check"), re.M).group(1).split())
    there = {suite for path in tracked("*meson.build") for suite in re.findall(r"suite: '(\w+)'", text(path))}
    wrong = [f"{suite}: not in both check and a meson.build" for suite in sorted(named ^ there)]
    for name in ("unti", "unit wire", ""):
        done = subprocess.run([ROOT / "check", name], capture_output=True, text=True, timeout=60)
        if done.returncode != 2 or f'no suite "{name}"' not in done.stderr:
            wrong.append(f"check '{name}': {done.returncode}, {done.stderr.strip()!r}")
    return wrong


@case("man pages: scdoc accepts them, mandoc finds no error")
def man_pages():
    wrong = []
    pages = tracked("*.scd")
    if not pages:
        return ["no man page found"]
    for path in pages:
        made = subprocess.run(["scdoc"], stdin=open(ROOT / path, "rb"), capture_output=True)
        if made.returncode:
            wrong.append(f"{path}: {made.stderr.decode()}")
            continue
        lint = subprocess.run(["mandoc", "-T", "lint", "-W", "error"], input=made.stdout, capture_output=True)
        wrong += [f"{path}: {line}" for line in lint.stdout.decode().splitlines()]
    return wrong


@case("links between documents lead somewhere")
def links():
    wrong = []
    for path in tracked("*.md"):
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text(path)):
            if not (ROOT / path).parent.joinpath(target).exists():
                wrong.append(f"{path}: {target}")
    return wrong


def give_way():
    """We only compute: who waits for something else goes first.  Meson gives a test a session of its own, and many kernels
    divide the processors among sessions (sched(7), autogroup): then the session must be nice."""
    os.nice(19)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text("19")


def main():
    give_way()
    wanted = sys.argv[3:]
    cases = [(title, function) for title, function in CASES if not wanted or function.__name__ in wanted]
    print(f"1..{len(cases)}")
    failed = 0
    for number, (title, function) in enumerate(cases, 1):
        try:
            wrong = function()
        except Skip as reason:
            print(f"ok {number} - {title} # SKIP {reason}", flush=True)
            continue
        for line in wrong[:40]:
            print(f"# {line}")
        print(f"{'not ' if wrong else ''}ok {number} - {title}", flush=True)
        failed += bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
