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


@contextlib.contextmanager
def system_libvirtd():
    """The URI of a system's libvirtd that lets every user in, as one lets in the group libvirt."""
    with tempfile.TemporaryDirectory(prefix="vl-system-", dir="/tmp") as made:
        place = pathlib.Path(made)
        place.chmod(0o755)
        (place / "conf").write_text(f'unix_sock_dir = "{place}"\nunix_sock_ro_perms = "0777"\nunix_sock_rw_perms = "0777"\n'
                                    'auth_unix_ro = "none"\nauth_unix_rw = "none"\n', encoding="ascii")
        daemons = [["virtlogd"], ["libvirtd", "--config", str(place / "conf")]]
        try:
            for words in daemons:
                subprocess.run([*words, "--daemon", "--pid-file", str(place / words[0])], check=True, stdin=subprocess.DEVNULL)
            yield f"qemu:///system?socket={place}/libvirt-sock"
        finally:
            for words in reversed(daemons):
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int((place / words[0]).read_text(encoding="ascii")), signal.SIGTERM)
            time.sleep(1)
