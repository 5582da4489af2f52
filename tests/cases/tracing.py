"""What measuring says: traces and access profiles of mounts, against their counters and Go's and Python's own readers."""
import gzip
import json
import os
import shutil
import subprocess
import time
import urllib.request

import samples
import stargz
from faults import FaultRegistry
from gotools import go, totals, trace_viewers
from images import Layout
from morseltest import TOOLS, free_port, need, secrets, wait_until
from registries import Registry
from tarball import Tar

CPU, FGPROF, HEAP, ALLOCS, TRACE, ACCESS = 1, 2, 4, 8, 16, 32
COUNT, SIZE = 12, 100_000
PHASES = {"queue", "connect", "first_byte", "transfer", "decompress", "verify", "cache"}
SOURCES = {"cache", "memory", "network", "readahead", "prefetch", "hole", "error"}


def tool(t):
    """The recorder, linked with the library of the build under test."""
    need("gcc")
    build = os.path.dirname(t.binary)
    out = t.path("profiled")
    sanitize = {"plain": [], "asan": ["-fsanitize=address,undefined"], "tsan": ["-fsanitize=thread"]}[t.build]
    t.run("gcc", "-Wall", "-Wextra", "-Werror", *sanitize, f"-I{TOOLS}/../../include", f"{TOOLS}/profiled.c", "-L" + build,
          "-lmorsel", f"-Wl,-rpath,{build}", "-o", out)
    return out


def image(t, seed):
    files = samples.big_files(seed, COUNT, SIZE)
    lay = Layout(t.new_path("img"))
    tar = Tar().dir("data").dir("empty")
    for path, data in files.items():
        tar.file(path, data)
    tar.file("data/zeros", b"").symlink("data/link", "f000")
    lay.image([stargz.by_go(t, tar.end())])
    return lay, files


def registry(t, seed, **kw):
    lay, files = image(t, seed)
    r = Registry(t, **kw)
    r.push(lay)
    return r, files


class Recording:
    """Records the server of a mount until stop()."""

    def __init__(self, t, m, kinds, *more, seconds=60):
        self.t, self.out = t, t.new_path("profiles")
        os.mkdir(self.out)
        self.p = t.popen(tool(t), "attach", m.path, kinds, int(seconds * 1000), self.out, *more, stderr=subprocess.PIPE)
        time.sleep(0.4 * t.slow)  # it has begun by then; a read of before would only be missing

    def stop(self):
        time.sleep(0.2 * self.t.slow)  # a request that brought what was read may bring more; it counts when it is over
        self.p.send_signal(2)
        err = self.p.communicate(timeout=60)[1]
        self.t.equal((self.p.returncode, err), (0, b""), "the recorder's end")
        return self

    def path(self, name):
        return f"{self.out}/{name}"

    def reads(self):
        with open(self.path("access.jsonl"), encoding="utf-8") as f:
            return [json.loads(line) for line in f]


def difference(after, before):
    names = {"opens": "opens", "reads": "reads", "bytes": "bytes_served", "fetched_bytes": "bytes_fetched", "wait": "wait_ns"}
    return {kind: after[name] - before[name] for kind, name in names.items()}


def check_reads(t, reads):
    for r in reads:
        t.equal(set(r["phases"]) - PHASES, set(), "unknown phases")
        t.check(r["source"] in SOURCES, f"source {r['source']}")
        total, phases = r["duration_ns"], sum(r["phases"].values())
        t.check(abs(total - phases) <= 0.02 * total, f"the phases of {r} make {phases}")


def case_totals(t):
    """Access totals are the server's counters exactly; the trace has each read, and its phases add up."""
    r, files = registry(t, 1)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        before = m.stat()
        rec = Recording(t, m, TRACE | ACCESS)
        for name, data in files.items():
            t.equal(m.read(name), data, name)
        t.run("cat", m / "data/f001", m / "data/f002", m / "data/zeros")
        t.parallel(4, lambda i: t.run("sha256sum", m / f"data/f00{i}"))
        rec.stop()
        want = difference(m.stat(), before)
        t.equal(totals(t, rec.path("access.pprof")), want, "access totals")
        reads = rec.reads()
        check_reads(t, reads)
        t.equal(len(reads), want["reads"], "reads")
        t.equal(sum(x["length"] for x in reads), want["bytes"], "bytes delivered")
        t.equal(sum(x.get("wait_ns", 0) for x in reads), want["wait"], "time waited")
        t.check(all(x.get("wait_ns", 0) <= x["duration_ns"] * 1.02 + 100_000 for x in reads), "a wait longer than its read")
        t.equal({x["path"] for x in reads}, {"/" + f for f in files}, "paths")
        digest = m.stat()["layers"][0]["digest"]
        t.equal({x["layer"] for x in reads}, {digest}, "layers")
        t.check(any(x["source"] == "network" for x in reads), "nothing came by the network")
        t.equal({x["pid"] for x in reads if x["command"].startswith("python")}, {os.getpid()}, "pid")
        now = time.time()
        for x in reads:
            t.check(now - 120 * t.slow < x["time"] < now + 1, f"time {x['time']}")
            t.check(x["offset"] + x["length"] <= SIZE, f"range {x}")
        for kind, in (("decompress",), ("verify",), ("first_byte",)):
            t.check(any(kind in x["phases"] for x in reads), f"no read spent time on {kind}")


