# SPDX-License-Identifier: MIT
"""What the integration suites share: real processes, real QEMU, real guests.

A suite is a file of `@case("what must hold")` functions, ended by `harness.main()`.
Each case gets a Place: directories of its own under /tmp, so that cases neither see
each other nor the user's labs.  When the case ends, whatever it started is taken
down, and a process, socket or sanitizer report that is left is a failure.

Started as root, a suite copies the product to a place that an unprivileged user can
read, and runs as that user: the product must never need root.  Suites run beside each
other; what they share, that place among it, is locked.

VHOST_LAB_TEST_PATCHED=1 runs the cases, too, that try at length what the QEMU of qemu-patches can, where that is built.

VHOST_LAB_TEST_ENGINE=libvirt runs every lab that does not say otherwise on a libvirt of its own: that which it starts itself,
or one of another release (VHOST_LAB_TEST_LIBVIRT_ROOT, libvirtd.py), which runs from a case's first lab on.

Output is TAP.
"""

import contextlib
import fcntl
import hashlib
import inspect
import json
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

USER = "vhost-lab-test"
PATCHED_QEMU = "patched/qemu-system-x86_64"  # in what is staged
ENGINE = os.environ.get("VHOST_LAB_TEST_ENGINE", "qemu")
CASES = []


class Skip(Exception):
    """This machine lacks what the case needs; the text says what."""


def case(title):
    def register(function):
        CASES.append((title, function))
        return function

    return register


def wait_for(what, seconds, condition, interval=0.05):
    """Waits until condition() is true and returns its value; says what was awaited."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {seconds} s in vain: {what}")
        time.sleep(interval)


def only_as_processes(why):
    """For a case about what a QEMU is that no libvirt has."""
    if ENGINE != "qemu":
        raise Skip(f"under libvirt {why}")


def with_engine(text):
    """A lab file's text, for the engine that is tried; what else is in it stays in its line."""
    if ENGINE == "qemu":
        return text
    try:
        lab = json.loads(text)
    except (ValueError, RecursionError):
        return text  # it is meant to be wrong
    if not isinstance(lab, dict) or "engine" in lab:
        return text
    return text.replace("{", f'{{ "engine": "{ENGINE}"{"," if lab else ""} ', 1)


def patched_qemu(top):
    """qemu-patches' QEMU of exactly this tree's series, where it is built; None: it is not, and no suite has the time for that."""
    staged, script = top / PATCHED_QEMU, top / "qemu-patches/build"
    if not script.exists():
        return staged if staged.exists() else None
    done = subprocess.run([script, "--where"], capture_output=True, text=True, check=False)
    return Path(done.stdout.strip()) if done.returncode == 0 else None


def patched_qemu_at_length(top):
    """The same, as a lab names it, for a case that ./check has no time for."""
    if not os.environ.get("VHOST_LAB_TEST_PATCHED"):
        raise Skip("it takes its time: VHOST_LAB_TEST_PATCHED=1 runs it")
    qemu = patched_qemu(top)
    if not qemu:
        raise Skip("the cache has no QEMU of these patches: qemu-patches/build makes one")
    return str(qemu)


def pid_in(file):
    """The process that a pidfile names; None: it does not run."""
    try:
        pid = int(file.read_text())
        return pid if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z" else None
    except (OSError, ValueError):
        return None


