"""A registry on its bad days: every fault gives the right bytes or EIO, in bounded time, with a line in the log, and
what failed works again without a new mount. Never wrong bytes, never a short read."""
import base64
import contextlib
import errno
import json
import os
import signal
import subprocess
import time

import samples
import stargz
import tokenserver
from faults import FaultRegistry
from images import Layout, layer
from morseltest import SECRET, TOOLS, USER, Failure, need, wait_until

TIMEOUT = ("--read-timeout", "3s")


def registry(t, count=12, size=600_000):
    """A fault registry with an eStargz image that no other in this case shares a byte with. A reader that jumps about
    in it makes a fetch a file."""
    path = t.new_path("img")
    files = samples.big_files(path[-8:], count, size)
    files["other/layer"] = samples.noise(path[-8:], 100_000)
    lay = Layout(path)
    lay.image([stargz.by_hand({k: v for k, v in files.items() if k.startswith(top)}) for top in ("data/", "other/")])
    r = FaultRegistry(t, lay)
    r.blob_path = lay.layer_digests()[0]
    return r, files  # "other/layer" stands in a second layer: reading from the first never brings it along


def read(m, name):
    """(bytes or None, errno or 0, seconds): one pread of the whole file, which may not come short."""
    start = time.monotonic()
    try:
        fd = os.open(m / name, os.O_RDONLY)
        try:
            size = os.fstat(fd).st_size
            data = b""
            while len(data) < size:
                piece = os.pread(fd, size - len(data), len(data))
                if not piece:
                    raise Failure(f"{name}: a read came short")
                data += piece
            return data, 0, time.monotonic() - start
        finally:
            os.close(fd)
    except OSError as e:
        return None, e.errno, time.monotonic() - start


@contextlib.contextmanager
def lazy_mount(t, r, *flags):
    with t.mounted(r.ref(), "--insecure", *TIMEOUT, *flags) as m:
        os.listdir(m / "data")
        r.forget()
        yield m


def check_right(t, m, files, name, what, within=4.0):
    data, e, seconds = read(m, name)
    t.equal(e, 0, f"{what}: errno")
    t.check(data == files[name], f"{what}: wrong bytes")
    t.check(seconds < within * t.slow, f"{what}: took {seconds:.1f} s")


def check_eio(t, m, files, name, what, within=5.0):
    data, e, seconds = read(m, name)
    t.check(data is None, f"{what}: bytes came ({'right' if data == files[name] else 'WRONG'})")
    t.equal(e, errno.EIO, f"{what}: errno")
    t.check(seconds < within, f"{what}: took {seconds:.1f} s")


def check_recovers(t, m, files, name, what):
    """Healed: the first good read comes within two seconds; until then EIO, never anything else."""
    end = time.monotonic() + 2 * t.slow
    while True:
        data, e, _ = read(m, name)
        if data is not None:
            t.check(data == files[name], f"{what}: wrong bytes")
            return
        t.equal(e, errno.EIO, f"{what}: errno")
        t.check(time.monotonic() < end, f"{what}: still EIO")
        time.sleep(0.05)


def transient(t, what, says=(), **fault):
    """Once: the reader notices nothing."""
    r, files = registry(t, count=4)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, times=1, **fault)
        check_right(t, m, files, "data/f002", what)
        check_right(t, m, files, "data/f000", f"{what}, afterwards")
        t.check(len(r.requests(r.blob_path)) >= 2, f"{what}: the fault was not even met")
        t.contains(m.log(), *says)


def lasting(t, what, says=(), **fault):
    """For ever: EIO in time and a line that says why; right again without a remount once it is healed."""
    r, files = registry(t, count=4)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, **fault)
        check_eio(t, m, files, "data/f002", what)
        t.check(len(r.requests(r.blob_path)) <= 150, f"{what}: {len(r.requests(r.blob_path))} requests")
        t.contains(m.log(), *says)
        last = m.stat()["last_error"]
        t.check(last, f"{what}: no last_error")
        t.contains(last, *says)
        t.check(m.stat()["read_errors"] >= 1, f"{what}: read_errors")
        r.heal()
        check_recovers(t, m, files, "data/f002", f"{what}, healed")


