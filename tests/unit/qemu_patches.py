# SPDX-License-Identifier: MIT
"""The patches of QEMU are a series, apply to the source package that they are made for, and qemu-patches/build does what it says;
prints TAP.  Argument: the source tree.

That the series applies is found out without building: of the source package, which qemu-patches/build fetches once, the files that
patches touch are taken, and each patch has to make of them what its author had (git's hashes are in it).  The script itself is
shown a package of our own, whose configure and build take a moment."""
import contextlib
import hashlib
import lzma
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time

SOURCE = pathlib.Path(sys.argv[1]).resolve()
PATCHES = SOURCE / "qemu-patches"
CASES = []
NONE = "0" * 7


class Skip(Exception):
    """This machine lacks what the case needs; the text says what."""


def case(title):
    def register(function):
        CASES.append((title, function))
        return function

    return register


# ---- a series ------------------------------------------------------------------------------------------------------------

def blob(data):
    """git's name for a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def listed(directory):
    lines = (directory / "series").read_text(encoding="utf-8").splitlines()
    return [name for line in lines if (name := line.partition("#")[0].strip())]


def changes(text):
    """(path, blob before, blob after, the lines) of each file that a patch changes."""
    for part in re.split(r"(?m)^(?=diff --git )", text)[1:]:
        path = re.match(r"diff --git a/\S+ b/(\S+)\n", part).group(1)
        found = re.search(r"(?m)^index ([0-9a-f]+)\.\.([0-9a-f]+)", part)
        yield path, found.group(1) if found else None, found.group(2) if found else None, part


def same(a, b):
    """Two abbreviations of one name."""
    n = min(len(a), len(b))
    return n >= 7 and a[:n] == b[:n]


def hunk_fault(part):
    """Whether each hunk has as many lines as it says; a patch that was edited by hand often has not."""
    for found in re.finditer(r"(?m)^@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@.*\n((?:[ +\-\\].*\n|\n)*)", part):
        old, new = (1 if n is None else int(n) for n in found.group(1, 2))
        lines = found.group(3).splitlines()
        for sign, want in (("-", old), ("+", new)):
            have = sum(line[:1] in (sign, " ", "") for line in lines)
            # Behind the last hunk come the two dashes of a mail's signature.
            if have < want or (have > want and lines[want:want + 1] != ["-- "]):
                return f"{found.group(0).splitlines()[0]}: {have} lines of {want}"
    return None


def patch_faults(name, text):
    if not re.match(r"From 0{40} .*\nFrom: .+(\n .+)*\n(Date: .+\n)?Subject: \[PATCH\] \S", text):
        yield f"{name}: no patch as `git format-patch -N` writes it"
    for path, _, _, part in changes(text):
        if fault := hunk_fault(part):
            yield f"{name}: {path}: {fault}"
        added = "\nnew file mode" in part and path.endswith((".c", ".h"))
        if added and not re.search(r"(?m)^\+.*(SPDX-License-Identifier: )?GPL-2\.0-or-later", part):
            yield f"{name}: {path} is new and not GPL-2.0-or-later"


def series_faults(directory):
    """What is wrong with it as a series, without the files that it changes: each patch begins where those before it end."""
    names, files = listed(directory), sorted(path.name for path in directory.glob("*.patch"))
    faults = [f"{name}: in only one of series and the directory" for name in sorted(set(names) ^ set(files))]
    if names != sorted(set(names)):
        faults.append("series: not in the order of its numbers, each once")
    now = {}
    for name in (name for name in names if name in files):
        text = (directory / name).read_text(encoding="utf-8")
        faults += patch_faults(name, text)
        for path, before, after, _ in changes(text):
            if before is None:
                continue
            if path in now and not same(before, now[path]):
                faults.append(f"{name}: {path} is {before} to it, and {now[path]} is what those before it made of it")
            now[path] = after
    return faults


def touched(directory):
    """Each file that the series finds there, and its blob as the first patch has it."""
    first = {}
    for name in listed(directory):
        for path, before, _, _ in changes((directory / name).read_text(encoding="utf-8")):
            first.setdefault(path, before)
    return {path: before for path, before in first.items() if before and not same(before, NONE)}


def apply_patch(tree, patch):
    done = subprocess.run(["patch", "-d", tree, "-p1", "-s", "-f", "--fuzz=0", "--no-backup-if-mismatch"], input=patch,
                          capture_output=True, check=False)
    return None if done.returncode == 0 else done.stdout.decode(errors="replace").strip()


def apply_faults(directory, tree):
    """Apply it to `tree`, which has the files that it touches."""
    faults = []
    for path, before in touched(directory).items():
        if not (tree / path).exists():
            faults.append(f"{path}: not in the source package")
        elif not same(before, blob((tree / path).read_bytes())):
            faults.append(f"{path}: the source package has another than the patches are made for")
    for name in listed(directory):
        patch = (directory / name).read_bytes()
        if refused := apply_patch(tree, patch):
            return [*faults, f"{name} does not apply: {refused}"]
        for path, _, after, _ in changes(patch.decode()):
            there = (tree / path).read_bytes() if (tree / path).exists() else None
            if after and there is not None and not same(after, blob(there)):
                faults.append(f"{name}: {path} becomes another file than its author's")
    return faults


# ---- the source package --------------------------------------------------------------------------------------------------

def pieces(patch):
    """(path, lines) of each file of a patch that git may not have made."""
    for part in re.split(rb"(?m)^(?=--- \S+.*\n\+\+\+ )", patch)[1:]:
        words = [line.split(b"\t")[0].split()[1].decode().partition("/")[2] for line in part.split(b"\n")[:2]]
        yield words[1] or words[0], part


def unpack(package, wanted, tree):
    """These files of a source package, with the distribution's own changes."""
    for path in package.glob("*.orig.tar.*"):
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                name = member.name.partition("/")[2]
                if name in wanted and member.isfile():
                    (tree / name).parent.mkdir(parents=True, exist_ok=True)
                    (tree / name).write_bytes(tar.extractfile(member).read())
    with tarfile.open(next(package.glob("*.debian.tar.*"))) as tar:
        order = tar.extractfile("debian/patches/series").read().decode().split("\n") \
            if "debian/patches/series" in tar.getnames() else []
        for name in (line.partition("#")[0].strip() for line in order):
            for path, part in pieces(tar.extractfile(f"debian/patches/{name}").read()) if name else ():
                if path in wanted:
                    assert apply_patch(tree, part) is None, f"{name} of the distribution does not apply to {path}"


