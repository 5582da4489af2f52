"""morsel profile: pushes, pulls and mounts that are recorded; what it writes, as Go's own tools read it."""
import base64
import glob
import http.server
import json
import os
import re
import resource
import signal
import subprocess
import threading
import time

from faults import FaultRegistry
from gotools import go, totals
from morseltest import SECRET, USER, Failure, free_port, mounts_below, processes_of, secrets, wait_until
from profiles import STAMP, kinds, lazy, payload, profile, pushed, reads, the
from registries import Registry
import samples

READ_KEYS = {"time", "pid", "command", "path", "offset", "length", "layer", "source", "phases"}


def check_silent(t):
    """No secret is in any file; none has a temporary name."""
    for name in os.listdir(t.path("profiles")):
        with open(t.path(f"profiles/{name}"), "rb") as f:
            data = f.read()
        if data[:2] == b"\x1f\x8b":
            data += subprocess.run(["gzip", "-dc"], input=data, capture_output=True, check=True).stdout
        for s in secrets():
            t.check(s.encode() not in data, f"{s} is in {name}")
        t.check(not name.startswith("."), f"{name} was left behind")


def case_push_and_pull(t):
    """Both ways, with a password: five kinds of files, none with a secret, all opened by Go's tools."""
    files = payload(t)
    r = Registry(t, auth="htpasswd")
    p = profile(t, "-registry", r.host, "-repo", "a/b", "-tag=v1", "-mode", "both", "-profile", "cpu,fgprof,trace", "-label", "two",
                "-payload", "payload", "-pull-dir", "pulled", "-authfile", r.authfile())
    t.equal(kinds(p.files), ["allocs_both_two.pprof", "cpu_both_two.pprof", "fgprof_both_two.pprof", "heap_both_two.pprof",
                             "trace_both_two.out"], "files")
    for name in p.files:
        t.contains(p.text, f"profiles/{name}")
        if name.endswith(".pprof"):
            go(t, "tool", "pprof", "-top", t.path(f"profiles/{name}"))
    t.contains(go(t, "tool", "trace", "-d", the(t, "trace_*")).text, "http.PATCH", "http.GET", "first_byte")
    check_silent(t)
    for path, data in files.items():
        with open(t.path(f"pulled/{path}"), "rb") as f:
            t.equal(f.read(), data, path)
    with open(t.path("pulled/.profile-run.txt"), encoding="ascii") as f:
        t.contains(f.read(), "iteration 1")
    t.check(not os.path.exists(t.path("payload/.profile-run.txt")), "the payload directory was written to")


def case_repeat(t):
    """Each iteration, and what they amount to; each push is another image, but with -stamp=false."""
    payload(t)
    r = Registry(t)
    o = profile(t, "--registry=" + r.host, "--mode=both", "--profile=none", "--repeat=4", "--payload=payload", "--pull-dir=new/pulled",
                "--unique-dest", "--format=json", "--cache-stats").json()
    t.equal([(i["iteration"], i["mode"]) for i in o["iterations"]], [(n, m) for n in (1, 2, 3, 4) for m in ("push", "pull")], "iterations")
    for mode in ("push", "pull"):
        times = sorted(i["seconds"] for i in o["iterations"] if i["mode"] == mode)
        s = o["seconds"][mode]
        t.check(abs(s["min"] - times[0]) < 1e-6 and abs(s["max"] - times[3]) < 1e-6, f"{s} of {times}")
        t.check(abs(s["median"] - (times[1] + times[2]) / 2) < 1e-6 and abs(s["p90"] - times[3]) < 1e-6, f"{s} of {times}")
    t.check(all(i["moved_bytes"] > 0 and i["requests"] > 0 for i in o["iterations"]), f"nothing moved: {o}")
    t.check(o["cache"]["entries"] > 0 and o["cache"]["requests"] == sum(i["requests"] for i in o["iterations"]), f"{o['cache']}")
    dirs = sorted(os.listdir(t.path("new/pulled")))
    t.check([bool(re.fullmatch(rf"{STAMP}_{n + 1}", d)) for n, d in enumerate(dirs)] == [True] * 4, f"directories {dirs}")
    texts = {open(t.path(f"new/pulled/{d}/.profile-run.txt"), encoding="ascii").read() for d in dirs}
    t.equal(len(texts), 4, "different stamps")
    tags = t.morsel("tags", "--format", "json", f"{r.host}/cli-test/profile").json()
    t.check(len(tags) == 1 and re.fullmatch(STAMP, tags[0]), f"tags {tags}")
    t.equal(kinds(os.path.basename(f) for f in o["files"]), ["allocs_both.pprof", "heap_both.pprof"], "files with -profile none")
    digests = set()
    for _ in range(2):
        profile(t, "-ref", r.ref(), "-mode", "push", "-stamp=false", "-profile", "none", "-payload", "payload")
        digests.add(t.morsel("inspect", "--format", "json", r.ref()).json()["digest"])
    t.equal(len(digests), 1, "images with -stamp=false")


