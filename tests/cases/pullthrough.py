"""Caches that answer a request for a range with the whole blob: all that comes is kept, nothing comes twice."""
import os
import socket
import threading
import time

import samples
import stargz
from faults import FaultRegistry
from images import Layout
from morseltest import need
from registries import Registry

COUNT, SIZE = 12, 300_000


def image(t, count=COUNT):
    path = t.new_path("img")
    files = samples.big_files(path + t.dir[-8:], count, SIZE)
    lay = Layout(path)
    lay.image([stargz.by_hand(files)])
    return lay, files


def cold(t):
    """A registry that never heeds a range, with an eStargz image."""
    lay, files = image(t)
    r = FaultRegistry(t, lay)
    r.blob_path = "/blobs/" + lay.layer_digests()[0]
    r.blob_size = os.path.getsize(lay.blob_path(lay.layer_digests()[0]))
    return r, files


def sent(r):
    return sum(x["sent"] for x in r.requests(r.blob_path))


def once(t, r, what, most=1.01):
    t.check(sent(r) <= most * r.blob_size, f"{what}: {sent(r) / r.blob_size:.2f}x the bytes, "
            f"{[(x['range'], x['status'], x['sent']) for x in r.requests(r.blob_path)]}")


def read_all(t, m, files):
    for name in sorted(files, reverse=True):
        t.check(m.read(name) == files[name], f"{name}: wrong bytes")


def case_first_mount(t):
    """The end of the blob is asked for, all of it comes: that was the only request for it, also for later processes."""
    r, files = cold(t)
    r.rule(path=r.blob_path, ranged=True, whole=True)
    with t.mounted(r.ref(), "--insecure") as m:
        read_all(t, m, files)
        t.contains(m.log(), "sends all of it, which is kept")
    once(t, r, "first mount")
    t.equal(len(r.requests(r.blob_path)), 1, "requests for the blob")
    with t.mounted(r.ref(), "--insecure") as m:
        read_all(t, m, files)
    t.equal(len(r.requests(r.blob_path)), 1, "requests of two mounts")


def case_one_command_after_another(t):
    """What a short command was sent is there for the next."""
    r, files = cold(t)
    r.rule(path=r.blob_path, ranged=True, whole=True)
    t.morsel("ls", "--insecure", r.ref())
    out = t.path("out")
    for name in ("data/f007", "data/f001"):
        t.morsel("cp", "--insecure", r.ref(), name, out)
        with open(out, "rb") as f:
            t.check(f.read() == files[name], f"{name}: wrong bytes")
        os.unlink(out)
    once(t, r, "three commands")


def case_known_index(t):
    """The index is known, the cache on the way is cold: many readers at once, one transfer. Who reads what has passed
    by does not wait for the end."""
    r, files = cold(t)
    t.morsel("ls", "--insecure", r.ref())
    r.forget()
    r.rule(path=r.blob_path, ranged=True, whole=True, rate=2_000_000)
    with t.mounted(r.ref(), "--insecure", "--prefetch", "none") as m:
        start = time.monotonic()
        t.check(m.read("data/f000") == files["data/f000"], "wrong bytes")
        early = time.monotonic() - start
        names = sorted(files)
        t.parallel(8, lambda i: t.check(m.read(names[-1 - i]) == files[names[-1 - i]], f"{names[-1 - i]}: wrong bytes"))
        late = time.monotonic() - start
        t.check(early < 0.6 * late, f"the first file took {early:.2f} s of {late:.2f} s")
        read_all(t, m, files)
        t.equal(m.stat()["read_errors"], 0, "read errors")
    once(t, r, "known index")


def case_one_that_breaks_off(t):
    """The rest is asked for from where it broke."""
    r, files = cold(t)
    r.rule(path=r.blob_path, ranged=True, times=1, whole=True, cut=r.blob_size // 2)
    with t.mounted(r.ref(), "--insecure") as m:
        read_all(t, m, files)
    once(t, r, "broken off")


def case_wrong_bytes_in_the_whole(t):
    """A chunk that is wrong in it is asked for again, alone; others are not."""
    r, files = cold(t)
    r.rule(path=r.blob_path, ranged=True, times=1, whole=True, flip=r.blob_size // 2)
    with t.mounted(r.ref(), "--insecure") as m:
        read_all(t, m, files)
        t.check(m.stat()["digest_errors"] >= 1, "digest_errors")
    once(t, r, "one flipped bit", 1.3)


def case_no_room(t):
    """A cache that is too small for it: right bytes all the same."""
    r, files = cold(t)
    r.rule(path=r.blob_path, ranged=True, whole=True)
    with t.mounted(r.ref(), "--insecure", "--cache-size", "1M") as m:
        for name in ("data/f001", "data/f009"):
            t.check(m.read(name) == files[name], f"{name}: wrong bytes")


def case_disk_that_fills_up(t):
    """In the middle of it: what was asked for is delivered right all the same."""
    t.need_root()
    os.makedirs(t.cache, exist_ok=True)
    t.run("mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "none", t.cache)
    t.defer(t.run, "umount", "-l", t.cache, rc=None)
    r, files = cold(t)
    r.rule(path=r.blob_path, ranged=True, whole=True)
    with t.mounted(r.ref(), "--insecure") as m:
        t.contains(m.log(), "it can't be kept")
        for name in ("data/f011", "data/f000", "data/f006"):
            t.check(m.read(name) == files[name], f"{name}: wrong bytes")


class Relay:
    """Leads connections to a port of loopback and counts what comes back."""

    def __init__(self, t, port):
        self.port, self.bytes = port, 0
        self.lock = threading.Lock()
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self.socket.getsockname()[1]}"
        t.defer(self.socket.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                c = self.socket.accept()[0]
            except OSError:
                return
            s = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.copy, args=(c, s, False), daemon=True).start()
            threading.Thread(target=self.copy, args=(s, c, True), daemon=True).start()

    def copy(self, source, to, count):
        try:
            while data := source.recv(1 << 16):
                if count:
                    with self.lock:
                        self.bytes += len(data)
                to.sendall(data)
            to.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def case_real_pull_through_cache(t):
    """docker-registry as a proxy of another, cold: mounting and reading everything moves every byte once."""
    need("docker-registry")
    lay, files = image(t, 40)
    upstream = Registry(t)
    upstream.push(lay)
    proxy = Registry(t, proxy_of=f"http://{upstream.host}")
    relay = Relay(t, proxy.port)
    with t.mounted(f"{relay.host}/test/image", "--insecure") as m:
        read_all(t, m, files)
        t.contains(m.log(), "sends all of it")
    size = sum(os.path.getsize(lay.blob_path(d)) for d in lay.layer_digests())
    t.check(relay.bytes < 1.02 * size + 20_000, f"{relay.bytes / size:.2f}x the bytes")
