# SPDX-License-Identifier: MIT
"""The verbs that look into a guest: real QEMU, the daemon of sockets, the agent as PID 1 of the tiny guest."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import xml.etree.ElementTree
from pathlib import Path

import harness
from harness import case, wait_for

MEGABYTES = 8  # of a stream that is hashed: seconds under TCG

ONE = {"version": 1, "vms": {"n1": {}}}
THREE = {"version": 1, "vms": {"n1": {}, "n2": {}, "n3": {}}}


def up(place, text):
    """A lab whose VMs are all ready."""
    lab = place.lab(text)
    place.run("up", lab, timeout=300)
    return lab


def spawn(place, *args, **more):
    """The CLI left running, its streams as pipes of bytes."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    return subprocess.Popen([place.orchestrator, *map(str, args)], env=place.env, cwd=place.root, **streams)


def guest(place, lab, script, vm="n1", code=0):
    """A script of the guest's shell: what it wrote."""
    return place.run("exec", "-l", lab, vm, "--", "sh", "-c", script, code=code).out


def random_file(path, size):
    path.write_bytes(os.urandom(size))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def need(*programs):
    for program in programs:
        if not shutil.which(program, path="/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"):
            raise harness.Skip(f"no {program} on this host")


# --- exec ----------------------------------------------------------------------------------------------------------

@case("exec: output, error and exit status of a program; signals, and what cannot be run")
def exec_one(place):
    lab = up(place, ONE)
    done = place.run("exec", "-l", lab, "n1", "--", "uname", "-srm")
    assert re.fullmatch(r"Linux \S+ x86_64\n", done.out) and done.err == "", (done.out, done.err)
    done = place.run("exec", "-l", lab, "n1", "--", "sh", "-c", "echo out; echo err >&2; exit 7", code=7)
    assert (done.out, done.err) == ("out\n", "err\n"), (done.out, done.err)
    # The "--" may be left out, and what follows the VM is never an option of ours.
    assert place.run("exec", "-l", lab, "n1", "echo", "-n", "--json").out == "--json"
    place.run("exec", "-l", lab, "n1", "--", "sh", "-c", "kill -TERM $$", code=143)
    missing = place.run("exec", "-l", lab, "n1", "--", "no-such-program", code=127)
    assert "no-such-program" in missing.err, missing.err
    place.run("exec", "-l", lab, "n1", "--", "/etc", code=126)
    done = place.run("exec", "-l", lab, "-w", "/proc", "-e", "A=b c", "-e", "D=", "n1", "--", "sh", "-c", "pwd; echo $A-$D-")
    assert done.out == "/proc\nb c--\n", done.out
    assert place.run("exec", "-l", lab, "n1", "--", "cat", stdin="to be read\n").out == "to be read\n"
    for wrong in (["exec", "n1"], ["exec", "--all", "--vms=n1", "--", "true"], ["exec", "-t", "--all", "--", "true"],
                  ["exec", "n1", "-t", "--", "true"], ["exec", "n1/", "--", "true"], ["exec", "-e", "x", "n1", "--", "true"]):
        place.run(*wrong, code=2)
    unknown = place.run("exec", "-l", lab, "n2", "--", "true", code=2)
    assert "n1" in unknown.err, unknown.err


@case("exec: SIGINT and SIGTERM go to the program; who sends the third is let go")
def exec_signals(place):
    lab = up(place, ONE)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        process = spawn(place, "exec", "-l", lab, "n1", "--", "sh", "-c", "echo on; exec sleep 60")
        assert process.stdout.readline() == b"on\n"
        process.send_signal(number)
        assert process.wait(20) == code, process.stderr.read()
    process = spawn(place, "exec", "-l", lab, "n1", "--", "sh", "-c", "trap 'echo got it; exit 9' INT; echo on; while :; do sleep 0.1; done")
    assert process.stdout.readline() == b"on\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 9 and process.stdout.read() == b"got it\n"
    process = spawn(place, "exec", "-l", lab, "n1", "--", "sh", "-c", "trap '' INT; echo on; while :; do sleep 1; done")
    assert process.stdout.readline() == b"on\n"
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    assert process.wait(20) == 130
    # What was left there has been ended by its agent.
    wait_for("the stubborn shell to end", 20, lambda: "while :" not in guest(place, lab, "ps -o args | grep -v grep"))


