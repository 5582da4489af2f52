"""Prefetch: what it fetches and in which order, what it leaves alone, and who goes first. By counters and request logs."""
import os
import shutil
import time

import samples
import stargz
from faults import FaultRegistry
from images import Layout
from morseltest import wait_until
from registries import Registry
from tarball import Tar

COUNT, SIZE = 40, 100_000


def image(t, seed, prioritized=None):
    """An eStargz image of COUNT files by Debian's library: (layout, files)."""
    files = samples.big_files(seed, COUNT, SIZE)
    flags = {}
    if prioritized:
        flags["prioritized"] = ",".join(prioritized)
    lay = Layout(t.new_path("img"))
    tar = Tar().dir("data")
    for path, data in files.items():
        tar.file(path, data)
    lay.image([stargz.by_go(t, tar.end(), **flags)])
    return lay, files


def registry(t, seed, **kw):
    lay, files = image(t, seed, **kw)
    r = Registry(t)
    r.push(lay)
    return r, files


def settled(m, least=1):
    """Waits until so much was prefetched and no more comes; the counters."""
    wait_until("something is prefetched", lambda: m.stat()["prefetch_bytes"] >= least, 30)
    last, same = m.stat(), 0
    while same < 5:
        time.sleep(0.1)
        now = m.stat()
        same = same + 1 if now["prefetch_bytes"] == last["prefetch_bytes"] else 0
        last = now
    return last


def check_local(t, m, files, names):
    before = m.stat()["requests"]
    for name in names:
        t.equal(m.read(name), files[name], name)
    t.equal(m.stat()["requests"], before, "requests for what was prefetched")


def order_file(t):
    top = f"{t.cache}/images/sha256"
    return [f"{top}/{d}/order" for d in os.listdir(top)]


def case_landmark(t):
    """What the producer put before the landmark is fetched without being asked for; nothing behind it is."""
    first = ["data/f030", "data/f007", "data/f021"]
    r, files = registry(t, 1, prioritized=first)
    with t.mounted(r.ref()) as m:
        st = settled(m, SIZE)
        t.check(st["prefetch_bytes"] < 6 * SIZE, f"three files cost {st['prefetch_bytes']} bytes")
        t.equal(st["bytes_fetched"], st["prefetch_bytes"], "bytes that nobody prefetched")
        t.equal(m.read("data/f001"), files["data/f001"], "another file")
        now = m.stat()
        t.check(now["requests"] > st["requests"], "another file was there already")
        t.equal(now["prefetch_bytes"], st["prefetch_bytes"], "a read is no prefetch")
        r.stop()
        for name in first:
            t.equal(m.read(name), files[name], name)
        shown = t.morsel("stat", m.path).text
        t.check("prefetch   " in shown, "the table does not show the prefetch")


def case_none(t):
    r, files = registry(t, 2, prioritized=["data/f030"])
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        time.sleep(0.5)
        t.equal(m.stat()["bytes_fetched"], 0, "bytes")
        t.equal(m.read("data/f030"), files["data/f030"], "contents")
        t.equal(m.stat()["prefetch_requests"], 0, "requests of a prefetch")


def case_nothing_without_landmark(t):
    """A first mount of an image without a landmark fetches nothing in advance."""
    r, _ = registry(t, 3)
    with t.mounted(r.ref()) as m:
        time.sleep(0.5)
        t.equal(m.stat()["requests"], 0, "requests")


def learn(t, ref, names):
    """The order that a mount which reads these files leaves behind, in a file of its own; the cache is empty again."""
    with t.mounted(ref) as m:
        for name in names:
            m.read(name)
    kept = t.new_path("order")
    shutil.copy(order_file(t)[0], kept)
    shutil.rmtree(t.cache)
    return kept


def case_order_is_learned(t):
    """What one mount read the next one fetches first, in that order."""
    r, files = registry(t, 4)
    names = ["data/f033", "data/f004", "data/f019"]
    kept = learn(t, r.ref(), names)
    with t.mounted(r.ref()) as m:
        t.equal(m.stat()["prefetch_requests"], 0, "nothing is known yet")
    shutil.copy(kept, order_file(t)[0])
    before = len(r.requests("/blobs/"))
    with t.mounted(r.ref()) as m:
        st = settled(m, SIZE)
        t.check(st["prefetch_bytes"] < 8 * SIZE, f"three files cost {st['prefetch_bytes']} bytes")
        check_local(t, m, files, names)
    t.check(len(r.requests("/blobs/")) > before, "the registry was not asked")
    with t.mounted(r.ref()) as m:  # it survives a mount that reads nothing
        pass
    with t.mounted(r.ref(), "--prefetch", "landmark") as m:
        time.sleep(0.3)
        t.equal(m.stat()["prefetch_requests"], 0, "requests with another kind")


def case_order_is_a_hint(t):
    """Whatever stands in the file: the mount works and shows the right bytes."""
    r, files = registry(t, 5)
    kept = learn(t, r.ref(), ["data/f010"])
    with open(kept, "rb") as f:
        good = f.read()
    bad = [b"", b"x", good[:-1], good + b"\0", good[:64], b"\0" * len(good), good[:8] + b"\xff" * 8 + good[16:],
           good[:64] + b"\xff" * 16, good[:16] + bytes(32) + good[48:]]
    for i, data in enumerate(bad):
        with t.mounted(r.ref()) as m:
            t.equal(m.read("data/f020"), files["data/f020"], f"contents, {i}")
            t.equal(m.stat()["prefetch_requests"], 0, f"requests, {i}")
        with open(order_file(t)[0], "wb") as f:
            f.write(data)
    t.morsel("cache", "verify")


