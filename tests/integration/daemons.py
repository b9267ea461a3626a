# SPDX-License-Identifier: MIT
"""Our daemons by hand, for QEMUs that nobody of ours starts: each with a configuration file, as its man page says."""

import json
import os
import signal
import subprocess
from pathlib import Path

from harness import wait_for


def made(path):
    """When that file was made; None: there is none.  (Another may have its inode.)"""
    try:
        return os.stat(path).st_ctime_ns
    except OSError:
        return None


class Daemons:
    """Those that are needed; a context, which ends them."""

    def __init__(self, place):
        self.place = place
        self.build = Path(os.environ.get("VHOST_LAB_BUILD", place.top / "build-check"))
        self.running = {}
        self.configured = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait(20)

    def _start(self, name):
        program, sockets = self.configured[name]
        for path in sockets:
            Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(self.place.root / f"{name}.log", "ab") as log:
            # pylint: disable=consider-using-with
            self.running[name] = subprocess.Popen(
                [self.build / "vhost-user" / program.rpartition("-")[2] / program, "--config", self.place.root / f"{name}.json"],
                env=self.place.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(f"{name} to listen", 20, lambda: all(Path(path).exists() for path in sockets))

    def _serve(self, name, program, config, sockets):
        (self.place.root / f"{name}.json").write_text(json.dumps(config), encoding="utf-8")
        self.configured[name] = program, [str(path) for path in sockets]
        self._start(name)

    def switch(self, name, ports):
        """ports: {name: socket's path}"""
        self._serve(name, "vhost-user-net",
                    {"ports": [{"name": port, "socket-path": str(path)} for port, path in ports.items()]}, ports.values())

    def sockets(self, name, vms):
        """vms: {name: socket's path}"""
        self._serve(name, "vhost-user-hvsock",
                    {"vms": [{"name": vm, "cid": cid, "socket-path": str(path), "uds-path": f"{path}.vs"}
                             for cid, (vm, path) in enumerate(vms.items(), 1000)]}, vms.values())

    def portal(self, name, size, path, ivshmem):
        self._serve(name, "vhost-user-portal",
                    {"name": name, "size": size, "path": str(path), "clients": [],
                     "ivshmem": {"socket-path": str(ivshmem), "vectors": 1}}, [path, ivshmem])

    def kill(self, name):
        self.running[name].send_signal(signal.SIGKILL)
        self.running.pop(name).wait()

    def again(self, name):
        """Starts one that was killed; its sockets are in its way, as after any crash."""
        program, sockets = self.configured[name]
        before = [made(path) for path in sockets]
        self._start(name)
        wait_for(f"{name} to listen anew", 20, lambda: all(now and now != then for now, then in
                                                           zip(map(made, sockets), before)))
