#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Labs whose VMs are domains of a libvirt: `up` to `down`, and what others do to them meanwhile."""

import os
import signal
import struct
import time

import harness
from harness import Skip, case, patched_qemu_at_length, wait_for
from libvirtd import Libvirt

SEEN_S = 20  # what happens in libvirt is in `status`; 0.2 s are usual, and told, but a busy machine has taken 2.5
BACK_S = 30
BOOT_S = 180
ANOTHER = "<domain type='qemu'><name>{}</name><memory unit='MiB'>32</memory><os><type arch='x86_64'>hvm</type></os></domain>"


def lab_of(place, libvirt, vms=("n1", "n2"), **more):
    # Who asks for a session's libvirt starts one, where there is none; here the case does.
    place.env["LIBVIRT_AUTOSTART"] = "0"
    return place.lab({"name": "lab", "engine": {"name": "libvirt", "uri": libvirt.uri},
                      "vms": vms if isinstance(vms, dict) else {vm: {} for vm in vms}, **more})


def qemus_of(libvirt):
    """A system's may have others."""
    return {name: pid for name, pid in libvirt.qemus().items() if name.startswith("lab.")}


def domains_of(libvirt):
    return [name for name in libvirt.domains("--all") if name.startswith("lab.")]


def seen(place, lab, vm, what, condition):
    begin = time.monotonic()
    wait_for(f"status to say that {vm} {what}", SEEN_S, lambda: condition(place.vms(lab)[vm]))
    print(f"# {what} seen after {time.monotonic() - begin:.2f} s", flush=True)


def execs(place, lab, vm, *argv):
    """What the command says in the guest; None: nobody answers there."""
    done = place.run("exec", "-l", lab, vm, "--", *argv, code=None)
    return done.out if done.code == 0 else None


def ready(place, lab, *vms):
    return all(place.vms(lab)[vm]["stage"] == "ready" for vm in vms)


def another(place, libvirt, name):
    file = place.root / f"{name}.xml"
    file.write_text(ANOTHER.format(name), encoding="utf-8")
    libvirt.define(file)


@case("a lab on libvirt: what virsh does is seen, libvirtd, supervisor and daemons may be killed, down takes its own domains")
def life(place):
    with Libvirt(place) as libvirt:
        lab = lab_of(place, libvirt)
        another(place, libvirt, "lab.stranger")
        place.run("up", lab, timeout=BOOT_S)
        vms = place.vms(lab)
        qemus = qemus_of(libvirt)
        assert {name: vms[name]["pid"] for name in vms} == {name: qemus[f"lab.{name}"] for name in ("n1", "n2")}, vms
        assert vms["n1"]["engine"] == f"libvirt {libvirt.uri}" and vms["n1"]["domain"] == "lab.n1", vms["n1"]
        assert place.run("up", lab).err.count("nothing to do") == 1
        assert execs(place, lab, "n1", "ping", "-c1", "-W5", "n2")
        console = place.console("n1", lab)
        assert console.sh("hostname") == (0, "n1\n")
        console.close()

        paused(place, lab, libvirt)
        reset(place, lab, libvirt)
        destroyed(place, lab, libvirt)
        killed(place, lab, libvirt)

        place.run("link", "down", "-l", lab, "n2")
        wait_for("n2 to lose its carrier", 10, lambda: execs(place, lab, "n2", "cat", "/sys/class/net/eth0/carrier") == "0\n")
        place.run("stop", "-l", lab, "n2")
        assert libvirt.state("lab.n2") == "shut off"
        assert place.vms(lab)["n2"]["reason"] == "stopped on request"
        place.run("down", lab)
        assert domains_of(libvirt) == ["lab.stranger"]
        assert not place.processes()


@case("Hyper-V's sockets, and a portal by its daemon, of a domain with the patched QEMU: over reset, virsh start and kill -9 of the daemons")
def hvsock(place):
    with Libvirt(place) as libvirt:
        lab = lab_of(place, libvirt, {"n1": {"portals": {"p": {"door": "vhost-user"}}}, "n2": {}}, portals={"p": {"size": "10MiB"}},
                     defaults={"qemu": patched_qemu_at_length(place.top), "sockets": "hvsock"})
        place.run("up", lab, timeout=BOOT_S)
        assert f"<emulator>{patched_qemu_at_length(place.top)}</emulator>" in libvirt.virsh("dumpxml", "lab.n1").out
        said = execs(place, lab, "n1", "dmesg")
        assert "Hypervisor detected: Microsoft Hyper-V" in said and "Vmbus version:5." in said, said
        assert execs(place, lab, "n1", "sh", "-c", "portal -p p put --background x /etc/hosts && portal -p p cat x")
        reset(place, lab, libvirt)
        destroyed(place, lab, libvirt)
        os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
        wait_for("exec to work again", BACK_S, lambda: execs(place, lab, "n1", "ping", "-c1", "-W5", "n2"))
        place.run("down", lab)
        assert domains_of(libvirt) == [] and not place.processes()