def case_list(t):
    """Files named in a list, whatever else stands there, are fetched."""
    r, files = registry(t, 6)
    names = t.path("names")
    with open(names, "w", encoding="ascii") as f:
        f.write("/data/f012\ndata/f025\n\nno/such/file\ndata\n/../data/f002")
    with t.mounted(r.ref(), "--prefetch", f"list={names}") as m:
        st = settled(m, SIZE)
        t.check(st["prefetch_bytes"] < 6 * SIZE, f"three files cost {st['prefetch_bytes']} bytes")
        check_local(t, m, files, ["data/f012", "data/f025", "data/f002"])
    t.refused(3, "mount", "--prefetch", f"list={names}.missing", r.ref(), t.mnt, says="missing")
    t.refused(2, "mount", "--prefetch", "everything", r.ref(), t.mnt, says="everything")
    for kinds in ("none,all", "landmark,none", "all,"):
        t.refused(2, "mount", "--prefetch", kinds, r.ref(), t.mnt, says=kinds)
    t.refused(2, "mount", "--bandwidth", "-1", r.ref(), t.mnt, says="bandwidth")


def case_all_by_environment(t):
    """Everything comes, once; then nothing is asked for any more."""
    r, files = registry(t, 7)
    with t.mounted(r.ref(), env={"MORSEL_PREFETCH": "all", "MORSEL_BANDWIDTH": "1G"}) as m:
        wait_until("the layer is complete", lambda: m.stat()["layers"][0]["complete"], 60)
        check_local(t, m, files, files)
        st = m.stat()
        t.check(st["bytes_fetched"] <= 1.05 * st["layers"][0]["size"], f"{st['bytes_fetched']} bytes were moved")


def case_bandwidth(t):
    """Prefetch keeps to its limit; a read does not."""
    r, files = registry(t, 8)
    limit = 200_000
    start = time.monotonic()
    with t.mounted(r.ref(), "--prefetch", "all", "--bandwidth", str(limit)) as m:
        wait_until("some was prefetched", lambda: m.stat()["prefetch_bytes"] >= 2 * SIZE, 60)
        t.equal(m.read("data/f039"), files["data/f039"], "the last file")
        st = m.stat()
        allowed = limit * (time.monotonic() - start) + 2 * SIZE
        t.check(st["prefetch_bytes"] <= allowed, f"{st['prefetch_bytes']} bytes, {allowed:.0f} are allowed")
        t.check(st["bytes_fetched"] > st["prefetch_bytes"], "the read was a prefetch")


def case_stops_while_told_429(t):
    """One 429, and no prefetch until the time that it named; reads go on to ask."""
    lay, files = image(t, 9)
    with FaultRegistry(t, lay) as r:
        with t.mounted(r.ref(), "--prefetch", "none"):
            pass
        r.forget()
        rule = r.rule(path="/blobs/", ranged=True, status=429, headers={"Retry-After": "3600"})
        with t.mounted(r.ref(), "--prefetch", "all", "--read-timeout", "3s") as m:
            wait_until("it has asked", lambda: r.requests("/blobs/"), 10)
            time.sleep(3)
            t.equal(len(r.requests("/blobs/")), 1, "requests after being told to wait an hour")
            t.equal(m.stat()["prefetch_bytes"] < SIZE, True, "little came")
            rule.times = 0
            t.equal(m.read("data/f005"), files["data/f005"], "a read meanwhile")
            time.sleep(1.5)
            asked = len(r.requests("/blobs/"))
            t.check(asked <= 3, f"{asked} requests: the prefetch has gone on")


def case_goes_on_after_a_failure(t):
    lay, files = image(t, 10)
    with FaultRegistry(t, lay) as r:
        with t.mounted(r.ref(), "--prefetch", "none"):
            pass
        r.rule(path="/blobs/", ranged=True, times=2, status=503)
        with t.mounted(r.ref(), "--prefetch", "all") as m:
            wait_until("the layer is complete", lambda: m.stat()["layers"][0]["complete"], 60)
            check_local(t, m, files, files)


def case_corrupt_bytes_are_not_kept(t):
    """What a prefetch finds wrong is refused as for a read, which tries again itself."""
    lay, files = image(t, 11)
    with FaultRegistry(t, lay) as r:
        with t.mounted(r.ref(), "--prefetch", "none"):
            pass
        r.rule(path="/blobs/", ranged=True, times=3, flip=100)
        with t.mounted(r.ref(), "--prefetch", "all") as m:
            for name, data in files.items():
                t.equal(m.read(name), data, name)


def case_a_read_does_not_wait_for_it(t):
    """While a prefetch hangs at the registry, a read of something else is answered."""
    lay, files = image(t, 12)
    with FaultRegistry(t, lay) as r:
        with t.mounted(r.ref(), "--prefetch", "none"):
            pass
        r.forget()
        r.rule(path="/blobs/", ranged=True, times=1, delay=8)
        with t.mounted(r.ref(), "--prefetch", "all") as m:
            wait_until("the prefetch has asked", lambda: r.requests("/blobs/"), 10)
            start = time.monotonic()
            t.equal(m.read("data/f035"), files["data/f035"], "contents")
            took = time.monotonic() - start
            t.check(took < 4, f"the read took {took:.1f} s")