def case_all_threads_count(t):
    """The CPU profile of a push has the time of all its threads: readers, compressors, hashers."""
    # not: asan tsan
    os.makedirs(t.path("payload"))
    with open(t.path("payload/words"), "wb") as f:
        f.write(b"".join(b"%d and %d\n" % (i * i, i) for i in range(6_000_000)))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    profile(t, "-payload", t.path("payload"), "-ref", f"oci:{t.path('image')}:x", "-mode", "push", "-profile", "cpu")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    seen = totals(t, the(t, "cpu_*.pprof"), "cpu")["cpu"] / 1e9
    t.check(0.5 * used < seen < 1.1 * used, f"{seen:.2f} s in the profile, {used:.2f} s of the process, start and symbols included")


def case_default_payload(t):
    """Without a payload one is made up, the same each time, and nothing of it is left."""
    # not: asan tsan
    r = Registry(t)
    for _ in range(2):
        profile(t, "-registry", r.host, "-tag", "t", "-mode", "push", "-stamp=false", "-profile", "none")
    names = t.morsel("ls", "-R", f"{r.host}/cli-test/profile:t").text.split()
    t.equal([n for n in os.listdir(t.work) if n.startswith("morsel-profile")], [], "temporary directories left")
    t.equal((len([n for n in names if "small/" in n or n.isdigit()]) >= 2200), True, "small files")
    t.contains(" ".join(names), "random.bin", "zeros.bin")