def fetched(directory):
    done = subprocess.run([PATCHES / "build", "--series", directory.name, "--fetch"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Skip(done.stderr.strip().splitlines()[-1])
    return pathlib.Path(done.stdout.strip())


# ---- cases: the series ---------------------------------------------------------------------------------------------------

def all_series():
    return sorted(path.parent for path in PATCHES.glob("*/series"))


@case("each series is one: every patch in its place, and each begins where those before it end")
def is_a_series():
    assert all_series()
    for directory in all_series():
        faults = series_faults(directory)
        assert not faults, "\n".join(faults)


@case("each series applies to its source package, and makes of it what its author had")
def applies():
    for directory in all_series():
        if not listed(directory):
            continue
        with tempfile.TemporaryDirectory() as tree:
            unpack(fetched(directory), set(touched(directory)), pathlib.Path(tree))
            faults = apply_faults(directory, pathlib.Path(tree))
        assert not faults, "\n".join(faults)


def git(tree, *words):
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b",
           "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b", "HOME": str(tree)}
    subprocess.run(["git", "-C", tree, "-c", "core.abbrev=10", *words], env=env, check=True, capture_output=True)


def trial(root):
    """A series of two patches of one file and a new one, and what it is made for."""
    work, base, directory = (root / name for name in ("work", "base", "series"))
    for path in (work, base, directory):
        path.mkdir()
    text = "".join(f"line {n}\n" for n in range(40))
    (work / "a.c").write_text(text)
    (base / "a.c").write_text(text)
    git(work, "init", "-q")
    git(work, "add", ".")
    git(work, "commit", "-q", "-m", "base")
    for n, line in ((1, "line 10\n"), (2, "line 12\n")):
        text = text.replace(line, f"patched {n}\n")
        (work / "a.c").write_text(text)
        (work / f"new{n}.c").write_text("/* SPDX-License-Identifier: GPL-2.0-or-later */\n")
        git(work, "add", ".")
        git(work, "commit", "-q", "-m", f"a: Change {n}")
    git(work, "format-patch", "-q", "--zero-commit", "--no-signature", "-N", "-o", str(directory), "HEAD~2")
    (directory / "series").write_text("".join(f"{path.name}\n" for path in sorted(directory.glob("*.patch"))))
    return directory, base


def damaged(change):
    """What both checks say of the trial series after change(directory, base)."""
    with tempfile.TemporaryDirectory() as root:
        directory, base = trial(pathlib.Path(root))
        change(directory, base)
        return series_faults(directory), apply_faults(directory, base)


def edit(directory, number, old, new):
    path = sorted(directory.glob("*.patch"))[number]
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def leave_out(directory, _base):
    sorted(directory.glob("*.patch"))[0].unlink()
    (directory / "series").write_text(sorted(directory.glob("*.patch"))[0].name + "\n")


@case("both checks find what is wrong: a patch missing, swapped, edited, forgotten; a base that went on")
def checks_can_fail():
    assert damaged(lambda directory, base: None) == ([], [])
    chain, applied = damaged(leave_out)
    assert not chain and any("another than the patches are made for" in fault for fault in applied), applied
    chain, _ = damaged(lambda directory, _: (directory / "series").write_text(
        "".join(f"{name}\n" for name in reversed(listed(directory)))))
    assert any("order" in fault for fault in chain) and any("those before it" in fault for fault in chain), chain
    chain, _ = damaged(lambda directory, _: (directory / "series").write_text(listed(directory)[0] + "\n"))
    assert any("only one of" in fault for fault in chain), chain
    chain, _ = damaged(lambda directory, _: edit(directory, 0, "+patched 1\n", ""))
    assert any("lines of" in fault for fault in chain), chain
    chain, _ = damaged(lambda directory, _: edit(directory, 1, "GPL-2.0-or-later", "MIT"))
    assert any("GPL" in fault for fault in chain), chain
    _, applied = damaged(lambda directory, _: edit(directory, 1, "+patched 2\n", "+patched 3\n"))
    assert any("than its author's" in fault for fault in applied), applied
    _, applied = damaged(lambda _, base: (base / "a.c").write_text((base / "a.c").read_text().replace("line 9\n", "changed\n")))
    assert any("does not apply" in fault for fault in applied), applied


# ---- cases: the script ---------------------------------------------------------------------------------------------------

CONFIGURE = """#!/bin/sh
# Counts how often it is run; the build waits for $GO to be there.
echo configured >>"$COUNT"
for word; do
    case $word in --prefix=*) prefix=${word#*=} ;; esac
done
{
    echo 'rule make'
    echo '  command = until [ -e $$GO ]; do sleep 0.05; done; { echo "#!/bin/sh"; echo "echo $$(cat ../qemu/words)"; } >$out; chmod +x $out'
    echo 'build qemu-system-x86_64: make'
    echo 'build trace/trace-events-all: phony'
    echo 'rule fail'
    echo '  command = false'
    echo 'build tests: fail'
} >build.ninja
mkdir -p pyvenv/bin
{
    echo '#!/bin/sh'
    echo '[ "$1 $2 $4" = "install -C --no-rebuild" ] || exit 1'
    echo "mkdir -p \\"\\$DESTDIR$prefix/bin\\" && cp \\"\\$3/qemu-system-x86_64\\" \\"\\$DESTDIR$prefix/bin/\\""
} >pyvenv/bin/meson
chmod +x pyvenv/bin/meson
"""
PATCH = """From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A <a@b>
Subject: [PATCH] words: Say something else

---
--- a/words
+++ b/words
@@ -1,1 +1,1 @@
-{}
+{}
"""


class Place:
    """The script beside a series of its own, with a source package that is in the cache already."""

    def __init__(self, root):
        self.root = root
        self.patches, self.cache, self.count, self.go = root / "p", root / "c/vhost-lab/qemu", root / "count", root / "go"
        (self.patches / "10.0").mkdir(parents=True)
        shutil.copy(PATCHES / "build", self.patches / "build")
        (self.patches / "10.0/base").write_text(f"suite trixie\nversion 1:10.0.1-1\ndsc-sha256 {'0' * 64}\n")
        self.series(PATCH.format("as it was", "patched"))
        self.package()
        python = root / "python"
        python.write_text("#!/bin/sh\nexit 0\n")
        python.chmod(0o755)
        self.go.touch()
        self.env = {**os.environ, "XDG_CACHE_HOME": str(root / "c"), "PYTHON": str(python), "COUNT": str(self.count), "GO": str(self.go)}

    def old_meson(self, then):
        """A Python that, asked for its meson, does this first."""
        (self.root / "python").write_text(f"#!/bin/sh\ncase $* in *mesonbuild*) {then} ;; esac\n")

    def series(self, *texts):
        names = [f"{n:04}-words.patch" for n in range(1, len(texts) + 1)]
        for name, patch in zip(names, texts):
            (self.patches / "10.0" / name).write_text(patch)
        (self.patches / "10.0/series").write_text("".join(f"{name}\n" for name in names))

    def package(self):
        tree, into = self.root / "qemu-10.0.1", self.cache / "source/1_10.0.1-1"
        (tree / "debian/source").mkdir(parents=True)
        into.mkdir(parents=True)
        (tree / "words").write_text("as it was\n")
        (tree / "configure").write_text(CONFIGURE)
        (tree / "configure").chmod(0o755)
        with tarfile.open(into / "qemu_10.0.1.orig.tar.gz", "w:gz") as tar:
            for name in ("words", "configure"):
                tar.add(tree / name, f"qemu-10.0.1/{name}")
        (tree / "debian/source/format").write_text("3.0 (quilt)\n")
        (tree / "debian/control").write_text("Source: qemu\nMaintainer: A <a@b>\n\nPackage: qemu\nArchitecture: any\nDescription: x\n")
        (tree / "debian/changelog").write_text(
            "qemu (1:10.0.1-1) trixie; urgency=low\n\n  * x\n\n -- A <a@b>  Thu, 01 Jan 2026 00:00:00 +0000\n")
        subprocess.run(["dpkg-source", "-b", tree], cwd=into, check=True, capture_output=True)

    def start(self, *words):
        return subprocess.Popen([self.patches / "build", *words], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                start_new_session=True)

    def build(self, *words, code=0):
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, f"exit {process.returncode}: {err}"
        return out.strip() if code == 0 else err

    def builds(self):
        return len(self.count.read_text().split()) if self.count.exists() else 0

    def results(self):
        """What is there under a hash, and nothing that was only begun."""
        left = sorted(path.name for path in self.cache.glob("work.*"))
        assert not left, left
        return sorted(path.name for path in self.cache.iterdir() if re.fullmatch("[0-9a-f]{16}", path.name))

    def wait_for(self, what):
        deadline = time.monotonic() + 60
        while not what():
            assert time.monotonic() < deadline, "it takes too long"
            time.sleep(0.02)


def says(program):
    return subprocess.run([program], capture_output=True, text=True, check=True).stdout.strip()


def with_place(function):
    def run():
        missing = [name for name in ("dpkg-source", "patch", "ninja", "flock") if not shutil.which(name)]
        if missing:
            raise Skip(f"no {', '.join(missing)}")
        with tempfile.TemporaryDirectory() as root:
            function(Place(pathlib.Path(root)))

    return run


@case("build: makes the patched program once, and finds it again")
@with_place
def builds_once(place):
    assert place.build("--where", code=1) == "" and place.builds() == 0
    path = place.build()
    assert path == f"{place.cache}/10.0/bin/qemu-system-x86_64" and says(path) == "patched", path
    assert os.path.samefile(place.build("--where"), path)
    assert place.build() == path and place.builds() == 1
    # Needs nothing but the result then.
    shutil.rmtree(place.cache / "source")
    assert place.build() == path and place.builds() == 1 and len(place.results()) == 1


@case("build: another series is another result; so are other options")
@with_place
def another_series(place):
    path = place.build()
    first = place.build("--where")
    place.series(PATCH.format("as it was", "patched"), PATCH.format("patched", "patched twice"))
    assert place.build("--where", code=1) == "" and place.builds() == 1
    assert place.build() == path and says(path) == "patched twice"
    assert place.builds() == 2 and len(place.results()) == 2
    assert place.build("--where") != first and says(place.build("--where")) == "patched twice" and says(first) == "patched"
    place.env["CC"] = "cc"
    place.build()
    assert place.builds() == 3 and len(place.results()) == 3


@case("build: a patch that does not apply is named, and nothing is left of it")
@with_place
def does_not_apply(place):
    place.series(PATCH.format("as it was", "patched"), PATCH.format("something else", "patched twice"))
    assert "10.0/0002-words.patch does not apply to QEMU 1:10.0.1-1" in place.build(code=1)
    assert place.results() == [] and not (place.cache / "10.0").exists()


@case("build: two at once build once, and the one that waits says so")
@with_place
def two_at_once(place):
    place.go.unlink()
    first = place.start()
    place.wait_for(place.builds)
    second = place.start()
    line = second.stderr.readline()
    assert "another build is at work" in line, line
    place.go.touch()
    paths = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert paths[0] == paths[1] and place.builds() == 1 and len(place.results()) == 1


def end(process, sent):
    """A signal that comes just as the shell forks is lost to the child, for which the shell then waits: who interrupts, does it again."""
    for _ in range(12):
        os.killpg(process.pid, sent)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=5)
            return
    raise AssertionError(f"it goes on after twelve {sent.name}")


