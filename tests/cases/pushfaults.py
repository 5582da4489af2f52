"""Pushes to a registry on a bad day: no tag names what is not there, no credential goes where it should not, one line says
what failed, and nothing is left behind."""
import base64
import json
import os
import random
import signal

import faultregistry
import pushregistry
import samples
from morseltest import SECRET, USER, wait_until
from registries import Registry

REPO = "test/image"
MIB = 1 << 20


class Server(pushregistry.PushServer):
    def __init__(self, t, **kw):
        super().__init__(**kw)
        t.defer(self.stop)
        self.t, self.ref = t, f"{self.host}/{REPO}:new"

    def pushed(self, digest):
        self.t.equal(self.tag(REPO, "new"), digest, "what the tag names")
        self.t.check(self.whole(REPO, "new"), "blobs of the pushed image are missing or wrong")
        self.t.equal(list(self.uploads), [], "uploads that were neither finished nor cancelled")

    def nothing(self):
        self.t.equal(list(self.manifests), [], "manifests although the push failed")


def tree(t, size=20 * MIB, name="tree"):
    """More than an upload's window holds, and nothing that compresses."""
    root = t.new_path(name)
    os.makedirs(f"{root}/dir")
    with open(f"{root}/noise", "wb") as f:
        f.write(random.Random(7).randbytes(size))
    with open(f"{root}/dir/text", "w", encoding="ascii") as f:
        f.write("hello\n" * 1000)
    return root


def wanted(t, root, known={}):
    """The digest that a push without trouble gives."""
    if root not in known:
        known[root] = t.morsel("push", "-q", root, f"oci:{t.new_path('layout')}:x").text.strip()
    return known[root]


def push(t, s, root, *flags, **kw):
    digest = t.morsel("push", "-q", *flags, root, s.ref, timeout=120, **kw).text.strip()
    t.equal(digest, wanted(t, root), "the digest")
    s.pushed(digest)


def kinds(s):
    return [r["method"] for r in s.log if "/blobs/uploads/" in r["path"]]


def case_streams_without_trouble(t):
    """One PATCH without a length takes the layer; HEAD comes before what is known; the manifest is last."""
    s, root = Server(t), tree(t)
    push(t, s, root)
    patches = [r for r in s.log if r["method"] == "PATCH"]
    t.equal([(r["length"], r["range"]) for r in patches], [(None, None)], "PATCH requests")
    t.equal([r["method"] for r in s.log if "/manifests/" in r["path"]], ["PUT", "GET"], "requests for the manifest")
    put = next(i for i, r in enumerate(s.log) if "/manifests/" in r["path"])
    t.check(all(i < put for i, r in enumerate(s.log) if "/blobs/" in r["path"]), "blobs after the manifest")
    heads = {r["path"].rpartition("/")[2] for r in s.log[:put] if r["method"] == "HEAD" and r["status"] == 200}
    t.equal(heads, {d for _, d in s.blobs}, "blobs that were confirmed")
    s.forget()
    push(t, s, root)
    t.check(not [r for r in s.log if r["method"] == "PUT" and "config" in r["path"]], "the config went up twice")


def case_breaks_in_the_middle(t):
    """Cut, reset or failed after some MiB: goes on from where the registry is."""
    root = tree(t, 12 * MIB)
    for rule in ({"take": 3 * MIB}, {"take": 3 * MIB, "reset": True}, {"status": 500}, {"take": 11 * MIB}, {"take": 1},
                 {"take": 0}, {"status": 503, "headers": {"Retry-After": "1"}}):
        s = Server(t)
        s.rule(method="PATCH", times=1, **rule)
        s.rule(method="PATCH", skip=2, times=1, **rule)
        push(t, s, root)
        got = sum(r.get("got", 0) for r in s.log)
        t.check(got < 22 * MIB, f"{rule}: {got} bytes were sent for 12 MiB")


def case_registry_loses_bytes(t):
    """It says less than the window holds: the same bytes are made again, from there."""
    s, root = Server(t), tree(t, 30 * MIB)
    s.rule(method="PATCH", times=1, take=20 * MIB)
    s.rule(path="/blobs/uploads/", method="GET", times=1, lose=2 * MIB)
    push(t, s, root)
    t.check(sum(r.get("got", 0) for r in s.log) > 45 * MIB, "nothing was sent again")


def case_forgets_the_upload(t):
    """A session that is gone is begun again, from the first byte."""
    s, root = Server(t), tree(t)
    s.rule(method="PATCH", times=1, take=9 * MIB)
    s.rule(path="/blobs/uploads/", method="GET", times=1, forget=True)
    push(t, s, root)


def case_does_not_know_how_far(t):
    """No answer to where an upload is: a new one."""
    s, root = Server(t), tree(t)
    s.ambiguous = True
    s.rule(method="PATCH", times=1, take=9 * MIB)
    push(t, s, root)