@case("exec: megabytes both ways arrive whole, also where the reader is slow, gone or its disk full")
def exec_streams(place):
    lab = up(place, ONE)
    data = place.root / "data"
    expected = random_file(data, MEGABYTES << 20)
    with open(data, "rb") as file:
        process = spawn(place, "exec", "-l", lab, "n1", "--", "cat", stdin=file)
        got = hashlib.sha256(process.stdout.read()).hexdigest()
    assert process.wait(20) == 0 and got == expected
    with open(data, "rb") as file:
        process = spawn(place, "exec", "-l", lab, "n1", "--", "sha256sum", stdin=file)
        assert process.stdout.read().split()[0].decode() == expected
        assert process.wait(20) == 0
    # Standard streams have names, also for who is not root; who writes to nobody hears of it.
    assert guest(place, lab, "echo out >/dev/stdout; echo err >/dev/stderr") == "out\n"
    guest(place, lab, "echo kim:x:1000:1000::/:/bin/sh >>/etc/passwd")
    named = place.run("exec", "-l", lab, "-u", "kim", "n1", "--", "sh", "-c", "echo in; cat /dev/stdin >/dev/stderr", stdin="typed\n")
    assert (named.out, named.err) == ("in\n", "typed\n"), (named.out, named.err)
    piped = subprocess.run(["sh", "-c", '"$@" | head -1', "sh", place.orchestrator, "exec", "-l", lab, "n1", "--",
                            "sh", "-c", "yes; echo $? >/tmp/yes"], env=place.env, capture_output=True, timeout=20)
    assert piped.stdout == b"y\n", piped
    wait_for("yes to be told", 20, lambda: guest(place, lab, "cat /tmp/yes 2>/dev/null || :") == f"{128 + signal.SIGPIPE}\n")
    # Nobody reads for a while: the guest's program waits, nothing is lost, and the other stream goes on.
    process = spawn(place, "exec", "-l", lab, "n1", "--", "sh", "-c", "dd if=/dev/zero bs=64k count=64 2>/dev/null & sleep 1; echo alive >&2; wait")
    assert process.stderr.readline() == b"alive\n"
    time.sleep(1)
    assert len(process.stdout.read()) == 4 << 20 and process.wait(20) == 0
    # Nobody reads at all, and the program notices.
    process = spawn(place, "exec", "-l", lab, "n1", "--", "yes")
    assert process.stdout.readline() == b"y\n"
    process.stdout.close()
    assert process.wait(20) != 0
    with open("/dev/full", "wb") as full:
        process = spawn(place, "exec", "-l", lab, "n1", "--", "echo", "x", stdout=full)
        assert process.wait(20) == 1 and b"No space left" in process.stderr.read()
    # Neither a closed descriptor nor a process left behind hangs anything.
    closed = subprocess.run(["sh", "-c", 'exec "$@" <&-', "sh", place.orchestrator, "exec", "-l", lab, "n1", "--", "cat"],
                            env=place.env, capture_output=True, timeout=20)
    assert closed.returncode == 0, closed.stderr
    left = place.run("exec", "-l", lab, "n1", "--", "sh", "-c", "sleep 100 & echo started", timeout=30)
    assert left.out == "started\n", left.out


@case("exec in three VMs at once: prefixed lines, one JSON object each, 6 where they differ")
def exec_many(place):
    lab = up(place, THREE)
    done = place.run("exec", "-l", lab, "--all", "--", "sh", "-c", "hostname; printf 'no end'; echo err >&2")
    assert sorted(done.out.splitlines()) == sorted(
        line for vm in ("n1", "n2", "n3") for line in (f"{vm} │ {vm}", f"{vm} │ no end")), done.out
    assert sorted(done.err.splitlines()) == [f"{vm} │ err" for vm in ("n1", "n2", "n3")], done.err
    done = place.run("exec", "-l", lab, "-n", "n1,n3", "--json", "--", "sh", "-c", "hostname; exit 4", code=4)
    objects = {o["vm"]: o for o in map(json.loads, done.out.splitlines())}
    assert set(objects) == {"n1", "n3"} and all(o["stdout"] == f"{vm}\n" and o["stderr"] == "" and o["code"] == 4
                                               for vm, o in objects.items()), objects
    binary = place.run("exec", "-l", lab, "--json", "n2", "--", "printf", r"\377\001").json()
    assert binary["stdout-base64"] == "/wE=" and "stdout" not in binary, binary
    differ = place.run("exec", "-l", lab, "--all", "--", "sh", "-c", "test $(hostname) != n2", code=6)
    assert "n2: exit status 1" in differ.err, differ.err
    place.run("stop", "-l", lab, "n2")
    partly = place.run("exec", "-l", lab, "--all", "--json", "--", "hostname", code=6)
    objects = {o["vm"]: o for o in map(json.loads, partly.out.splitlines())}
    assert objects["n1"]["stdout"] == "n1\n" and "start n2" in objects["n2"]["error"], objects


