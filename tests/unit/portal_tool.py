# SPDX-License-Identifier: MIT
"""portal(1) as people use it, with the daemon as a process; and README's program, compiled against the library and run.
Arguments: the programs portal (of this build, and static) and vhost-user-portal, the library's folder of the build, its
sources, README.md, the compiler and its arguments."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PATIENCE = 60


class Fault(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Fault(what)


def same(found, wanted, what):
    check(found == wanted, f"{what}: {found!r}, not {wanted!r}")


class World:
    """A daemon with two clients, 'w' who may write and pause, and 'r' who may read."""

    def __init__(self, folder, tool, daemon):
        self.folder, self.tool, self.daemon, self.process = folder, tool, daemon, None
        self.config = folder / "portal.json"
        self.config.write_text(json.dumps({
            "name": "shared", "size": 64 << 20, "path": str(folder / "arena"), "clients": [
                {"name": "w", "socket-path": str(folder / "w"), "mode": "rw", "quiesce": True},
                {"name": "r", "socket-path": str(folder / "r"), "mode": "ro"}]}))

    def start(self):
        self.process = subprocess.Popen([self.daemon, "--config", self.config, "--control", self.folder / "control"],
                                        stderr=(self.folder / "log").open("a"))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with socket.socket(socket.AF_UNIX) as s:
                if s.connect_ex(str(self.folder / "r")) == 0:
                    return
            time.sleep(0.01)
        raise Fault("the daemon does not serve:\n" + (self.folder / "log").read_text())

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        check(self.process.wait(PATIENCE) in (0, -how), "the daemon ended badly:\n" + (self.folder / "log").read_text())

    def argv(self, *args, client="w"):
        return [self.tool, "-t", "20s", "-p", f"unix:{self.folder / client}", *map(str, args)]

    def begin(self, *args, client="w", **how):
        return subprocess.Popen(self.argv(*args, client=client), stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how)

    def run(self, *args, client="w", code=0, input=None):
        done = subprocess.run(self.argv(*args, client=client), capture_output=True, timeout=PATIENCE, input=input)
        check(done.returncode == code, f"{args}: exit {done.returncode}, not {code}: {done.stderr.decode()}")
        return done.stdout

    def json(self, *args, client="w"):
        return json.loads(self.run("--json", *args, client=client))

    def names(self):
        return [json.loads(line)["name"] for line in self.run("--json", "ls").splitlines()]

    def until(self, is_so, what):
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            check(time.monotonic() < deadline, what)
            time.sleep(0.02)


def finish(process, code=0):
    out, err = process.communicate(timeout=PATIENCE)
    check(process.returncode == code, f"{process.args}: exit {process.returncode}, not {code}: {err.decode()}")
    return out


# --- the cases ---------------------------------------------------------------------------------------------------


def create_makes_what_the_daemon_takes(w):
    path = w.folder / "made"
    subprocess.run([w.tool, "create", "--size", "8MiB", "--name", "made", path], check=True)
    info = json.loads(subprocess.run([w.tool, "--json", "-p", f"file:{path}", "info"], check=True, capture_output=True).stdout)
    same((info["name"], info["size"], info["mode"]), ("made", 6 << 20, "observer"), "what was made")
    subprocess.run([w.tool, "-p", f"file:{path}", "check"], check=True, capture_output=True)
    for size in ("3MiB", "2MiB", "0"):
        done = subprocess.run([w.tool, "create", "--size", size, w.folder / "bad"], capture_output=True)
        check(done.returncode in (1, 2), f"an arena of {size}")
        check(not (w.folder / "bad").exists(), f"{size}: something is left")
    other = w.folder / "other"
    other.write_bytes(b"somebody's data" + bytes(8 << 20))
    done = subprocess.run([w.tool, "create", "--size", "8MiB", other], capture_output=True)
    same(done.returncode, 1, "over somebody's data")
    check(other.read_bytes().startswith(b"somebody's data"), "somebody's data")


def info_tells_who_we_are(w):
    info = w.json("info")
    same((info["name"], info["mode"], info["state"]), ("shared", "rw", "running"), "info")
    same(w.json("info", client="r")["mode"], "ro", "the reader's mode")
    check("rw" in w.run("info").decode(), "for people")
    done = subprocess.run([w.tool, "info"], capture_output=True, env={"PATH": "/bin"})
    same(done.returncode, 1, "without an arena")
    check(b"PORTAL_PATH" in done.stderr, "it says what is missing")
    for wrong in ([], ["nonsense"], ["info", "more"], ["--size"], ["put"], ["recv", "--lanes", "0", "x"]):
        same(subprocess.run([w.tool, *wrong], capture_output=True).returncode, 2, f"{wrong}")


def objects_go_in_and_come_out(w):
    data = os.urandom(3 << 20)
    (w.folder / "in").write_bytes(data)
    put = w.begin("put", "things/big", w.folder / "in")
    w.until(lambda: "things/big" in w.names(), "published")
    check(w.run("cat", "things/big", client="r") == data, "cat by the reader")
    w.run("get", "things/big", w.folder / "out")
    check((w.folder / "out").read_bytes() == data, "get")
    check(b"name is taken" in subprocess.run(w.argv("put", "things/big"), input=b"x", capture_output=True).stderr, "twice")
    check(b"only read" in subprocess.run(w.argv("put", "mine", client="r"), input=b"x", capture_output=True).stderr, "by a reader")
    w.run("cat", "nothing", code=1)
    w.run("get", "nothing", w.folder / "none", code=1)
    check(not [p for p in w.folder.iterdir() if p.name.startswith("none")], "nothing is left of it")
    put.send_signal(signal.SIGTERM)
    finish(put)
    w.until(lambda: "things/big" not in w.names(), "withdrawn")
    w.run("put", "--background", "--away", "0s", "piped", input=b"from a pipe")
    same(w.run("cat", "piped"), b"from a pipe", "put by a pipe, in the background")
    clients = [json.loads(line) for line in w.run("--json", "ls", "--clients").splitlines()]
    check([c for c in clients if c["client"] == "w" and c["used"] > 0], f"its owner is listed: {clients}")
    w.stop(signal.SIGKILL)
    w.until(lambda: not holders(w), "who stays in the background gives up when the daemon does not come back")


def holders(w):
    """Processes with this world's socket in their command line."""
    mark, found = f"unix:{w.folder}/".encode(), []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended
            found += [entry.parent.name] if mark in entry.read_bytes() else []
    return found


