"""What every case uses: run the program under test, mount and surely unmount, and say what went wrong.

A case is a function case_NAME(t) in tests/cases/*.py; t is a Case. Its directory t.dir is private and removed when the
case passed. Everything that is run and printed goes into t.dir/log, which the runner shows when the case failed.
"""
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = f"{ROOT}/tests/tools"
# The password wherever one is needed. The runner fails a case in whose output it appears, plain or encoded.
USER, SECRET = "alice", "hunter2-Xq7bTz9rWm"
MARKER = "MORSELTEST_CASE"  # in the environment of every process of a case


class Skip(Exception):
    pass


class Failure(AssertionError):
    pass


class Result:
    def __init__(self, args, rc, out, err, seconds):
        self.args, self.rc, self.out, self.err, self.seconds = args, rc, out, err, seconds

    @property
    def text(self):
        return self.out.decode("utf-8", "surrogateescape")

    @property
    def err_text(self):
        return self.err.decode("utf-8", "surrogateescape")

    def json(self):
        return json.loads(self.out)


def need(*programs):
    for p in programs:
        if not shutil.which(p):
            raise Skip(f"{p} is not installed")


def wait_until(what, predicate, seconds=10.0, step=0.02):
    """Polls; returns the first true value."""
    end = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"waited {seconds} s in vain: {what}")
        time.sleep(step)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def port_open(port, host="127.0.0.1"):
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), 0.5).close()
        return True
    return False