@case("exec says what is missing: the lab, the VM, its sockets")
def exec_explains(place):
    lab = place.lab({"version": 1, "name": "web", "vms": {"n1": {}, "n2": {"sockets": "none"}}})
    down = place.run("exec", "-l", lab, "n1", "--", "true", code=1)
    assert "orchestrator up" in down.err, down.err
    place.run("up", lab, timeout=300)
    none = place.run("exec", "-l", lab, "n2", "--", "true", code=1)
    assert '"sockets": "none"' in none.err and "console" in none.err, none.err
    place.run("stop", "-l", lab, "n1")
    stopped = place.run("exec", "-l", lab, "n1", "--", "true", code=1)
    assert "orchestrator start n1" in stopped.err, stopped.err
    for verb in (["shell", "n1"], ["cp", "n1:/etc/passwd", "."], ["vsock-connect", "n1", "tcp:127.0.0.1:22"]):
        assert "orchestrator start n1" in place.run(verb[0], "-l", lab, *verb[1:], code=1).err
    # A name that the lab does not have is a mistake of the command line, whatever the verb.
    for verb, *words in (["exec", "n9", "--", "true"], ["shell", "n9"], ["cp", "n9:/etc/passwd", "."], ["vsock-connect", "n9", "1"],
                         ["console", "n9"], ["logs", "n9"], ["wait", "n9"], ["stop", "n9"], ["shutdown", "n9"],
                         ["forward", "add", "n9", "tcp:127.0.0.1:2222:22"], ["link", "show", "n9"], ["link", "list", "n9"],
                         ["stats", "n9"], ["capture", "-w", place.root / "x", "n9"]):
        assert '"n9"' in place.run(verb, "-l", lab, *words, code=2).err, verb
    # Everything else works without an agent.
    assert place.vms(lab)["n2"]["stage"] == "ready"


@case("exec in the second after the daemon of sockets was killed blames it, and not the guest's image")
def exec_while_sockets_are_away(place):
    lab = up(place, ONE)
    daemon = place.run("status", "-l", lab, "--json").json()["sockets"]["pid"]
    os.kill(daemon, signal.SIGKILL)
    words = []
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done = subprocess.run([place.orchestrator, "exec", "-l", lab, "n1", "--", "true"], env=place.env, cwd=place.root,
                              capture_output=True, text=True, timeout=60)
        if done.returncode == 0:
            break
        words.append(done.stderr)
    assert done.returncode == 0, words
    assert not any("image needs" in w for w in words), words
    assert str(daemon) != str(place.run("status", "-l", lab, "--json").json()["sockets"]["pid"])
    place.run("logs", "-l", lab, "sockets")
    place.run("status", "-l", lab, lab, code=2)


# --- shell ---------------------------------------------------------------------------------------------------------

class Terminal:
    """A terminal with a host's shell in it, by tmux."""

    def __init__(self, place):
        need("tmux")
        self.socket = place.root / "tmux"
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "env", "-i",
                  *[f"{k}={v}" for k, v in place.env.items()], "TERM=screen", "PS1=HOST> ", "sh")
        self.see("HOST>")

    def tmux(self, *args):
        return subprocess.run(["tmux", "-S", str(self.socket), *args], check=True, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL).stdout

    def type(self, text, key="Enter"):
        if text:
            self.tmux("send-keys", "-l", text)
        if key:
            self.tmux("send-keys", key)

    def screen(self):
        return self.tmux("capture-pane", "-p", "-J")

    def see(self, pattern, seconds=30):
        """Waits until the screen matches."""
        try:
            return wait_for(pattern, seconds, lambda: re.search(pattern, self.screen(), re.M), 0.1)
        except AssertionError as error:
            raise AssertionError(f"{error}; on the screen:\n{self.screen()}") from None

    def clear(self):
        self.tmux("send-keys", "-R")
        self.tmux("clear-history")

    def close(self):
        self.tmux("kill-server")