def records_go_through_rings(w):
    recv = w.begin("recv", "--create", "greetings")
    w.run("send", "--wait", "20s", "greetings", "hello", "and more")
    same(finish(recv), b"hello\nand more\n", "texts")
    recv = w.begin("--json", "recv", "--create", "--count", "2", "lines")
    w.run("send", "--wait", "20s", "--type", "9", "lines", input=b'a "line"\n\nthird\n')
    got = [json.loads(line) for line in finish(recv).splitlines()]
    same(got, [{"type": 9, "len": 8, "data": 'a "line"'}, {"type": 9, "len": 0, "data": ""}], "lines as JSON")
    data = os.urandom(5 << 20)
    with (w.folder / "received").open("wb") as file:
        recv = subprocess.Popen(w.argv("recv", "--create", "--raw", "bytes"), stdout=file)
        w.run("send", "--wait", "20s", "--raw", "bytes", input=data)
        same(recv.wait(PATIENCE), 0, "recv's exit code")
    check((w.folder / "received").read_bytes() == data, "5 MiB of bytes")
    recv = w.begin("recv", "--lanes", "3", "--count", "3", "many")
    senders = [w.begin("send", "--wait", "20s", "many", f"from {i}") for i in range(3)]
    same(sorted(finish(recv).splitlines()), [b"from 0", b"from 1", b"from 2"], "three senders")
    for sender in senders:
        sender.communicate(timeout=PATIENCE)
    w.run("recv", "--create", "--timeout", "50ms", "silent", code=5)
    w.run("send", "nobody-listens", "x", code=1)


def a_killed_sender_ends_its_receiver(w):
    recv = w.begin("recv", "--create", "cut")
    sender = w.begin("send", "--wait", "20s", "cut", stdin=subprocess.PIPE)
    sender.stdin.write(b"one\ntwo\n")
    sender.stdin.flush()
    check(recv.stdout.readline() == b"one\n" and recv.stdout.readline() == b"two\n", "both lines")
    sender.kill()
    sender.communicate(timeout=PATIENCE)
    same(finish(recv), b"", "nothing more, and an end")
    w.until(lambda: "cut" not in w.names(), "the ring has gone")


