"""The cache: what a second mount costs, tag policy, sharing, eviction, damage, a full or read-only disk."""
import glob
import hashlib
import os
import random
import shutil
import signal
import subprocess
import time

import samples
import stargz
from faults import FaultRegistry
from images import Layout, layer
from morseltest import wait_until
from tarball import Tar


def gzip_image(t, count=8, size=900_000, seed=None):
    path = t.new_path("img")
    files = samples.big_files(seed or path[-8:], count, size)
    lay = Layout(path)
    lay.image([layer(samples.files_tar(files))])
    r = FaultRegistry(t, lay)
    r.blob_path = lay.layer_digests()[0]
    r.blob_size = os.path.getsize(lay.blob_path(r.blob_path))
    return r, files


def stargz_image(t, count=8, size=900_000):
    path = t.new_path("img")
    files = samples.big_files(path[-8:], count, size)
    lay = Layout(path)
    lay.image([stargz.by_hand(files)])
    r = FaultRegistry(t, lay)
    r.blob_path = lay.layer_digests()[0]
    return r, files


def all_right(t, m, files, what):
    for name, data in files.items():
        t.check(m.read(name) == data, f"{what}: {name}")


def drop_pages(m, files):
    for name in files:
        fd = os.open(m / name, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


# -- a second mount

def case_known_image_by_digest_makes_no_request(t):
    r, files = gzip_image(t)
    with t.mounted(r.ref(), "--insecure") as m:
        all_right(t, m, files, "first mount")
    t.check(r.log, "the first mount asks")
    r.forget()
    with t.mounted(r.ref(r.digest), "--insecure") as m:
        all_right(t, m, files, "second mount")
        t.equal((m.stat()["index"]["requests"], m.stat()["requests"]), (0, 0), "requests by its own count")
    t.equal(r.log, [], "requests")


def case_known_image_without_a_network(t):
    r, files = gzip_image(t)
    t.morsel("ls", "--insecure", r.ref())
    r.end()
    start = time.monotonic()
    with t.mounted(r.ref(r.digest), "--insecure") as m:
        t.check(time.monotonic() - start < 3 * t.slow, "it took long")
        all_right(t, m, files, "by digest")
    with t.mounted(r.ref(), "--offline") as m:
        all_right(t, m, files, "by tag, --offline")
        t.equal(m.stat()["offline"], True, "stat says so")


def case_a_plain_layer_is_fetched_once(t):
    """Streamed whole at the first mount, and no byte of it again."""
    r, files = gzip_image(t)
    with t.mounted(r.ref(), "--insecure") as m:
        all_right(t, m, files, "streamed")
        t.equal(m.stat()["requests"], 0, "requests since the mount")
    t.equal(sum(x["sent"] for x in r.requests(r.blob_path)), r.blob_size, "bytes sent")
    t.equal(len(r.requests(r.blob_path)), 1, "requests")


def case_layers_are_shared_between_images(t):
    """The same blob in another image and another repository's tag is not fetched again."""
    shared = layer(samples.files_tar(samples.big_files("shared", 3, 400_000)))
    lay = Layout(t.path("img"))
    lay.image([shared, layer(Tar().file("a", b"a"))], name="one")
    lay.image([shared, layer(Tar().file("b", b"b"))], name="two")
    r = FaultRegistry(t, lay)
    digest = shared.descriptor()["digest"]
    t.morsel("ls", "--insecure", r.ref("one"))
    t.equal(len(r.requests(digest)), 1, "requests")
    t.morsel("cat", "--insecure", r.ref("two"), "data/f001", "b")
    t.equal(len(r.requests(digest)), 1, "requests for a known layer")


# -- tags

def moving_tag(t):
    lay = Layout(t.path("img"))
    old = lay.image([layer(Tar().file("which", b"old"))], name="latest")
    new = lay.manifest([layer(Tar().file("which", b"new"))])
    r = FaultRegistry(t, lay)
    t.equal(t.morsel("cat", "--insecure", r.ref(), "which").text, "old", "before")

    def move():
        lay.manifests.clear()
        lay.tag(new, "latest")
        r.forget()

    return r, move, old


def case_pull_newer(t):
    r, move, _ = moving_tag(t)
    t.equal(t.morsel("cat", "--insecure", r.ref(), "which").text, "old", "unchanged")
    move()
    t.equal(t.morsel("cat", "--insecure", r.ref(), "which").text, "new", "a moved tag is seen")
    r.end()
    answer = t.morsel("cat", "--insecure", r.ref(), "which")
    t.equal(answer.text, "new", "what was known")
    t.equal(len(answer.err_text.splitlines()), 1, "it says so once")
    t.contains(answer.err, r.host)


def case_pull_missing(t):
    r, move, _ = moving_tag(t)
    move()
    t.equal(t.morsel("cat", "--insecure", "--pull", "missing", r.ref(), "which").text, "old", "what is known is used")
    t.equal(r.log, [], "requests")


def case_pull_always(t):
    r, move, _ = moving_tag(t)
    move()
    t.equal(t.morsel("cat", "--insecure", "--pull", "always", r.ref(), "which").text, "new", "asked")
    r.end()
    t.refused(5, "cat", "--insecure", "--pull", "always", r.ref(), "which", says=r.host)
    t.refused(2, "cat", "--offline", "--pull", "always", r.ref(), "which", says="--offline")


def case_pull_never_and_offline(t):
    r, move, digest = moving_tag(t)
    move()
    for flags in (("--pull", "never"), ("--offline",)):
        t.equal(t.morsel("cat", "--insecure", *flags, r.ref(), "which").text, "old", "a known tag")
        t.equal(t.morsel("cat", "--insecure", *flags, r.ref(digest), "which").text, "old", "a known digest")
        t.refused(3, "cat", "--insecure", *flags, f"{r.host}/test/image:other", "which")
    unknown = f"{r.host}/test/image@sha256:{'0' * 64}"
    for verb in (("mount", unknown, t.work), ("ls", unknown), ("cat", unknown, "which"), ("cp", unknown, "which", t.path("x")),
                 ("inspect", unknown), ("pull", unknown, t.path("x")), ("pull", "--oci", t.path("x"), r.ref()), ("tags", r.ref())):
        t.refused(3, verb[0], "--insecure", "--offline", *verb[1:], says=("--offline", r.host))
    t.check(not os.path.exists(t.path("x")), "something was made")
    t.equal(r.log, [], "requests")


def case_offline_never_dials_for_contents(t):
    """What is not there is EIO, and nobody is asked for it."""
    r, files = stargz_image(t)
    t.morsel("ls", "--insecure", r.ref())
    r.forget()
    with t.mounted(r.ref(), "--insecure", "--offline") as m:
        for name in files:
            try:
                m.read(name)
                t.check(False, f"{name} could be read")
            except OSError as e:
                t.equal(e.errno, 5, "errno")
    name = next(iter(files))
    t.refused(5, "cat", "--insecure", "--offline", r.ref(), name, says="--offline")
    t.refused(5, "cp", "--insecure", "--offline", r.ref(), name, t.path("copy"), says="--offline")
    t.equal(r.log, [], "requests")


# -- one request for many

def case_64_readers_of_a_cold_chunk(t):
    r, files = stargz_image(t, count=2)
    with t.mounted(r.ref(), "--insecure") as m:
        os.listdir(m / "data")
        r.forget()
        r.rule(path=r.blob_path, delay=0.5)  # so that all come while it is under way
        data = files["data/f001"]

        def one(i):
            fd = os.open(m / "data/f001", os.O_RDONLY)
            got = os.pread(fd, 4096, i * 4096)
            os.close(fd)
            return got == data[i * 4096:(i + 1) * 4096]

        t.check(all(t.parallel(64, one)), "wrong bytes")
        t.equal(len(r.requests(r.blob_path)), 1, "requests")


def case_two_processes_one_request(t):
    r, files = stargz_image(t, count=2)
    with t.mounted(r.ref(), "--insecure") as a, t.mounted(r.ref(), "--insecure", at=t.path("second")) as b:
        r.forget()
        r.rule(path=r.blob_path, delay=0.7)
        got = t.parallel(8, lambda i: (a if i % 2 else b).read("data/f001"))
        t.check(all(g == files["data/f001"] for g in got), "wrong bytes")
        ranges = [x["range"] for x in r.requests(r.blob_path)]
        t.equal(len(ranges), len(set(ranges)), f"a range was fetched twice: {ranges}")
        t.equal(len(ranges), 1, "requests")


def case_a_killed_fetcher_is_replaced(t):
    """The process that fetches for both is killed: the other one fetches itself, once; its successor gets that."""
    r, files = stargz_image(t, count=2)
    with t.mounted(r.ref(), "--insecure") as a, t.mounted(r.ref(), "--insecure", at=t.path("second")) as b:
        r.forget()
        r.rule(path=r.blob_path, times=1, stall=30)
        pid = a.pid
        first = t.popen("cat", a / "data/f001", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("the first to fetch", lambda: r.requests(r.blob_path))
        time.sleep(0.2)
        second = t.popen("sh", "-c", f"exec sha256sum {b.path}/data/f001 >{t.path('sum')}")
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        t.equal(second.wait(15), 0, "the other reader")
        with open(t.path("sum"), encoding="ascii") as f:
            t.equal(f.read().split()[0], hashlib.sha256(files["data/f001"]).hexdigest(), "its bytes")
        t.equal(first.wait(5), 0, "the reader of the killed one")
        t.equal(len(r.requests(r.blob_path)), 2, "requests")


# -- eviction

def case_small_cache(t):
    """Bigger images than the cache: right bytes, refetched by range through checkpoints, never the whole blob again."""
    r, files = gzip_image(t, count=12)
    limit = 3 << 20
    with t.mounted(r.ref(), "--insecure", "--cache-size", str(limit)) as m:
        all_right(t, m, files, "first")
        r.forget()
        rng = random.Random(3)
        for _ in range(3):
            drop_pages(m, files)
            for name in rng.sample(list(files), len(files)):
                t.check(m.read(name) == files[name], name)
        for x in r.requests(r.blob_path):
            t.check(x["range"], "the whole blob was asked for")
            t.check(x["sent"] < r.blob_size * 0.7, f"{x['sent']} of {r.blob_size} bytes in one request")
    used = t.morsel("cache", "info", "--cache-size", str(limit), "--format", "json").json()["bytes"]
    t.check(used <= limit + (36 << 20), f"{used} bytes used of {limit}")


def case_pruned_layers_stay_lazy(t):
    r, files = gzip_image(t)
    t.morsel("ls", "--insecure", r.ref())
    t.morsel("cache", "prune", "1M")
    with t.mounted(r.ref(), "--insecure") as m:
        r.forget()
        t.equal(m.stat()["layers"][0]["lazy"], True, "lazy")
        t.check(m.read("data/f003") == files["data/f003"], "contents")
        cost = sum(x["sent"] for x in r.requests(r.blob_path))
        t.check(0 < cost < r.blob_size * 0.8, f"one file of eight cost {cost} of {r.blob_size} bytes")
        all_right(t, m, files, "all")


def case_eviction_under_readers(t):
    r, files = gzip_image(t, count=6)
    with t.mounted(r.ref(), "--insecure") as m:
        stop = time.monotonic() + 4

        def work(i):
            if i == 0:
                while time.monotonic() < stop:
                    t.morsel("cache", "prune", "100K")
                    time.sleep(0.1)
                return True
            rng = random.Random(i)
            while time.monotonic() < stop:
                name = rng.choice(list(files))
                off = rng.randrange(len(files[name]))
                fd = os.open(m / name, os.O_RDONLY)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                got = os.pread(fd, 70_000, off)
                os.close(fd)
                if got != files[name][off:off + 70_000]:
                    return False
            return True

        t.check(all(t.parallel(4, work)), "wrong bytes")


def case_clear_under_a_mount(t):
    r, files = gzip_image(t)
    with t.mounted(r.ref(), "--insecure") as m:
        t.morsel("cache", "clear")
        drop_pages(m, files)
        all_right(t, m, files, "after cache clear")
    with t.mounted(r.ref(), "--insecure") as m:
        all_right(t, m, files, "the next mount")


# -- damage

def damage(path, offset, data=b"\xff\x00damage"):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def case_damaged_contents_heal(t):
    r, files = gzip_image(t)
    t.morsel("ls", "--insecure", r.ref())
    [data] = glob.glob(f"{t.cache}/layers/*/data")
    size = os.path.getsize(data)
    for i in range(10):
        damage(data, size * i // 10 + 100)
    r.forget()
    with t.mounted(r.ref(r.digest), "--insecure") as m:
        all_right(t, m, files, "after damage")
        t.check(m.stat()["digest_errors"] >= 1, "digest_errors")
        t.contains(m.log(), "damaged")
    t.check(r.requests(r.blob_path), "what was damaged is fetched again")
    t.equal(t.morsel("cache", "verify", "--format", "json").json()["damaged"], 0, "healed on disk too")


def case_damaged_contents_offline_are_not_served(t):
    r, files = gzip_image(t, count=2)
    t.morsel("ls", "--insecure", r.ref())
    [data] = glob.glob(f"{t.cache}/layers/*/data")
    damage(data, 5000)
    with t.mounted(r.ref(), "--offline") as m:
        try:
            m.read("data/f000")
            t.check(False, "damaged bytes were served")
        except OSError as e:
            t.equal(e.errno, 5, "errno")


def case_verify_finds_damage(t):
    r, files = gzip_image(t)
    t.morsel("ls", "--insecure", r.ref())
    [data] = glob.glob(f"{t.cache}/layers/*/data")
    damage(data, 5000)
    answer = t.morsel("cache", "verify", rc=6)
    t.contains(answer.err, "damaged")
    t.equal(len(answer.err_text.splitlines()), 1, "lines on stderr")
    t.equal(t.morsel("cache", "verify", "--format", "json").json()["damaged"], 0, "afterwards")
    t.equal(t.morsel("cat", "--insecure", r.ref(), "data/f000").out, files["data/f000"], "contents")


def case_damaged_files_of_every_kind(t):
    """Truncated, emptied, garbled, gone, a directory in its place: made again, never trusted, never a crash."""
    r, files = gzip_image(t, count=2, size=300_000)
    ref = r.ref()
    t.morsel("ls", "--insecure", ref)
    pristine = t.path("pristine")
    shutil.copytree(t.cache, pristine)
    names = [os.path.relpath(p, pristine) for p in
             glob.glob(f"{pristine}/layers/*/*") + glob.glob(f"{pristine}/images/*/*/*") +
             glob.glob(f"{pristine}/blobs/sha256/*") + glob.glob(f"{pristine}/refs/*")]
    t.check(len(names) >= 8, f"files of the cache: {names}")

    def truncate(p):
        os.truncate(p, os.path.getsize(p) // 2)

    def empty(p):
        os.truncate(p, 0)

    def garble(p):
        size = os.path.getsize(p)
        for at in (0, size // 3, size // 2, max(0, size - 9)):
            damage(p, at, os.urandom(8))

    def directory(p):
        os.unlink(p)
        os.mkdir(p)

    def fifo(p):
        os.unlink(p)
        os.mkfifo(p)

    for how in (truncate, empty, garble, os.unlink, directory, fifo):
        for name in names:
            shutil.rmtree(t.cache, ignore_errors=True)
            shutil.copytree(pristine, t.cache)
            how(f"{t.cache}/{name}")
            what = f"{how.__name__} {name}"
            t.log(f"-- {what}")
            answer = t.morsel("cat", "--insecure", ref, "data/f000", "data/f001", rc=None, timeout=20)
            t.check(answer.rc == 0 and answer.out == files["data/f000"] + files["data/f001"],
                    f"{what}: exit code {answer.rc}, {len(answer.out)} bytes: {answer.err_text[:500]}")


# -- a disk that is full, or read-only

def small_disk(t, size):
    t.need_root()
    os.makedirs(t.cache, exist_ok=True)
    t.run("mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "none", t.cache)
    t.defer(t.run, "umount", "-l", t.cache, rc=None)


def case_full_disk_degrades_to_memory(t):
    small_disk(t, "1m")
    r, files = gzip_image(t, count=6)
    with t.mounted(r.ref(), "--insecure") as m:
        all_right(t, m, files, "on a full disk")
        warnings = [line for line in m.log().splitlines() if ": warning:" in line]
        t.equal(len(warnings), 1, f"warnings: {warnings}")
        t.contains(warnings[0], t.cache)


def case_full_disk_and_lazy_reads(t):
    small_disk(t, "2m")
    r, files = stargz_image(t, count=8)
    with t.mounted(r.ref(), "--insecure") as m:
        all_right(t, m, files, "on a disk that fills up")
        drop_pages(m, files)
        all_right(t, m, files, "again")


def case_read_only_cache(t):
    t.need_root()
    r, files = gzip_image(t, count=3)
    other, other_files = gzip_image(t, count=3)
    t.morsel("ls", "--insecure", r.ref())
    t.run("mount", "--bind", t.cache, t.cache)
    t.defer(t.run, "umount", "-l", t.cache, rc=None)
    t.run("mount", "-o", "remount,ro,bind", t.cache)
    with t.mounted(r.ref(r.digest), "--insecure") as m:
        all_right(t, m, files, "a known image")
    with t.mounted(other.ref(), "--insecure") as m:
        all_right(t, m, other_files, "an unknown one")
        warnings = [line for line in m.log().splitlines() if ": warning:" in line]
        t.equal(len(warnings), 1, f"warnings: {warnings}")


def case_a_cache_of_others_is_refused(t):
    lay = samples.hello(t)
    os.makedirs(t.cache)
    os.chmod(t.cache, 0o777)
    t.refused(4, "ls", f"oci:{lay.path}", says=t.cache)
    if not os.geteuid():
        os.chmod(t.cache, 0o700)
        os.chown(t.cache, 65534, 65534)
        t.refused(4, "ls", f"oci:{lay.path}", says=t.cache)


def case_a_cache_of_another_version_is_refused(t):
    lay = samples.hello(t)
    t.morsel("ls", f"oci:{lay.path}")
    with open(f"{t.cache}/version", "w", encoding="ascii") as f:
        f.write("99\n")
    t.refused(8, "ls", f"oci:{lay.path}", says="cache")


def case_kill_9_while_indexing(t):
    """Nothing half-made is used; what is left in tmp goes with the next run."""
    r, files = gzip_image(t)
    for at in (10_000, r.blob_size // 2, r.blob_size - 10):
        r.heal()
        r.forget()
        r.rule(path=r.blob_path, stall=30, at=at)
        p = t.popen(t.binary, "ls", "--insecure", r.ref(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until("the layer to come", lambda: r.requests(r.blob_path) and r.requests(r.blob_path)[0]["sent"] >= at)
        time.sleep(0.1)
        p.kill()
        p.wait()
    r.heal()
    with t.mounted(r.ref(), "--insecure") as m:
        all_right(t, m, files, "after kills")
    t.check_cache_tmp()
    t.equal(t.morsel("cache", "verify", "--format", "json").json()["damaged"], 0, "damaged")