def end(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class Result:
    def __init__(self, code, out, err, seconds):
        self.code, self.out, self.err, self.seconds = code, out, err, seconds

    def json(self):
        return json.loads(self.out)


class Console:
    """A VM's serial console on the standard streams of a command, `orchestrator console` for one."""

    def __init__(self, place, *argv, **more):
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=place.env, bufsize=0, **more)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.text = ""

    def _pump(self):
        chunk = self.process.stdout.read(65536)
        if chunk:
            self.text += chunk.decode(errors="replace").replace("\r", "")
        return self.text

    def sh(self, command, seconds=30):
        """Runs a shell command in the guest; returns (exit status, output)."""
        mark = os.urandom(4).hex()
        # Split in the middle, so that the echo of the line is not taken for its end.
        line = f"echo \"{mark[:4]}\"\"{mark[4:]}\"; {command}; echo \"{mark[4:]}\"\"{mark[:4]}\" $?\n"
        self.process.stdin.write(line.encode())
        pattern = re.compile(f"^{mark}\n(.*?)^{mark[4:]}{mark[:4]} (\\d+)$", re.S | re.M)
        found = wait_for(f"the end of {command!r} in the guest, seen so far: {self.text[-300:]!r}",
                         seconds, lambda: pattern.search(self._pump()))
        return int(found.group(2)), found.group(1)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Place:
    """Directories, environment and the CLI of one case."""

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="vl-", dir="/tmp"))
        self.state, self.runtime = self.root / "state", self.root / "run"
        self.runtime.mkdir(mode=0o700)
        self.top = Path(__file__).resolve().parents[2]
        binaries = Path(os.environ.get("VHOST_LAB_BUILD", self.top / "build-check"))
        self.orchestrator = binaries / "orchestrator" / "orchestrator"
        self.vsock_load = binaries / "tests" / "vsock_load"
        self.late_qemu = binaries / "tests" / "integration" / "late_qemu.so"
        cache = os.environ.get("VHOST_LAB_TEST_CACHE") or f"/tmp/vhost-lab-test-cache-{os.getuid()}"
        self.env = {
            "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "XDG_STATE_HOME": str(self.state),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "XDG_CACHE_HOME": cache,
            # Who loads libvirt has libraries with memory of threads' own that have come late: the search for leaks, which
            # follows it by what was heard of it, now and then dies of that ("Tracer caught signal 11").
            "ASAN_OPTIONS": f"detect_leaks=1:intercept_tls_get_addr=0:log_path={self.root}/sanitizer",
            "UBSAN_OPTIONS": f"halt_on_error=1:print_stacktrace=1:log_path={self.root}/sanitizer",
        }
        self.labs = []
        self.consoles = []
        self.libvirt = None

    def start_libvirt(self):
        """One of another release is started by nobody who asks for it."""
        if ENGINE == "qemu" or not os.environ.get("VHOST_LAB_TEST_LIBVIRT_ROOT") or self.libvirt:
            return
        import libvirtd  # pylint: disable=import-outside-toplevel
        self.env["LIBVIRT_AUTOSTART"] = "0"
        self.libvirt = libvirtd.Libvirt(self)
        self.libvirt.start()

    def use_late_qemu(self, how):
        """One of a busy host: how is what late_qemu.c says."""
        late = self.root / "qemu"
        late.write_text(f"#!/bin/sh\n{how} LD_PRELOAD={self.late_qemu} exec qemu-system-x86_64 \"$@\"\n")
        late.chmod(0o755)
        self.env["ORCHESTRATOR_QEMU"] = str(late)

    def lab(self, text, name="lab.json"):
        """Writes a lab file (a dict or raw text) and returns its path."""
        self.start_libvirt()
        directory = self.root / f"d{len(self.labs)}"
        directory.mkdir()
        path = directory / name
        path.write_text(with_engine(text if isinstance(text, str) else json.dumps(text, indent=2)))
        self.labs.append(path)
        return path

    def example(self, name):
        self.start_libvirt()
        path = self.top / "examples" / name / "lab.json"
        if ENGINE != "qemu":
            copy = self.root / "examples" / name
            shutil.copytree(path.parent, copy, dirs_exist_ok=True)
            path = copy / "lab.json"
            path.write_text(with_engine(path.read_text()))
        self.labs.append(path)
        return path

    def run(self, *args, code=0, timeout=180, stdin="", env=None):
        """Runs the CLI to its end; code=None accepts any exit status."""
        begin = time.monotonic()
        done = subprocess.run([self.orchestrator, *map(str, args)], input=stdin, text=True,
                              capture_output=True, timeout=timeout, env={**self.env, **(env or {})},
                              cwd=self.root, errors="replace")
        result = Result(done.returncode, done.stdout, done.stderr, time.monotonic() - begin)
        if code is not None and result.code != code:
            raise AssertionError(f"{' '.join(map(str, args))}: exit status {result.code}, not {code}\n"
                                 f"stdout: {result.out}\nstderr: {result.err}")
        return result

    def start(self, *args):
        """Starts the CLI and leaves it running."""
        return subprocess.Popen([self.orchestrator, *map(str, args)], env=self.env, cwd=self.root,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def console(self, vm, lab):
        console = Console(self, self.orchestrator, "console", "-l", str(lab), vm)
        self.consoles.append(console)
        return console

    def status(self, lab):
        return self.run("status", "--json", lab).json()

    def vms(self, lab):
        return {vm["name"]: vm for vm in self.status(lab)["vms"]}

    def libvirt_daemons(self):
        """Of a session's libvirt that has been started by its first client: {name: pid}."""
        found = {name: pid_in(self.runtime / "libvirt" / f"{name}.pid") for name in ("libvirtd", "virtlogd")}
        return {name: pid for name, pid in found.items() if pid}

    def processes(self):
        """Every process started under this place, but for libvirt's own: {pid: command line}."""
        # libvirt gives its QEMUs an environment of its own.
        domains = {pid_in(file) for file in (self.runtime / "libvirt/qemu/run").glob("*.pid")}
        mark = f"XDG_RUNTIME_DIR={self.runtime}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                if int(entry.name) in domains or mark in (entry / "environ").read_bytes().split(b"\0"):
                    if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                        found[int(entry.name)] = command.decode(errors="replace").strip()
            except OSError:
                continue
        for pid in self.libvirt_daemons().values():
            found.pop(pid, None)
        return found

    def pid_of(self, pattern):
        """The one process whose command line matches."""
        pids = [pid for pid, command in self.processes().items() if re.search(pattern, command)]
        assert len(pids) == 1, f"{pattern}: {len(pids)} processes in {self.processes()}"
        return pids[0]

    def qemu(self, vm):
        """The one QEMU of that VM: libvirt's is guest=LAB.VM,debug-threads=on."""
        return self.pid_of(rf" guest=([a-z0-9-]+\.)?{vm}[ ,]")

    def qemu_log(self, lab, vm):
        """Where a QEMU's own words go; libvirt adds to what is there."""
        if ENGINE == "libvirt":
            return Path(self.env["XDG_CACHE_HOME"]) / f"libvirt/qemu/log/{lab}.{vm}.log"
        return self.state / f"vhost-lab/labs/{lab}/vms/{vm}/qemu.log"

    def qemus(self):
        """All of them."""
        return {pid for pid, command in self.processes().items() if " guest=" in command}

    def files(self):
        """What lies in the state and runtime directories, relative."""
        return sorted(str(path.relative_to(self.root)) for base in (self.state, self.runtime)
                      if base.exists() for path in base.rglob("*")
                      if not path.is_dir() and self.runtime / "libvirt" not in path.parents)

    def domains(self):
        """The names of the domains that are defined in the session's libvirt."""
        return sorted(file.stem for file in (self.root / ".config/libvirt/qemu").glob("*.xml"))

    def close(self):
        """Takes everything down; what is left over is an error."""
        problems = []
        for console in self.consoles:
            console.close()
        if self.processes():
            self.run("down", "--all", "--yes", "--cleanup", code=None, timeout=120)
        try:
            wait_for("processes to end", 5, lambda: not self.processes())
        except AssertionError:
            problems.append(f"left running: {self.processes()}")
            for pid in self.processes():
                end(pid, signal.SIGKILL)
        domains = self.domains()
        if domains:
            problems.append(f"left defined: {domains}")
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in self.libvirt_daemons().values():
                end(pid, number)
            with contextlib.suppress(AssertionError):
                wait_for("libvirt to end", 10, lambda: not self.libvirt_daemons())
        for report in self.root.glob("sanitizer.*"):
            problems.append(report.read_text(errors="replace")[:6000])
        if problems:
            raise AssertionError("\n".join(problems))
        shutil.rmtree(self.root, ignore_errors=True)


def locked(directory):
    """A descriptor that, while it is open, keeps other suites out."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def refresh(source, target):
    """Copies a file that is newer; who has opened what was there goes on with it."""
    source, target = Path(source), Path(target)
    if not target.exists() or target.stat().st_mtime != source.stat().st_mtime:
        target.parent.mkdir(parents=True, exist_ok=True)
        new = target.with_name(target.name + ".new")
        shutil.copy2(source, new)
        new.rename(target)


def test_user():
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        subprocess.run(["useradd", "--system", "--user-group", "--shell", "/bin/sh", USER], check=True)
        return pwd.getpwnam(USER)


def stage_product(top, build, stage, user):
    """What a suite reads, writes and runs, for that user."""
    for name in ("orchestrator/orchestrator", "orchestrator/agent/vhost-lab-agent", "vhost-user/net/vhost-user-net",
                 "vhost-user/hvsock/vhost-user-hvsock", "vhost-user/portal/vhost-user-portal",
                 "vhost-user/portal/client/portal-static", "tests/integration/late_qemu.so"):
        refresh(build / name, stage / "build" / name)
    for name in ("tests/unit/random_lab_text", "tests/vsock_load"):  # of one suite alone
        if (build / name).exists():
            refresh(build / name, stage / "build" / name)
    if qemu := patched_qemu(top):
        refresh(qemu, stage / PATCHED_QEMU)
    else:
        (stage / PATCHED_QEMU).unlink(missing_ok=True)
    for name in ("examples", "tests/integration"):
        shutil.copytree(top / name, stage / name, dirs_exist_ok=True, copy_function=refresh)
    refresh(top / "orchestrator/lab.schema.json", stage / "lab.schema.json")
    for page in ("vhost-user/hvsock/vhost-user-hvsock.8.scd", "vhost-user/net/vhost-user-net.8.scd",
                 "vhost-user/portal/vhost-user-portal.8.scd", "README.md"):
        refresh(top / page, stage / page)
    cache = stage / "cache"
    cache.mkdir(exist_ok=True)
    os.chown(cache, user.pw_uid, user.pw_gid)
    # A file system that fills up at once, for the cases that want one.
    small = stage / "small"
    small.mkdir(exist_ok=True)
    if not os.path.ismount(small):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=64k,mode=0700,uid={user.pw_uid}",
                        "vhost-lab-small", str(small)], check=False)


def _unprivileged():
    """As root: stage the product and go on as an ordinary user.  Does not return then."""
    if os.geteuid() != 0:
        return
    top = Path(__file__).resolve().parents[2]
    build = Path(os.environ.get("VHOST_LAB_BUILD", top / "build-check"))
    stage = Path("/tmp") / f"vhost-lab-stage-{hashlib.sha1(str(build).encode()).hexdigest()[:8]}"
    stage.mkdir(mode=0o755, exist_ok=True)
    lock = locked(stage)
    user = test_user()
    stage_product(top, build, stage, user)
    os.close(lock)
    env = {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "VHOST_LAB_BUILD": str(stage / "build"),
        "VHOST_LAB_TEST_CACHE": str(stage / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
        **{name: value for name, value in os.environ.items()
           if name.startswith("VHOST_LAB_TEST_") and name != "VHOST_LAB_TEST_CACHE"},
    }
    script = stage / "tests/integration" / Path(sys.argv[0]).name
    os.chdir(stage)
    os.execvpe("setpriv", ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}",
                           "--clear-groups", "--", sys.executable, str(script), *sys.argv[1:]], env)


@contextlib.contextmanager
def small_filesystem():
    """A mounted file system of 64 KiB that this user may write to, and nobody else does meanwhile."""
    small = Path(__file__).resolve().parents[2] / "small"
    if not os.path.ismount(small) or not os.access(small, os.W_OK):
        raise Skip("no small file system could be mounted (the suite was not started as root)")
    lock = locked(small)
    try:
        yield small
    finally:
        os.close(lock)


def main():
    _unprivileged()
    wanted = sys.argv[1:]
    cases = [(title, function) for title, function in CASES
             if not wanted or any(word in function.__name__ for word in wanted)]
    print(f"1..{len(cases)}", flush=True)
    failed = 0
    for number, (title, function) in enumerate(cases, 1):
        begin = time.monotonic()
        place = Place()
        error = reason = None
        try:
            function(place) if inspect.signature(function).parameters else function()
        except Skip as skip:
            reason = str(skip)
        except Exception:  # pylint: disable=broad-except
            error = traceback.format_exc()
        try:
            if error:
                for log in sorted(place.root.rglob("*.log"))[:12]:
                    error += f"\n--- {log.relative_to(place.root)}\n" + "\n".join(
                        log.read_text(errors="replace").splitlines()[-8:])
            place.close()
        except Exception as leftover:  # pylint: disable=broad-except
            error = (error or "") + f"\nafter the case: {leftover}"
        if error:
            failed += 1
            for line in error.strip().splitlines():
                # On both: what runs the suites shows TAP's comments to nobody, and what is written here.
                text = "# " + "".join(c if c.isprintable() else "?" for c in line)
                print(text)
                print(text, file=sys.stderr)
            print(f"not ok {number} - {title}", flush=True)
        elif reason:
            print(f"ok {number} - {title} # SKIP {reason}", flush=True)
        else:
            print(f"# {time.monotonic() - begin:.1f} s")
            print(f"ok {number} - {title}", flush=True)
    sys.exit(1 if failed else 0)
