#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What can be told of flake.nix and nix/ without nixpkgs and without building; prints TAP.

suite.py SOURCE_ROOT BUILD_ROOT [CASE...]

$NIX_BIN is the directory of another nix-instantiate than the one in $PATH, $NIXPKGS_LIB the path of nixpkgs' own lib (a checkout of
nixpkgs has it, and so has github.com/nix-community/nixpkgs.lib): with it everything is evaluated by that, modules by its module
system; without it by stand-ins of our own.  Both have to come to the same (modules.json).
"""
import ast
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(sys.argv[1]).resolve()
BUILD = pathlib.Path(sys.argv[2]).resolve()
NIX = ROOT / "nix"
LIB = os.environ.get("NIXPKGS_LIB")
INSTANTIATE = os.path.join(os.environ.get("NIX_BIN", ""), "nix-instantiate")
ORCHESTRATOR = BUILD / "orchestrator/orchestrator"
MUTANTS = int(os.environ.get("NIX_MUTANTS", "250"))
CASES = []
PLACE = pathlib.Path(tempfile.mkdtemp(prefix="nix-suite."))


class Skip(Exception):
    """This machine lacks what the case needs; the text says what."""


def case(title):
    def register(function):
        CASES.append((title, function))
        return function

    return register


# --- nix ------------------------------------------------------------------------------------------------------------------

def nix_env():
    """Nothing of the user's configuration, no store but one of our own, no network."""
    return dict(os.environ, NIX_STATE_DIR=str(PLACE / "state"), NIX_STORE_DIR=str(PLACE / "store"), NIX_CONF_DIR=str(PLACE),
                NIX_USER_CONF_FILES="", NIX_PATH="", NIX_CONFIG="build-users-group =\nsubstituters =\n", HOME=str(PLACE))


def run_nix(*args):
    return subprocess.run([INSTANTIATE, *args], capture_output=True, text=True, env=nix_env(), stdin=subprocess.DEVNULL)


def complaints(stderr):
    return "\n".join(line for line in stderr.splitlines() if line and not line.startswith(("trace: asked ", "warning: ")))[-2000:]


def evaluate(expression):
    """The value, and the attributes of nixpkgs that were asked for."""
    done = run_nix("--eval", "--strict", "--json", "-E", expression)
    if done.returncode:
        raise AssertionError(complaints(done.stderr))
    return json.loads(done.stdout), set(re.findall(r"(?m)^trace: asked (\S+)$", done.stderr))


def real():
    return LIB or "null"


def nix_files():
    return [ROOT / "flake.nix", *sorted(NIX.rglob("*.nix"))]


# --- form -----------------------------------------------------------------------------------------------------------------

@case("every expression is one")
def parse():
    done = run_nix("--parse", *map(str, nix_files()))
    return complaints(done.stderr).splitlines() if done.returncode else []


@case("expressions have one form: licence, two spaces, no tab, no white space at the end, at most 160 columns")
def form():
    wrong = []
    for path in nix_files():
        text = path.read_text(encoding="utf-8")
        if not text.startswith("# SPDX-License-Identifier: MIT\n"):
            wrong.append(f"{path}: no licence in the first line")
        if not text.endswith("\n"):
            wrong.append(f"{path}: no newline at the end")
        for number, line in enumerate(text.splitlines(), 1):
            if "\t" in line or line != line.rstrip() or len(line) > 160 or re.match(r"(  )* \S", line):
                wrong.append(f"{path}:{number}: {line}")
    return wrong


@case("the lock file pins what the flake names")
def lock():
    lock = json.loads((ROOT / "flake.lock").read_text(encoding="utf-8"))
    flake = (ROOT / "flake.nix").read_text(encoding="utf-8")
    inputs = dict(re.findall(r"inputs\.(\w+)\.url = \"github:([^\"]+)\"", flake))
    wrong = []
    if lock["version"] != 7 or set(lock["nodes"][lock["root"]]["inputs"]) != set(inputs):
        wrong.append(f"the lock's inputs are {lock['nodes'][lock['root']]}, the flake's {inputs}")
    for name, url in inputs.items():
        node = lock["nodes"][name]
        original, locked = node["original"], node["locked"]
        if "/".join((original["owner"], original["repo"], original["ref"])) != url:
            wrong.append(f"{name}: {original} is not {url}")
        if not (re.fullmatch(r"[0-9a-f]{40}", locked["rev"]) and re.fullmatch(r"sha256-[A-Za-z0-9+/]{43}=", locked["narHash"])
                and locked["type"] == "github" and (locked["owner"], locked["repo"]) == (original["owner"], original["repo"])
                and isinstance(locked["lastModified"], int)):
            wrong.append(f"{name}: {locked}")
    return wrong


# --- outputs --------------------------------------------------------------------------------------------------------------

