# SPDX-License-Identifier: MIT
"""orchestrator(1) and --help tell the same: every verb, its arguments, its summary, every option
with its text.  Arguments: the program, orchestrator.1.scd."""

import re
import subprocess
import sys


def run(*args):
    return subprocess.run(args, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout


def plain(text):
    """scdoc without its marks, on one line."""
    text = re.sub(r"\\(.)", r"\1", text.replace("*", ""))
    return " ".join(re.sub(r"(?<!\w)_(\S[^_]*?)_(?!\w)", r"\1", text).split())


def help_options(text):
    """{"--timeout=TIME": ("-t", "Give up …")}, without --help."""
    found = {}
    for line in text.partition("\nOptions:\n")[2].partition("\n\n")[0].splitlines():
        match = re.match(r" {2}(?:(-\w), | {4})(--\S+) +(.*)$", line)
        assert match, f"no option: {line!r}"
        found[match[2]] = (match[1], match[3])
    assert found.pop("--help", None), text
    return found


def man_options(section):
    found = {}
    for match in re.finditer(r"^(?:\*(-\w)\*, )?\*(--[\w-]+)\*(?:=_(\w+)_)?\n\t(.*)$", section, re.M):
        found[match[2] + (f"={match[3]}" if match[3] else "")] = (match[1], plain(match[4]))
    return found


def problems(program, page):
    verbs = page.partition("\n# VERBS\n")[2].partition("\n# ")[0]
    sections = {}
    for section in verbs.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        sections[title.split()[0]] = (title, body)
    listed = re.findall(r"^  (\S+) +(.*)$", run(program, "--help").partition("\nVerbs:\n")[2], re.M)
    if [name for name, _ in listed] and set(sections) != {name for name, _ in listed}:
        yield f"--help lists {sorted(n for n, _ in listed)}, the page {sorted(sections)}"
    for name, summary in listed:
        if name not in sections:
            continue
        title, body = sections[name]
        text = run(program, name, "--help")
        usage = text.splitlines()[0].replace("Usage: orchestrator ", "").replace(" [OPTION...]", "")
        if usage != title:
            yield f"{name}: the usage line says {usage!r}, the page {title!r}"
        first = plain(body.strip().split("\n\n")[0])
        if not first.startswith(summary):
            yield f"{name}: its section begins with {first[:60]!r}, not with {summary!r}"
        ours, theirs = help_options(text), man_options(body)
        for option in sorted(set(ours) | set(theirs)):
            if option not in theirs:
                yield f"{name} {option} is not in the page"
            elif option not in ours:
                yield f"{name} {option} is not in --help"
            elif ours[option][0] != theirs[option][0] or not theirs[option][1].startswith(ours[option][1]):
                yield f"{name} {option}: {ours[option]} in --help, {theirs[option]} in the page"


def main():
    program, page_path = sys.argv[1:]
    with open(page_path, encoding="utf-8") as file:
        found = list(problems(program, file.read()))
    for problem in found:
        print(problem)
    sys.exit(1 if found else 0)


main()
