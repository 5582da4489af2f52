"""The bar on a terminal: what is shown while something lasts, that it fits, that it goes, and that what lasts can be ended."""
import contextlib
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time

import samples
import stargz
from faults import FaultRegistry
from images import Layout, layer
from morseltest import ROOT, need


class Terminal:
    """A command whose stderr is a terminal."""

    def __init__(self, t, *args, term="xterm", env=None, stdout=subprocess.DEVNULL):
        self.t, self.out = t, b""
        self.master, slave = pty.openpty()
        self.p = t.popen(t.binary, *args, stderr=slave, stdout=stdout, env={"TERM": term, **(env or {})})
        os.close(slave)

    def resize(self, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))

    def read(self):
        piece = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            piece = os.read(self.master, 4096)
        self.out += piece
        return piece

    def read_until(self, text):
        while text not in self.out:
            self.t.check(self.read(), f"it ended without {text!r}: {self.out!r}")

    def end(self, rc=0):
        while self.read():
            pass
        os.close(self.master)
        self.t.equal(self.p.wait(20), rc, "exit code")
        return self.out


def case_a_layer(t):
    """A bar appears when something takes over a second, on a terminal, unless told not to."""
    lay = Layout(t.path("img"))
    lay.image([layer(samples.files_tar(samples.big_files(9, 4, 500_000)))])
    r = FaultRegistry(t, lay)
    digest = lay.layer_digests()[0]

    def stderr_of(*flags, term="xterm"):
        r.heal()
        r.rule(path=digest, times=1, stall=1.7, at=100_000)
        return Terminal(t, "ls", "--insecure", "--cache-dir", t.new_path("cache"), *flags, r.ref(), term=term).end()

    out = stderr_of()
    t.check(b"[" in out and b"layer 0/1" in out, f"no bar: {out!r}")
    t.check(out.endswith(b"\r\x1b[K"), "the bar is wiped away at the end")
    t.equal(stderr_of("--progress", "none"), b"", "--progress none")
    t.equal(stderr_of("-q"), b"", "-q")
    t.equal(stderr_of(term="dumb"), b"", "TERM=dumb")


def case_cache_verify(t):
    """Verifying shows how far it is, and ends at once when it is interrupted."""
    # not: asan tsan
    need("gcc")
    slow = t.path("slow.so")
    t.run("gcc", "-shared", "-fPIC", "-o", slow, f"{ROOT}/tests/tools/slowdisk.c")
    lay = Layout(t.path("img"))
    lay.image([layer(samples.files_tar(samples.big_files(9, 100, 5000)))])
    t.morsel("ls", f"oci:{lay.path}")
    v = Terminal(t, "cache", "verify", env={"LD_PRELOAD": slow})
    v.read_until(b"item ")
    v.p.send_signal(signal.SIGINT)
    start = time.monotonic()
    out = v.end(130)
    t.check(time.monotonic() - start < 1 * t.slow, "it went on")
    t.check(b"[#" in out and b"/3" in out, out)
    t.equal(t.morsel("cache", "verify", "--format", "json").json()["damaged"], 0, "afterwards")


def slow_manifests(t, seconds=1.6):
    lay = Layout(t.path("img"))
    lay.image([stargz.by_hand({"big": samples.noise(3, 3_000_000)})])
    r = FaultRegistry(t, lay)
    r.rule(path="/manifests/", delay=seconds)
    r.rule(path="/tags/list", delay=seconds, status=200, body=b'{"tags": ["latest"]}')
    return lay, r


def case_waiting_for_an_answer(t):
    """What is waited for is said although nothing moves yet: ls, inspect, tags."""
    _, r = slow_manifests(t)
    for verb, ref in (("ls", r.ref()), ("inspect", r.ref()), ("tags", r.ref().rpartition(":")[0])):
        out = Terminal(t, verb, "--insecure", "--cache-dir", t.new_path("cache"), ref).end()
        t.contains(out, f"1s  waiting for {r.host}/")
        t.check(out.endswith(b"\r\x1b[K"), f"{verb}: the line is wiped away at the end")
        t.check(b"\n" not in out, f"{verb}: {out!r}")


def case_cat_to_a_file(t):
    """cat shows how much it has fetched, unless what it writes is on a terminal itself."""
    lay, r = slow_manifests(t, 0)
    t.morsel("ls", "--insecure", r.ref())
    r.heal()
    r.rule(path=lay.layer_digests()[0], rate=1_500_000)
    with open(t.path("out"), "wb") as f:
        out = Terminal(t, "cat", "--insecure", r.ref(), "big", stdout=f).end()
    t.equal(os.path.getsize(t.path("out")), 3_000_000, "bytes")
    t.check(b"/2.9M" in out or b"s  waiting for" in out, out)  # by whether it came in pieces
    t.check(b"\n" not in out and out.endswith(b"\r\x1b[K"), out)


def case_narrow_windows(t):
    """The line is never as wide as the window, also after the window has changed."""
    _, r = slow_manifests(t, 2.2)
    for columns in (20, 5):
        x = Terminal(t, "ls", "--insecure", "--cache-dir", t.new_path("cache"), r.ref())
        x.resize(70)
        x.read_until(b"waiting for")
        x.resize(columns)
        while select.select([x.master], [], [], 0)[0]:  # drawn before it was so narrow; and one line just then, maybe
            x.read()
        before = len(x.out)
        lines = x.end()[before:].split(b"\x1b[K")
        drawn = [line.strip(b"\r") for line in lines if line.strip(b"\r")]
        t.check(len(drawn) >= 2, f"{columns} columns: {x.out!r}")
        t.equal([line for line in drawn[1:] if len(line) >= columns], [], f"too wide for {columns}")


def case_a_narrow_bar(t):
    """The bar itself shrinks, so that the numbers beside it stay."""
    lay = Layout(t.path("img"))
    lay.image([layer(samples.files_tar(samples.big_files(9, 4, 500_000)))])
    r = FaultRegistry(t, lay)
    r.rule(path=lay.layer_digests()[0], times=1, stall=1.7, at=100_000)
    x = Terminal(t, "ls", "--insecure", r.ref())
    x.resize(60)
    lines = [line.strip(b"\r") for line in x.end().split(b"\x1b[K")]
    t.check(all(len(line) < 60 for line in lines), lines)
    t.check(any(line.startswith(b"[") and b"] " in line and line.endswith(b"left") for line in lines), lines)