def case_requests_are_counted(t):
    """stat knows every request: as many as the registry and its token server saw; layers' are shown by themselves."""
    r, _ = registry(t)
    r.rule(path="/token", status=200, body=b'{"token":"abc"}', headers={"Content-Type": "application/json"})
    r.rule(path="/v2/", authorized=False, status=401,
           headers={"WWW-Authenticate": f'Bearer realm="http://{r.host}/token",service="s"'})
    with t.mounted(r.ref(), "--insecure", "--prefetch", "none") as m:
        read(m, "data/f003")
        read(m, "other/layer")
        st = wait_until("requests to be counted", lambda: (s := m.stat())["traffic"]["requests"] >= len(r.log) and s)
        blobs = [q for q in r.log if any(d in q["path"] for d in r.layout.layer_digests()) and q["status"] < 400]
        t.equal(st["traffic"]["requests"], len(r.log), "all requests")
        t.equal(st["index"]["requests"] + st["requests"], len(blobs), "requests for layers")
        t.check(len(blobs) + 3 <= len(r.log), f"only {len(r.log) - len(blobs)} others")
        t.check(st["traffic"]["bytes_received"] > st["index"]["bytes_fetched"] + st["bytes_fetched"], f"bytes: {st}")
        t.contains(t.morsel("stat", m.path).text, f"in all     {len(r.log)} requests")


def case_interrupted_while_a_name_is_looked_up(t):
    """The C library waits for a name server that says nothing; who interrupts does not."""
    t.need_root("makes a network namespace")
    need("unshare", "ip")
    r = t.run("python3", f"{TOOLS}/silentdns.py", t.work, "timeout", "--preserve-status", "-s", "INT", "1", t.binary, "tags",
              "slow.example/x/y", rc=130)
    t.equal((r.text, r.err_text), ("asked\n", "morsel: interrupted\n"), "what was said")
    t.check(r.seconds < 3 + t.slow, f"{r.seconds:.1f} s")


def case_503_once(t):
    transient(t, "503 once", status=503, says="503")


def case_503_for_ever(t):
    lasting(t, "503 for ever", status=503, says=["503", "127.0.0.1"])


def case_500_502_504_once(t):
    for status in (500, 502, 504):
        transient(t, f"{status} once", status=status)


def case_429_with_a_short_wait(t):
    r, files = registry(t)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, times=1, status=429, headers={"Retry-After": "1"})
        check_right(t, m, files, "data/f002", "429")
        a, b = [x["time"] for x in r.requests(r.blob_path)[:2]]
        t.check(b - a >= 0.9, f"asked again after {b - a:.2f} s, not 1 s")


def case_429_with_a_long_wait(t):
    r, files = registry(t)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, status=429, headers={"Retry-After": "3600"})
        check_eio(t, m, files, "data/f002", "429 for an hour")
        t.contains(m.log(), "3600")
        t.check(len(r.requests(r.blob_path)) <= 2, "it asked on")


def case_429_with_garbage(t):
    for value in ("soon", "-5", ""):
        transient(t, f"Retry-After: {value!r}", status=429, headers={"Retry-After": value})


def case_body_cut_short(t):
    for cut in (0, 1, 60_000):
        transient(t, f"cut after {cut} bytes", cut=cut)


def case_body_cut_for_ever(t):
    lasting(t, "always cut", cut=10)


def case_connection_reset(t):
    transient(t, "reset in the headers", cut=0, reset=True)
    transient(t, "reset in the body", cut=30_000, reset=True)


def case_whole_blob_for_a_range(t):
    """200 with the whole blob: the slice is taken."""
    r, files = registry(t, count=4)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, whole=True)
        for name in ("data/f002", "data/f000", "data/f003"):
            check_right(t, m, files, name, "200 for a range")


def case_wrong_content_range(t):
    for value in (None, "bytes {shifted}-{shifted_last}/{total}", "bytes {first}-{last}/17", "bytes */{total}", "x"):
        transient(t, f"Content-Range {value}", content_range=value)
    lasting(t, "always another range", content_range="bytes {shifted}-{shifted_last}/{total}")


def case_content_range_without_a_total(t):
    """"*" says that the server does not know: the range is what counts."""
    r, files = registry(t, count=4)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, content_range="bytes {first}-{last}/*")
        check_right(t, m, files, "data/f002", "a total of *")


def case_honest_but_short_ranges(t):
    r, files = registry(t, count=4)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, short=40_000)
        check_right(t, m, files, "data/f002", "206 for less than asked")


