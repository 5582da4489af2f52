"""The supervisor: a server that is killed is replaced, and whoever reads only notices a pause."""
import contextlib
import os
import random
import signal
import subprocess
import threading
import time

import samples
import stargz
from faults import FaultRegistry
from images import Layout, layer
from morseltest import mounts_below, wait_until


def big_image(t, seed=1, count=6, size=900_000):
    files = samples.big_files(seed, count, size)
    lay = Layout(t.new_path("img"))
    lay.image([layer(samples.files_tar(files))])
    return lay, files


def need_resend(t):
    t.need_fuse()
    release = tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2])
    if release < (6, 9):
        t.skip("Linux before 6.9 does not send requests again")


def gone(t, at=None):
    wait_until("the mount and its processes to go", lambda: not mounts_below(at or t.mnt) and not t.servers(), 10)


def kill_server(t, m):
    """Kills it and waits until the next answers; returns its number."""
    old = m.stat()
    os.kill(old["pid"], signal.SIGKILL)
    new = m.stat()
    if new["pid"] == old["pid"]:  # asked before it died
        new = wait_until("another server", lambda: (s := m.stat())["pid"] != old["pid"] and s)
    t.equal((new["restarts"], new["supervisor_pid"], new["digest"]),
            (old["restarts"] + 1, old["supervisor_pid"], old["digest"]), "what the next says")
    return new["pid"]


