# SPDX-License-Identifier: MIT
"""Every verb: its help, its man page, its data on stdout."""

import json
import re
import subprocess

import harness
from harness import case

VERBS = ("validate", "schema", "plan", "up", "down", "status", "console", "logs", "render",
         "start", "stop", "restart", "shutdown", "wait", "exec", "shell", "cp", "ssh", "vsock-connect", "forward",
         "test", "doctor", "gc", "completion")


@case("--help of each verb: usage first, every flag explained, exit 0, nothing on stderr")
def verb_help(place):
    listing = place.run("--help").out
    for verb in VERBS:
        assert re.search(rf"^\s+{verb}\b", listing, re.M), f"{verb} is not in --help"
        done = place.run(verb, "--help")
        assert done.err == "" and re.match(rf"[Uu]sage: orchestrator {verb}", done.out), done.out[:200]


@case("--version names the product and the QEMU it found")
def version(place):
    out = place.run("--version").out
    assert re.search(r"^orchestrator \d+\.\d+\.\d+", out) and re.search(r"QEMU \d+\.\d+", out), out


@case("schema prints the committed schema, byte for byte; the examples and validate agree with it")
def schema(place):
    import jsonschema
    text = place.run("schema").out
    committed = place.top / "orchestrator" / "lab.schema.json"
    if not committed.exists():
        committed = place.top / "lab.schema.json"
    assert text == committed.read_text()
    validator = jsonschema.Draft7Validator(json.loads(text))
    jsonschema.Draft7Validator.check_schema(json.loads(text))
    for name in ("three-nodes", "one-vm"):
        path = place.example(name)
        validator.validate(json.loads(path.read_text()))
        assert place.run("validate", path).code == 0
    wrong = {"version": 1, "vms": {"a": {"memroy": "1GiB"}}}
    assert list(validator.iter_errors(wrong))
    place.run("validate", place.lab(wrong), code=3)


@case("validate, plan and render leave no file behind")
def no_side_effects(place):
    lab = place.example("three-nodes")
    place.run("validate", lab)
    plan = place.run("plan", "--json", lab).json()
    assert plan["steps"], plan
    text = place.run("plan", lab).out
    for name in ("n1", "n2", "n3"):
        assert name in text
    script = place.run("render", "qemu", lab).out
    assert script.count("vhost-user") >= 3
    assert place.files() == [] and not place.processes()


@case("--dry-run shows the plan and starts nothing")
def dry_run(place):
    out = place.run("up", "--dry-run", place.example("three-nodes"))
    assert "n1" in out.out + out.err
    assert place.files() == [] and not place.processes()


@case("doctor: each row with a verdict and what to do; JSON and text tell the same")
def doctor(place):
    done = place.run("doctor", "--json", code=None)
    assert done.code in (0, 4)
    rows = done.json()["rows"]
    ids = {row["id"] for row in rows}
    for wanted in ("kvm", "nesting", "memory", "tun", "cgroup", "qemu", "libvirt"):
        assert any(wanted in name for name in ids), f"{wanted}: {ids}"
    for row in rows:
        assert row["status"] in ("ok", "info", "warn", "fail"), row
        if row["status"] in ("warn", "fail"):
            assert row["todo"], row
    assert (done.code == 4) == any(row["status"] == "fail" for row in rows)
    text = place.run("doctor", code=None).out
    assert all(re.search(rf"^(ok|info|warn|fail) +{name}:", text, re.M) for name in ids), text


@case("status --watch redraws until interrupted; status of a lab that is down says so")
def watch(place):
    lab = place.lab({"version": 1, "vms": {"a": {}}})
    place.run("up", lab)
    process = place.start("status", "--watch", lab)
    try:
        line = process.stdout.readline()
        assert line
    finally:
        process.terminate()
        process.communicate(timeout=10)
    place.run("down", lab)
    down = place.run("status", lab, code=None)
    assert "down" in down.out + down.err or "not running" in down.out + down.err, down.err


@case("logs: of a VM, of a switch, of the supervisor; -f follows")
def logs(place):
    lab = place.lab({"version": 1, "vms": {"a": {}}})
    place.run("up", lab)
    assert place.run("logs", "-l", lab, "a").out
    told = place.run("logs", "-l", lab).out
    assert told and place.run("logs", "-l", lab, "supervisor").out.startswith(told)
    place.run("logs", "-l", lab, "lan")
    follow = place.start("logs", "-f", "-l", lab, "a")
    console = place.console("a", lab)
    console.sh("echo followed-by-someone")
    seen = ""
    try:
        for _ in range(2000):
            seen = follow.stdout.readline()
            if "followed-by-someone" in seen:
                break
        assert "followed-by-someone" in seen
    finally:
        follow.terminate()
        follow.communicate(timeout=10)


@case("completion scripts load in their shells and know verbs and VM names")
def completion(place):
    bash = place.run("completion", "bash").out
    subprocess.run(["bash", "-n"], input=bash, text=True, check=True)
    for shell in ("zsh", "fish"):
        assert "orchestrator" in place.run("completion", shell).out
    place.run("completion", "tcsh", code=2)
    lab = place.lab({"version": 1, "vms": {"webserver": {}}})
    place.run("up", lab)
    script = bash + f"""
COMP_WORDS=({place.orchestrator} console webs); COMP_CWORD=2; COMP_LINE="{place.orchestrator} console webs"; COMP_POINT=${{#COMP_LINE}}
$(complete -p orchestrator | sed 's/.*-F \\([^ ]*\\).*/\\1/') orchestrator webs console
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    env = {**place.env, "PATH": f"{place.orchestrator.parent}:{place.env['PATH']}"}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=env, cwd=lab.parent)
    assert "webserver" in done.stdout.split(), (done.stdout, done.stderr)


@case("flags have their environment variable: ORCHESTRATOR_UP_TIMEOUT for up --timeout")
def environment(place):
    lab = place.lab({"version": 1, "vms": {"stuck": {"append": "rdinit=/nonexistent panic=0"}}})
    place.run("up", lab, code=5, env={"ORCHESTRATOR_UP_TIMEOUT": "5s"}, timeout=60)


harness.main()