WANTED = {
    "packages": {"default", "vhost-lab", "libportal", "qemu-vhost-lab", "tiny", "wsl-kernel", "k3s-lab", "emulation-vm"},
    "apps": {"default", "lab-up", "lab-down", "lab-status", "emulation-vm", "emulation-vm-bg"},
    "checks": {"vhost-lab", "libportal", "scripts", "tiny", "unit", "style", "nix", "k3s"},
}
ONLY_X86 = {"qemu-vhost-lab", "wsl-kernel", "emulation-vm-boots"}
OUTPUTS = {}


def outputs(system):
    if system not in OUTPUTS:
        OUTPUTS[system] = evaluate(f'import {NIX}/tests/outputs.nix {{ real = {real()}; system = "{system}"; }}')
    return OUTPUTS[system]


@case("the flake's outputs, on both systems")
def flake_outputs():
    wrong = []
    for system in "x86_64-linux", "aarch64-linux":
        told, _ = outputs(system)
        for kind, names in WANTED.items():
            names = names | (ONLY_X86 if kind == "checks" and system == "x86_64-linux" else set())
            if set(told[kind]) != names:
                wrong.append(f"{system}: {kind} are {sorted(told[kind])}")
        wrong += [f"{system}: app {name}: {app}" for name, app in told["apps"].items()
                  if app["type"] != "app" or not app["program"].startswith("/nix/store/")]
        if told["modules"] != ["default", "node", "vhost-lab"] or not {"mkLab", "mkNodeImage"} <= set(told["lib"]):
            wrong.append(f"{system}: {told['modules']}, {told['lib']}")
    return wrong


