# SPDX-License-Identifier: MIT
"""Renderings are what the programs they are for take them to be; prints TAP.  Arguments: the orchestrator, the source tree.

dot lays the graph out, librsvg draws the picture, Ansible lists its inventory, ssh reads its configuration: none of them is
of this project, and each is asked what it understood."""

import json
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ORCHESTRATOR, SOURCE = str(Path(sys.argv[1]).resolve()), Path(sys.argv[2])
CAMPUS = SOURCE / "tests/unit/golden/graph/campus.json"
LABS = sorted(SOURCE.glob("examples/*/lab.json")) + [CAMPUS]
CASES = []


def case(title, needs=()):
    def register(function):
        CASES.append((title, function, [program for program in needs if not shutil.which(program)]))
        return function

    return register


def run(*args, code=0, stdin=None):
    done = subprocess.run([str(a) for a in args], input=stdin, capture_output=True, check=False)
    if done.returncode != code:
        raise AssertionError(f"{shlex.join(map(str, args))} ended with {done.returncode}:\n{done.stderr.decode()}")
    return done


def render(form, lab, *args):
    return run(ORCHESTRATOR, "render", *args, form, lab).stdout.decode()


def described(lab):
    """The lab as the schema has it, with what the renderings need to know filled in."""
    data = json.loads(lab.read_text(encoding="utf-8"))
    data.setdefault("networks", {"lan": {}})
    for vm in data["vms"].values():
        vm.setdefault("nics", [{}] if len(data["networks"]) == 1 else [])
    return data


def n_uplinks(network):
    return len(network.get("uplinks", [])) + ("uplink" in network)


def n_nodes(data):
    return (len(data["vms"]) + len(data["networks"]) + len(data.get("portals", {}))
            + sum(n_uplinks(n) for n in data["networks"].values()))


def n_edges(data):
    return (sum(len(vm["nics"]) + len(vm.get("portals", [])) for vm in data["vms"].values())
            + sum(n_uplinks(n) for n in data["networks"].values()))


@case("dot lays out every graph: as many nodes and edges as the lab has", needs=["dot"])
def dot():
    for lab in LABS:
        data = described(lab)
        lines = run("dot", "-Tplain", stdin=render("dot", lab).encode()).stdout.decode().splitlines()
        kinds = [line.split()[0] for line in lines if line.split()[:1] in (["node"], ["edge"])]
        assert kinds.count("node") == n_nodes(data), f"{lab}: {kinds}"
        assert kinds.count("edge") == n_edges(data), f"{lab}: {kinds}"


@case("every picture is XML that needs nothing beside it, and is drawn", needs=["xmllint", "rsvg-convert"])
def svg():
    for lab in LABS:
        text = render("svg", lab).encode()
        run("xmllint", "--nonet", "--noout", "-", stdin=text)
        assert not re.search(rb"<image|<script|@import|href=|url\(", text), lab
        assert b"prefers-color-scheme: dark" in text
        size = re.search(rb'width="(\d+)" height="(\d+)"', text)
        png = run("rsvg-convert", stdin=text).stdout
        assert png.startswith(b"\x89PNG"), lab
        assert struct.unpack(">II", png[16:24]) == (int(size[1]), int(size[2])), lab
        assert len(set(png)) > 200 and len(png) > 3000, f"{lab}: nothing is drawn"