def case_wrong_ranges(t):
    """Less than was sent is believed, more or nonsense is not."""
    root = tree(t, 6 * MIB)
    for said in ("0-99", "0-999999999999", "5-10", "garbage", "", "0-18446744073709551615"):
        s = Server(t)
        s.rule(method="PATCH", times=1, range=said)
        s.strict = True
        push(t, s, root)
    s = Server(t)
    s.rule(method="PATCH", range="0-999999999999")  # but it knows better when it is asked
    push(t, s, root)


def case_without_location(t):
    """A PATCH's answer may leave it out, the first one's may not."""
    s, root = Server(t), tree(t, 6 * MIB)
    s.rule(method="PATCH", location=None)
    push(t, s, root)
    s = Server(t)
    s.rule(method="POST", location=None)
    t.refused(5, "push", root, s.ref, says="no Location", timeout=120)
    s.nothing()


def case_chunks(t):
    """413 makes chunks, and smaller ones; a least size is kept; a chunk's Content-Range fits."""
    root = tree(t)
    for limit, least in ((3 * MIB, None), (300_000, None), (None, 6 * MIB)):
        s = Server(t)
        s.max_body, s.chunk_min = limit, least
        s.rule(method="PATCH", times=1, status=413)
        push(t, s, root)
        chunks = [int(r["length"]) for r in s.log if r["method"] == "PATCH" and r["status"] == 202]
        t.check(len(chunks) > 1 and (not limit or max(chunks) <= limit), f"chunks of {chunks}")
        t.check(not least or min(chunks[:-1]) >= least, f"chunks of {chunks}")
    s = Server(t)
    s.rule(method="PATCH", status=413)
    t.refused(5, "push", root, s.ref, says="413")
    s.nothing()


def case_no_patch(t):
    """One PUT whose digest and length are known: from a spool file in the cache, which is gone afterwards."""
    s, root = Server(t), tree(t)
    s.no_patch = True
    push(t, s, root)
    puts = [r for r in s.log if r["method"] == "PUT" and "/blobs/uploads/" in r["path"]]
    t.check(all(r["length"] for r in puts), "a PUT without a length")
    s = Server(t)
    s.no_patch = True
    s.rule(method="PUT", path="/blobs/uploads/", skip=0, times=1, take=5 * MIB)
    push(t, s, root)
    t.equal([n for n in os.listdir(t.environ()["MORSEL_CACHE_DIR"]) if n.startswith("#")], [], "spool files")


def case_never_gets_better(t):
    """5xx for ever, at each step: exit 5, no tag, one line."""
    root = tree(t, 6 * MIB)
    for method, path in (("POST", "/uploads/"), ("PATCH", "/uploads/"), ("PUT", "/uploads/"), ("PUT", "/manifests/"),
                         ("HEAD", "/blobs/")):
        s = Server(t)
        s.rule(method=method, path=path, status=500)
        t.refused(5, "push", root, s.ref, says="500", timeout=120)
        s.nothing()


def case_lies(t):
    """201 for what is not kept, 202 for what is lost: found before the tag moves, or by reading it back."""
    root = tree(t, 6 * MIB)
    for rule, says in (({"method": "PUT", "path": "/uploads/", "lie": True}, "does not have it"),
                       ({"method": "PUT", "path": "/manifests/", "lie": True}, "said that it stored the manifest")):
        s = Server(t)
        s.rule(**rule)
        t.refused(5, "push", root, s.ref, says=says, timeout=120)
        s.nothing()
    s = Server(t)  # a wrong digest in an answer is looked into
    s.rule(method="PUT", path="/uploads/", digest="sha256:" + "0" * 64)
    push(t, s, root)
    s = Server(t)
    s.rule(method="PATCH", lie=True)
    t.refused(5, "push", root, s.ref, timeout=120)
    s.nothing()


def case_lost_answers(t):
    """What was done although the answer failed is done."""
    root = tree(t, 6 * MIB)
    for rule in ({"method": "PUT", "path": "/uploads/"}, {"method": "PUT", "path": "/manifests/"},
                 {"method": "PATCH", "path": "/uploads/"}, {"method": "POST", "path": "/uploads/"}):
        s = Server(t)
        s.rule(times=1, after=True, status=502, **rule)
        t.morsel("push", "-q", root, s.ref, timeout=120)
        t.check(s.whole(REPO, "new"), f"{rule}: not whole")