@case("to nix it is a flake, locked to what the lock file says")
def is_flake():
    copy = PLACE / "flake"
    for name in ("flake.nix", "flake.lock", "meson.build", "nix", "qemu-patches", "orchestrator/image/guest"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    stand_in = PLACE / "stand-in"
    shutil.copytree(copy, stand_in)
    (stand_in / "flake.nix").write_text('{ outputs = _: removeAttrs (import ./nix/tests/nixpkgs { }) [ "outPath" ]; }', encoding="utf-8")
    (stand_in / "flake.lock").unlink()
    program = os.path.join(os.environ.get("NIX_BIN", ""), "nix")
    env = nix_env()
    del env["NIX_STORE_DIR"], env["NIX_STATE_DIR"]
    env["NIX_CONFIG"] += "experimental-features = nix-command flakes\nsandbox = false\n"

    def ask(*words):
        return subprocess.run([program, "--store", str(PLACE / "flake-store"), *words], capture_output=True, text=True, env=env,
                              stdin=subprocess.DEVNULL)

    wrong = []
    locked = json.loads((ROOT / "flake.lock").read_text(encoding="utf-8"))["nodes"]["nixpkgs"]["locked"]
    told = ask("flake", "metadata", "--json", "--offline", "--no-write-lock-file", f"path:{copy}")
    if told.returncode or json.loads(told.stdout)["locks"]["nodes"]["nixpkgs"]["locked"] != locked:
        wrong.append(f"{complaints(told.stderr)} {told.stdout}")
    for kind, names in WANTED.items():
        told = ask("eval", "--json", "--offline", "--no-write-lock-file", "--override-input", "nixpkgs", f"path:{stand_in}",
                   f"path:{copy}#{kind}.aarch64-linux", "--apply", "builtins.attrNames")
        if told.returncode or set(json.loads(told.stdout)) != names:
            wrong.append(f"{kind}: {complaints(told.stderr)} {told.stdout}")
    return wrong


@case("packages ask nixpkgs for attributes that it has, and for no others")
def asked():
    known = json.loads((NIX / "tests/attributes.json").read_text(encoding="utf-8"))
    there = {f"pkgs.{name}" for name in known["packages"]}
    all_asked = set().union(*(outputs(system)[1] for system in ("x86_64-linux", "aarch64-linux")))
    # writeText is for labs given by their text: modules.nix.
    spare = there - all_asked - {"pkgs.writeText"}
    wrong = [f"{name} is known to be there, but nobody asks for it" for name in sorted(spare)]
    wrong += [f"{name}: no evidence that nixpkgs has it" for name in sorted(all_asked - there)]
    wrong += [f"{name}: {path!r} is no file of nixpkgs" for part in known.values() for name, path in part.items()
              if not re.fullmatch(r"(pkgs|nixos)/[\w./+-]+\.(nix|sh)", path)]
    return wrong


@case("what the package is built with is what meson.build looks for")
def dependencies():
    told = outputs("x86_64-linux")[0]["packages"]["vhost-lab"]
    built_with = " ".join(told["buildInputs"] + told["nativeBuildInputs"])
    provider = {"glib-2.0": "-glib", "gio-unix-2.0": "-glib", "json-c": "-json_c", "slirp": "-libslirp", "libxml-2.0": "-libxml2"}
    wrong = []
    for path in (ROOT / "meson.build", *ROOT.glob("vhost-user/**/meson.build"), *ROOT.glob("orchestrator/**/meson.build")):
        for name in re.findall(r"dependency\('([^']+)'", path.read_text(encoding="utf-8")):
            if name not in ("threads", "cmocka") and provider.get(name, "-" + name) not in built_with:
                wrong.append(f"{path}: {name} is in none of {built_with}")
    return wrong


@case("QEMU is the one that the series is for, with the whole series")
def qemu():
    told = outputs("x86_64-linux")[0]
    series = [line.partition("#")[0].strip() for line in (ROOT / "qemu-patches/10.0/series").read_text(encoding="utf-8").splitlines()]
    series = [name for name in series if name]
    package = told["packages"]["qemu-vhost-lab"]
    base = dict(line.split(" ", 1) for line in (ROOT / "qemu-patches/10.0/base").read_text(encoding="utf-8").splitlines()
                if line and line[0] != "#")
    wrong = []
    if package["patches"] != series or told["series"] != len(series):
        wrong.append(f"its patches are {package['patches']}")
    if not base["version"].startswith(f"1:{package['version']}+ds-"):
        wrong.append(f"it is {package['version']}, the series for {base['version']}")
    done = subprocess.run([ROOT / "qemu-patches/build", "--fetch"], capture_output=True, text=True)
    if done.returncode:
        raise Skip(f"the source package cannot be fetched: {done.stderr.strip().splitlines()[-1]}")
    source = pathlib.Path(done.stdout.strip())
    sums = subprocess.run(["sha256sum", *sorted(map(str, source.glob("*.tar.xz")))], capture_output=True, text=True, check=True).stdout
    text = (NIX / "packages/qemu.nix").read_text(encoding="utf-8")
    if f"{base['version'].partition(':')[2]}" not in str(source):
        raise Skip("the mirror has another release of QEMU by now")
    for sum_, name in re.findall(r"(\S+) +\S*/(\S+)", sums):
        if sum_ not in text:
            wrong.append(f"{name} has the hash {sum_}")
    return wrong


@case("scripts of tests with machines are Python")
def test_scripts():
    wrong = []
    for system in "x86_64-linux", "aarch64-linux":
        for name, check in outputs(system)[0]["checks"].items():
            if check.get("made") == "test":
                try:
                    ast.parse(check["testScript"])
                except SyntaxError as error:
                    wrong.append(f"{name}: {error}")
    return wrong


@case("machines of tests: each on our switch, with memory that it can map, and an address of its own")
def test_machines():
    told = outputs("x86_64-linux")[0]
    machines, wrong = told["machines"]["k3s"], []
    if sorted(machines) != ["agent1", "agent2", "server"] or sorted(m["role"] for m in machines.values()) != ["agent", "agent", "server"]:
        wrong.append(f"{sorted(machines)}")
    macs, paths = set(), set()
    for name, machine in machines.items():
        options = " ".join(machine["options"])
        macs |= set(re.findall(r"mac=(52:54:00:[0-9a-f:]{8})\b", options))
        paths |= set(re.findall(r"-chardev socket,id=lab0,path=([^,]+),", options))
        if f"size={machine['memorySize']}M,share=on" not in options or "-netdev vhost-user,id=lab0,chardev=lab0" not in options or machine["vlans"]:
            wrong.append(f"{name}: {options}, {machine['vlans']}")
        if not machine["enable"] or "--flannel-iface=lab0" not in machine["extraFlags"] or not machine["nodeIP"]:
            wrong.append(f"{name}: {machine}")
    if len(macs) != 3 or len(paths) != 3 or len({m["nodeIP"] for m in machines.values()}) != 3:
        wrong.append(f"{macs}, {paths}")
    outer = told["machines"]["emulation-vm-boots"]["outer"]
    if not {"vhost-lab-lab-pair", "vhost-lab-given", "vhost-lab-net-bare"} <= set(outer["services"]):
        wrong.append(f"the outer machine has {outer['services']}")
    if "vhost-lab-lab-k3s" not in told["emulator"]["services"] or told["emulator"]["memorySize"] < 12288:
        wrong.append(f"emulation-vm: {told['emulator']}")
    return wrong + [f"{m}" for ms in told["machines"].values() for machine in ms.values() for m in machine["unmet"]]


# --- labs -----------------------------------------------------------------------------------------------------------------

def nix_verdicts(labs):
    """For each lab, as a Python value: what it says when written by nix, and [(pointer, text)]."""
    paths = []
    for number, lab in enumerate(labs):
        paths.append(PLACE / f"in-{number}.json")
        paths[-1].write_text(json.dumps(lab, ensure_ascii=False), encoding="utf-8")
    expression = f"""
        let labs = import {NIX}/lab;
            read = path: let lab = builtins.fromJSON (builtins.readFile path); in
              {{ errors = labs.errors lab; json = builtins.toJSON lab; }};
        in map read [ {" ".join(map(str, paths))} ]"""
    return [(answer["json"], sorted((e["pointer"], e["text"]) for e in answer["errors"])) for answer in evaluate(expression)[0]]


def orchestrator_verdicts(texts):
    paths = []
    for number, text in enumerate(texts):
        paths.append(PLACE / f"out-{number}.json")
        paths[-1].write_text(text, encoding="utf-8")
    # Short directories: that paths of sockets are too long is not nix's to know.
    env = dict(os.environ, XDG_RUNTIME_DIR="/r", XDG_STATE_HOME="/s", XDG_CACHE_HOME="/c")
    told = []
    for begin in range(0, len(paths), 50):
        done = subprocess.run([ORCHESTRATOR, "validate", "--json", *paths[begin:begin + 50]], capture_output=True, text=True, env=env)
        if done.returncode not in (0, 3):
            raise AssertionError(f"orchestrator validate ends with {done.returncode}: {done.stderr[-2000:]}")
        told += json.loads(done.stdout)
    return [sorted((e["pointer"], e["text"]) for e in lab.get("errors", [])) for lab in told]


def bare(verdict):
    """Without suggestions and lists of what there is, which nix has not the wit for, and lines, which it has not at all; and a number
    of 19 digits is too large to nix, which has 63 bits, where the orchestrator may still read it to find it out of range."""
    def strip(text):
        text = re.sub(r'^("\d{19,}\w*") is (too large|out of range: .*)$', r"\1", text)
        text = re.sub(r" \(did you mean .*\)$| \(there (is|are)\b.*\)$| \(line \d+\)$", "", text)
        return re.sub(r": one of .*$", "", text)
    return sorted((pointer, strip(text)) for pointer, text in verdict if "is no regular expression" not in text)


def disagreements(named):
    """[(name, lab)]: what the two do not both say."""
    ours = nix_verdicts([lab for _, lab in named])
    theirs = orchestrator_verdicts([json_text for json_text, _ in ours])
    wrong = []
    for (name, _), (_, nix), orchestrator in zip(named, ours, theirs, strict=True):
        nix, orchestrator = bare(nix), bare(orchestrator)
        for place, text in [e for e in orchestrator if e not in nix]:
            wrong.append(f"{name}: the orchestrator alone: {place}: {text}")
        for place, text in [e for e in nix if e not in orchestrator]:
            wrong.append(f"{name}: nix alone: {place}: {text}")
        if not wrong and len(nix) != len(orchestrator):
            wrong.append(f"{name}: {len(nix)} and {len(orchestrator)} times")
    return wrong


def readable(value):
    """As nix can read it: half a surrogate pair is no character, and what does not fit 64 bits no integer."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not -2**63 <= value < 2**63:
        return float(value)
    if isinstance(value, list):
        return [readable(v) for v in value]
    return {readable(k): readable(v) for k, v in value.items()} if isinstance(value, dict) else value


def corpus():
    paths = [*sorted((ROOT / "tests/unit/golden/lab").glob("*.json")), *sorted(ROOT.glob("examples/*/lab.json")),
             *sorted((NIX / "tests/corpus").glob("*/*.json"))]
    labs = []
    for path in paths:
        try:
            labs.append((str(path.relative_to(ROOT)), readable(json.loads(path.read_text(encoding="utf-8")))))
        except json.JSONDecodeError:
            continue  # an attribute set cannot be that wrong
    return labs


@case("mkLab and `orchestrator validate` say the same of labs good and bad")
def agreement():
    labs = corpus()
    verdicts = dict(zip((name for name, _ in labs), nix_verdicts([lab for _, lab in labs]), strict=True))
    wrong = disagreements(labs)
    for name, (_, verdict) in verdicts.items():
        if ("corpus/good" in name or "examples/" in name) and verdict:
            wrong.append(f"{name}: {verdict[0]}")
        if "corpus/bad" in name and not verdict:
            wrong.append(f"{name}: nothing is wrong with it")
    if len(labs) < 25:
        wrong.append(f"only {len(labs)} labs")
    return wrong


TABLE = json.loads((NIX / "lab/fields.json").read_text(encoding="utf-8"))
ODD = [None, True, False, 0, 1, -1, 7, 4095, 65536, 1.5, 2.0, 1e18, "", "a", "n1", "n9", "lan", "-x", "A b", "x" * 64, "\x01", "é…", "wan", "mine",
       "p", "0", "1", "10%", "100.5%", "0.0000001%", "20ms", "1.5s", "1h", "0ns", "2min", "64MiB", "5KiB", "3TiB", "01MiB", "1mbit",
       "1.0000001kbit", "10.0.0.1", "10.1.0.20", "10.1.0.255", "192.168.100.0/24", "10.1.0.0/16", "10.0.0.0/31", "52:54:00:00:00:01",
       "01:00:00:00:00:00", "n1.0", "n2:a", "nat", "tcp:127.0.0.1:80:80", "80:unix:/x", "unix:/x:80", "tcp:127.0.0.1:2222:n1:22", "hvsock", "vsock",
       "none", "libvirt", "qemu", "qemu:///system", "test:///x", "/x", "./x", "vhost-user", "ivshmem", "ro", "aarch64", "tiny", [], {}, [1], ["a"],
       ["n1", "n1"], ["n1", "n2"], [10, 10], {"x-y": 1}, {"a": 1}]


def something(rng, row, depth=0):
    """A value that a key might have: mostly of its kind."""
    kind = row["kind"]
    if rng.random() < 0.2 or depth > 3:
        return rng.choice(ODD)
    if kind == "either":
        return something(rng, rng.choice(row["choices"]), depth)
    if kind == "count":
        return rng.choice([row.get("min", 0), row.get("max", 0), row.get("min", 0) - 1, row.get("max", 0) + 1, 5, 100])
    if kind == "word":
        return rng.choice(row["words"])
    if kind == "flag":
        return rng.random() < 0.5
    if kind == "object":
        return some_object(rng, row["object"], depth + 1)
    if kind == "list":
        return [some_object(rng, row["object"], depth + 1) for _ in range(rng.randrange(3))]
    if kind == "map":
        return {name: some_object(rng, row["object"], depth + 1) for name in rng.sample(["n1", "n2", "a", "p", "wan", "lan", "tiny"], rng.randrange(3))}
    if kind == "names":
        return rng.sample(["n1", "n2", "n3", "p", "q", "zz"], rng.randrange(4))
    if kind in ("texts", "links"):
        return [rng.choice([v for v in ODD if isinstance(v, str)]) for _ in range(rng.randrange(3))]
    if kind == "counts":
        return rng.sample([1, 10, 20, 4094, 4095], rng.randrange(4))
    return rng.choice([v for v in ODD if isinstance(v, str)])


def some_object(rng, name, depth):
    keys = TABLE[name]["keys"]
    chosen = [key for key, row in keys.items() if row.get("required") and rng.random() < 0.9]
    chosen += rng.sample(sorted(keys), min(len(keys), rng.randrange(4)))
    return {key: something(rng, keys[key], depth) for key in chosen}


def places(value, at=()):
    yield at
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, at + (key,))


def rows_below(value, name):
    """(the object, its name in the table) of each object below that the table knows."""
    yield value, name
    for key, inner in value.items():
        row = TABLE[name]["keys"].get(key)
        for choice in row.get("choices", [row]) if row else []:
            if choice["kind"] == "object" and isinstance(inner, dict):
                yield from rows_below(inner, choice["object"])
            elif choice["kind"] == "map" and isinstance(inner, dict):
                for member in inner.values():
                    if isinstance(member, dict):
                        yield from rows_below(member, choice["object"])
            elif choice["kind"] == "list" and isinstance(inner, list):
                for member in inner:
                    if isinstance(member, dict):
                        yield from rows_below(member, choice["object"])


def mutate(rng, lab):
    lab = json.loads(json.dumps(lab))
    for _ in range(rng.randrange(1, 4)):
        if rng.random() < 0.6:
            target, name = rng.choice(list(rows_below(lab, "lab")))
            key = rng.choice(sorted(TABLE[name]["keys"]))
            target[key] = something(rng, TABLE[name]["keys"][key])
            continue
        everywhere = [p for p in places(lab) if p]
        if not everywhere:
            break
        *way, last = rng.choice(everywhere)
        target = lab
        for step in way:
            target = target[step]
        if rng.random() < 0.3:
            del target[last]
        else:
            target[last] = rng.choice(ODD)
    return lab


@case("the same of labs that chance has made")
def chance():
    # The same ones every day, unless others are asked for.
    seed = int(os.environ.get("NIX_SEED", "8"))
    rng = random.Random(seed)
    good = [lab for name, lab in corpus() if "corpus/good" in name or "examples/" in name]
    # The rich one has most to break.
    rich = next(lab for name, lab in corpus() if name.endswith("good/everything.json"))
    labs = [(f"seed {seed}, lab {number}", readable(mutate(rng, rng.choice([*good, rich, rich, rich])))) for number in range(MUTANTS)]
    wrong = disagreements(labs)
    for line in wrong[:3]:
        number = int(re.search(r"lab (\d+)", line).group(1))
        print(f"# {labs[number][0]}: {json.dumps(labs[number][1])[:3000]}")
    return wrong


@case("a lab's mistakes end the evaluation, all at once, and paths stand where texts may")
def mistakes():
    done = run_nix("--eval", "--strict", "-E", f'(import {NIX}/lab).toJSON {{ vms = {{ n1 = {{ memroy = "1GiB"; vcpus = 0; }}; }}; }}')
    wrong = []
    if done.returncode == 0 or "2 mistakes" not in done.stderr or "/vms/n1/vcpus: 0 is out of range: 1 to 255" not in done.stderr:
        wrong.append(complaints(done.stderr))
    text, _ = evaluate(f"""(import {NIX}/lab).toJSON {{
        images.a = {{ kernel = {NIX}/default.nix; initrd = {{ outPath = "/nix/store/x"; }}; }}; vms.n1.image = "a"; }}""")
    image = json.loads(text)["images"]["a"]
    if not image["kernel"].endswith("-default.nix") or image["initrd"] != "/nix/store/x":
        wrong.append(text)
    return wrong


@case("the example with k3s is a lab, to the orchestrator too")
def example():
    k3s = outputs("x86_64-linux")[0]["k3s"]
    verdict = orchestrator_verdicts([json.dumps(k3s)])[0]
    wrong = [f"{pointer}: {text}" for pointer, text in verdict]
    if sorted(k3s["vms"]) != ["agent-1", "agent-2", "server"] or "uplink" not in k3s["networks"]["cluster"]:
        wrong.append(json.dumps(k3s))
    return wrong


# --- scripts --------------------------------------------------------------------------------------------------------------

FAKE = """#!/bin/sh
printf '%s\\n' "${0##*/} $*" >>"$CALLS"
case "${0##*/} $*" in qemu-img*) for last; do :; done; : >"$last" ;; esac
case "$*" in "$FAIL"*) [ -z "$FAIL" ] || exit 3 ;; esac
"""


class Desk:
    """A home of its own, with programs in PATH that only write down how they are called."""

    def __init__(self, name):
        self.dir = PLACE / name
        self.calls = self.dir / "calls"
        self.tree = self.dir / "tree"
        for sub in ("bin", "tree", "run"):
            (self.dir / sub).mkdir(parents=True)
        for program in ("orchestrator", "qemu-img", "run-vm"):
            (self.dir / "bin" / program).write_text(FAKE, encoding="utf-8")
            (self.dir / "bin" / program).chmod(0o755)
        for name_, text in {"name": "k3s\n", "lab.json": '{"vms":{"s":{},"a":{}}}\n', "disks": "s /img/s.qcow2\na /img/a.qcow2\n",
                            "credentials": "s token\na token\na other\n"}.items():
            (self.tree / name_).write_text(text, encoding="utf-8")
        self.state = self.dir / "state/vhost-lab/nix/k3s"

    def run(self, script, *args, fail="", **variables):
        env = {"PATH": f"{self.dir}/bin:{NIX}/scripts:{os.environ['PATH']}", "HOME": str(self.dir), "XDG_STATE_HOME": str(self.dir / "state"),
               "XDG_RUNTIME_DIR": str(self.dir / "run"), "VHOST_LAB_TREE": str(self.tree), "VHOST_LAB_VM": "run-vm", "CALLS": str(self.calls),
               "FAIL": fail, **variables}
        self.calls.write_text("", encoding="utf-8")
        done = subprocess.run([NIX / "scripts" / script, *args], capture_output=True, text=True, env=env, timeout=60)
        return done, self.calls.read_text(encoding="utf-8").splitlines()


def expect(wrong, what, have, want):
    if have != want:
        wrong.append(f"{what}: {have!r} instead of {want!r}")


@case("lab-up, lab-down and lab-status: the example's disks and secrets, or a file's lab")
def lab_scripts():
    wrong, desk = [], Desk("labs")
    lab = desk.state / "lab.json"
    done, calls = desk.run("lab-up", "--jobs=1")
    expect(wrong, "lab-up", done.returncode, 0)
    expect(wrong, "first disks, then machines", [c.split()[0] for c in calls[:3]], ["qemu-img", "qemu-img", "orchestrator"])
    expect(wrong, "a disk", calls[0], f"qemu-img create -q -f qcow2 -F qcow2 -b /img/s.qcow2 {desk.state}/disks/s.qcow2")
    expect(wrong, "started, not waited for", calls[2], f"orchestrator up --no-wait {lab}")
    expect(wrong, "secrets", sorted(calls[3:7]), sorted(
        f"orchestrator {verb}" for vm in "sa" for verb in (f"wait -l {lab} --timeout=15m --command=true {vm}",
                                                           f"cp -q -r -l {lab} {desk.state}/credentials/{vm}/credstore {vm}:/run/")))
    expect(wrong, "and then waited for", calls[7:], [f"orchestrator up --timeout=30m --jobs=1 {lab}"])
    stores = {vm: {p.name: p.read_text() for p in (desk.state / f"credentials/{vm}/credstore").iterdir()} for vm in "sa"}
    expect(wrong, "who has what", {vm: sorted(files) for vm, files in stores.items()}, {"s": ["token"], "a": ["other", "token"]})
    if stores["s"]["token"] != stores["a"]["token"] or not re.fullmatch("[0-9a-f]{64}", stores["s"]["token"]) or len(set(stores["a"].values())) != 2:
        wrong.append(f"secrets: {stores}")
    for path in (desk.state, desk.state / "secrets/token", desk.state / "credentials/a/credstore/token"):
        if path.stat().st_mode & 0o077:
            wrong.append(f"{path}: others may look at it")

    (desk.state / "disks/s.qcow2").write_text("written")
    (desk.tree / "disks").write_text("s /img/s.qcow2\na /img/a-new.qcow2\n")
    done, calls = desk.run("lab-up")
    expect(wrong, "a disk that is there stays", (desk.state / "disks/s.qcow2").read_text(), "written")
    expect(wrong, "one of another image is made anew", [c for c in calls if "qemu-img" in c],
           [f"qemu-img create -q -f qcow2 -F qcow2 -b /img/a-new.qcow2 {desk.state}/disks/a.qcow2"])
    expect(wrong, "secrets stay", (desk.state / "secrets/token").read_text(), stores["s"]["token"])

    done, calls = desk.run("lab-up", fail="wait")
    expect(wrong, "a machine without secrets is told of, and the lab goes on", ("lab-up once more" in done.stderr, done.returncode), (True, 0))
    done, calls = desk.run("lab-up", fail="up --no-wait")
    expect(wrong, "a lab that does not start", (done.returncode, len(calls)), (3, 1))
    expect(wrong, "a file", desk.run("lab-up", "x/lab.json", "--no-wait")[1], ["orchestrator up --no-wait x/lab.json"])
    expect(wrong, "status", desk.run("lab-status", "--json")[1], ["orchestrator status --json k3s"])
    expect(wrong, "status of another", desk.run("lab-status", "wan", "--json")[1], ["orchestrator status --json wan"])
    expect(wrong, "down of another", desk.run("lab-down", "wan")[1], ["orchestrator down wan"])
    expect(wrong, "down", desk.run("lab-down")[1], [f"orchestrator down {lab}"])
    expect(wrong, "down keeps disks", (desk.state / "disks/s.qcow2").exists(), True)
    expect(wrong, "down --cleanup", desk.run("lab-down", "--cleanup")[1], [f"orchestrator down --cleanup {lab}"])
    expect(wrong, "removes them", desk.state.exists(), False)
    expect(wrong, "no lab", desk.run("lab-up", VHOST_LAB_TREE="")[0].returncode, 1)
    return wrong


@case("emulation-vm: in the foreground and in the background, with the example or a file's lab")
def emulation_script():
    wrong, desk = [], Desk("outer")
    run = desk.dir / "run/vhost-lab-emulation"
    expect(wrong, "in the foreground", desk.run("emulation-vm")[1], ["run-vm -nographic"])
    expect(wrong, "options of QEMU", desk.run("emulation-vm", "--", "-m", "4G")[1], ["run-vm -nographic -m 4G"])
    expect(wrong, "in the background", desk.run("emulation-vm", "--background")[1],
           [f"run-vm -display none -serial unix:{run}/serial.sock,server=on,wait=off -monitor unix:{run}/monitor.sock,server=on,wait=off "
            f"-daemonize -pidfile {run}/pid"])
    expect(wrong, "nobody else's sockets", run.stat().st_mode & 0o777, 0o700)
    (desk.dir / "bin/run-vm").write_text('#!/bin/sh\nprintf "%s\\n" "$SHARED_DIR" "$QEMU_KERNEL_PARAMS" "$NIX_DISK_IMAGE" >"$CALLS"\n', encoding="utf-8")
    expect(wrong, "a file's lab", desk.run("emulation-vm", str(desk.tree / "lab.json"))[1],
           [str(desk.tree), "console=ttyS0  vhost-lab.lab=lab.json", f"{desk.dir}/state/vhost-lab/emulation/disk.qcow2"])
    expect(wrong, "a file that is not there", desk.run("emulation-vm", "nowhere.json")[0].returncode, 1)
    (desk.tree / "a b.json").write_text("{}")
    expect(wrong, "a name that does not go by a command line", desk.run("emulation-vm", str(desk.tree / "a b.json"))[0].returncode, 2)
    return wrong


# --- modules --------------------------------------------------------------------------------------------------------------

def of_modules(what):
    return evaluate(f"(import {NIX}/tests/modules.nix {{ real = {real()}; }}).{what}")[0]


@case(f"modules come to what they should, by {'nixpkgs' if LIB else 'our own'} module system")
def modules():
    told = of_modules("good")
    golden = NIX / "tests/modules.json"
    text = json.dumps(told, indent=2, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN") and LIB:
        golden.write_text(text, encoding="utf-8")
    want = json.loads(golden.read_text(encoding="utf-8"))
    return [f"{name}: {json.dumps(told.get(name))} instead of {json.dumps(want.get(name))}"
            for name in sorted(set(told) | set(want)) if told.get(name) != want.get(name)]


@case("settings that make no sense are refused, with a reason")
def bad_settings():
    wrong = []
    assertions = of_modules("assertions")
    wrong += [f"{name}: {messages}" for name, messages in assertions.items() if len(messages) != 1]
    names, _ = evaluate(f"builtins.attrNames (import {NIX}/tests/modules.nix {{ real = {real()}; }}).bad")
    for name in names:
        done = run_nix("--eval", "--strict", "--json", "-E", f'(import {NIX}/tests/modules.nix {{ real = {real()}; }}).bad."{name}"')
        if done.returncode == 0:
            wrong.append(f"{name}: is taken: {done.stdout.strip()}")
        elif not re.search(r"error:.*(is not of type|does not exist|mistake)|unknown key", done.stderr, re.S):
            wrong.append(f"{name}: {complaints(done.stderr)}")
    return wrong


def unit_text(name, unit):
    """As NixOS writes it: sections of assignments, a line for each element of a list."""
    def lines(section):
        for key, value in section.items():
            for one in value if isinstance(value, list) else [value]:
                yield f"{key}={'true' if one is True else 'false' if one is False else one}"
    kind = name.rpartition(".")[2].capitalize()
    head = {"Description": unit["description"], "Documentation": unit["documentation"], "After": unit["after"], "Before": unit["before"],
            "Requires": unit["requires"], "Wants": unit["wants"], "Conflicts": unit["conflicts"], **unit["unitConfig"]}
    if unit["script"]:
        unit["serviceConfig"]["ExecStart"] = "script"
    own = {"Service": unit["serviceConfig"], "Socket": unit["socketConfig"], "Path": unit["pathConfig"]}[kind]
    return "\n".join(["[Unit]", *lines(head), f"[{kind}]", *lines(own), ""])


@case("their units are units, to systemd")
def units():
    if not shutil.which("systemd-analyze"):
        raise Skip("there is no systemd-analyze")
    told = of_modules("units")
    place = PLACE / "units"
    place.mkdir()
    for name, unit in told.items():
        text = re.sub(r"(?m)^(Exec\w+=)\S+", r"\1/bin/true", unit_text(name, unit))
        (place / name).write_text(text, encoding="utf-8")
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", *sorted(map(str, place.iterdir()))], capture_output=True, text=True,
                          env=dict(os.environ, SYSTEMD_UNIT_PATH=f"{place}:/lib/systemd/system", SYSTEMD_LOG_LEVEL="warning"))
    return [line for line in done.stderr.splitlines() if str(place) in line or any(name in line for name in told)]


@case("daemons take what the module configures, and its sockets")
def daemons():
    told = of_modules("daemons")
    wrong = []
    for name, daemon in told.items():
        program = BUILD / "vhost-user" / daemon["kind"] / daemon["program"]
        place = PLACE / name
        place.mkdir()
        text = daemon["config"].replace("/run/vhost-lab-daemons/", f"{place}/").replace("/var/lib/vhost-lab/", f"{place}/")
        (place / "config.json").write_text(text, encoding="utf-8")
        paths = [pathlib.Path(path.replace("/run/vhost-lab-daemons", str(place))) for path in daemon["sockets"]]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        control = [str(path) for path in paths if path.name == "control"]
        process = subprocess.Popen([program, "--config", place / "config.json", "--control", *control], stderr=subprocess.PIPE, text=True)
        end = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end and not all(path.exists() for path in paths):
            time.sleep(0.02)
        missing = [str(path) for path in paths if not path.exists()]
        process.terminate()
        said = process.communicate(timeout=20)[1]
        if missing or process.returncode:
            wrong.append(f"{name}: {missing}, {process.returncode}, {said[-500:]}")
    return wrong


def main():
    if not shutil.which(INSTANTIATE):
        print("1..0 # SKIP there is no nix-instantiate; the package nix-bin has it")
        return 0
    wanted = sys.argv[3:]
    cases = [(title, function) for title, function in CASES if not wanted or function.__name__ in wanted]
    print(f"1..{len(cases)}")
    failed = 0
    try:
        for number, (title, function) in enumerate(cases, 1):
            begin = time.monotonic()
            try:
                wrong = function()
            except Skip as reason:
                print(f"ok {number} - {title} # SKIP {reason}", flush=True)
                continue
            except (AssertionError, OSError, subprocess.SubprocessError) as error:
                wrong = str(error).splitlines() or [repr(error)]
            for line in wrong[:40]:
                print(f"# {line}")
            print(f"{'not ' if wrong else ''}ok {number} - {title} # {time.monotonic() - begin:.1f} s", flush=True)
            failed += bool(wrong)
    finally:
        # A store's directories are nobody's to write to, not even ours.
        for directory, _, _ in os.walk(PLACE):
            os.chmod(directory, 0o700)
        shutil.rmtree(PLACE, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