@case("Ansible lists the VMs, their groups, and how ssh reaches them", needs=["ansible-inventory", "ssh"])
def ansible():
    with tempfile.TemporaryDirectory() as place:
        env = dict(os.environ, HOME=place, ANSIBLE_LOCALHOST_WARNING="False", ANSIBLE_INVENTORY_UNPARSED_FAILED="True")
        run(ORCHESTRATOR, "render", "--out", place, "ansible", CAMPUS)
        done = subprocess.run(["ansible-inventory", "-i", f"{place}/inventory.yaml", "--list"], env=env,
                              capture_output=True, text=True, check=True)
        assert "WARNING" not in done.stderr, done.stderr
    told = json.loads(done.stdout)
    hosts, data = told["_meta"]["hostvars"], described(CAMPUS)
    assert sorted(hosts) == sorted(data["vms"])
    assert told["role_web"]["hosts"] == ["web-1", "web-2"]
    assert sorted(told["portal_models"]["hosts"]) == ["db", "trainer"]
    for network in data["networks"]:
        there = [name for name, vm in data["vms"].items() if any(nic["network"] == network for nic in vm["nics"])]
        assert sorted(told[f"net_{network}"]["hosts"]) == sorted(there)
    assert hosts["gw"]["lab_addresses"] == {"core": "10.0.0.2", "office": "10.1.0.2"}
    assert hosts["printer"]["ansible_host"] == "10.1.0.12" and "Proxy" not in hosts["printer"]["ansible_ssh_common_args"]
    words = shlex.split(hosts["gw"]["ansible_ssh_common_args"])
    assert f"proxycommand {ORCHESTRATOR} vsock-connect --lab campus gw 22" in settings(*words, "gw")
    assert all("StrictHostKeyChecking=no" in vm["ansible_ssh_common_args"] for vm in hosts.values())


def settings(*words):
    """What ssh makes of these words."""
    return run("ssh", "-G", *words).stdout.decode().splitlines()


@case("ssh reads its configuration: every VM with sockets by them, the others as they are", needs=["ssh"])
def ssh_config():
    with tempfile.TemporaryDirectory() as place:
        run(ORCHESTRATOR, "render", "--out", place, "ssh-config", CAMPUS)
        for name, vm in described(CAMPUS)["vms"].items():
            told = settings("-F", f"{place}/ssh_config", name)
            way = f"proxycommand {ORCHESTRATOR} vsock-connect --lab campus {name} 22"
            assert (way in told) == (vm.get("sockets") != "none"), told
            assert "user root" in told


@case("hosts has every address once, and the VM's name at its first")
def hosts():
    for lab in LABS:
        data, seen, addresses = described(lab), [], []
        for line in render("hosts", lab).splitlines():
            if not line.startswith("#"):
                address, *names = line.split()
                assert re.fullmatch(r"[0-9.]+", address), line
                addresses.append(address)
                seen += [name for name in names if "." not in name]
        assert len(addresses) == len(set(addresses)) == sum(len(vm["nics"]) for vm in data["vms"].values())
        assert seen == [name for name, vm in data["vms"].items() if vm["nics"]]


@case("on standard output, in a directory and as JSON a form is the same")
def ways():
    for form, name in (("svg", "wan.svg"), ("dot", "wan.dot"), ("mermaid", "wan.mmd"), ("hosts", "hosts"),
                       ("ansible", "inventory.yaml"), ("ssh-config", "ssh_config")):
        lab = SOURCE / "examples/wan/lab.json"
        text = render(form, lab)
        with tempfile.TemporaryDirectory() as place:
            run(ORCHESTRATOR, "render", "--out", place, form, lab)
            assert os.listdir(place) == [name]
            assert (Path(place) / name).read_text(encoding="utf-8") == text
        assert json.loads(render(form, lab, "--json")) == {"lab": "wan", "files": [{"name": name, "text": text}]}


@case("what cannot be rendered is refused, and says what can be")
def refused():
    lab = SOURCE / "examples/wan/lab.json"
    said = run(ORCHESTRATOR, "render", "png", lab, code=2).stderr.decode()
    assert "svg" in said and "ansible" in said, said
    said = run(ORCHESTRATOR, "render", "svg", lab, "hq", code=2).stderr.decode()
    assert "takes no VM" in said, said
    run(ORCHESTRATOR, "render", "svg", "/nonexistent/lab.json", code=3)


def main():
    print(f"1..{len(CASES)}", flush=True)
    failed = 0
    for number, (title, function, missing) in enumerate(CASES, 1):
        if missing:
            print(f"ok {number} - {title} # SKIP {missing[0]} is not installed", flush=True)
            continue
        try:
            function()
            print(f"ok {number} - {title}", flush=True)
        except Exception as error:  # every case is run
            failed += 1
            print(f"not ok {number} - {title}\n# " + f"{type(error).__name__}: {error}".replace("\n", "\n# "), flush=True)
    return failed > 0


sys.exit(main())
