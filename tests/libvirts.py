# SPDX-License-Identifier: MIT
"""Libvirts for the suites that run by name: of another release, and a system's."""
import contextlib
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import foreign

OTHER = "libvirt-11.3"


def other_root(given=None):
    """A root directory with another libvirt, which bubblewrap can lay this host's users over; `given`: one that is there."""
    root = pathlib.Path(given) if given else foreign.root_of(OTHER)
    for name in ("passwd", "group"):
        if not (root / "etc" / name).exists():
            (root / "etc" / name).touch()
    (root / "var/lock").mkdir(exist_ok=True)
    return root


def no_system():
    """Why no system's libvirtd can be started here; None: one can."""
    if os.getuid() != 0:
        return "only root can start one"
    if any(pathlib.Path("/run", name).exists() for name in ("libvirtd.pid", "virtlogd.pid")):
        return "one runs already"
    return None


def inside(root, place):
    """The words that run a system's daemon out of a root directory, which is left as it is: what they write is in place, or in /run."""
    own = []
    for name in ("var/lib/libvirt", "var/log/libvirt", "var/cache/libvirt", "var/lock", "etc/libvirt"):
        (place / name).mkdir(parents=True)
        own += ["--bind", str(place / name), f"/{name}"]
    # A QEMU in a /dev of its own would find none of the terminals that are there.
    (place / "etc/libvirt/qemu.conf").write_text("namespaces = []\n", encoding="ascii")
    # The driver of networks ends libvirtd where there is no firewall.
    drivers = "/usr/lib/x86_64-linux-gnu/libvirt/connection-driver"
    own += ["--tmpfs", drivers, "--ro-bind", f"{root}{drivers}/libvirt_driver_qemu.so", f"{drivers}/libvirt_driver_qemu.so"]
    if os.path.exists("/dev/kvm"):
        # It asks as root, and takes what opens for what works.
        (place / "kvm").touch(mode=0)
        own += ["--bind", str(place / "kvm"), "/dev/kvm"]
    return ["bwrap", "--ro-bind", str(root), "/", "--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc", "--bind", "/sys", "/sys",
            "--bind", "/tmp", "/tmp", "--bind", "/run", "/run", "--ro-bind", "/etc/passwd", "/etc/passwd",
            "--ro-bind", "/etc/group", "/etc/group", *own, "--"]


@contextlib.contextmanager
def system_libvirtd(root=None):
    """The URI of a system's libvirtd that lets every user in, as one lets in the group libvirt; root: out of that root directory."""
    with tempfile.TemporaryDirectory(prefix="vl-system-", dir="/tmp") as made:
        place = pathlib.Path(made)
        place.chmod(0o755)
        (place / "conf").write_text(f'unix_sock_dir = "{place}"\nunix_sock_ro_perms = "0777"\nunix_sock_rw_perms = "0777"\n'
                                    'auth_unix_ro = "none"\nauth_unix_rw = "none"\n', encoding="ascii")
        daemons = [["virtlogd"], ["libvirtd", "--config", str(place / "conf")]]
        try:
            where = inside(root, place) if root else []
            for words in daemons:
                subprocess.run([*where, *words, "--daemon", "--pid-file", str(place / words[0])], check=True, stdin=subprocess.DEVNULL)
            deadline = time.monotonic() + 60
            while not (place / "libvirt-sock").exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            yield f"qemu:///system?socket={place}/libvirt-sock"
        finally:
            for words in reversed(daemons):
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int((place / words[0]).read_text(encoding="ascii")), signal.SIGTERM)
            time.sleep(1)