def case_another_host(t):
    """A Location elsewhere gets nothing: no byte, no header. Neither does a redirect."""
    other = faultregistry.FaultServer({})
    t.defer(other.stop)
    root = tree(t, 6 * MIB)
    auth = t.path("auth.json")
    token = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
    for rule in ({"method": "POST", "location": f"http://{other.host}/steal"},
                 {"method": "PATCH", "location": f"http://{other.host}/steal"},
                 {"method": "POST", "location": f"//{other.host}/steal"},
                 {"method": "POST", "location": "ftp://example.invalid/steal"},
                 {"method": "PATCH", "status": 307, "headers": {"Location": f"http://{other.host}/steal"}},
                 {"method": "PUT", "path": "/manifests/", "status": 307,
                  "headers": {"Location": f"http://{other.host}/steal"}}):
        s = Server(t)
        with open(auth, "w", encoding="ascii") as f:
            json.dump({"auths": {s.host: {"auth": token}}}, f)
        s.rule(authorized=False, status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
        s.rule(**rule)
        r = t.morsel("push", "--authfile", auth, root, s.ref, rc=None, timeout=120)
        t.check(r.rc in (5, 7), f"{rule}: exit {r.rc}")
        t.check("elsewhere" in r.err_text or "another host" in r.err_text or "redirected" in r.err_text or
                "makes no sense" in r.err_text, f"{rule}: {r.err_text}")
        s.nothing()
        t.equal(other.log, [], "what the other host was sent")


def case_password_asked_for_in_the_middle(t):
    """401 to a PATCH: answered, and it goes on; a wrong password ends it."""
    root = tree(t)
    s = Server(t)
    auth = t.path("auth.json")
    token = base64.b64encode(f"{USER}:{SECRET}".encode()).decode()
    with open(auth, "w", encoding="ascii") as f:
        json.dump({"auths": {s.host: {"auth": token}}}, f)
    s.rule(method="PATCH", authorized=False, status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
    push(t, s, root, "--authfile", auth)
    s = Server(t)
    s.rule(method="PATCH", status=401, headers={"WWW-Authenticate": 'Basic realm="test"'})
    t.refused(4, "push", "--authfile", auth, root, s.ref)
    s.nothing()


def case_refused(t):
    """What registries say is said on: 403, 404, a manifest they don't like."""
    root = tree(t, MIB)
    for rule, code, says in (({"method": "POST", "status": 403}, 4, "403"), ({"method": "POST", "status": 404}, 3, "404"),
                             ({"method": "PUT", "path": "/manifests/", "status": 400,
                               "body": b'{"errors":[{"code":"MANIFEST_INVALID","message":"no thanks"}]}'}, 5, "no thanks")):
        s = Server(t)
        s.rule(**rule)
        t.refused(code, "push", root, s.ref, says=says)
        s.nothing()


def case_somebody_else_pushes(t):
    """The tag names another image when it is read back: exit 1, said so."""
    root = tree(t, MIB)
    s = Server(t)
    lay = samples.hello(t)
    s.layouts[REPO] = lay.path
    t.morsel("push", f"oci:{lay.path}", f"{s.host}/{REPO}:other")
    body = s.find(f"/v2/{REPO}/manifests/other")[0]
    s.rule(method="GET", path="/manifests/new", status=200, body=body,
           headers={"Content-Type": pushregistry.OCI_MANIFEST})
    t.refused(1, "push", root, s.ref, says="something else pushed")


def case_interrupted_at_docker_registry(t):
    """It takes no DELETE for an upload of which it has more than it has said: the request comes to its end first. (What it
    leaves of every upload that is cancelled, by whomever, is the state of its hash.)"""
    r = Registry(t)
    os.mkdir(t.path("tree"))
    with open(t.path("tree/zeros"), "wb") as f:
        f.truncate(4 << 30)

    def uploads():
        return [f"{base}/{name}" for base, _, names in os.walk(f"{r.dir}/data") for name in names
                if "/_uploads/" in base and "/hashstates" not in base]

    for compression in ("none", "estargz"):
        p = t.popen(t.binary, "push", "--compression", compression, t.path("tree"), r.ref())
        wait_until("bytes arrive", lambda: any(n.endswith("/data") and os.path.getsize(n) for n in uploads()))
        p.send_signal(signal.SIGINT)
        t.equal(p.wait(20), 130, "exit code")
        t.equal(uploads(), [], "uploads left in the registry")


def case_interrupted(t):
    """SIGINT: exit 130, the upload is cancelled, nothing is left."""
    root = tree(t, 40 * MIB)
    s = Server(t)
    s.rule(method="PATCH", delay=30)
    p = t.popen(t.binary, "push", root, s.ref)
    wait_until("the upload begins", lambda: any(r["method"] == "PATCH" for r in s.log))
    p.send_signal(signal.SIGINT)
    t.equal(p.wait(20), 130, "exit code")
    s.nothing()
    t.check(any(r["method"] == "DELETE" for r in s.log), "no DELETE was sent")
    s = Server(t)  # too late: the tag has moved, and the exit code says so
    small = tree(t, MIB)
    s.rule(method="PUT", path="/manifests/", after=True, status=201, delay_after=3)
    p = t.popen(t.binary, "push", small, s.ref)
    wait_until("the tag moves", lambda: s.tag(REPO, "new"))
    p.send_signal(signal.SIGINT)
    t.equal(p.wait(20), 0, "exit code")
    lay = t.path("lay")
    p = t.popen(t.binary, "push", "--compression", "gzip", "--level", "9", root, f"oci:{lay}:x")
    wait_until("the layer begins", lambda: os.path.exists(f"{lay}/blobs"))
    p.send_signal(signal.SIGINT)
    if p.wait(20) == 130:
        t.check(not os.path.exists(lay), "a layout that was only begun is left")
