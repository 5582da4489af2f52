"""The bar on a terminal: what is shown while something lasts, that it fits, that it goes, and that what lasts can be ended."""
import contextlib
import os
import pty
import signal
import subprocess
import time

import samples
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
    t.check(time.monotonic() - start < 0.5 * t.slow, "it went on")
    t.check(b"[#" in out and b"/3" in out, out)
    t.equal(t.morsel("cache", "verify", "--format", "json").json()["damaged"], 0, "afterwards")