def case_prefetch(t):
    """What a prefetch fetches is its own, and reads of that say so."""
    lay, files = image(t, 2)
    with FaultRegistry(t, lay) as r:
        with t.mounted(r.ref(), "--prefetch", "none"):
            pass
        r.rule(path="/blobs/", ranged=True, times=1, delay=2 * t.slow)  # the recording begins before anything came
        with t.mounted(r.ref(), "--prefetch", "all") as m:
            rec = Recording(t, m, ACCESS)
            wait_until("the layer is complete", lambda: m.stat()["layers"][0]["complete"], 60)
            t.equal(m.read("data/f005"), files["data/f005"], "contents")
            rec.stop()
            st = m.stat()
            sums = totals(t, rec.path("access.pprof"))
            t.equal(sums, difference(st, dict.fromkeys(st, 0)), "access totals")
            t.equal(st["bytes_fetched"], st["prefetch_bytes"], "bytes of the prefetch")
            t.equal({x["source"] for x in rec.reads()}, {"prefetch"}, "sources")
            top = go(t, "tool", "pprof", "-top", "-sample_index=fetched_bytes", "-tagfocus=op=prefetch", rec.path("access.pprof"))
            t.contains(top.text, "(prefetch)", f"{sums['fetched_bytes'] / 1024:.2f}kB")


def case_second_time(t):
    """What is there is read from the cache, and each process opens a file once."""
    r, files = registry(t, 2)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        m.read("data/f003")
        with open(m / "data/f003", "rb") as f:
            os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        rec = Recording(t, m, ACCESS)
        for _ in range(3):
            t.run("cat", m / "data/f003")
            with open(m / "data/f003", "rb") as f:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        rec.stop()
        reads = rec.reads()
        t.equal({x["source"] for x in reads}, {"cache"}, "sources")
        t.equal({x["command"] for x in reads}, {"cat"}, "commands")
        t.equal(len({x["pid"] for x in reads}), 3, "processes")
        sums = totals(t, rec.path("access.pprof"))
        t.equal((sums["opens"], sums["bytes"], sums["fetched_bytes"]), (3, 3 * SIZE, 0), "opens by three processes")
        check_reads(t, reads)


def case_pprof_views(t):
    """Path components are frames; labels tell layers and processes apart."""
    r, files = registry(t, 3)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        rec = Recording(t, m, ACCESS)
        t.run("cat", m / "data/f004")
        rec.stop()
        profile = rec.path("access.pprof")
        top = go(t, "tool", "pprof", "-top", "-cum", "-sample_index=bytes", profile).text
        t.contains(top, "data/", "f004")
        digest = m.stat()["layers"][0]["digest"]
        for focus, found in ((f"layer={digest}", True), ("layer=sha256:0000", False), ("command=cat", True), ("op=read", True),
                             ("command=dog", False)):
            text = go(t, "tool", "pprof", "-top", "-sample_index=bytes", f"-tagfocus={focus}", profile).text
            t.equal("f004" in text, found, focus)


