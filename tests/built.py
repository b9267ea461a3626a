# SPDX-License-Identifier: MIT
"""The build that the suites run by name test: with sanitizers, as that of ./check, and brought up to date."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]


class Build:
    """`directory` None: build-suites, made where it is missing."""

    def __init__(self, directory=None):
        self.directory = pathlib.Path(directory or ROOT / "build-suites").resolve()
        if not (self.directory / "build.ninja").exists():
            subprocess.run(["meson", "setup", "-Db_sanitize=address,undefined", "-Db_lundef=false", "-Dbench=true",
                            str(self.directory), str(ROOT)], check=True, stdout=sys.stderr)

    def program(self, path):
        """A program; `path` is relative to the build."""
        subprocess.run(["ninja", "-C", str(self.directory), path], check=True, stdout=sys.stderr)
        return str(self.directory / path)


def environment(reports):
    """Where sanitizers put what they find: files beginning with `reports`."""
    return {**os.environ,
            "ASAN_OPTIONS": f"detect_leaks=1:log_path={reports}:{os.environ.get('ASAN_OPTIONS', '')}",
            "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:log_path={reports}"}
