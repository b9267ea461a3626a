# SPDX-License-Identifier: MIT
"""Distributions inside one VM: their disks, their namespaces, and the verbs that address them."""

import hashlib
import shutil
import subprocess

import harness
from harness import case


def root_tree(place, name):
    """A root file system of few files: busybox, and what says who it is."""
    busybox = shutil.which("busybox", path="/usr/bin:/bin")
    if not busybox:
        raise harness.Skip("no busybox on this host")
    root = place.root / f"{name}-root"
    for directory in ("bin", "dev", "etc", "proc", "run", "sys", "tmp", "root"):
        (root / directory).mkdir(parents=True)
    shutil.copy(busybox, root / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/os-release").write_text(f'ID={name}\nPRETTY_NAME="The {name} distribution"\n')
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nann:x:1000:\n")
    return root


def ext4(place, name):
    """A disk image of it, made without privilege."""
    image = place.root / f"{name}.raw"
    with open(image, "wb") as file:
        file.truncate(32 << 20)
    mke2fs = shutil.which("mke2fs", path="/sbin:/usr/sbin:/bin:/usr/bin")
    if not mke2fs:
        raise harness.Skip("no mke2fs on this host")
    subprocess.run([mke2fs, "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", root_tree(place, name), image], check=True)
    return image


def in_distro(place, lab, distro, script, code=0):
    return place.run("exec", "-l", lab, f"n1/{distro}", "--", "sh", "-c", script, code=code).out


@case("two distributions in one VM: each its own files, processes and host name; one keeps what is written, one does not")
def distros(place):
    kept, kept_not = ext4(place, "kept"), ext4(place, "fixed")
    before = hashlib.sha256(kept_not.read_bytes()).hexdigest()
    lab = place.lab({"version": 1, "vms": {"n1": {"distros": {
        "kept": {"image": str(kept)},
        "fixed": {"image": str(kept_not), "readonly": True},
    }}}})
    place.run("up", lab, timeout=300)
    for name in ("kept", "fixed"):
        assert f"ID={name}\n" in in_distro(place, lab, name, "cat /etc/os-release")
        assert in_distro(place, lab, name, "hostname") == f"{name}\n"
        # Its own processes: not the guest's, whose first is the agent.
        assert "vhost-lab-agent" not in in_distro(place, lab, name, "ps -o args")
        in_distro(place, lab, name, "echo written here >/etc/mark && sync")
        assert in_distro(place, lab, name, "cat /etc/mark") == "written here\n"
    assert place.run("exec", "-l", lab, "n1", "--", "ls", "/etc").out.count("os-release") == 0
    assert place.run("exec", "-l", lab, "-u", "ann", "n1/kept", "--", "id", "-u").out == "1000\n"
    in_distro(place, lab, "kept", "exit 9", code=9)
    missing = place.run("exec", "-l", lab, "n1/other", "--", "true", code=127)
    assert "other" in missing.err, missing.err

    # cp addresses them the same way.
    here = place.root / "file"
    here.write_text("from the host\n")
    place.run("cp", "-l", lab, here, "n1/kept:/root/file")
    assert in_distro(place, lab, "kept", "cat /root/file") == "from the host\n"
    place.run("cp", "-l", lab, "n1/kept:/root/file", "n1/fixed:/root/copy")
    place.run("cp", "-l", lab, "n1/fixed:/root/copy", place.root / "back")
    assert (place.root / "back").read_text() == "from the host\n"

    # After a restart only one still has what was written, and the other's image is what it was.
    place.run("restart", "-l", lab, "n1", timeout=300)
    assert in_distro(place, lab, "kept", "cat /etc/mark /root/file") == "written here\nfrom the host\n"
    in_distro(place, lab, "fixed", "test ! -e /etc/mark -a ! -e /root/copy")
    place.run("down", lab)
    assert hashlib.sha256(kept_not.read_bytes()).hexdigest() == before


@case("a distribution whose image is no file system: told by up and by exec, and the VM is there to look into")
def rubbish(place):
    image = place.root / "rubbish.raw"
    image.write_bytes(b"\xa5" * (1 << 20))
    lab = place.lab({"version": 1, "vms": {"n1": {"distros": {"bad": {"image": str(image)}}}}})
    refused = place.run("up", lab, timeout=300, code=1)
    assert "bad: /dev/vda: no file system" in refused.err, refused.err
    done = place.run("exec", "-l", lab, "n1/bad", "--", "true", code=127)
    assert "bad" in done.err, done.err
    assert place.run("exec", "-l", lab, "n1", "--", "echo", "well").out == "well\n"


if __name__ == "__main__":
    harness.main()
