# SPDX-License-Identifier: MIT
"""The switches that ours is measured against, each serving vhost-user sockets from core SWITCH_CORE.

Each is a context manager that takes a directory and the number of ports, and gives the sockets' paths and the pid of what
forwards.
"""
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time

import foreign
from bench import Failed, progress, stop
from testpmd import START_TIMEOUT_S, Testpmd, has_huge_pages

SWITCH_CORE = 0
OVS_SWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
OVS_MEMORY_MB = 512
POLICY = pathlib.Path("/usr/sbin/policy-rc.d")


@contextlib.contextmanager
def dpdk_io(directory, n_ports=2, huge=False):
    """testpmd in `io` mode: whatever comes in at one port goes out at the other, unseen."""
    sockets = [f"{directory}/s{i}" for i in range(n_ports)]
    pmd = Testpmd(SWITCH_CORE, "bench-peer", [f"net_vhost{i},iface={s},queues=1" for i, s in enumerate(sockets)],
                  huge=huge)
    try:
        pmd.command("set fwd io")
        pmd.command("start")
        yield sockets, pmd.process.pid
    finally:
        pmd.close()


def need_ovs():
    """Its packages start services of their own: not here."""
    if pathlib.Path(OVS_SWITCHD).exists():
        return
    fresh = not POLICY.exists()
    if fresh:
        POLICY.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        POLICY.chmod(0o755)
    try:
        foreign.need(OVS_SWITCHD, "openvswitch-switch-dpdk")
    finally:
        if fresh:
            POLICY.unlink()


@contextlib.contextmanager
def ovs_dpdk(directory, n_ports=2):
    """Open vSwitch with its userspace datapath: one bridge, action NORMAL, which learns and looks up as ours does.  It
    does not run without huge pages."""
    if not has_huge_pages(OVS_MEMORY_MB):
        raise Failed(f"Open vSwitch needs {OVS_MEMORY_MB} MB of free huge pages: "
                     "echo 768 > /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    need_ovs()
    environment = {**os.environ, **{f"OVS_{name}": directory for name in ("RUNDIR", "DBDIR", "LOGDIR", "SYSCONFDIR")}}
    database = f"unix:{directory}/db.sock"

    def run(*argv):
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{argv[0]}: {done.stderr.strip()[-400:]}")

    def vsctl(*words):
        run("ovs-vsctl", f"--db={database}", "--timeout=30", *words)

    run("ovsdb-tool", "create", f"{directory}/conf.db", "/usr/share/openvswitch/vswitch.ovsschema")
    with contextlib.ExitStack() as stack, open(f"{directory}/log", "wb") as log:
        def start(*argv):
            process = subprocess.Popen(argv, env=environment, stdout=log, stderr=log)
            stack.callback(stop, process)
            return process

        start("ovsdb-server", f"{directory}/conf.db", f"--remote=punix:{directory}/db.sock",
              f"--unixctl={directory}/ovsdb.ctl")
        wait_for(f"{directory}/db.sock")
        mask = f"0x{1 << SWITCH_CORE:x}"
        vsctl("--no-wait", "init", "--", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
              f'other_config:dpdk-extra="-m {OVS_MEMORY_MB} --no-pci --file-prefix=bench-ovs-{os.getpid()}"',
              f"other_config:pmd-cpu-mask={mask}", "other_config:dpdk-lcore-mask=0x3")
        switchd = start(OVS_SWITCHD, database, f"--unixctl={directory}/vs.ctl")
        vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        for i in range(n_ports):
            vsctl("add-port", "br0", f"s{i}", "--", "set", "Interface", f"s{i}", "type=dpdkvhostuser")
            wait_for(f"{directory}/s{i}")
        yield [f"{directory}/s{i}" for i in range(n_ports)], switchd.pid


def vde(load, load_core, size, seconds):
    """Millions of frames a second through a vde_switch, both directions together."""
    foreign.need("vde_switch", "vde2")
    with tempfile.TemporaryDirectory(prefix="bench-vde-") as directory:
        # It ends when its standard input does.
        switch = subprocess.Popen(["taskset", "-c", str(SWITCH_CORE), "vde_switch", "-s", f"{directory}/vde"],
                                  stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        try:
            wait_for(f"{directory}/vde/ctl")
            out = subprocess.run(["taskset", "-c", str(load_core), load, "--socket", f"{directory}/vde", "--size", str(size),
                                  "--seconds", str(seconds)], check=True, capture_output=True, text=True).stdout
        finally:
            stop(switch)
    return json.loads(out)["fps"] / 1e6


def wait_for(path):
    deadline = time.monotonic() + START_TIMEOUT_S
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise Failed(f"{path} does not appear")
        time.sleep(0.02)


@contextlib.contextmanager
def huge_pages(megabytes):
    """As many free huge pages while this lasts, if the kernel gives them (root alone can ask)."""
    total = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    before = total.read_text(encoding="utf-8") if total.exists() else None
    if before is not None and not has_huge_pages(megabytes) and os.access(total, os.W_OK):
        total.write_text(str(int(before) + megabytes // 2), encoding="utf-8")
    got = has_huge_pages(megabytes)
    progress(f"huge pages: {megabytes} MB" if got else "huge pages: none")
    try:
        yield got
    finally:
        if before is not None and os.access(total, os.W_OK):
            total.write_text(before, encoding="utf-8")