def every_byte_of_a_stream_is_the_same(w):
    serve = w.begin("bench", "--serve", "--once", "speed")
    out = w.run("--json", "bench", "--wait", "20s", "--sizes", "8,64k", "--bytes", "4M", "--verify", "speed")
    finish(serve)
    rows = [json.loads(line) for line in out.splitlines()]
    same([(r["size"], r["bytes"], r["verified"]) for r in rows], [(8, 4 << 20, True), (65536, 4 << 20, True)], "rows")
    serve = w.begin("bench", "--serve", "--once", "speed")
    out = w.run("--json", "bench", "--wait", "20s", "--sizes", "64", "--time", "100ms", "speed")
    finish(serve)
    trip = json.loads(out.splitlines()[0])
    check(trip["case"] == "round-trip" and 0 < trip["p50_ns"] <= trip["p99_ns"], f"{trip}")


def watch_tells_what_happens(w):
    watch = w.begin("--json", "watch")
    w.until(lambda: b"joined" in w.run("--json", "ls", "--clients").replace(b"live", b"joined"), "it is there")
    put = w.begin("put", "seen", w.config)
    w.until(lambda: "seen" in w.names(), "published")
    events = []
    while not any(e["event"] == "published" and e["name"] == "seen" for e in events):
        events.append(json.loads(watch.stdout.readline()))
    put.terminate()
    finish(put)
    while not any(e["event"] == "withdrawn" and e["name"] == "seen" for e in events):
        events.append(json.loads(watch.stdout.readline()))
    watch.terminate()
    finish(watch)


def a_pause_holds_while_the_command_runs(w):
    file = f"file:{w.folder / 'arena'}"
    out = w.run("quiesce", "--exec", f"{w.tool} --json -p {file} info")
    same(json.loads(out)["state"], "frozen", "inside")
    same(w.json("info")["state"], "running", "afterwards")
    w.run("quiesce", "--", "sh", "-c", "exit 7", code=7)
    w.run("quiesce", "--exec", "true", client="r", code=1)
    w.run("quiesce", code=2)
    held = w.begin("quiesce", "--exec", "sleep 60", start_new_session=True)
    observe = [w.tool, "--json", "-p", file, "info"]
    state = lambda: json.loads(subprocess.run(observe, check=True, capture_output=True).stdout)["state"]
    w.until(lambda: state() == "frozen", "it freezes")
    held.kill()
    w.until(lambda: state() == "running", "whoever froze it was killed: it thaws")
    os.killpg(held.pid, signal.SIGKILL)  # the command, which has its streams
    held.communicate()


def check_finds_what_is_wrong(w):
    put = w.begin("put", "thing", w.config)
    w.until(lambda: "thing" in w.names(), "published")
    found = w.json("check")
    same((found["problems"], found["rings"]), ([], 0), "in use, and sound")
    check(found["blocks"] >= 1 and found["bytes"] >= w.config.stat().st_size, f"the object is a block: {found}")
    put.terminate()
    finish(put)
    recv = w.begin("recv", "--create", "ring")
    w.until(lambda: "ring" in w.names(), "published")
    ring = next(entry for entry in map(json.loads, w.run("--json", "ls").splitlines()) if entry["name"] == "ring")["offset"]
    found = w.json("check")
    same((found["problems"], found["rings"]), ([], 1), "a ring in use")
    check("1 rings" in w.run("check").decode(), "for people")
    w.stop(signal.SIGKILL)
    recv.kill()
    recv.communicate()
    arena = w.folder / "arena"
    sound = arena.read_bytes()
    label, leases, extents, names = 2 << 20, 0x2000, 0xa000, 0x2a000

    def problems(offset, data):
        with arena.open("r+b") as f:
            f.seek(offset)
            f.write(data)
        done = subprocess.run([w.tool, "--json", "-p", f"file:{arena}", "check"], capture_output=True)
        arena.write_bytes(sound)
        found = json.loads(done.stdout)["problems"]
        same(done.returncode, 1 if found else 0, "the exit code")
        return " ".join(found)

    same(problems(0, b""), "", "as the daemon left it")
    check("info block" in problems(4096, b"X"), "the label")
    check("lease 5" in problems(label + leases + 5 * 128 + 6, b"\x09"), "a lease's state")
    check("extent 3" in problems(label + extents + 3 * 16 + 8, b"\x77"), "an extent's kind")
    check("extent 3" in problems(label + extents + 3 * 16, b"\x01\x00\x01\x00\x00\x00\x00\x00\x02\x00\x00\xff"), "a grant too long")
    ring, page = label + ring, 4096
    check("ring ring" in problems(ring, b"?"), "a ring without a head")
    check("size" in problems(ring + 20, b"\x1f"), "a ring longer than its object")
    check("no state" in problems(ring + page + 8, b"\x09"), "a consumer's end in no state")
    check("break a rule" in problems(ring + 2 * page + 8, b"\x03"), "a poisoned producer's end")
    check("between two words" in problems(ring + 3 * page + 128, b"\x01"), "a position that is none")
    check("a record" in problems(ring + 4 * page, b"\xff" * 8), "a record that is none")
    check("name 7" in problems(label + names + 7 * 128 + 4, b"\x01\x00\x00\x00"), "a name without one")
    w.start()


