# SPDX-License-Identifier: MIT
"""clang-tidy over a build's sources, remembering which of them it found clean.

A verdict is an empty file in $XDG_CACHE_HOME/vhost-lab/clang-tidy, named by a hash of all that it hangs on: the
bytes of every file that the compiler reads for this source, system headers included, the commands that compile it,
.clang-tidy, and clang-tidy's version.  Only the word "clean" is kept: what has a finding is looked at again each time,
and so says it again.
"""

import contextlib
import functools
import hashlib
import json
import os
import shlex
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KEPT_S = 30 * 24 * 3600  # a verdict that nobody has asked for since goes


def cache_dir():
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "vhost-lab/clang-tidy"


@functools.lru_cache(maxsize=None)
def digest_at(path, _mtime_ns, _size):
    return hashlib.sha256(path.read_bytes()).digest()


def digest(path):
    stat = path.stat()
    return digest_at(path, stat.st_mtime_ns, stat.st_size)


def commands(build):
    """source -> [(directory, argv)]: how it is compiled, once for each target that it is part of."""
    found = {}
    for entry in json.loads((build / "compile_commands.json").read_text()):
        source = Path(os.path.normpath(Path(entry["directory"]) / entry["file"]))
        found.setdefault(source, []).append((Path(entry["directory"]), shlex.split(entry["command"])))
    return found


def inputs(directory, argv):
    """All files that this compilation reads."""
    plain, skip = [], False
    for word in argv:
        if not skip and word not in ("-o", "-MF", "-MQ", "-MD", "-c"):
            plain.append(word)
        skip = word in ("-o", "-MF", "-MQ")
    made = subprocess.run([*plain, "-M", "-MT", "x"], cwd=directory, capture_output=True, text=True, check=True)
    return [directory / name for name in shlex.split(made.stdout.replace("\\\n", " "))[1:]]


class Tidy:
    def __init__(self, tool, build, config, cache):
        version = subprocess.run([tool, "--version"], capture_output=True, check=True).stdout
        self.tool, self.build, self.cache = tool, build, cache
        self.base = hashlib.sha256(version + config.read_bytes())
        self.commands = commands(build)
        self.looked = 0  # how often clang-tidy was run
        self.looking = threading.Lock()

    def read(self, source):
        """[(argv, paths)]: what is read to compile it; None if it does not compile, of which clang-tidy will tell."""
        try:
            return [(argv, inputs(directory, argv)) for directory, argv in self.commands[source]]
        except subprocess.CalledProcessError:
            return None

    def key(self, read):
        """None: a file went meanwhile."""
        key = self.base.copy()
        try:
            for argv, paths in read:
                key.update("\0".join(argv).encode())
                for path in paths:
                    key.update(digest(path))
        except OSError:
            return None
        return key.hexdigest()

    def look(self, source):
        """What clang-tidy has to say about a source: lines, none if it is clean."""
        read = self.read(source)
        key = read and self.key(read)
        verdict = key and self.cache and self.cache / key
        if verdict and verdict.exists():
            with contextlib.suppress(OSError):
                os.utime(verdict)
            return []
        with self.looking:
            self.looked += 1
        done = subprocess.run([self.tool, "--quiet", "-p", self.build, source], capture_output=True, text=True)
        if done.returncode:
            lines = done.stdout.splitlines()
            return [line for line in lines if ": warning: " in line or ": error: " in line] or \
                [f"{source}: clang-tidy: exit status {done.returncode}", *done.stderr.splitlines()[-5:]]
        if verdict and self.key(read) == key:  # else it was edited while it was looked at
            with contextlib.suppress(OSError):
                verdict.touch()
        return []

    def run(self, wanted):
        """The findings in all sources for which wanted(source) holds."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            writable = os.access(self.cache, os.W_OK | os.X_OK)
        except OSError:
            writable = False
        if not writable:
            self.cache = None  # a home that cannot be written to: nothing is kept
        sources = sorted(source for source in self.commands if wanted(source))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = sorted({line for lines in pool.map(self.look, sources) for line in lines})
        for verdict in self.cache.iterdir() if self.cache else ():
            with contextlib.suppress(OSError):  # another suite may have been faster
                if verdict.stat().st_mtime < time.time() - KEPT_S:
                    verdict.unlink()
        return found