def paused(place, lab, libvirt):
    libvirt.virsh("suspend", "lab.n1")
    seen(place, lab, "n1", "is paused", lambda vm: vm.get("paused"))
    assert "paused" in place.run("status", lab).out
    libvirt.virsh("resume", "lab.n1")
    seen(place, lab, "n1", "goes on", lambda vm: not vm.get("paused"))
    assert execs(place, lab, "n1", "true") == ""


def reset(place, lab, libvirt):
    """One process all the time, and a guest that has begun anew.  Its clock does not tell: set up on a busy host, it may go
    several times too fast."""
    pid = qemus_of(libvirt)["lab.n1"]
    boot_id = ("cat", "/proc/sys/kernel/random/boot_id")
    before = execs(place, lab, "n1", *boot_id)
    assert before
    libvirt.virsh("reset", "lab.n1")
    wait_for("n1 to have begun anew", BOOT_S, lambda: execs(place, lab, "n1", *boot_id) not in (None, before))
    assert qemus_of(libvirt)["lab.n1"] == pid and ready(place, lab, "n1")


def destroyed(place, lab, libvirt):
    libvirt.virsh("destroy", "lab.n2")
    seen(place, lab, "n2", "is gone", lambda vm: vm["stage"] == "stopped")
    assert place.vms(lab)["n2"]["reason"] == "destroyed by another user of libvirt"
    libvirt.virsh("start", "lab.n2")
    seen(place, lab, "n2", "is back", lambda vm: vm["stage"] not in ("stopped", "failed") and vm.get("pid"))
    wait_for("n2 to be ready", BOOT_S, lambda: ready(place, lab, "n2"))
    assert execs(place, lab, "n2", "ping", "-c1", "-W5", "n1")


def killed_libvirtd(place, lab, libvirt):
    libvirt.kill()
    wait_for("status to say so", 10, lambda: "libvirtd" in (place.status(lab).get("problem") or ""))
    assert execs(place, lab, "n1", "ping", "-c1", "-W5", "n2")
    assert ready(place, lab, "n1", "n2")
    libvirt.start()
    wait_for("the supervisor to be back", BACK_S, lambda: not place.status(lab).get("problem"))
    libvirt.virsh("suspend", "lab.n2")
    seen(place, lab, "n2", "is paused", lambda vm: vm.get("paused"))
    libvirt.virsh("resume", "lab.n2")


def killed(place, lab, libvirt):
    qemus = qemus_of(libvirt)
    if not libvirt.given:
        killed_libvirtd(place, lab, libvirt)

    os.kill(place.pid_of("orchestrator supervise"), signal.SIGKILL)
    place.run("up", lab)
    assert qemus_of(libvirt) == qemus, (qemus_of(libvirt), qemus)
    assert ready(place, lab, "n1", "n2"), place.vms(lab)

    os.kill(place.pid_of("vhost-user-hvsock"), signal.SIGKILL)
    wait_for("exec", BACK_S, lambda: execs(place, lab, "n1", "true") == "" and execs(place, lab, "n2", "true") == "")
    os.kill(place.pid_of("vhost-user-net"), signal.SIGKILL)
    wait_for("the network", BACK_S, lambda: execs(place, lab, "n1", "ping", "-c1", "-W1", "n2"))
    assert qemus_of(libvirt) == qemus, (qemus_of(libvirt), qemus)


@case("a QEMU that is killed has failed, everything that dies at once is cleared by gc, and a stranger's domain is in the way")
def ends(place):
    with Libvirt(place) as libvirt:
        lab = lab_of(place, libvirt, ["n1"])
        another(place, libvirt, "lab.n1")
        done = place.run("up", lab, code=7, timeout=BOOT_S)
        assert "lab.n1" in done.err and f"virsh -c {libvirt.uri} undefine lab.n1" in done.err, done.err
        assert domains_of(libvirt) == ["lab.n1"] and not place.processes()
        libvirt.virsh("undefine", "lab.n1")

        place.run("up", lab, timeout=BOOT_S)
        os.kill(qemus_of(libvirt)["lab.n1"], signal.SIGKILL)
        seen(place, lab, "n1", "has failed", lambda vm: vm["stage"] == "failed")
        assert "killed" in place.vms(lab)["n1"]["reason"]
        place.run("start", "-l", lab, "n1", timeout=BOOT_S)
        for pid in place.processes():
            harness.end(pid, signal.SIGKILL)
        wait_for("all dead", 10, lambda: not place.processes())
        place.run("gc")
        assert domains_of(libvirt) == [] and place.files() == []