@case("build: killed or interrupted, it leaves nothing that is taken for whole")
@with_place
def interrupted(place):
    for number, sent in enumerate((signal.SIGKILL, signal.SIGINT, signal.SIGTERM), 1):
        place.go.unlink()
        process = place.start()
        place.wait_for(lambda n=number: place.builds() == n)
        end(process, sent)
        assert process.returncode != 0
        if sent != signal.SIGKILL:
            assert place.results() == []
        assert not (place.cache / "10.0").exists()
        place.go.touch()
        # What ninja has started outlives it for a moment, and then counts as a build.
        place.wait_for(lambda: subprocess.run(["flock", "-n", place.cache / "lock", "true"], check=False).returncode == 0)
    assert says(place.build()) == "patched" and len(place.results()) == 1


@case("build: --prefix has a copy, --source the patched tree")
@with_place
def elsewhere(place):
    path = place.build("--prefix", place.root / "usr")
    assert path == f"{place.root}/usr/bin/qemu-system-x86_64" and says(path) == "patched"
    assert place.build("--source", place.root / "tree") == f"{place.root}/tree"
    assert (place.root / "tree/words").read_text() == "patched\n"
    assert "is there already" in place.build("--source", place.root / "tree", code=1)


@case("build: where Python's meson is too old, the one that was fetched is used, by configure too")
@with_place
def own_meson(place):
    path = place.cache / "meson-trixie/usr/lib/python3/dist-packages"
    path.mkdir(parents=True)
    place.old_meson(f'case $PYTHONPATH in {path}*) ;; *) exit 1 ;; esac')
    assert says(place.build()) == "patched"