def case_strange_statuses(t):
    for status in (416, 204, 202, 304):
        lasting(t, f"always {status}", status=status, body=b"")
    lasting(t, "206 with nothing in it", status=206, body=b"", headers={"Content-Range": "bytes 0-9/10"})


def case_not_found_in_mid_life(t):
    """The blob is gone upstream: what is cached is still served."""
    r, files = registry(t, count=4)
    with lazy_mount(t, r) as m:
        check_right(t, m, files, "data/f000", "before")
        r.rule(path="/v2/", status=404)
        check_eio(t, m, files, "other/layer", "404")
        fd = os.open(m / "data/f000", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        check_right(t, m, files, "data/f000", "cached")


def case_flipped_bit_once(t):
    r, files = registry(t, count=4)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, times=1, flip=100)
        check_right(t, m, files, "data/f002", "a flipped bit, once")


def case_flipped_bit_for_ever(t):
    lasting(t, "a bit flipped for ever", flip=100)


def case_bytes_of_something_else(t):
    lasting(t, "zeros", replace=b"\0")
    lasting(t, "HTML", status=200, headers={"Content-Type": "text/html"}, body=b"<html>please log in</html>")
    lasting(t, "other bytes", replace=b"garbage")


def case_nobody_listens(t):
    r, files = registry(t)
    with lazy_mount(t, r) as m:
        check_right(t, m, files, "data/f000", "before")
        port = r.port
        r.end()
        check_eio(t, m, files, "other/layer", "connection refused")
        fd = os.open(m / "data/f000", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        check_right(t, m, files, "data/f000", "cached")
        again = FaultRegistry(t, r.layout, port=port)
        check_recovers(t, m, files, "other/layer", "back again")
        t.check(again.requests("/blobs/"), "the new server was asked")


def case_many_readers_while_it_is_down(t):
    """However many wait, every one gets EIO in time."""
    r, files = registry(t)
    with lazy_mount(t, r) as m:
        r.end()
        start = time.monotonic()
        outcomes = t.parallel(10, lambda i: read(m, f"data/f{i:03}"))
        t.check(all(e == errno.EIO for _, e, _ in outcomes), "every reader gets EIO")
        t.check(time.monotonic() - start < 6, "it took long")


def case_deadline(t):
    """A server that says nothing: EIO at the deadline, not before and not much after."""
    r, files = registry(t)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, stall=60)
        data, e, seconds = read(m, "data/f002")
        t.equal((data, e), (None, errno.EIO), "outcome")
        t.check(2.5 < seconds < 5, f"after {seconds:.1f} s, not about 3")
        r.heal()
        check_recovers(t, m, files, "data/f002", "healed")


def case_slow_server(t):
    """A byte now and then does not hold a read beyond its deadline."""
    r, files = registry(t)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, drip=0.1)
        check_eio(t, m, files, "data/f002", "drip")


def case_blocked_read_is_killable(t):
    r, files = registry(t)
    with t.mounted(r.ref(), "--insecure") as m:  # the default deadline: 30 s
        r.rule(path=r.blob_path, stall=60)
        reader = t.popen("cat", m / "data/f002", stdout=subprocess.DEVNULL)
        r.forget()
        wait_until("the fetch", lambda: r.requests(r.blob_path))
        time.sleep(0.3)
        start = time.monotonic()
        reader.send_signal(signal.SIGKILL)
        reader.wait(5)
        t.check(time.monotonic() - start < 2, "it took long to die")
        r.heal()
        t.check(m.stat()["pid"], "the server answers")