def mounts_below(directory):
    """Mount points, deepest first."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as f:
        for line in f:
            point = line.split()[4].encode("utf-8", "surrogateescape").decode("unicode_escape")
            if point == directory or point.startswith(directory + "/"):
                found.append(point)
    return sorted(found, key=len, reverse=True)


def processes_of(directory):
    """(pid, name) of the living processes that a case in this directory started."""
    want = f"{MARKER}={directory}".encode()
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as f:
                if want not in f.read().split(b"\0"):
                    continue
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as f:
                found.append((int(pid), f.read().strip()))
    return found


class Mount:
    def __init__(self, case, path, log):
        self.case, self.path, self.log_path = case, path, log

    def __truediv__(self, name):
        return f"{self.path}/{name}"

    def stat(self):
        return self.case.morsel("stat", "--format", "json", self.path).json()

    def read(self, name):
        with open(f"{self.path}/{name}", "rb") as f:
            return f.read()

    def log(self):
        with contextlib.suppress(FileNotFoundError), open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()
        return ""

    @property
    def pid(self):
        return self.stat()["pid"]

    def umount(self):
        self.case.morsel("umount", self.path)

    def kill(self):
        """kill -9 of the server and of its supervisor, which would start another."""
        o = self.stat()
        os.kill(o["supervisor_pid"], signal.SIGSTOP)
        os.kill(o["pid"], signal.SIGKILL)
        os.kill(o["supervisor_pid"], signal.SIGKILL)
        wait_until("both to die", lambda: not any(os.path.exists(f"/proc/{o[k]}") for k in ("pid", "supervisor_pid")))


class Case:
    def __init__(self, directory, morsel, build="plain"):
        self.dir = directory
        self.binary = morsel
        self.build = build  # plain, asan, tsan, noprof
        self.slow = {"plain": 1.0, "asan": 4.0, "tsan": 8.0, "noprof": 4.0}[build]  # for time bounds of CPU work, not of waits
        self.mnt, self.cache, self.work = f"{directory}/mnt", f"{directory}/cache", f"{directory}/work"
        self.log_file = open(f"{directory}/log", "a", encoding="utf-8", errors="backslashreplace")
        self.log_lock = threading.Lock()
        self.cleanups = []
        self.names = 0
        for d in (self.mnt, self.work, f"{self.work}/home", f"{self.work}/run"):
            os.makedirs(d, exist_ok=True)
        self.env = {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), "LC_ALL": "C", "TZ": "UTC",
            "HOME": f"{self.work}/home", "XDG_RUNTIME_DIR": f"{self.work}/run", "TMPDIR": self.work,
            "MORSEL_CACHE_DIR": self.cache, MARKER: directory, "TERM": "dumb",
            # A background server has no stderr: its reports go to files, which the runner looks for.
            "ASAN_OPTIONS": f"log_path={directory}/sanitizer:exitcode=99:abort_on_error=0",
            "UBSAN_OPTIONS": f"log_path={directory}/sanitizer:halt_on_error=1:print_stacktrace=1",
            "TSAN_OPTIONS": f"log_path={directory}/sanitizer:exitcode=99:halt_on_error=0",
        }
        if "MORSEL_BACKEND" in os.environ:  # to run cases of mounts by the kernel too
            self.env["MORSEL_BACKEND"] = os.environ["MORSEL_BACKEND"]

    # -- talking

    def log(self, text):
        with self.log_lock:
            self.log_file.write(text.rstrip("\n") + "\n")
            self.log_file.flush()

    def skip(self, why):
        raise Skip(why)

    def need_root(self, why="needs root"):
        if os.geteuid():
            raise Skip(why)

    def need_fuse(self):
        if not os.access("/dev/fuse", os.R_OK | os.W_OK):
            raise Skip("/dev/fuse is not usable")

    # -- checking

    def check(self, condition, what):
        if not condition:
            raise Failure(what)

    def equal(self, got, want, what):
        if got != want:
            raise Failure(f"{what}: got {got!r}, want {want!r}")

    def contains(self, text, *needles):
        text = text.decode("utf-8", "backslashreplace") if isinstance(text, bytes) else text
        for n in needles:
            if n.lower() not in text.lower():
                raise Failure(f"{n!r} is not in: {text.strip()[:2000]!r}")

    def no_differences(self, lines):
        if lines:
            raise Failure(f"{len(lines)} differences:\n  " + "\n  ".join(lines[:60]))

    # -- files

    def path(self, name):
        return f"{self.work}/{name}"

    def new_path(self, stem):
        self.names += 1
        return f"{self.work}/{stem}{self.names}"

    def defer(self, fn, *args, **kw):
        """Runs at the end of the case, last one first."""
        self.cleanups.append((fn, args, kw))

    def clean_up(self):
        first = None
        while self.cleanups:
            fn, args, kw = self.cleanups.pop()
            try:
                fn(*args, **kw)
            except Exception as e:  # the others still have to run
                self.log(f"cleaning up: {e!r}")
                first = first or e
        if first:
            raise first

    # -- running

    def environ(self, extra=None):
        env = dict(self.env)
        for key, value in (extra or {}).items():
            if value is None:
                env.pop(key, None)
            else:
                env[key] = value
        return env

    def popen(self, *cmd, env=None, **kw):
        """Started, and killed at the end if it still runs then."""
        self.log("& " + " ".join(map(str, cmd)))
        p = subprocess.Popen([str(c) for c in cmd], env=self.environ(env), **kw)
        self.defer(self.end_process, p)
        return p

    @staticmethod
    def end_process(p, sig=signal.SIGTERM):
        if p.poll() is None:
            p.send_signal(sig)
            try:
                p.wait(10)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()
        for pipe in (p.stdin, p.stdout, p.stderr):
            if pipe:
                pipe.close()

    def run(self, *cmd, rc=0, timeout=60, env=None, input=None, **kw):
        """Runs to the end; rc None: any exit code."""
        cmd = [c if isinstance(c, bytes) else str(c) for c in cmd]
        start = time.monotonic()
        out, err = self.new_path("out."), self.new_path("err.")
        with open(out, "wb") as fo, open(err, "wb") as fe:  # files: a server left behind must not hold a pipe
            try:
                p = subprocess.run(cmd, stdout=fo, stderr=fe, env=self.environ(env), timeout=timeout,
                                   input=input, stdin=None if input is not None else subprocess.DEVNULL, **kw)
                code = p.returncode
            except subprocess.TimeoutExpired:
                code = "timeout"
        with open(out, "rb") as fo, open(err, "rb") as fe:
            r = Result(cmd, code, fo.read(), fe.read(), time.monotonic() - start)
        os.unlink(out)
        os.unlink(err)
        shown = " ".join(os.fsdecode(c) for c in cmd)
        self.log(f"$ {shown}\n[{r.rc}, {r.seconds:.2f} s]" +
                 "".join(f"\n{mark} {line}" for mark, text in (("1", r.text), ("2", r.err_text))
                         for line in text.splitlines()[:200]))
        if r.rc == "timeout":
            raise Failure(f"no end after {timeout} s: {shown}")
        if rc is not None and r.rc != rc:
            raise Failure(f"exit code {r.rc}, not {rc}: {shown}\n{r.err_text.strip()[:2000]}")
        return r

    def morsel(self, *args, **kw):
        return self.run(self.binary, *args, **kw)

    def refused(self, code, *args, says=(), **kw):
        """The command fails with this exit code and exactly one line on stderr, prints no result, leaves nothing."""
        r = self.morsel(*args, rc=None, **kw)
        lines = r.err_text.splitlines()
        if r.rc != code:
            raise Failure(f"exit code {r.rc}, not {code}: {' '.join(map(str, args))}: {r.err_text.strip()[:1000]}")
        if len(lines) != 1 or not lines[0].startswith("morsel: "):
            raise Failure(f"{len(lines)} lines on stderr, not one: {r.err_text.strip()[:2000]!r}")
        self.equal(r.out, b"", "stdout of a refused command")
        self.contains(lines[0], *([says] if isinstance(says, str) else says))
        self.equal(mounts_below(self.mnt), [], "mounts left behind")
        wait_until("processes left behind to end", lambda: not self.servers(), 3)
        self.check_cache_tmp()
        return lines[0]

    def servers(self):
        return [pid for pid, name in processes_of(self.dir) if name.startswith("morsel")]

    def check_cache_tmp(self):
        for base in [self.cache] + [e.path for e in os.scandir(self.dir) if e.name.startswith("cache")]:
            if os.path.isdir(f"{base}/tmp"):
                self.equal(os.listdir(f"{base}/tmp"), [], f"files left in {base}/tmp")

    # -- mounting

    @contextlib.contextmanager
    def mounted(self, ref, *flags, at=None, env=None, timeout=60, log_level="debug"):
        self.need_fuse()
        at = at or self.mnt
        os.makedirs(at, exist_ok=True)
        log = self.new_path("server.log.")
        self.morsel("mount", "--log-level", log_level, "--log-file", log, *flags, ref, at, env=env, timeout=timeout)
        m = Mount(self, at, log)
        try:
            yield m
        finally:
            try:
                if mounts_below(at):
                    self.morsel("umount", at, rc=None, timeout=30)
            finally:
                for point in mounts_below(at):
                    self.log(f"still mounted: {point}")
                    subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)
                self.log(f"-- server log of {at}\n" + m.log())

    def foreground(self, ref, *flags, at=None, env=None):
        """morsel mount -f, as a Popen whose stderr goes to a file; returns when it is ready."""
        self.need_fuse()
        at = at or self.mnt
        r, w = os.pipe()
        log = self.new_path("server.log.")
        with open(log, "wb") as err:
            p = self.popen(self.binary, "mount", "-f", "--ready-fd", w, *flags, ref, at, env=env, pass_fds=[w],
                           stderr=err, stdin=subprocess.DEVNULL)
        os.close(w)
        with os.fdopen(r, "rb") as f:
            got = f.read()
        if got != b"ready\n":
            p.wait(10)
            with open(log, encoding="utf-8", errors="replace") as f:
                raise Failure(f"--ready-fd said {got!r}; stderr: {f.read()}")
        p.log_path = log
        return p

    # -- several at once

    @staticmethod
    def parallel(n, fn):
        """fn(i) in n threads at once; their results in order. The first exception is raised."""
        results = [None] * n
        barrier = threading.Barrier(n)

        def body(i):
            try:
                barrier.wait()
                results[i] = (True, fn(i))
            except BaseException as e:
                results[i] = (False, e)

        threads = [threading.Thread(target=body, args=(i,)) for i in range(n)]
        for th in threads:
            th.start()
        for th in threads:
            th.join()
        for ok, value in results:
            if not ok:
                raise value
        return [value for _, value in results]


def secrets():
    """Spellings in which the password must never be seen."""
    pair = f"{USER}:{SECRET}"
    return [SECRET, base64.b64encode(pair.encode()).decode().rstrip("="), base64.b64encode(SECRET.encode()).decode().rstrip("=")]


if __name__ == "__main__":
    print("this is a library; run tests/run", file=sys.stderr)
    sys.exit(2)