class Readers:
    """Threads that drop caches and read files at random until they are told to stop."""

    def __init__(self, m, files, n=8):
        self.stop, self.reads, self.wrong, self.worst = False, 0, [], 0.0
        self.m, self.files = m, files
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(n)]
        for th in self.threads:
            th.start()

    def run(self, seed):
        rng = random.Random(seed)
        names = sorted(self.files)
        while not self.stop:
            name = rng.choice(names)
            data = self.files[name]
            off = rng.randrange(len(data))
            n = rng.choice((1, 4096, 70_000, 300_000))
            start = time.monotonic()
            try:
                fd = os.open(self.m / name, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                got = os.pread(fd, n, off)
                os.close(fd)
                if got != data[off:off + n]:
                    self.wrong.append(f"{name} {off}+{n}: other bytes")
            except OSError as e:
                self.wrong.append(f"{name} {off}+{n}: {e}")
            self.worst = max(self.worst, time.monotonic() - start)
            self.reads += 1

    def end(self):
        self.stop = True
        for th in self.threads:
            th.join()


def case_killed_under_readers(t):
    """The server dies again and again under eight readers: all bytes are right, no read fails."""
    need_resend(t)
    lay, files = big_image(t)
    with t.mounted(f"oci:{lay.path}") as m:
        readers = Readers(m, files)
        try:
            rng = random.Random(3)
            for _ in range(20 if t.build == "plain" else 8):
                kill_server(t, m)
                time.sleep(rng.random() * 0.05)
        finally:
            readers.end()
        t.no_differences(readers.wrong)
        t.check(readers.reads > 200, f"{readers.reads} reads")
        t.log(f"{readers.reads} reads, the longest took {readers.worst:.3f} s")
        m.umount()
        t.equal((mounts_below(t.mnt), t.servers()), ([], []), "left")


def case_killed_at_any_moment(t):
    """Also while it takes over: killed as soon as its number is known, it may fail to serve, but never for good."""
    need_resend(t)
    lay, files = big_image(t, count=3)
    with t.mounted(f"oci:{lay.path}") as m:
        supervisor = m.stat()["supervisor_pid"]
        readers = Readers(m, files, n=3)

        killed = set()

        def kill_next():
            """The server that was not killed yet; one that ended meanwhile by itself is no fault."""
            def others():
                with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as f:
                    return {int(p) for p in f.read().split()} - killed
            for pid in wait_until("another server", others, step=0):
                killed.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        try:
            for delay in (0, 0.004, 0.01, 0.02):  # four that do not come to serve within 10 s are endured
                kill_next()
                time.sleep(delay * t.slow)
                kill_next()
                wait_until("one that serves", lambda: t.morsel("stat", m.path, rc=None).rc == 0, 20)
        finally:
            readers.end()
        t.no_differences(readers.wrong)


def case_signals_and_umount_after_a_restart(t):
    need_resend(t)
    lay = samples.hello(t)
    ref = f"oci:{lay.path}"

    def ended_by(end, code=0):
        p = t.foreground(ref)
        m = type("M", (), {"path": t.mnt, "stat": lambda self: t.morsel("stat", "--format", "json", t.mnt).json()})()
        kill_server(t, m)
        with open(f"{t.mnt}/greeting", "rb") as f:
            t.equal(f.read(), b"hello, world\n", "content")
        end(p, m)
        t.equal(p.wait(10), code, "exit code")
        gone(t)

    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        ended_by(lambda p, m, sig=sig: p.send_signal(sig))
        ended_by(lambda p, m, sig=sig: os.kill(m.stat()["pid"], sig))
    ended_by(lambda p, m: t.morsel("umount", m.path))
    ended_by(lambda p, m: t.run("fusermount3", "-u", m.path))
    ended_by(lambda p, m: t.run("umount", m.path))


def case_killed_while_a_fetch_stalls(t):
    """A reader that waits for a stalled registry waits on for the next server, and gets its bytes once they come."""
    need_resend(t)
    files = samples.big_files(5, 2, 700_000)
    lay = Layout(t.new_path("img"))
    lay.image([layer(samples.files_tar(files))])
    r = FaultRegistry(t, lay)
    name = sorted(files)[-1]
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        t.morsel("cache", "prune", "0")
        r.rule(path=lay.layer_digests()[0], stall=60)
        got = []
        reader = threading.Thread(target=lambda: got.append(m.read(name)))
        reader.start()
        r_wait(r, lay, 1)
        kill_server(t, m)
        r_wait(r, lay, 2)
        t.equal(got, [], "it waits")
        r.heal()
        kill_server(t, m)
        reader.join(20)
        t.check(got and got[0] == files[name], "the bytes")


def r_wait(r, lay, n):
    wait_until(f"request {n}", lambda: len(r.requests(lay.layer_digests()[0])) >= n, 20)


def case_works_from_the_cache(t):
    """The registry is gone and the tag has moved: the next server goes on with the image that is mounted."""
    need_resend(t)
    lay, files = big_image(t, count=2)
    r = FaultRegistry(t, lay)
    with t.mounted(r.ref()) as m:
        other = Layout(lay.path)
        other.image([layer(samples.files_tar({"else": b"another image"}))])
        asked = len(r.requests(""))
        r.rule(path="/", status=503)
        kill_server(t, m)
        for name, data in files.items():
            t.check(m.read(name) == data, name)
        t.equal(len(r.requests("")), asked, "requests")


def case_crash_loop(t):
    """A server that crashes five times within ten seconds ends in a clean unmount and one line that says so; who waits
    for a fetch meanwhile gets an error."""
    need_resend(t)
    files = samples.big_files(5, 2, 300_000)
    lay = Layout(t.new_path("img"))
    lay.image([stargz.by_hand(files)])
    r = FaultRegistry(t, lay)
    p = t.foreground(r.ref(), "--prefetch", "none")
    r.rule(path=lay.layer_digests()[0], stall=60)
    reader = t.popen("cat", f"{t.mnt}/{sorted(files)[0]}", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    r_wait(r, lay, 1)
    supervisor = p.pid
    seen = set()
    deadline = time.monotonic() + 20 * t.slow
    # Not a sixth: what comes then is no server (a sanitizer looks for leaks by a process of its own).
    while len(seen) < 5 and p.poll() is None and time.monotonic() < deadline:
        with open(f"/proc/{supervisor}/task/{supervisor}/children", encoding="ascii") as f:
            pids = {int(x) for x in f.read().split()} - seen
        for pid in pids:
            seen.add(pid)
            os.kill(pid, signal.SIGTRAP if len(seen) % 2 else signal.SIGABRT)
        time.sleep(0.01)
    t.equal(len(seen), 5, "servers")
    t.equal(p.wait(10 * t.slow), 32, "exit code")
    t.check(reader.wait(5) != 0, "the reader gets an error")
    gone(t)
    with open(p.log_path, encoding="ascii", errors="replace") as f:
        log = f.read()
    t.contains(log, "takes over", "died 5 times within 10 s", "unmounted")


def case_supervisor_is_killed(t):
    """The server unmounts and ends; when both are killed at once, umount takes away what is left."""
    lay = samples.hello(t)
    with t.mounted(f"oci:{lay.path}") as m:
        os.kill(m.stat()["supervisor_pid"], signal.SIGKILL)
        gone(t)
        t.contains(m.log(), "supervisor was killed")
    with t.mounted(f"oci:{lay.path}") as m:
        m.kill()
        t.contains(t.morsel("stat", m.path, rc=None).err, "morsel umount")
        t.morsel("umount", m.path)
        t.equal(mounts_below(t.mnt), [], "mounts")


def case_it_is_small_and_does_nothing(t):
    # one thread, little memory, none of the cache's files open
    lay, files = big_image(t)
    with t.mounted(f"oci:{lay.path}") as m:
        for name in files:
            m.read(name)
        pid = m.stat()["supervisor_pid"]
        with open(f"/proc/{pid}/status", encoding="ascii") as f:
            status = dict(line.split(":\t", 1) for line in f.read().splitlines() if ":\t" in line)
        t.equal(status["Name"], "morsel", "name")
        if t.build == "plain":
            t.equal(status["Threads"], "1", "threads")
            t.check(int(status["RssAnon"].split()[0]) < 2048, status["RssAnon"])
        held = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        t.equal([h for h in held if h.startswith(t.cache)], [], "files of the cache")
        t.equal(sum("/dev/fuse" in h for h in held), 1, f"FUSE descriptors of {held}")


def case_interrupting_the_command_ends_the_attempt(t):
    """Who kills `morsel mount` before the mount answers gets no mount later: by TERM, by INT, by KILL."""
    lay, _ = big_image(t, count=1)
    r = FaultRegistry(t, lay)
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
        r.heal()
        r.forget()
        r.rule(path="/manifests/", stall=60)
        p = t.popen(t.binary, "mount", r.ref(), t.mnt, stderr=subprocess.DEVNULL)
        wait_until("the answer that stalls", lambda: r.requests("/manifests/"))
        p.send_signal(sig)
        t.equal(p.wait(10), 130 if sig != signal.SIGKILL else -9, "exit code")
        gone(t)


def case_user_mount_is_taken_over(t):
    """An ordinary user's, made by fusermount3."""
    t.need_root("the case makes the user's surroundings as root")
    need_resend(t)
    lay, _ = big_image(t, count=2)
    home = t.path("nobody")
    os.makedirs(f"{home}/mnt")
    for d in (home, f"{home}/mnt"):
        os.chown(d, 65534, 65534)
    for d in (t.dir, t.work):
        os.chmod(d, 0o711)
    script = f"""
set -e
mount --make-rprivate /
mkdir {home}/dev && mknod {home}/dev/fuse c 10 229 && chmod 666 {home}/dev/fuse
mount --bind {home}/dev/fuse /dev/fuse
exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -ec '
  cd {home}
  "$1" mount "oci:$2" mnt
  sum=$(cat mnt/data/* | sha256sum)
  pid() {{ "$1" stat --format json mnt | sed -n "s/.*\\"pid\\": \\([0-9]*\\),.*/\\1/p" | head -1; }}
  for i in 1 2 3; do
    was=$(pid "$1"); kill -9 $was
    until [ "$(pid "$1")" != $was ]; do :; done
    [ "$sum" = "$(cat mnt/data/* | sha256sum)" ]
  done
  "$1" stat --format json mnt
  "$1" umount mnt
' sh {t.binary} {lay.path}
"""
    env = {"MORSEL_CACHE_DIR": None, "XDG_CACHE_HOME": f"{home}/xdg", "HOME": home, "XDG_RUNTIME_DIR": None}
    r = t.run("unshare", "-m", "sh", "-c", script, env=env, timeout=60)
    t.contains(r.text, '"restarts": 3')
    gone(t)