def case_a_blocked_read_blocks_nobody_else(t):
    r, files = registry(t)
    with lazy_mount(t, r, "--read-timeout", "8s") as m:
        check_right(t, m, files, "data/f000", "before")
        r.rule(path=r.blob_path, stall=60)
        blocked = t.popen("cat", m / "data/f009", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.3)
        start = time.monotonic()
        t.equal(len(os.listdir(m / "data")), 12, "listing")
        os.stat(m / "data/f011")
        fd = os.open(m / "data/f000", os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
        check_right(t, m, files, "data/f000", "cached")
        m.stat()
        t.check(time.monotonic() - start < 2 * t.slow, "others had to wait")
        t.check(blocked.poll() is None, "the blocked one ended")


def case_umount_during_an_outage(t):
    r, _ = registry(t)
    with t.mounted(r.ref(), "--insecure") as m:
        r.rule(path=r.blob_path, stall=60)
        reader = t.popen("cat", m / "data/f002", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.4)
        start = time.monotonic()
        os.kill(m.pid, signal.SIGTERM)
        t.check(reader.wait(5) != 0, "the blocked reader gets an error")
        wait_until("the server to end", lambda: not t.servers(), 5)
        t.check(time.monotonic() - start < 3 * t.slow, "unmounting took long")


def case_kill_9_while_a_read_waits(t):
    r, files = registry(t)
    with t.mounted(r.ref(), "--insecure") as m:
        r.rule(path=r.blob_path, stall=60)
        reader = t.popen("cat", m / "data/f002", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.4)
        m.kill()
        t.check(reader.wait(5) != 0, "the blocked reader gets an error")
        t.morsel("umount", m.path)
    r.heal()
    with t.mounted(r.ref(), "--insecure") as m:
        for name in files:
            check_right(t, m, files, name, "after a kill")


# -- redirects

def case_redirects_are_remembered(t):
    """And when the link has expired, the registry is asked for another one."""
    for status in (403, 401, 400):
        r, files = registry(t)
        r.rule(path="/v2/test/image/blobs/" + r.blob_path, redirect=r.storage_url("{digest}"))
        with lazy_mount(t, r) as m:
            check_right(t, m, files, "data/f002", "first")
            check_right(t, m, files, "data/f009", "second")
            t.check(len(r.requests("/v2/")) <= 1, "the registry was asked for every range")
            t.check(r.requests("/storage/"), "the storage was asked")
            r.heal()
            r.expire_links(status)
            r.rule(path="/v2/test/image/blobs/" + r.blob_path, redirect=r.storage_url("{digest}"))
            r.forget()
            check_right(t, m, files, "data/f005", f"an expired link ({status})")
            t.equal(len(r.requests("/v2/")), 1, "the registry is asked once")


def case_redirect_loops_and_chains(t):
    r, files = registry(t)
    r.rule(path="/loop", redirect=f"http://{r.host}/loop")
    for hops, good in ((4, True), (6, False)):
        chain = r.storage_url(r.blob_path)
        for i in range(hops - 1):
            r.rule(path=f"/{hops}-hop{i}/", redirect=chain)
            chain = f"http://{r.host}/{hops}-hop{i}/x"
        rule = r.rule(path="/v2/test/image/blobs/" + r.blob_path, redirect=chain)
        if good:
            t.morsel("cat", "--insecure", "--cache-dir", t.new_path("cache"), r.ref(), "data/f001")
        else:
            t.refused(7, "cat", "--insecure", "--cache-dir", t.new_path("cache"), r.ref(), "data/f001", says="redirect")
        r.rules.remove(rule)
    r.rule(path="/v2/test/image/blobs/" + r.blob_path, redirect=f"http://{r.host}/loop")
    t.refused(7, "cat", "--insecure", r.ref(), "data/f001", says="redirect")


def basic(r):
    """Wants the password on /v2/."""
    r.rule(path="/v2/", authorized=False, status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})


def authfile(t, r):
    path = t.new_path("auth.json")
    with open(path, "w", encoding="ascii") as f:
        json.dump({"auths": {r.host: {"auth": base64.b64encode(f"{USER}:{SECRET}".encode()).decode()}}}, f)
    return path


def case_credentials_do_not_follow_redirects(t):
    r, files = registry(t)
    other = FaultRegistry(t, r.layout)
    basic(r)
    r.rule(path="/v2/test/image/blobs/" + r.blob_path, redirect=f"http://{other.host}/storage/0/{{digest}}?sig=1")
    with t.mounted(r.ref(), "--insecure", "--authfile", authfile(t, r)) as m:
        check_right(t, m, files, "data/f002", "through another host")
    t.check(other.log, "the other host was asked")
    t.equal([x["authorization"] for x in other.log if x["authorization"]], [], "credentials at the other host")
    t.check(any(x["authorization"] for x in r.log), "the registry got the password")


