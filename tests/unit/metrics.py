# SPDX-License-Identifier: MIT
"""What the switch tells a collector is OpenMetrics, is true, and is all that it counts.  Arguments: the program
vhost-user-net, the folder of its sources.

Frames go through two ports of streams.  The text is read by a checker of our own, strict where collectors are lenient, and
by prometheus_client's reader, which nobody here wrote, where that is installed."""

import json
import math
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FRAMES, SIZE = 300, 100


class Fault(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Fault(what)


# --- OpenMetrics ---------------------------------------------------------------------------------------------------

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


class Family:
    def __init__(self, name):
        self.name, self.type, self.unit, self.help, self.samples = name, None, None, None, {}


def read_comment(line, families):
    match = re.fullmatch(rf"# (TYPE|HELP|UNIT) ({NAME}) (.+)", line)
    check(match, f"no comment: {line!r}")
    kind, name, rest = match.groups()
    if name not in families:
        check(kind == "TYPE", f"{name}: TYPE comes first")
        families[name] = Family(name)
    family = families[name]
    check(list(families)[-1] == name, f"{name}: a family in two pieces")
    check(not family.samples, f"{name}: {kind} behind its samples")
    check(getattr(family, kind.lower()) is None, f"{name}: a second {kind}")
    if kind == "UNIT":
        check(name.endswith("_" + rest), f"{name} does not end with its unit {rest}")
    setattr(family, kind.lower(), rest)


def read_sample(line, families):
    match = re.fullmatch(rf'({NAME})(?:\{{((?:{NAME}="[^"\\\n]*",?)*)\}})? (\S+)', line)
    check(match, f"no sample: {line!r}")
    name, labels, value = match.groups()
    family = list(families.values())[-1]
    check(any(name == family.name + suffix for suffix in SUFFIXES[family.type]), f"{name} is not of family {family.name}")
    pairs = re.findall(rf'({NAME})="([^"]*)"', labels or "")
    check(len(dict(pairs)) == len(pairs), f"a label twice: {line!r}")
    key = (name, *sorted(pairs))
    check(key not in family.samples, f"a sample twice: {line!r}")
    family.samples[key] = float(value)


def check_histogram(family):
    """Cumulative buckets with rising limits up to +Inf, which is the count."""
    series = {}
    for (name, *pairs), value in family.samples.items():
        labels = dict(pairs)
        limit = labels.pop("le", None)
        check((limit is None) == (not name.endswith("_bucket")), f"{name}: \"le\" is for buckets")
        one = series.setdefault(tuple(sorted(labels.items())), {"buckets": []})
        if limit is None:
            one[name[len(family.name):]] = value
        else:
            one["buckets"].append((float(limit), value))
    for labels, one in series.items():
        limits, counts = zip(*one["buckets"])
        check(list(limits) == sorted(set(limits)) and limits[-1] == math.inf, f"{family.name} {labels}: limits {limits}")
        check(list(counts) == sorted(counts), f"{family.name} {labels}: {counts} are not cumulative")
        check(counts[-1] == one["_count"] and "_sum" in one, f"{family.name} {labels}: {counts[-1]} of {one.get('_count')}")


def read(text):
    """{family: Family} of a whole text."""
    check(text.endswith("\n# EOF\n"), "no EOF at the end")
    families = {}
    for line in text[:-len("# EOF\n")].splitlines():
        if line.startswith("#"):
            read_comment(line, families)
        else:
            read_sample(line, families)
    for family in families.values():
        check(family.type in SUFFIXES and family.help, f"{family.name}: {family.type}, {family.help}")
        check(family.samples, f"{family.name}: no sample")
        check(all(value >= 0 for value in family.samples.values()), f"{family.name}: below zero")
        if family.type == "histogram":
            check_histogram(family)
    return families


def check_the_checker(text):
    """Each of these is wrong in one place."""
    for old, new in (("# EOF\n", ""), ("_total{", "{"), ("# TYPE ", "# KIND "), ('le="+Inf"', 'le="9e99"'),
                     ('_count{port="a"} ', '_count{port="a"} 1'), ('{port="a"} ', '{port="a",port="b"} '), ('port="a"} ', 'port="b"} '),
                     ("# UNIT vhost_net_latency_seconds seconds", "# UNIT vhost_net_latency_seconds bytes")):
        check(old in text, old)
        try:
            read(text.replace(old, new, 1))
        except Fault:
            continue
        raise Fault(f"{old!r} as {new!r} was not noticed")


# --- the switch ----------------------------------------------------------------------------------------------------

def ask(path, method, **params):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
        answer = json.loads(s.makefile().readline())
    check("result" in answer, f"{method}: {answer}")
    return answer["result"]


def connect(path):
    for _ in range(200):
        try:
            s = socket.socket(socket.AF_UNIX)
            s.connect(str(path))
            return s
        except OSError:
            s.close()
            time.sleep(0.05)
    raise Fault(f"nobody listens at {path}")


def frame(i):
    body = bytes.fromhex("5254000000025254000000010800") + struct.pack("!I", i)
    return body + bytes(SIZE - len(body))


def talk(root, control):
    """FRAMES from a to b."""
    for name in "ab":
        ask(control, "port.add", name=name, type="stream", **{"socket-path": f"{root}/{name}"})
    ask(control, "port.add", name="c", **{"socket-path": f"{root}/c"})
    with connect(f"{root}/a") as a, connect(f"{root}/b") as b:
        while [p["state"] for p in ask(control, "port.list")["ports"]].count("running") < 2:
            time.sleep(0.05)
        for i in range(FRAMES):
            a.sendall(struct.pack("!I", SIZE) + frame(i))
        b.settimeout(20)
        got = b""
        while len(got) < FRAMES * (SIZE + 4):
            piece = b.recv(65536)
            check(piece, "b was hung up on")
            got += piece
        a.sendall(struct.pack("!I", 20) + frame(0)[:20].replace(b"\x52\x54\0\0\0\1", b"\x53\x54\0\0\0\1"))
        while port_of(control, "a")["counters"]["ingress_drop_source"] == 0:
            time.sleep(0.05)
        return port_of(control, "a"), ask(control, "stats.metrics")["text"]


def port_of(control, name):
    return ask(control, "stats", port=name)["ports"][0]


# --- what it must say ----------------------------------------------------------------------------------------------

def sample(families, family, suffix="", **labels):
    key = (f"vhost_net_{family}{suffix}", *sorted(labels.items()))
    samples = families[f"vhost_net_{family}"].samples
    check(key in samples, f"no {key}")
    return samples[key]


def check_truth(families, told):
    check(sample(families, "ingress_frames", "_total", port="a") == FRAMES + 1, "frames that came in")
    check(sample(families, "egress_frames", "_total", port="b") == FRAMES, "frames that went out")
    check(sample(families, "egress_bytes", "_total", port="b") == FRAMES * SIZE, "their bytes")
    check(sample(families, "ingress_dropped", "_total", port="a", cause="source") == 1, "the one that was lost")
    check(sample(families, "up", port="a") == 1 and sample(families, "up", port="c") == 0, "up")
    check(sample(families, "queue_frames", "_total", port="c", queue="1", direction="ingress") == 0, "queues")
    check(sample(families, "fdb_entries") >= 1, "stations")
    check(sample(families, "ingress_burst_frames", "_sum", port="a") == FRAMES + 1, "each frame is in a burst")
    check(sample(families, "egress_burst_frames", "_sum", port="b") == FRAMES, "on both sides")
    burst = told["histograms"]["ingress_burst"]
    check(sum(n for _, n in burst["buckets"]) == burst["count"] > 0 and burst["sum"] == FRAMES + 1, burst)


def check_whole(families, folder):
    """Every counter of the table is there, under its name or as a cause."""
    counters = re.findall(r'X\((\w+),\s*"', (folder / "stats.h").read_text(encoding="utf-8"))
    check(len(counters) > 20, "is the table still where this looks?")
    for name in counters:
        direction, lost, cause = name.partition("_drop_")
        if lost:
            sample(families, f"{direction}_dropped", "_total", port="a", cause=cause)
        else:
            sample(families, name, "_total", port="a")


def check_by_others(text, families):
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families  # pylint: disable=import-outside-toplevel
    except ImportError:
        print("prometheus_client is not installed: read by our own checker alone")
        return
    theirs = {f.name: f for f in text_string_to_metric_families(text)}
    check(set(theirs) == set(families), set(theirs) ^ set(families))
    for name, family in theirs.items():
        check(len(family.samples) == len(families[name].samples), name)


def main():
    program, folder = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="vl-", dir="/tmp") as root:
        control = Path(root) / "control"
        with subprocess.Popen([program, "--control", str(control)], stderr=subprocess.PIPE) as daemon:
            try:
                connect(control).close()
                told, text = talk(root, control)
            finally:
                daemon.terminate()
                errors = daemon.stderr.read().decode()
        check(daemon.returncode == 0, f"{daemon.returncode}: {errors}")
    families = read(text)
    check_the_checker(text)
    check_truth(families, told)
    check_whole(families, folder)
    check_by_others(text, families)


try:
    main()
except Fault as fault:
    sys.exit(str(fault))
