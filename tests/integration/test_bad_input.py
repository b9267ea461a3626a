# SPDX-License-Identifier: MIT
"""What an operator gets for a wrong lab or an unfit host: one clear line, the right exit
status (design: 2 usage, 3 invalid lab, 4 host unfit, 5 timeout, 7 conflict), no orphan."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys

import harness
from harness import case


# A listener whose process is called as systemd's, and that says who calls with a word.
HOLDER = """
import ctypes, socket, sys
ctypes.CDLL(None).prctl(15, b"systemd", 0, 0, 0)
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(64)
print("listens", flush=True)
while True:
    peer, _ = s.accept()
    word = peer.recv(100)
    if word:
        print("called by", word.decode(), flush=True)
"""


def nothing_happened(place):
    assert not place.processes(), place.processes()
    assert place.files() == [], place.files()


@case("every error of a lab file at once, with positions; exit 3; nothing written")
def invalid_lab(place):
    lab = place.lab("""{
  "version": 1,
  "networks": { "lan1": { "subnet": "10.0.0.0/24" } },
  "vms": {
    "n1": { "memroy": "512MiB", "after": ["n2"] },
    "n2": { "memory": "99999999999999TiB", "after": ["n1"], "nics": [{ "network": "lan2" }] }
  }
}
""")
    for verb in ("validate", "up", "plan"):
        err = place.run(verb, lab, code=3).err
        lines = [line for line in err.splitlines() if ": error: " in line]
        assert len(lines) >= 4, err
        assert f'{lab}:5:13: error: /vms/n1/memroy' in err and '"memory"' in err, err
        assert f'{lab}:6:' in err and '/vms/n2/nics/0/network' in err and '"lan1"' in err, err
        assert "n1" in err and "cycle" in err, err
    nothing_happened(place)


@case("files that are no lab at all: exit 3 and one position each")
def rubbish(place):
    for text in ("", "[", "[" * 10_000_000, '{"version":1,"version":1,"vms":{"a":{}}}',
                 '{"vms":{"a":{"vcpus":1e400}}}', '{"vms":\x00}', '{"vms":{"a":{}}} x'):
        err = place.run("validate", place.lab(text), code=3).err
        assert ": error: " in err and len(err) < 4000, err[:500]
    path = place.lab("{}")
    path.write_bytes(b'{"name": "\xff\xfe", "vms": {"a": {}}}')
    assert "UTF-8" in place.run("validate", path, code=3).err
    nothing_happened(place)


@case("no such file, no such lab, no such VM, no such verb")
def absent(place):
    err = place.run("up", place.root / "none.json", code=None)
    assert err.code in (1, 3) and "none.json" in err.err, err.err
    assert place.run("status", "nosuchlab", code=None).code not in (0, 2)
    assert place.run("frobnicate", code=2).err
    assert place.run("up", "--frobnicate", code=2).err
    lab = place.lab({"version": 1, "vms": {"web": {}}})
    place.run("up", lab)
    err = place.run("stop", "-l", lab, "wbe", code=None)
    assert err.code != 0 and '"web"' in err.err, err.err


def one_line_failure(place, code, words, *args, **kwargs):
    result = place.run(*args, code=code, **kwargs)
    errors = [line for line in result.err.splitlines() if "error" in line]
    assert len(errors) == 1, result.err
    for word in words:
        assert word in errors[0], errors[0]
    assert not place.processes(), place.processes()
    return result


@case("a missing QEMU: exit 4, named, no orphan")
def no_qemu(place):
    lab = place.lab({"version": 1, "vms": {"a": {}}})
    one_line_failure(place, 4, ["/nonexistent/qemu"], "up", lab,
                     env={"ORCHESTRATOR_QEMU": "/nonexistent/qemu"})


@case("a QEMU that dies at once: its own last words are in the error, no orphan")
def broken_qemu(place):
    fake = place.root / "qemu"
    fake.write_text("#!/bin/sh\ncase \"$*\" in *guest=*) echo 'qemu: sorry, no' >&2; exit 1;; esac\n"
                    "exec qemu-system-x86_64 \"$@\"\n")
    fake.chmod(0o755)
    lab = place.lab({"version": 1, "vms": {"a": {}, "b": {}}})
    result = place.run("up", lab, env={"ORCHESTRATOR_QEMU": str(fake)}, code=None)
    assert result.code in (1, 6), result.code
    assert "sorry, no" in result.err, result.err
    assert not place.processes(), place.processes()


@case("a missing kernel of a lab's own image: refused before anything starts")
def no_kernel(place):
    lab = place.lab({"version": 1, "images": {"mine": {"kernel": "/nonexistent/vmlinuz", "initrd": "/nonexistent/initrd"}},
                     "vms": {"a": {"image": "mine"}}})
    result = place.run("up", lab, code=None)
    assert result.code == 4 and "mine" in result.err and "/nonexistent/vmlinuz" in result.err, (result.code, result.err)
    assert not place.processes()


@case("accel kvm where KVM cannot be used: exit 4 with the reason; auto falls back and says so once")
def no_kvm(place):
    doctor = {row["id"]: row for row in place.run("doctor", "--json", code=None).json()["rows"]}
    if doctor["kvm"]["status"] == "ok":
        raise harness.Skip("KVM works here")
    lab = place.lab({"version": 1, "vms": {"a": {"accel": "kvm"}}})
    one_line_failure(place, 4, ["KVM"], "up", lab)
    auto = place.lab({"version": 1, "vms": {"a": {}, "b": {}}})
    err = place.run("up", auto).err
    assert err.count("TCG") == 1, err


@case("a switch port's path that a stranger occupies: exit 7, the path named, the stranger unharmed")
def port_in_use(place):
    lab = place.lab({"version": 1, "name": "busy", "vms": {"a": {}}})
    plan = place.run("render", "qemu", lab).out
    path = next(word.split("path=")[1].split(",")[0] for word in plan.replace("'", " ").split()
                if "path=" in word and ".vu" in word)
    for directory in (os.path.dirname(os.path.dirname(path)), os.path.dirname(path)):
        os.mkdir(directory, mode=0o700)
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.bind(path)
        stranger.listen(64)
        one_line_failure(place, 7, [path], "up", lab)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
    os.unlink(path)


@case("a control socket that systemd holds for a unit: exit 7, and both it and its socket are left alone")
def control_in_use(place):
    lab = place.lab({"version": 1, "name": "held", "vms": {"a": {}}})
    path = place.runtime / "vhost-lab/held/lan.ctl"
    path.parent.mkdir(mode=0o700, parents=True)
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "listens\n"
        inode = path.stat().st_ino
        one_line_failure(place, 7, [str(path), "systemd"], "up", lab)
        assert path.stat().st_ino == inode
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"me")
            assert holder.stdout.readline() == "called by me\n"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    os.unlink(path)


@case("a full disk: said in one line, no orphan")
def full_disk(place):
    with harness.small_filesystem() as small:
        (small / "state").mkdir(exist_ok=True)
        with open(small / "fill", "wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        lab = place.lab({"version": 1, "vms": {"a": {}}})
        try:
            result = place.run("up", lab, code=None, env={"XDG_STATE_HOME": str(small / "state")})
            assert result.code in (1, 4), result.code
            assert "No space left" in result.err, result.err
            harness.wait_for("no orphan", 5, lambda: not place.processes())
        finally:
            for entry in small.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@case("a state directory that may not be written: said in one line, no orphan")
def no_permission(place):
    place.state.mkdir()
    place.state.chmod(0o500)
    lab = place.lab({"version": 1, "vms": {"a": {}}})
    one_line_failure(place, None, [str(place.state), "ermission"], "up", lab)
    place.state.chmod(0o700)


@case("a guest that never gets ready: exit 5, the culprit and its last line named, the lab kept")
def timeout(place):
    lab = place.lab({"version": 1, "vms": {"fine": {}, "stuck": {"append": "init=/nonexistent rdinit=/nonexistent panic=0"}}})
    result = place.run("up", "--timeout", "20s", lab, code=5, timeout=90)
    assert "stuck" in result.err and "console" in result.err, result.err
    vms = place.vms(lab)
    assert vms["fine"]["stage"] == "ready", vms
    assert vms["stuck"]["stage"] != "ready", vms
    assert place.qemu("stuck")


@case("two ups at once: one lab, no double start")
def race(place):
    lab = place.lab({"version": 1, "vms": {"a": {}}})
    runs = [place.start("up", lab) for _ in range(3)]
    codes = []
    for process in runs:
        process.communicate(timeout=120)
        codes.append(process.returncode)
    assert 0 in codes and set(codes) <= {0, 7}, codes
    assert len(place.qemus()) == 1
    assert len([c for c in place.processes().values() if "vhost-user-net" in c]) == 1


@case("rubbish on ports, on control sockets and on the sockets into guests harms nobody")
def rubbish_peers(place):
    lab = place.lab({"version": 1, "vms": {"a": {}, "b": {}}})
    place.run("up", lab)
    before = place.processes()
    for path in [p for p in place.runtime.rglob("*") if p.is_socket()]:
        if path.suffix in (".qmp", ".con"):
            continue
        for payload in (b"\xff" * 4096, b"{" * 70000 + b"\n", b'{"jsonrpc":"2.0","id":1,"method":"nope"}\n', b""):
            kind = socket.SOCK_SEQPACKET if path.suffix == ".seq" else socket.SOCK_STREAM
            with socket.socket(socket.AF_UNIX, kind) as client:
                client.settimeout(0.5)
                client.connect(str(path))
                try:
                    client.sendall(payload)
                    client.recv(100)
                except OSError:
                    pass
    place.run("exec", "-l", lab, "a", "--", "ping", "-c", "1", "-W", "5", "b")
    assert place.processes() == before


harness.main()