def shell_in(terminal, place, lab):
    terminal.type(f"{place.orchestrator} shell -l {lab} n1")
    terminal.see(r"^\S*n1\S* *[#$] *$|# $")


@case("shell is a terminal: job control, size and its change, Ctrl-C, exit status; ours is given back")
def shell(place):
    lab = up(place, ONE)
    terminal = Terminal(place)
    with contextlib.closing(terminal):
        shell_in(terminal, place, lab)
        terminal.type("stty size; tty")
        terminal.see(r"^30 100$")
        terminal.see(r"^/dev/pts/\d+$")
        terminal.type("sleep 100")
        time.sleep(1)
        terminal.type("", "C-z")
        terminal.see(r"Stopped")
        terminal.type("jobs; echo j'obs done'")
        terminal.see(r"^\[1\]\+ +Stopped +sleep 100$")
        terminal.see(r"^jobs done$")
        terminal.type("fg")
        time.sleep(1)
        begun = time.monotonic()
        terminal.type("", "C-c")
        terminal.type("echo a'fter'")
        terminal.see(r"^after$")
        assert time.monotonic() - begun < 60
        terminal.tmux("resize-window", "-x", "120", "-y", "40")
        wait_for("the size to arrive", 20, lambda: terminal.type("stty size") or
                 re.search(r"^40 120$", terminal.screen(), re.M), 0.5)
        terminal.type("exit 3")
        terminal.see(r"HOST> $")
        terminal.type("echo code $?; stty -a | grep -o ' -*icanon'")
        terminal.see(r"^code 3$")
        terminal.see(r"^ icanon$")


@case("shell: Ctrl-] three times leaves, so does SIGTERM, and the terminal is as before")
def shell_leave(place):
    lab = up(place, ONE)
    terminal = Terminal(place)
    with contextlib.closing(terminal):
        shell_in(terminal, place, lab)
        terminal.type("sleep 1000")
        time.sleep(1)
        for _ in range(3):
            terminal.type("", "C-]")
        terminal.see(r"^left n1$")
        terminal.type("stty -a | grep -o ' -*icanon'; echo first")
        terminal.see(r" icanon\s+first$")
        terminal.clear()
        shell_in(terminal, place, lab)
        os.kill(place.pid_of(r"orchestrator shell"), signal.SIGTERM)
        terminal.see(r"^left n1$")
        terminal.type("stty -a | grep -o ' -*icanon'; echo second")
        terminal.see(r" icanon\s+second$")
        # Hung up, the guest's shell has ended.
        wait_for("the guest's shells to end", 20, lambda: "sleep 1000" not in guest(place, lab, "ps -o args | grep -v grep"))
    piped = place.run("shell", "-l", lab, "n1", stdin="echo from a pipe; exit 5\n", code=5)
    assert piped.out.endswith("from a pipe\n"), piped.out


# --- cp ------------------------------------------------------------------------------------------------------------