@case("build: says what is wrong with its words, its tools and the way to the mirror")
@with_place
def refuses(place):
    for words in (["--frob"], ["x"]):
        assert f"no such option: {words[0]}" in place.build(*words, code=2)
    for words in (["--jobs"], ["--jobs", "many"], ["--targets", "x86"], ["--series", "9.9"]):
        place.build(*words, code=1)
    place.old_meson("exit 1")
    (place.cache / "meson-trixie").mkdir()
    assert "meson 1.5" in place.build(code=1)
    (place.cache / "meson-trixie").rmdir()
    place.env.update(VHOST_LAB_DEBIAN_MIRROR="http://127.0.0.1:9/debian", no_proxy="*")
    assert "cannot read trixie at http://127.0.0.1:9/debian" in place.build(code=1)
    shutil.rmtree(place.cache / "source")
    assert "cannot read trixie at http://127.0.0.1:9/debian" in place.build("--fetch", code=1)
    assert place.results() == []


def main():
    print(f"1..{len(CASES)}")
    failed = 0
    for number, (title, function) in enumerate(CASES, 1):
        try:
            function()
        except Skip as reason:
            print(f"ok {number} - {title} # SKIP {reason}", flush=True)
            continue
        except (AssertionError, OSError, subprocess.SubprocessError, lzma.LZMAError, tarfile.TarError) as error:
            failed += 1
            print(textwrap.indent(str(error)[:3000], "# "))
            print(f"not ok {number} - {title}", flush=True)
            continue
        print(f"ok {number} - {title}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