def case_token_refused_in_mid_life(t):
    """One refresh, and the reader notices nothing; for ever: EIO and the reason."""
    r, files = registry(t)
    tokens = tokenserver.TokenServer(t.path("tokens"), USER, SECRET)
    t.defer(tokens.stop)
    challenge = {"WWW-Authenticate": f'Bearer realm="{tokens.realm}",service="s",scope="repository:test/image:pull"'}
    r.rule(path="/v2/", authorized=False, status=401, headers=challenge)
    with lazy_mount(t, r, "--authfile", authfile(t, r)) as m:
        asked = len(tokens.asked)
        t.equal(asked, 1, "tokens for a mount")
        r.rule(path=r.blob_path, times=1, status=401, headers=challenge)
        check_right(t, m, files, "data/f002", "a refused token")
        t.equal(len(tokens.asked), asked + 1, "refreshes")
        r.rule(path=r.blob_path, status=401, headers=challenge)
        check_eio(t, m, files, "data/f009", "tokens refused for ever")
        t.check(len(tokens.asked) <= asked + 6, "it asked for tokens on and on")


# -- while opening

def case_opening_faults(t):
    """What fails before anything is mounted: exit code, one line, nothing left, in time."""
    def image():
        path = t.new_path("img")
        lay = Layout(path)
        lay.image([layer(samples.files_tar(samples.big_files(path[-8:], 3, 200_000)))])
        r = FaultRegistry(t, lay)
        r.blob_path = lay.layer_digests()[0]
        return r

    def failing(code, path, says=(), **fault):
        r = image()
        r.rule(path=path if path != "blob" else r.blob_path, **fault)
        start = time.monotonic()
        t.refused(code, "mount", "--insecure", *TIMEOUT, r.ref(), t.mnt, says=says)
        t.check(time.monotonic() - start < 8 * t.slow, f"{fault}: took long")
        r.end()

    failing(5, "/manifests/", status=503, says=["503", "127.0.0.1"])
    failing(4, "/manifests/", status=403, says="127.0.0.1")
    failing(4, "/manifests/", status=401, says="127.0.0.1")
    failing(3, "/manifests/", status=404)
    failing(5, "/manifests/", status=429, headers={"Retry-After": "3600"}, says="3600")
    failing(5, "/manifests/", stall=60)
    failing(5, "/manifests/", cut=20)
    failing(6, "/manifests/", status=200, headers={"Content-Type": "application/json"}, body=b'{"schemaVersion":2')
    failing(6, "blob", flip=1000, says="sha256:")
    failing(5, "blob", cut=0)
    failing(5, "blob", status=500)
    failing(3, "blob", status=404)


def case_html_instead_of_a_manifest(t):
    r, _ = registry(t)
    r.rule(path="/manifests/", status=200, headers={"Content-Type": "text/html"}, body=b"<html>please log in</html>")
    r2 = t.morsel("ls", "--insecure", r.ref(), rc=None)
    t.check(r2.rc in (5, 6, 8), f"exit code {r2.rc}")
    t.equal(len(r2.err_text.splitlines()), 1, "lines on stderr")


def case_a_manifest_that_is_not_what_its_digest_says(t):
    r, _ = registry(t)
    r.rule(path="/manifests/", flip=30)
    t.refused(6, "ls", "--insecure", r.ref(r.digest), says=[r.digest])


def case_streaming_goes_on_where_it_broke_off(t):
    """A layer without an index that breaks in the middle: the rest is fetched by range, nothing twice."""
    files = samples.big_files(6, 8, 500_000)
    lay = Layout(t.path("img"))
    lay.image([layer(samples.files_tar(files))])
    r = FaultRegistry(t, lay)
    digest = lay.layer_digests()[0]
    size = os.path.getsize(lay.blob_path(digest))
    r.rule(path=digest, times=1, cut=size // 3)
    r.rule(path=digest, times=1, cut=size // 4, reset=True)  # what is on its way then is lost
    with t.mounted(r.ref(), "--insecure") as m:
        for name, data in files.items():
            t.check(m.read(name) == data, name)
    sent = sum(x["sent"] for x in r.requests(digest))
    t.check(sent <= size + size // 4 + 10_000, f"{sent} bytes were sent of a blob of {size}")


def case_one_connection_a_request(t):
    """A server that closes after every answer is slow, not wrong."""
    r, files = registry(t)
    with lazy_mount(t, r) as m:
        r.rule(path=r.blob_path, headers={"Connection": "close"})
        for name in files:
            check_right(t, m, files, name, "closed connections")