def a_restarted_daemon_finds_its_clients(w):
    put = w.begin("put", "stays", w.config)
    w.until(lambda: "stays" in w.names(), "published")
    w.stop(signal.SIGKILL)
    w.start()
    w.until(lambda: "stays" in w.names(), "it is there")
    same(w.run("cat", "stays"), w.config.read_bytes(), "and whole")
    time.sleep(0.5)
    put.terminate()
    finish(put)
    w.until(lambda: "stays" not in w.names(), "and goes with its owner")


def readme_program(w):
    text = Path(w.readme).read_text()
    programs = re.findall(r"```c\n(.*?)```", text, re.S)
    same(len(programs), 1, "programs in README.md")
    check(len(programs[0].splitlines()) <= 25, f"it has {len(programs[0].splitlines())} lines")
    (w.folder / "hello.c").write_text(programs[0])
    hello = w.folder / "hello"
    subprocess.run([*w.compiler, "-std=c11", "-Wall", "-Wextra", "-Werror", "-I", w.sources, "-o", hello, w.folder / "hello.c",
                    Path(w.library) / "libportal.a", "-pthread"], check=True)
    where = f"unix:{w.folder / 'w'}"
    listener = subprocess.Popen([hello, where], stdout=subprocess.PIPE)
    w.until(lambda: "hello" in w.names(), "it listens")
    subprocess.run([hello, where, "one message"], check=True, timeout=PATIENCE)
    same(listener.communicate(timeout=PATIENCE)[0], b"one message\n", "what it heard")
    same(listener.returncode, 0, "its end")


def the_library_shows_nothing_but_its_own(w):
    own = re.compile(r"portal_\w+$")
    for file, option in (("libportal.a", "-g"), ("libportal.so", "-D")):
        out = subprocess.run(["nm", option, "--defined-only", Path(w.library) / file], check=True, capture_output=True, text=True)
        shown = [line.split()[-1] for line in out.stdout.splitlines() if len(line.split()) == 3]
        foreign = [name for name in shown if not own.match(name) and not re.match(r"(__)?(asan|odr|sanitizer|ubsan|gcov)", name.lstrip("_"))]
        check(not foreign, f"{file}: {foreign[:5]}")
        declared = set(re.findall(r"\b(portal_\w+)\(", re.sub(r"/\*.*?\*/", "", (Path(w.sources) / "portal.h").read_text(), flags=re.S)))
        check(declared and declared <= set(shown), f"{file} lacks {declared - set(shown)}")


CASES = [create_makes_what_the_daemon_takes, info_tells_who_we_are, objects_go_in_and_come_out, records_go_through_rings,
         a_killed_sender_ends_its_receiver, every_byte_of_a_stream_is_the_same, watch_tells_what_happens,
         a_pause_holds_while_the_command_runs, check_finds_what_is_wrong, a_restarted_daemon_finds_its_clients]


def main():
    tool, static, daemon, library, sources, readme, *compiler = sys.argv[1:]
    cases = [(c, tool) for c in CASES] + [(records_go_through_rings, static), (create_makes_what_the_daemon_takes, static),
                                          (readme_program, tool), (the_library_shows_nothing_but_its_own, tool)]
    wanted = os.environ.get("PORTAL_TOOL_CASE")
    bad = 0
    print(f"1..{len(cases)}")
    for number, (case, program) in enumerate(cases, 1):
        title = case.__name__.replace("_", " ") + (" (static)" if program == static else "")
        if wanted and wanted not in case.__name__:
            print(f"ok {number} - {title} # SKIP not asked for")
            continue
        with tempfile.TemporaryDirectory(prefix="portal-") as folder:
            w = World(Path(folder), program, daemon)
            w.library, w.sources, w.readme, w.compiler = library, sources, readme, compiler
            try:
                w.start()
                case(w)
                print(f"ok {number} - {title}", flush=True)
            except (Fault, subprocess.SubprocessError, OSError, ValueError) as fault:
                bad += 1
                print(f"not ok {number} - {title}\n# " + str(fault).replace("\n", "\n# "), flush=True)
            finally:
                if w.process and w.process.poll() is None:
                    w.process.kill()
                    w.process.wait()
    return bad > 0


sys.exit(main())