def case_lazy(t):
    """A workload in the mount: what it read, by whom; access totals are the server's counters; a replay reads the same."""
    r, files = pushed(t)
    p = lazy(t, r, "-profile", "trace", "--", "sh", "-c", f"cat $MORSEL_MOUNT/lib/m1.py | tee m1 | wc -c; tail -c 100000 $MORSEL_MOUNT/data/big "
             f"| wc -c; sleep 0.5; {t.binary} stat --format json $MORSEL_MOUNT > stat.json")
    t.contains(p.text, "40000", "100000", "mounted after")
    t.equal(kinds(p.files), ["access_pull.jsonl", "access_pull.pprof", "allocs_pull.pprof", "fetches_pull.jsonl", "heap_pull.pprof",
                             "trace_pull.out"], "files")
    with open(t.path("m1"), "rb") as f:
        t.equal(f.read(), files["lib/m1.py"], "contents")
    trace = the(t, "access_*.jsonl")
    lines = reads(trace)
    t.check(all(READ_KEYS <= set(x) for x in lines), f"keys of {lines[0]}")
    t.equal({(x["path"], x["command"]) for x in lines}, {("/lib/m1.py", "cat"), ("/data/big", "tail")}, "who read what")
    sums, st = totals(t, the(t, "access_*.pprof")), json.load(open(t.path("stat.json"), encoding="ascii"))
    for kind, name in (("opens", "opens"), ("reads", "reads"), ("bytes", "bytes_served"), ("fetched_bytes", "bytes_fetched"), ("wait", "wait_ns")):
        t.equal(sums[kind], st[name], kind)
    t.equal((len(lines), sum(x["length"] for x in lines)), (st["reads"], st["bytes_served"]), "lines of the trace")
    t.equal(sum(x["bytes"] for x in reads(the(t, "fetches_*.jsonl")) if x["fetch"]) > 0, True, "fetches")
    t.contains(go(t, "tool", "trace", "-d", the(t, "trace_*")).text, "fuse.read", "/lib/m1.py")
    os.rename(t.path("profiles"), t.path("first"))
    trace = glob.glob(t.path("first/access_*.jsonl"))[0]
    lazy(t, r, "-profile", "none", "-replay", trace)
    again = reads(the(t, "access_*.jsonl"))

    def touched(list_of_reads):
        return {(x["path"], block) for x in list_of_reads for block in range(x["offset"] // 4096, (x["offset"] + x["length"] + 4095) // 4096)}
    t.equal(touched(again), touched(lines), "blocks read by the replay")
    t.equal(sum(x["length"] for x in again), sum(x["length"] for x in lines), "bytes read by the replay")


def case_replay(t):
    """Processes read at the same time again; a trace made by a stranger reads nothing outside of the mount."""
    os.makedirs(t.path("payload/lib"))
    os.symlink("/etc", t.path("payload/lib/out"))
    r, files = pushed(t)

    def line(at, pid, path, offset, length, took=1_000_000):
        return json.dumps({"time": 1_700_000_000 + at, "pid": pid, "path": path, "offset": offset, "length": length, "duration_ns": took}) + "\n"

    def replay(*trace, **kw):
        with open(t.path("trace.jsonl"), "w", encoding="utf-8") as f:
            f.write("".join(trace))
        p = lazy(t, r, "-profile", "none", "-replay", "trace.jsonl", **kw)
        found = the(t, "access_*.jsonl") if p.files else None
        got = reads(found) if found else None
        for name in p.files:
            os.unlink(t.path(f"profiles/{name}"))
        return p, got
    # 1 and 2 overlap, 3 comes after both; each path alone has 100 reads in order
    trace = [line(pid / 10 + i / 1000, pid, f"/lib/m{pid}.py", i * 400, 400) for pid in (1, 2) for i in range(100)]
    _, got = replay(*trace, line(5, 3, "/zeros", 4096, 8192))
    t.equal({x["path"]: sum(y["length"] for y in got if y["path"] == x["path"]) for x in got},
            {"/lib/m1.py": 40_000, "/lib/m2.py": 40_000, "/zeros": 8192}, "bytes read")
    t.equal(got[-1]["path"], "/zeros", "what came last")
    for path in ("/../../../../../../etc/hostname", "/lib/out/hostname", "/lib", "/nowhere"):
        p, got = replay(line(0, 1, path, 0, 100), line(1, 1, "/zeros", 0, 100), rc=1)
        t.equal(len(p.err_text.splitlines()), 1, f"lines on stderr: {p.err_text}")
        t.contains(p.err_text, "can't read it again", "1 of 2 reads failed")
        t.equal({x["path"] for x in got}, {"/zeros"}, "what was read all the same")
    p, got = replay("", rc=2)
    t.contains(p.err_text, "no reads")
    p, got = replay(line(0, 1, "/zeros", 0, 1).replace('"offset"', '"offs"'), rc=6)
    t.contains(p.err_text, "line 1", "offset")


def case_lazy_all(t):
    """Without a workload every file is read once; the cache stays from one iteration to the next, unless it is cleared."""
    r, files = pushed(t)
    whole = sum(map(len, files.values()))
    o = lazy(t, r, "-repeat", "2", "-profile", "none", "-format", "json", "-cache-stats").json()
    first, second = o["iterations"]
    t.equal((first["mode"], second["mode"]), ("lazy", "lazy"), "modes")
    t.check(first["moved_bytes"] > 500_000 > second["moved_bytes"], f"moved: {o['iterations']}")
    t.check(0.3 < o["cache"]["hit_ratio"] < 1, f"{o['cache']}")
    t.equal(sum(x["length"] for x in reads(the(t, "access_*.jsonl"))), 2 * whole, "bytes read")
    o = lazy(t, r, "-repeat", "2", "-profile", "none", "-format", "json", "-clear-cache", "-descriptor-cache").json()
    first, second = o["iterations"]
    t.check(min(first["moved_bytes"], second["moved_bytes"]) > 500_000, f"cleared: {o['iterations']}")
    o = lazy(t, r, "-repeat", "2", "-profile", "none", "-format", "json", "-descriptor-cache", "-prefetch").json()
    t.equal(o["iterations"][1]["requests"], 0, "requests with what the tag names known")


def case_bad_workload(t):
    """A workload that fails, crashes, or is none: the exit code tells, the profiles are written."""
    r, _ = pushed(t)
    for command, code, says in ((["sh", "-c", "exit 3"], 3, "exit code 3"), (["sh", "-c", "kill -SEGV $$"], 139, "signal 11"),
                                (["/no/such/program"], 127, "No such file")):
        before = set(os.listdir(t.path("profiles"))) if os.path.isdir(t.path("profiles")) else set()
        p = lazy(t, r, "-profile", "cpu", "--", *command, rc=code)
        t.equal(len(p.err_text.splitlines()), 1, f"lines on stderr: {p.err_text}")
        t.contains(p.err_text, says)
        t.equal(kinds(set(p.files) - before), ["access_pull.jsonl", "access_pull.pprof", "allocs_pull.pprof", "cpu_pull.pprof",
                                               "fetches_pull.jsonl", "heap_pull.pprof"], "files")


def case_timeout(t):
    """What hangs until -timeout is ended, a workload or a registry."""
    r, _ = pushed(t)
    limit = f"{int(2500 * t.slow)}ms"
    p = lazy(t, r, "-timeout", limit, "-repeat", "3", "--", "sh", "-c", "cat $MORSEL_MOUNT/zeros > out; sleep 600", rc=1, timeout=40)
    t.equal(len(p.err_text.splitlines()), 1, f"lines on stderr: {p.err_text}")
    t.contains(p.err_text, "-timeout", limit, "reading")
    t.equal({x["path"] for x in reads(the(t, "access_*.jsonl"))}, {"/zeros"}, "what was read")
    os.rename(t.path("profiles"), t.path("first"))
    with FaultRegistry(t, samples.hello(t)) as f:
        f.rule(path="/manifests/", delay=600)
        p = profile(t, "-ref", f.ref(), "-mode", "pull", "-timeout", "1s", rc=1, timeout=40)
    t.contains(p.err_text, "-timeout", "pulling")
    t.equal(kinds(p.files), ["allocs_pull.pprof", "cpu_pull.pprof", "heap_pull.pprof"], "files")


def case_failures(t):
    """One line says what was tried, with the file and the key; what was recorded so far is written."""
    payload(t)
    r = Registry(t, auth="htpasswd")
    want = ["allocs_push.pprof", "cpu_push.pprof", "heap_push.pprof"]

    def failed(code, *args, says, files=want):
        p = profile(t, *args, rc=code)
        t.equal(len(p.err_text.splitlines()), 1, f"lines on stderr: {p.err_text}")
        t.contains(p.err_text, *says)
        t.equal(kinds(p.files), files, "files")
        for name in p.files:
            os.unlink(t.path(f"profiles/{name}"))
    push = ("-ref", r.ref(), "-mode", "push")
    failed(4, *push, "-payload", "payload", "-authfile", r.authfile("wrong"), says=[r.host, "auth.json"])
    failed(5, "-ref", f"127.0.0.1:{free_port()}/x/y", "-mode", "push", "-payload", "payload", says=["127.0.0.1"])
    failed(3, *push, "-payload", "nowhere", "-authfile", r.authfile(), says=["nowhere"])
    with open(t.path("broken.json"), "w", encoding="ascii") as f:
        f.write("{ this is not JSON")
    p = profile(t, *push, "-payload", "payload", "-authfile", "broken.json", rc=None)
    t.check(p.rc not in (0, "timeout"), "a broken file was accepted")
    t.contains(p.err_text, "broken.json")
    for name in p.files:
        os.unlink(t.path(f"profiles/{name}"))
    failed(2, *push, "-label", "a/b", says=["--label"], files=[])
    failed(2, "-mode", "push", "-lazy", says=["--lazy"], files=[])
    failed(2, "-profile", "cpu,nonsense", says=["nonsense"], files=[])
    failed(2, "-lazy", "sleep", says=["--"], files=[])
    failed(3, "-lazy", "-replay", "nowhere", says=["nowhere"], files=[])
    with open(t.path("file"), "w", encoding="ascii"):
        pass
    p = profile(t, *push, "-payload", "payload", "-out", "file", rc=None)
    t.check(p.rc != 0, "a file was taken for a directory")


def case_clear_cache(t):
    """Only a directory that says that it is a cache of ours is emptied."""
    payload(t)
    os.makedirs(t.path("home/precious"))
    r = t.morsel("profile", "-ref", "127.0.0.1:1/x/y", "-payload", t.path("payload"), "-cache-dir", t.path("home"), "-clear-cache", rc=7, cwd=t.work)
    t.contains(r.err_text, "CACHEDIR.TAG", "not emptied")
    t.check(os.path.isdir(t.path("home/precious")), "it was emptied")
    t.check(not os.path.exists(t.path("profiles")), "something was done")


def case_gperftools(t):
    """The second engine, and the trace in Chrome's format."""
    # not: asan tsan
    r, _ = pushed(t)
    lazy(t, r, "-profile", "cpu,trace", "-cpu-engine", "gperftools", "-trace-format", "chrome", "-repeat", "3", "-clear-cache")
    go(t, "tool", "pprof", "-raw", the(t, "cpu_*.pprof"))
    with open(the(t, "trace_*.json"), encoding="utf-8") as f:
        t.check(any(e["name"] == "fuse.read" for e in json.load(f)["traceEvents"]), "no read in the trace")


def case_attach(t):
    """A mount that others use; an interrupt ends the recording early."""
    r, files = pushed(t)
    with t.mounted(r.ref(), "--prefetch", "none") as m:
        p = t.popen(t.binary, "profile", "-attach", m.path, "-profile", "cpu", "-duration", "60s", cwd=t.work, stdout=subprocess.DEVNULL)

        time.sleep(0.5 * t.slow)  # it has begun by then
        t.equal(m.read("data/big"), files["data/big"], "contents")
        p.send_signal(signal.SIGINT)
        t.equal(p.wait(60), 0, "exit code")
    t.equal(kinds(os.listdir(t.path("profiles"))), ["access_attach.jsonl", "access_attach.pprof", "allocs_attach.pprof", "cpu_attach.pprof",
                                                    "fetches_attach.jsonl", "heap_attach.pprof"], "files")
    t.check("/data/big" in {x["path"] for x in reads(the(t, "access_*.jsonl"))}, "the read is missing")
    t.refused(3, "profile", "-attach", t.path("payload"), "-out", t.path("none"), says="payload")


class Pyroscope(http.server.BaseHTTPRequestHandler):
    """Takes what is sent to /ingest apart."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, self.headers.get("Authorization"), self.headers["Content-Type"], body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_):
        pass


def case_pyroscope(t):
    """Each profile arrives, as a form that holds what was written, with the credentials of the URL and nothing of them elsewhere."""
    r, _ = pushed(t)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pyroscope)
    server.got, server.status = [], 200
    threading.Thread(target=server.serve_forever, daemon=True).start()
    t.defer(server.server_close)
    t.defer(server.shutdown)
    host = f"127.0.0.1:{server.server_port}"
    p = lazy(t, r, "-profile", "cpu", "-label", "a,b", env={"MORSEL_PYROSCOPE": f"http://{USER}:{SECRET}@{host}/base/"})
    t.equal(len(server.got), 4, "profiles sent")
    names = set()
    for path, authorization, kind, body in server.got:
        t.equal(authorization, "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode(), "credentials")
        where, _, query = path.partition("?")
        t.equal(where, "/base/ingest", "path")
        t.contains(query, "from=1", "until=1", "format=pprof", "spyName=")
        names.add(re.search("name=morsel.([a-z]+)", query)[1])
        t.contains(query, "mode%3Dpull", "label%3Da_b")
        boundary = re.fullmatch("multipart/form-data; boundary=(.+)", kind)[1].encode()
        parts = body.split(b"--" + boundary)
        t.equal((parts[0], parts[-1].strip(), len(parts)), (b"", b"--", 4), "parts")
        head, _, data = parts[1].partition(b"\r\n\r\n")
        t.contains(head, 'name="profile"', "filename=")
        with open(t.path("sent.pprof"), "wb") as f:
            f.write(data[:-2])
        go(t, "tool", "pprof", "-top", t.path("sent.pprof"))
        head, _, data = parts[2].partition(b"\r\n\r\n")
        t.contains(head, 'name="sample_type_config"')
        t.equal(json.loads(data)["cpu"]["units"], "nanoseconds", "sample types")
    t.equal(names, {"cpu", "heap", "allocs", "access"}, "kinds")
    check_silent(t)
    server.got.clear()
    lazy(t, r, "-profile", "none", "-pyroscope", f"http://al%40ice:x%2Fy@{host}")
    t.equal({a for _, a, _, _ in server.got}, {"Basic " + base64.b64encode(b"al@ice:x/y").decode()}, "credentials with escapes")
    lazy(t, r, "-profile", "none", "-pyroscope", f"http://{host}")
    t.equal(server.got[-1][1], None, "no credentials")
    server.status = 401
    p = lazy(t, r, "-profile", "none", env={"MORSEL_PYROSCOPE": f"http://{USER}:{SECRET}@{host}"}, rc=4)
    t.contains(p.err_text, host, "401")
    p = lazy(t, r, "-profile", "none", "-pyroscope", f"http://127.0.0.1:{free_port()}", rc=5)
    t.equal(len(p.err_text.splitlines()), 1, f"lines on stderr: {p.err_text}")


def case_killed(t):
    """Nothing is left when it is ended in the middle, or killed: no mount, no reader, no directory."""
    r, _ = pushed(t)

    def started():
        p = t.popen(t.binary, "profile", "-ref", r.ref(), "-lazy", "--", "sh", "-c", "echo up > up; sleep 600", cwd=t.work,
                    stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        wait_until("the workload", lambda: os.path.exists(t.path("up")), 30)
        os.unlink(t.path("up"))
        return p
    p = started()
    t.equal(len(mounts_below(t.work)), 1, "mounts")
    p.kill()
    p.wait(30)
    wait_until("everything to end", lambda: not mounts_below(t.work) and not [n for _, n in processes_of(t.dir) if n in ("morsel", "sh", "sleep")], 20)
    wait_until("the directory to go", lambda: not [n for n in os.listdir(t.work) if n.startswith("morsel-profile")], 5)
    p = started()
    p.terminate()
    t.contains(p.stderr.read().decode(), "interrupted while reading")
    if p.wait(30) != 130:
        raise Failure(f"exit code {p.returncode} after SIGTERM")
    t.equal(kinds(os.listdir(t.path("profiles"))), ["access_pull.jsonl", "access_pull.pprof", "allocs_pull.pprof", "cpu_pull.pprof",
                                                    "fetches_pull.jsonl", "heap_pull.pprof"], "files")