def check_pages(t, viewer, trace):
    """What go tool trace serves to a browser."""
    port = free_port()
    p = t.popen(viewer, f"-http=127.0.0.1:{port}", trace, env={"HOME": t.work},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def page(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as f:
            return f.read().decode()

    def alive():
        t.check(p.poll() is None, f"{viewer} ended: it can't read the trace")
        try:
            return page("/usertasks")
        except OSError:
            return None

    tasks = wait_until("the pages", alive, 30)
    t.contains(tasks, "fuse.read", "http.GET")
    t.contains(page("/userregions"), "first_byte", "decompress")
    t.contains(page("/usertask?type=fuse.read"), "/data/f00", "100000")
    t.contains(page("/goroutines"), "fuse.read")
    t.contains(page("/jsontrace"), "fuse.read", "first_byte")
    if shutil.which("dot"):
        page("/regionblock?type=transfer")
    t.check(p.poll() is None, "go tool trace ended")
    p.kill()


def case_go_trace(t):
    """go tool trace of Go 1.19, and of whatever newer one is here, reads it: events, profiles, and its pages."""
    # not: asan tsan
    r, files = registry(t, 4)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        rec = Recording(t, m, TRACE)
        t.parallel(6, lambda i: m.read(f"data/f00{i}"))
        os.listdir(m / "data")
        t.check(not os.path.exists(m / "data/missing"), "a file that is not there")
        rec.stop()
        layer = m.stat()["layers"][0]["digest"]
    trace = rec.path("trace.out")
    text = go(t, "tool", "trace", "-d", trace).text
    for kind in ("UserTaskCreate", "UserTaskEnd", "UserRegion", "UserLog", "GoBlockNet", "GoUnblock"):
        t.contains(text, kind)
    t.contains(text, "fuse.read", "http.GET", "/data/f003", "/data/missing", layer, "first_byte", "decompress", "category=offset")
    net = go(t, "tool", "trace", "-pprof=net", trace).out
    t.check(net[:2] == b"\x1f\x8b", "no profile of blocking")
    for viewer in trace_viewers():
        check_pages(t, viewer, trace)


def case_chrome_trace(t):
    """The same as Chrome's JSON: slices inside slices, arrows from requests to reads."""
    r, files = registry(t, 5)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        rec = Recording(t, m, TRACE, "chrome")
        t.parallel(6, lambda i: m.read(f"data/f00{i}"))
        rec.stop()
    with open(rec.path("trace.json"), encoding="utf-8") as f:
        doc = json.load(f)
    events = doc["traceEvents"]
    requests = [e for e in events if e.get("cat") == "request"]
    names = {e["name"] for e in requests}
    t.check({"fuse.read", "http.GET"} <= names, f"names {names}")
    phases = {}
    for e in events:
        if e.get("cat") == "phase":
            phases.setdefault((e["pid"], e["tid"]), []).append(e)
    for rq in requests:
        inside = sum(e["dur"] for e in phases.get((rq["pid"], rq["tid"]), [])
                     if rq["ts"] <= e["ts"] and e["ts"] + e["dur"] <= rq["ts"] + rq["dur"] + 0.001)
        t.check(abs(inside - rq["dur"]) <= 0.02 * rq["dur"] + 0.01, f"{rq}: phases of {inside} us")
    flows = {e["id"] for e in events if e["ph"] == "s"} & {e["id"] for e in events if e["ph"] == "f"}
    t.check(flows, "no arrow from a request to a read")
    t.equal(doc["otherData"]["lost_events"], 0, "lost events")


def case_no_secrets(t):
    """Neither the password nor a token nor a signed link is in any file, nor in their uncompressed contents."""
    lay, files = image(t, 6)
    r = Registry(t, auth="token", token_lifetime=1)  # asked for again while it is recorded
    r.push(lay)
    found = []
    with t.mounted(r.ref(), "--prefetch", "none", "--authfile", r.authfile()) as m:
        time.sleep(1)
        for fmt in ([], ["chrome"]):
            rec = Recording(t, m, TRACE | ACCESS, *fmt)
            for i in range(3):
                m.read(f"data/f0{i + 3 * bool(fmt):02}")
            rec.stop()
            found += [rec.path(name) for name in os.listdir(rec.out)]
    lay, files = image(t, 60)
    with FaultRegistry(t, lay) as faults:
        faults.rule(path="/v2/test/image/blobs/", ranged=True, redirect=faults.storage_url("{digest}"))
        with t.mounted(faults.ref(), "--prefetch", "none") as m:
            rec = Recording(t, m, TRACE | ACCESS, "chrome")
            t.equal(m.read("data/f007"), files["data/f007"], "through a link")
            rec.stop()
            found += [rec.path(name) for name in os.listdir(rec.out)]
            with open(rec.path("trace.json"), encoding="utf-8") as f:
                t.contains(f.read(), "http.GET")
    t.equal(len(found), 12, "files")
    for path in found:
        with open(path, "rb") as f:
            data = f.read()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        for secret in secrets() + ["Bearer", "Basic", "authorization", "storage/", "signature", "token="]:
            t.check(secret.encode().lower() not in data.lower(), f"{secret} is in {path}")


def case_samplers(t):
    """The same recording takes the samplers' profiles of a mount along."""
    # not: asan tsan
    lay, files = image(t, 7)
    with FaultRegistry(t, lay) as r, t.mounted(r.ref(), "--prefetch", "none") as m:
        rec = Recording(t, m, CPU | FGPROF | HEAP | ALLOCS | ACCESS)
        r.rule(path="/v2/test/image/blobs/", ranged=True, times=1, delay=1)
        for name, data in files.items():
            t.equal(m.read(name), data, name)
        rec.stop()
        layer = m.stat()["layers"][0]["digest"]
    t.equal(sorted(os.listdir(rec.out)), ["access.jsonl", "access.pprof", "allocs.pprof", "cpu.pprof", "fetches.jsonl", "fgprof.pprof", "heap.pprof"],
            "files")
    for focus in ("op=read", f"layer={layer}", f"image={r.ref()}", "command=python3", f"pid={os.getpid()}"):
        top = go(t, "tool", "pprof", "-top", "-cum", "-sample_index=time", f"-tagfocus={focus}", rec.path("fgprof.pprof")).text
        t.contains(top, "http_perform")  # a thread waited there for a second, for a read of this process


def case_refusals(t):
    """One recording at a time; nobody is left waiting when the mount ends; wrong kinds are told."""
    r, files = registry(t, 8)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        program, out = tool(t), t.new_path("profiles")
        os.mkdir(out)
        rec = Recording(t, m, ACCESS)
        t.contains(t.run(program, "attach", m.path, ACCESS, 1000, out, rc=None).err, "already")
        m.read("data/f001")
        rec.stop()
        t.contains(t.run(program, "attach", m.path, 64, 1000, out, rc=2).err, "kind")
        t.contains(t.run(program, "attach", t.work, ACCESS, 1000, out, rc=3).err, t.work)
        p = t.popen(program, "attach", m.path, ACCESS, 60000, out, stderr=subprocess.PIPE)
        time.sleep(0.4 * t.slow)
        gone = t.popen(program, "attach", m.path, ACCESS, 60000, out, stderr=subprocess.DEVNULL)
        gone.wait(10)
        m.read("data/f002")
        m.umount()  # what was recorded till then is handed over
        t.equal((p.wait(20), p.communicate()[1]), (0, b""), "the recorder's end")
        with open(f"{out}/access.jsonl", encoding="utf-8") as f:
            t.equal({json.loads(line)["path"] for line in f}, {"/data/f002"}, "reads until the end")


def case_client_dies(t):
    """A recorder that is killed leaves the mount free for the next."""
    r, files = registry(t, 9)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        rec = Recording(t, m, TRACE)
        rec.p.kill()
        rec.p.wait()
        out = t.new_path("profiles")
        os.mkdir(out)
        wait_until("another may record", lambda: t.run(tool(t), "attach", m.path, TRACE, 100, out, rc=None).rc == 0, 20)
        t.equal(m.read("data/f001"), files["data/f001"], "contents")


def case_own_process(t):
    """The library records the process it is in."""
    lay, files = image(t, 10)
    out = t.new_path("profiles")
    os.mkdir(out)
    t.run(tool(t), "own", f"oci:{lay.path}", TRACE | ACCESS, out, "data/f001", "/data/f002")
    sums = totals(t, f"{out}/access.pprof")
    t.equal((sums["bytes"], sums["opens"]), (2 * SIZE, 0), "bytes, and opens of a mount")
    t.check(os.path.getsize(f"{out}/trace.out") > 16, "no trace")


def case_watch(t):
    """stat --watch shows what was done between looks, and ends with the mount."""
    r, files = registry(t, 11)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        with open(t.path("watched"), "wb") as f:
            p = t.popen(t.binary, "stat", "--format", "json", "--watch=100ms", m.path, stdout=f)
        wait_until("it has begun", lambda: os.path.getsize(t.path("watched")), 20)
        for name in files:
            m.read(name)
        last = m.stat()
        time.sleep(0.5 * t.slow)
        m.umount()
        t.equal(p.wait(20), 0, "exit code")
        with open(t.path("watched"), encoding="utf-8") as f:
            looks = [json.loads(line) for line in f]
        t.check(len(looks) > 3, f"{len(looks)} looks")
        for key in ("reads", "bytes_served", "bytes_fetched", "requests", "opens", "waits", "wait_ns"):
            t.equal(sum(x[key] for x in looks), last[key], key)
    t.refused(3, "stat", "--watch", t.mnt)
    t.refused(2, "stat", "--watch=never", t.mnt, says="never")
