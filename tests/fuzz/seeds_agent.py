#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Write the seeds of fuzz_agent: a conversation of each kind, and each way to break one.

    tests/fuzz/seeds_agent.py [tests/fuzz/corpus]

The files are committed; this is how they were made.  The format is told at the top of fuzz_agent.c.
"""
import json
import pathlib
import struct
import sys

ERROR, HELLO, CONFIG, EVENT, SHUTDOWN, PING = range(1, 7)
EXEC, EXIT, SIGNAL, WINSIZE, BYTES, GRANT, CLOSE = range(16, 23)
COPY, ATTACH, END = 32, 64, 68
TOKEN = "00112233445566778899aabbccddeeff"
CAME, DIALLED = 0xFE, 0xFF


def message(kind, body=None, transaction=1, step=1, size=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    return struct.pack("<IIII", kind, 16 + len(body) if size is None else size, transaction, step) + body


hello = message(HELLO, {"version": [1, 1]})
answer = message(HELLO, {"version": [1, 3], "agent": "host"}, step=2)
attach = struct.pack("<IIII", ATTACH, 36, 0, 0) + bytes.fromhex(TOKEN) + struct.pack("<I", 0)
execute = {"argv": ["ls", "-l"], "env": ["A=b"], "cwd": "/", "user": "root", "token": TOKEN, "streams": ["stdin", "output"]}
terminal = {"argv": ["sh"], "tty": {"rows": 24, "cols": 80, "term": "xterm"}, "token": TOKEN, "streams": ["tty"]}
cat = {"argv": ["cat"], "streams": ["stdin", "stdout", "stderr"]}


def piece(kind, stream, rest=b"", transaction=2):
    return message(kind, struct.pack("<I", stream) + rest, transaction, 0)


def grant(stream, n, transaction=2):
    return piece(GRANT, stream, struct.pack("<I", n), transaction)


config = {
    "hostname": "n1", "hosts": [{"address": "10.0.0.2", "names": ["n2", "n2.lan"]}],
    "interfaces": [{"mac": "52:54:00:1a:2b:3c", "name": "eth0", "mtu": 1500, "addresses": ["10.0.0.1/24", "fd00::1/64"]}],
    "users": [{"name": "kim", "uid": 1000}], "files": [{"path": "/etc/motd", "text": "hi\n", "mode": "0600", "user": "root"}],
    "mounts": [{"target": "/mnt", "type": "tmpfs", "options": "ro,size=1m"}], "clock": {"realtime-ns": 1767225600000000000},
}

seeds = {
    "hello_ping": hello + message(PING) + message(PING, {}, 2),
    "exec": hello + message(EXEC, execute, 2) + message(EXEC, execute, 3),
    "exec_plain": hello + message(EXEC, {"argv": ["true"]}, 2),
    "exec_terminal": hello + message(EXEC, terminal, 2) + message(WINSIZE, {"pid": 5, "rows": 1, "cols": 2}, 3),
    "streams": hello + message(EXEC, cat, 2) + piece(BYTES, 0, b"hello\n") + piece(BYTES, 0, b"x" * 999) + piece(CLOSE, 0),
    "streams_window": hello + message(EXEC, cat, 2) + piece(BYTES, 0, b"y" * 65000) * 4 + grant(1, 4096) + piece(CLOSE, 0),
    "streams_above": hello + message(EXEC, cat, 2) + piece(BYTES, 0, b"y" * 65000) * 9,
    "streams_refused": hello + message(EXEC, cat, 2) + piece(CLOSE, 1) + piece(CLOSE, 2) + piece(CLOSE, 1) + piece(BYTES, 0, b"z") + grant(1, 1),
    "streams_after_close": hello + message(EXEC, cat, 2) + piece(CLOSE, 0) + piece(BYTES, 0, b"z"),
    "streams_wrong_way": hello + message(EXEC, cat, 2) + piece(BYTES, 1, b"z"),
    "streams_grant_in": hello + message(EXEC, cat, 2) + grant(0, 1),
    "streams_grant_much": hello + message(EXEC, cat, 2) + grant(1, 0xFFFFFFFF),
    "streams_none_such": hello + message(EXEC, cat, 2) + piece(CLOSE, 3),
    "streams_nobody": hello + piece(BYTES, 0, b"z") + message(EXEC, {"argv": ["x"], "streams": ["stdout"]}, 2) + piece(CLOSE, 0) + grant(1, 7, 9),
    "streams_empty": hello + message(EXEC, cat, 2) + piece(BYTES, 0),
    "streams_short": hello + message(EXEC, cat, 2) + message(CLOSE, b"abc", 2, 0),
    "streams_early": piece(BYTES, 0, b"before hello"),
    "streams_two": hello + message(EXEC, cat, 2) + message(EXEC, cat, 3) + piece(BYTES, 0, b"a", 3) + piece(BYTES, 0, b"b", 2) + message(SIGNAL, {"pid": 1 << 30, "signal": 9}, 4),
    "exec_wrong": hello + b"".join(message(EXEC, body, n) for n, body in enumerate((
        {}, {"argv": []}, {"argv": [1]}, {"argv": ["a"], "env": ["A"]}, {"argv": ["a"], "streams": ["tty"], "token": TOKEN},
        {"argv": ["a"], "streams": ["stdin", "stdio"], "token": TOKEN}, {"argv": ["a"], "streams": ["stdin"], "token": "0"},
        {"argv": ["a"], "user": ""}, {"argv": ["a"], "user": "no such one"}, {"argv": ["a"], "cwd": 3}))),
    "signal": hello + message(SIGNAL, {"pid": 1, "signal": "TERM"}) + message(SIGNAL, {"pid": 0}) + message(SIGNAL, {"pid": 2, "signal": 99}),
    "shutdown": hello + message(SHUTDOWN, {"how": "reboot", "grace-ms": 5}) + message(SHUTDOWN, {"how": "sideways"}),
    "config": hello + message(CONFIG, config) + message(CONFIG, dict(config, more=True), 0, 0),
    "config_wrong": hello + message(CONFIG, {"hostname": 1, "hosts": [1, {"address": "a", "names": ["b c"]}], "interfaces": [{}],
                                             "users": [{"name": "x"}], "files": [{"path": "relative"}], "mounts": [{}], "clock": {}}),
    "attach": attach + b"raw bytes",
    "attach_short": attach[:20],
    "attach_size": struct.pack("<IIII", ATTACH, 37, 0, 0) + bytes(21),
    "unknown_type": hello + message(4711, {"a": 1}) + message(COPY, {}) + message(EXIT, {}) + message(PING),
    "answers_unasked": hello + message(PING, {}, 1, 2) + message(ERROR, {"code": "failed"}, 9, 2) + message(EXEC, {}, 1, 7),
    "hello_twice": hello + hello,
    "no_hello": message(PING),
    "hello_version": message(HELLO, {"version": [2, 9]}),
    "hello_range": message(HELLO, {"version": [3, 1]}),
    "size_small": hello + message(PING, size=15),
    "size_4g": hello + message(PING, size=0xFFFFFFFF),
    "size_max": hello + message(PING, b"{}" + b" " * (65536 - 18)),
    "size_above": hello + message(PING, b"{}" + b" " * (65536 - 17)),
    "data_on_control": hello + message(END),
    "bad_json": hello + message(PING, b"{") + message(PING, b"[]") + message(PING, b"\xff") + message(PING, b'{"a":"\\u0000"}') + message(PING),
    "deep": hello + message(PING, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}") + message(PING, {"a": [[[[[[[]]]]]]]}),
    "many_tokens": hello + message(PING, b'{"a":[' + b"0," * 20000 + b"0]}"),
    "flood": hello + message(PING) * 6000,
}
dialled = {
    "dialled": answer + message(CONFIG, config, 1) + message(SHUTDOWN, {}, 2),
    "dialled_config_wrong": answer + message(CONFIG, {"hostname": "", "mounts": [{"target": "/", "type": 1}]}, 1),
    "dialled_asks": hello,
    "dialled_error": message(ERROR, {"code": "version"}, 1, 2),
}

out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "tests/fuzz/corpus") / "agent"
out.mkdir(parents=True, exist_ok=True)
for name, data in seeds.items():
    (out / name).write_bytes(bytes([CAME]) + data)
    if len(data) < 2000:
        (out / (name + "_in_pieces")).write_bytes(bytes([0]) + data)
for name, data in dialled.items():
    (out / name).write_bytes(bytes([DIALLED]) + data)
