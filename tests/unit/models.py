#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Run the models of the Portal's protocols through spin(1), exhaustively; prints TAP.

    tests/unit/models.py DIRECTORY

DIRECTORY is the portal's.  A model is *.pml beside the code it is named after.  Each is also run with something left out that the protocol needs: then
spin must find the error, or the model would prove nothing.
"""
import os
import pathlib
import subprocess
import sys
import tempfile

# model, what is defined, what spin must say
RUNS = [
    ("client/ring.pml", ["-DSLOTS=2", "-DRECORDS=3"], "errors: 0"),
    ("client/ring.pml", ["-DNO_CLEAR"], "assertion violated"),
    ("client/ring.pml", ["-DNO_NAP"], "invalid end state"),
    ("lease.pml", [], "errors: 0"),
    ("lease.pml", ["-DNO_GENERATION"], "assertion violated"),
    ("lease.pml", ["-DNO_GRACE"], "assertion violated"),
    ("lease.pml", ["-DLATE_SHOW"], "assertion violated"),
    ("lease.pml", ["-DBACK_LATE"], "assertion violated"),
    ("lease.pml", ["-DBLIND"], "assertion violated"),
    ("lease.pml", ["-DNO_VISIT"], "assertion violated"),
    ("lease.pml", ["-DNAMES_LAST"], "assertion violated"),
    ("lease.pml", ["-DORPHANS_FREE"], "assertion violated"),
    ("lease.pml", ["-DNO_PARDON"], "assertion violated"),
]


def check(model, defines):
    with tempfile.TemporaryDirectory(prefix="models-") as directory:
        subprocess.run(["spin", "-a", *defines, str(model)], cwd=directory, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([os.environ.get("CC", "cc"), "-O0", "-w", "-DSAFETY", "-o", "pan", "pan.c"], cwd=directory, check=True)
        return subprocess.run(["./pan", "-m1000000", "-w22"], cwd=directory, check=True, capture_output=True,
                              text=True).stdout


def main():
    directory = pathlib.Path(sys.argv[1]).resolve()
    failed = False
    print(f"1..{len(RUNS)}")
    for number, (name, defines, expected) in enumerate(RUNS, 1):
        said = check(directory / name, defines)
        good = expected in said and "max search depth too small" not in said
        failed |= not good
        print(f"{'ok' if good else 'not ok'} {number} - {name} {' '.join(defines)}: {expected}")
        if not good:
            print("\n".join("# " + line for line in said.splitlines()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