@case("cp: a file, a tree, a sparse file, to a guest and back, and between guests")
def cp(place):
    lab = up(place, {"version": 1, "vms": {"n1": {}, "n2": {}}})
    data = place.root / "data"
    expected = random_file(data, MEGABYTES << 20)
    data.chmod(0o640)
    os.utime(data, (1_600_000_000, 1_600_000_000))
    place.run("cp", "-l", lab, data, "n1:/root/")
    assert guest(place, lab, "sha256sum </root/data").split()[0] == expected
    assert guest(place, lab, "stat -c '%a %Y' /root/data").split() == ["640", "1600000000"]
    place.run("cp", "-l", lab, "n1:/root/data", "n2:/root/moved")
    assert guest(place, lab, "sha256sum </root/moved", vm="n2").split()[0] == expected
    place.run("cp", "-l", lab, "n2:/root/moved", place.root / "back")
    assert hashlib.sha256((place.root / "back").read_bytes()).hexdigest() == expected

    tree = place.root / "tree"
    (tree / "a" / "empty").mkdir(parents=True)
    (tree / "a" / "file").write_text("text\n")
    (tree / "a" / "file").chmod(0o751)
    (tree / "link").symlink_to("a/file")
    (tree / "dangling").symlink_to("/nowhere")
    (tree / "ünï cödé\n").write_text("")
    place.run("cp", "-l", lab, tree, "n1:/root")
    place.run("cp", "-l", lab, "n1:/root/tree", place.root / "tree2")
    subprocess.run(["diff", "-r", "--no-dereference", tree, place.root / "tree2"], check=True)
    assert (place.root / "tree2" / "a" / "file").stat().st_mode & 0o777 == 0o751

    sparse = place.root / "sparse"
    with open(sparse, "wb") as file:
        file.write(b"begin")
        file.truncate(2 << 30)
        file.seek(1 << 30)
        file.write(b"middle")
    place.run("cp", "-l", lab, sparse, "n1:/root/sparse")
    assert int(guest(place, lab, "stat -c %s /root/sparse")) == 2 << 30
    place.run("cp", "-l", lab, "n1:/root/sparse", place.root / "sparse2")
    assert (place.root / "sparse2").stat().st_size == 2 << 30
    assert (place.root / "sparse2").stat().st_blocks * 512 < 1 << 20
    with open(place.root / "sparse2", "rb") as file:
        file.seek(1 << 30)
        assert file.read(6) == b"middle"

    # Several into a directory; into none; what is not there; what is no place.
    place.run("cp", "-l", lab, data, sparse, "n1:/tmp")
    assert guest(place, lab, "ls /tmp/data /tmp/sparse").split() == ["/tmp/data", "/tmp/sparse"]
    assert "/nodir" in place.run("cp", "-l", lab, data, tree, "n1:/nodir", code=1).err
    assert "/nonexistent" in place.run("cp", "-l", lab, "n1:/nonexistent", place.root, code=1).err
    assert "/nonexistent" in place.run("cp", "-l", lab, "/nonexistent", "n1:/", code=1).err
    place.run("cp", "-l", lab, data, place.root / "x", code=2)
    place.run("cp", "-l", lab, data, tree, place.root / "back", code=2)
    place.run("cp", "-l", lab, data, "n1:", code=2)


def remains(directory):
    """Files that a copy has begun and not cleared away."""
    return [path.name for path in Path(directory).iterdir() if path.name.startswith(".vhost-lab.")]


@case("cp interrupted, killed, and its guest killed: the target is whole or absent")
def cp_interrupted(place):
    lab = up(place, ONE)
    data, out = place.root / "data", place.root / "out"
    out.mkdir()
    random_file(data, 64 << 20)
    in_guest = "ls -A /root | grep -e data -e vhost-lab || true"
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 130), (signal.SIGKILL, -9)):
        process = spawn(place, "cp", "-l", lab, data, "n1:/root/data")
        wait_for("the copy to begin", 20, lambda: ".vhost-lab." in guest(place, lab, in_guest))
        process.send_signal(number)
        assert process.wait(20) == code, process.stderr.read()
        wait_for("the guest to clear up", 20, lambda: guest(place, lab, in_guest) == "")
    place.run("cp", "-l", lab, data, "n1:/root/data", timeout=300)
    process = spawn(place, "cp", "-l", lab, "n1:/root/data", out)
    wait_for("the copy to begin", 20, lambda: remains(out))
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130 and not list(out.iterdir()), list(out.iterdir())
    process = spawn(place, "cp", "-l", lab, "n1:/root/data", out)
    wait_for("the copy to begin", 20, lambda: remains(out))
    os.kill(place.qemu("n1"), signal.SIGKILL)
    assert process.wait(60) == 1 and not list(out.iterdir()), list(out.iterdir())


# --- ports -------------------------------------------------------------------------------------------------------