def acl(path):
    """Who may what by its list, besides its owner: {"u:UID" or "g", "mask", "other": bits}; of the mode, where it has none."""
    try:
        raw = os.getxattr(path, "system.posix_acl_access")
    except OSError:
        mode = path.stat().st_mode
        return {"g": mode >> 3 & 7, "other": mode & 7}
    names = {2: "u:{}", 4: "g", 8: "g:{}", 16: "mask", 32: "other"}
    return {names[tag].format(who): may for tag, may, who in struct.iter_unpack("<HHI", raw[4:]) if tag in names}


def only_libvirt_may(paths, uid, may):
    for path in paths:
        assert acl(path) == {f"u:{uid}": may, "g": 0, "mask": may, "other": 0}, (path, acl(path))


@case("a system's QEMUs as libvirt's own user: it alone is let in beside the owner, again where a daemon has begun anew")
def other_user(place):
    with Libvirt(place) as libvirt:
        if not libvirt.given:
            raise Skip("this libvirt is a session's")
        lab = place.lab({"name": "lab", "engine": {"name": "libvirt", "uri": libvirt.uri, "user": "libvirt"},
                         "portals": {"sh": {"size": "8MiB"}}, "vms": {"n1": {"portals": ["sh"]}, "n2": {}}})
        place.run("up", lab, timeout=BOOT_S)
        qemus = qemus_of(libvirt)
        (uid,) = {os.stat(f"/proc/{pid}").st_uid for pid in qemus.values()}
        assert uid not in (0, os.getuid()), uid
        run = place.runtime / "vhost-lab/lab"
        sockets = [run / name for name in ("n1-0.vu", "n1-s.vu", "n2-0.vu", "n2-s.vu")]
        only_libvirt_may(sockets, uid, 6)
        only_libvirt_may([run], uid, 1)
        # What none of its QEMUs opens is the owner's alone.
        assert all(acl(run / name) == {"g": 0, "other": 0} for name in ("sup.sock", "lan.ctl", "hvsock.sock", "n1.vs"))
        assert execs(place, lab, "n1", "ping", "-c1", "-W5", "n2")
        place.run("restart", "-l", lab, "n2", timeout=BOOT_S)
        qemus = qemus_of(libvirt)
        for daemon in ("vhost-user-net", "vhost-user-hvsock", "vhost-user-portal"):
            os.kill(place.pid_of(daemon), signal.SIGKILL)
        wait_for("exec and the network", BACK_S, lambda: execs(place, lab, "n1", "ping", "-c1", "-W1", "n2"))
        assert qemus_of(libvirt) == qemus, (qemus_of(libvirt), qemus)
        only_libvirt_may(sockets, uid, 6)
        # A supervisor that knows nothing but what runs lets them in, too.
        os.kill(place.pid_of("orchestrator supervise"), signal.SIGKILL)
        os.kill(place.pid_of("vhost-user-net"), signal.SIGKILL)
        place.run("up", lab)
        wait_for("the network", BACK_S, lambda: execs(place, lab, "n1", "ping", "-c1", "-W1", "n2"))
        place.run("down", lab)
        assert domains_of(libvirt) == [] and not run.exists()


@case("behind a door whose server asks who comes, libvirt's own user is told so, and nothing is left")
def other_user_refused(place):
    with Libvirt(place) as libvirt:
        if not libvirt.given:
            raise Skip("this libvirt is a session's")
        lab = place.lab({"name": "lab", "engine": {"name": "libvirt", "uri": libvirt.uri, "user": "libvirt"},
                         "portals": {"sh": {"size": "8MiB"}}, "vms": {"n1": {"portals": {"sh": {"door": "ivshmem"}}}}})
        done = place.run("up", lab, code=4, timeout=BOOT_S)
        assert "portal sh of VM n1" in done.err and '"user": "owner"' in done.err, done.err
        assert domains_of(libvirt) == [] and not place.processes()


@case("no libvirt, or a URI that means none: one line with the way out, and nothing is started")
def bad_uri(place):
    place.env["LIBVIRT_AUTOSTART"] = "0"
    for engine, code, words in (("libvirt", 4, "no connection to qemu:///session: "),
                                ({"name": "libvirt", "uri": "qemu:///sessio"}, 3, "must end in /session or /system"),
                                ({"name": "libvirt", "uri": "xen:///"}, 3, "must begin with"),
                                ({"name": "qemu", "uri": "qemu:///session"}, 3, "only \"libvirt\" has a \"uri\""),
                                ("vbox", 3, "libvirt")):
        lab = place.lab({"name": "lab", "engine": engine, "vms": {"n1": {}}})
        done = place.run("up", lab, code=code)
        assert words in done.err and not place.processes(), done.err
    assert place.files() == []


harness.main()