def copy_program(place, lab, program):
    """A program of this host with its libraries into the guest."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    libraries = sorted({os.path.dirname(path) for path in re.findall(r"(?:=> )?(/\S+) \(0x", listed)})
    guest(place, lab, "mkdir -p " + " ".join(libraries))
    for path in sorted(set(re.findall(r"(?:=> )?(/\S+) \(0x", listed))):
        place.run("cp", "-l", lab, os.path.realpath(path), f"n1:{path}")
    place.run("cp", "-l", lab, program, f"n1:/bin/{os.path.basename(program)}")


@case("ssh: a server that was copied into the guest, without any network; options, exit status, rsync's way")
def ssh(place):
    need("dropbear", "dropbearkey", "ssh", "ssh-keygen")
    lab = up(place, {"version": 1, "vms": {"n1": {"nics": []}}})
    copy_program(place, lab, "/usr/sbin/dropbear")
    key = place.root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    guest(place, lab, "mkdir -p -m 700 /root/.ssh /etc/dropbear; chmod 700 /root; grep -q /bin/sh /etc/shells || echo /bin/sh >>/etc/shells")
    place.run("cp", "-l", lab, f"{key}.pub", "n1:/root/.ssh/authorized_keys")
    # The server's own key is made here: a guest without hardware would take its time for it, at the first who connects.
    host_key = place.root / "host_key"
    subprocess.run(["dropbearkey", "-t", "ed25519", "-f", host_key], check=True, capture_output=True)
    place.run("cp", "-l", lab, host_key, "n1:/etc/dropbear/dropbear_ed25519_host_key")
    guest(place, lab, "chmod 600 /root/.ssh/authorized_keys; ip link set lo up; dropbear -p 127.0.0.1:22")
    place.run("wait", "-l", lab, "n1", "--port=22", "--timeout=120s")
    options = ["-i", str(key), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
               "-o", "LogLevel=ERROR", "-l", "root"]
    done = place.run("ssh", "-l", lab, "n1", *options, "hostname; exit 4", code=4, timeout=120)
    assert done.out == "n1\n", (done.out, done.err)
    config = next(place.state.rglob("ssh_config"))
    plain = subprocess.run(["ssh", "-F", config, *options, "n1", "echo", "plain"], env=place.env, capture_output=True,
                           text=True, timeout=120)
    assert plain.stdout == "plain\n", plain


@case("vsock-connect: a port of the guest, a TCP port through its agent; both ends' end of file")
def vsock_connect(place):
    lab = up(place, ONE)
    guest(place, lab, "mkdir -p /www; echo page >/www/index.html; ip link set lo up; busybox httpd -p 127.0.0.1:80 -h /www")
    for port in ("tcp:127.0.0.1:80", "80"):
        done = place.run("vsock-connect", "-l", lab, "n1", port, stdin="GET /index.html HTTP/1.0\r\n\r\n")
        assert done.out.endswith("page\n"), done.out
    # The agent's own port, as anybody may speak to it: a request of PING's neighbours, HELLO.
    process = spawn(place, "vsock-connect", "-l", lab, "n1", "50000", stdin=subprocess.PIPE)
    body = b'{"version":[1,1]}'
    process.stdin.write(b"".join(n.to_bytes(4, "little") for n in (2, 16 + len(body), 1, 1)) + body)
    process.stdin.flush()
    header = process.stdout.read(16)
    assert header[0] == 2 and header[12] == 2, header
    process.stdin.close()
    assert process.wait(20) == 0
    assert "99" in place.run("vsock-connect", "-l", lab, "n1", "99", code=1).err
    place.run("vsock-connect", "-l", lab, "n1", "tcp", code=2)


def hello_over(stream):
    body = b'{"version":[1,1]}'
    stream.settimeout(20)
    stream.sendall(b"".join(n.to_bytes(4, "little") for n in (2, 16 + len(body), 1, 1)) + body)
    return stream.recv(16)[0] == 2


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(address):
    """Whether the agent is at the other end of that forward: a path, or a port of this host."""
    family = socket.AF_INET if isinstance(address, int) else socket.AF_UNIX
    with contextlib.suppress(OSError, IndexError), socket.socket(family) as s:
        s.settimeout(10)
        s.connect(("127.0.0.1", address) if isinstance(address, int) else str(address))
        return hello_over(s)
    return False


@case("forward: added, listed, used, removed, while the lab runs")
def forward(place):
    lab = up(place, ONE)
    path = place.root / "agent.sock"
    port = free_port()
    place.run("forward", "-l", lab, "add", "n1", f"unix:{path}:50000")
    place.run("forward", "-l", lab, "add", "n1", f"tcp:127.0.0.1:{port}:50000")
    again = place.run("forward", "-l", lab, "add", "n1", f"unix:{path}:50000", code=1)
    assert "there is a forward of that id" in again.err, again.err  # as the daemon says it
    assert answers(path) and answers(port)
    listed = place.run("forward", "-l", lab, "list", "--json").json()
    assert {f["vm"] for f in listed} == {"n1"} and len(listed) == 2 and all(f["connected"] == 1 for f in listed), listed
    text = place.run("forward", "-l", lab, "list", "n1").out
    assert f"unix:{path}:50000" in text and f"tcp:127.0.0.1:{port}:50000" in text, text
    place.run("forward", "-l", lab, "remove", "n1", f"unix:{path}:50000")
    assert not path.exists() and len(place.run("forward", "-l", lab, "list", "--json").json()) == 1
    place.run("forward", "-l", lab, "remove", "n1", f"unix:{path}:50000", code=1)
    place.run("forward", "-l", lab, "add", "n1", "nonsense", code=2)
    place.run("forward", "-l", lab, "add", "n1", code=2)
    assert "no VM" in place.run("forward", "-l", lab, "add", "n2", f"unix:{path}:50000", code=2).err
    place.run("down", lab)
    assert not answers(port)
    place.run("forward", "-l", lab, "list", code=1)


@case("forward: what is added and removed outlives kill -9 of the daemon and of the supervisor, not the lab")
def forward_killed(place):
    paths = {name: place.root / name for name in ("file", "gone", "added", "brief")}
    text = {name: f"unix:{path}:50000" for name, path in paths.items()}
    lab = up(place, {"version": 1, "vms": {"n1": {"forwards": [text["file"], text["gone"]]}}})

    def origins():
        listed = place.run("forward", "-l", lab, "list", "--json", code=None)
        return {f["forward"]: f["origin"] for f in listed.json() if f["active"]} if listed.code == 0 else None

    def holds():
        return origins() == {text["file"]: "file", text["added"]: "added"}

    def check(when):
        wait_for(f"the forwards to be back after {when}", 30, holds, 0.2)
        wait_for(f"the agent to answer after {when}", 60, lambda: answers(paths["added"]) and answers(paths["file"]), 0.5)
        assert not paths["gone"].exists() and not paths["brief"].exists(), when
        told = {f["id"]: f["origin"] for f in place.vms(lab)["n1"]["sockets"]["forwards"]}
        assert told == {f"n1.{text['file']}": "file", f"n1.{text['added']}": "added"}, (when, told)

    for name in ("added", "brief"):
        place.run("forward", "-l", lab, "add", "n1", text[name])
    for name in ("gone", "brief"):
        place.run("forward", "-l", lab, "remove", "n1", text[name])
    check("the changes")
    for kill in ("daemon", "supervisor", "both"):
        if kill != "daemon":
            supervisor = place.pid_of(r"orchestrator supervise")
            os.kill(supervisor, signal.SIGKILL)
            wait_for("the supervisor to be dead", 10, lambda: supervisor not in place.processes(), 0.05)
        if kill != "supervisor":
            os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
        if kill != "daemon":
            place.run("up", lab, timeout=300)
        check(f"kill -9: {kill}")
    place.run("forward", "-l", lab, "add", "n1", text["gone"])
    assert origins() == {text["file"]: "file", text["gone"]: "file", text["added"]: "added"}, origins()
    place.run("down", lab)
    assert not any(path.exists() for path in paths.values())
    place.run("up", lab, timeout=300)
    wait_for("the forwards of the file alone", 30, lambda: origins() == {text["file"]: "file", text["gone"]: "file"}, 0.2)


# --- wait, shutdown, test ----------------------------------------------------------------------------------------------

@case("wait: until ready, for a file, a port, a command; in time or not")
def wait(place):
    lab = place.lab(ONE)
    place.run("up", "--no-wait", lab, timeout=300)
    place.run("wait", "-l", lab, "n1")
    assert place.vms(lab)["n1"]["stage"] == "ready"
    place.run("wait", "-l", lab, "n1", "--ready", "--file=/etc/passwd")
    waiting = spawn(place, "wait", "-l", lab, "n1", "--file=/tmp/there")
    time.sleep(1)
    assert waiting.poll() is None
    guest(place, lab, "touch /tmp/there")
    assert waiting.wait(20) == 0, waiting.stderr.read()
    place.run("wait", "-l", lab, "n1", "--command=test -e /tmp/there && test $(id -u) = 0")
    for hopeless in ("--file=/tmp/nothere", "--port=1", "--command=false"):
        place.run("wait", "-l", lab, "n1", hopeless, "--timeout=300ms", code=5)
    place.run("wait", "-l", lab, "n1", "--file=/a", "--port=1", code=2)
    place.run("stop", "-l", lab, "n1")
    assert "stopped" in place.run("wait", "-l", lab, "n1", code=1).err
    # It comes while it is waited for.
    waiting = spawn(place, "wait", "-l", lab, "n1", "--file=/etc/passwd", "--ready")
    assert waiting.wait(60) == 1
    place.run("start", "-l", lab, "n1", timeout=300)


@case("shutdown: by the agent, several at once; one that does not run; reboot")
def shutdown(place):
    lab = up(place, THREE)
    place.run("shutdown", "-l", lab, "n1", "n2")
    stages = {name: vm["stage"] for name, vm in place.vms(lab).items()}
    assert stages == {"n1": "stopped", "n2": "stopped", "n3": "ready"}, stages
    assert "does not run" in place.run("shutdown", "-l", lab, "n1", code=1).err
    before = guest(place, lab, "cat /proc/sys/kernel/random/boot_id", vm="n3")
    place.run("shutdown", "-l", lab, "--reboot", "n3")
    wait_for("n3 to have rebooted", 120, lambda: place.run(
        "exec", "-l", lab, "n3", "--", "cat", "/proc/sys/kernel/random/boot_id", code=None).out not in ("", before), 1)


@case("test: the lab's own checks, as TAP and as JUnit's XML")
def tests(place):
    lab = up(place, {
        "version": 1, "name": "checked", "vms": {"n1": {}, "n2": {}},
        "tests": [
            {"name": "names-itself", "vm": "n1", "command": ["hostname"], "stdout": "^n1$"},
            {"name": "fails-loudly", "vm": "n2", "command": ["sh", "-c", "echo 'why <not>'; echo no >&2; exit 3"], "hint": "look & see"},
            {"name": "expects-it", "vm": "n2", "command": ["sh", "-c", "exit 3"], "exit": 3},
            {"name": "other-words", "vm": "n1", "command": ["echo", "b"], "stdout": "a"},
            {"name": "too-slow", "vm": "n1", "command": ["sleep", "30"], "timeout": "500ms"},
            {"name": "no-program", "vm": "n1", "command": ["no-such-program"]},
        ]})
    done = place.run("test", lab, code=1)
    lines = done.out.splitlines()
    assert lines[:2] == ["TAP version 13", "1..6"], lines
    points = [line for line in lines if re.match(r"(not )?ok ", line)]
    assert points == ["ok 1 - names-itself", "not ok 2 - fails-loudly", "ok 3 - expects-it", "not ok 4 - other-words",
                      "not ok 5 - too-slow", "not ok 6 - no-program"], points
    assert 'message: "exit status 3, not 0"' in done.out and 'hint: "look & see"' in done.out and "    why <not>" in done.out, done.out
    report = place.root / "junit.xml"
    silent = place.run("test", "--junit", report, lab, code=1)
    assert silent.out == ""
    suite = xml.etree.ElementTree.parse(report).getroot().find("testsuite")
    assert suite.get("name") == "checked" and suite.get("tests") == "6", suite.attrib
    assert int(suite.get("failures")) + int(suite.get("errors")) == 4, suite.attrib
    assert suite.findall("testcase")[1].find("system-out").text == "why <not>\n"
    only = place.run("test", "--only", "*it*", "--tap", "--junit", report, lab)
    assert only.out.splitlines() == ["TAP version 13", "1..2", "ok 1 - names-itself", "ok 2 - expects-it"], only.out
    place.run("test", "--only", "nothing", lab, code=1)


if __name__ == "__main__":
    harness.main()
