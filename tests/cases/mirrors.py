"""Mirrors, by containerd's hosts.toml and podman's registries.conf: which place is asked in which order, that one that is
down, slow, wrong or lying costs little and never wrong bytes, and that each place sees its own credentials only."""
import base64
import os
import socket
import time
import urllib.parse

import samples
import stargz
from credentials import AUTH, write
from faults import REPO, FaultRegistry
from images import Layout
from morseltest import SECRET, free_port
from registries import Registry

SIZE = 200_000


def image(t, count=6):
    """An eStargz layout that no other case shares a byte with, and its files."""
    path = t.new_path("img")
    files = samples.big_files(path + t.dir[-8:], count, SIZE)
    files["other/layer"] = samples.noise(path, 50_000)  # reading from the first layer never brings it along
    lay = Layout(path)
    lay.image([stargz.by_hand({k: v for k, v in files.items() if k.startswith(top)}) for top in ("data/", "other/")])
    return lay, files


def hosts_toml(t, origin, *mirrors, head=""):
    """Writes hosts.toml for origin; a mirror is (url, further lines)."""
    text = head + "\n"
    for url, lines in mirrors:
        text += f'[host."{url}"]\n{lines}\n'
    t.env["MORSEL_HOSTS_DIR"] = t.path("hosts")
    return write(t, f"hosts/{origin.replace(':', '_')}_/hosts.toml", text)


def registries_conf(t, text):
    path = write(t, "registries.conf", text)
    t.env["CONTAINERS_REGISTRIES_CONF"] = path
    return path


def two(t, lines=""):
    """A registry and a mirror of it, of which hosts.toml tells."""
    lay, files = image(t)
    origin, mirror = FaultRegistry(t, lay), FaultRegistry(t, lay)
    hosts_toml(t, origin.host, (f"http://{mirror.host}", lines))
    return origin, mirror, files


def layer_of(origin):
    return origin.layout.layer_digests()[0]


def read(t, m, files, name):
    t.check(m.read(name) == files[name], f"{name}: wrong bytes")


def case_mirror_first(t):
    """It gets everything, is told which registry it stands in for, and -v says that it won."""
    origin, mirror, files = two(t)
    with t.mounted(origin.ref()) as m:
        read(t, m, files, "data/f003")
        t.contains(m.log(), f"served by mirror http://{mirror.host}")
    t.equal(origin.log, [], "requests at the registry")
    t.check(mirror.requests("/blobs/"), "blobs of the mirror")
    for r in mirror.log:
        t.check(f"ns={origin.host}" in urllib.parse.unquote(r["path"]), r["path"])
        t.equal(r["headers"].get("oci-namespace"), origin.host, "OCI-Namespace")
    out = t.morsel("ls", "-v", "--cache-dir", t.new_path("cache"), origin.ref())
    t.contains(out.err_text, f"served by mirror http://{mirror.host}")


def case_no_mirror_no_ns(t):
    lay, files = image(t)
    origin = FaultRegistry(t, lay)
    t.morsel("ls", "--insecure", origin.ref())
    t.equal([r["path"] for r in origin.log if "ns=" in r["path"]], [], "ns")
    t.equal([r for r in origin.log if "oci-namespace" in r["headers"]], [], "OCI-Namespace")


def case_mirror_that_is_not_there(t):
    """Refused connections: the next place, at once; and the mirror again once it is back."""
    lay, files = image(t, 60)
    origin = FaultRegistry(t, lay)
    port = free_port()
    hosts_toml(t, origin.host, (f"http://127.0.0.1:{port}", ""))
    with t.mounted(origin.ref(), "--insecure", "--prefetch", "none") as m:
        read(t, m, files, "data/f000")
        t.contains(m.log(), f"mirror 127.0.0.1:{port} is not there", "served by the registry")
        mirror = FaultRegistry(t, lay, port=port)
        for i in range(7, 60 * 17, 17):  # jumps, so that little is read ahead
            read(t, m, files, f"data/f{i % 60:03}")
            if mirror.requests("/blobs/"):
                break
            time.sleep(0.2)
        t.check(mirror.requests("/blobs/"), "the mirror was never asked again")


def case_mirror_that_swallows_everything(t):
    """A host that takes connections and says nothing: a second, once."""
    lay, files = image(t)
    origin = FaultRegistry(t, lay)
    hole = socket.socket()
    hole.bind(("127.0.0.1", 0))
    hole.listen(100)
    t.defer(hole.close)
    hosts_toml(t, origin.host, (f"http://127.0.0.1:{hole.getsockname()[1]}", ""))

    def seconds():
        start = time.monotonic()
        with t.mounted(origin.ref(), "--insecure", "--cache-dir", t.new_path("cache")) as m:
            ready = time.monotonic() - start
            start = time.monotonic()
            for name in sorted(files):
                read(t, m, files, name)
            return ready, time.monotonic() - start
    tries = [seconds() for _ in range(3)]  # any may be slow because the machine is busy
    t.check(0.7 < min(s[0] for s in tries) < 1.25 + 1.0 * t.slow, f"the mounts took {tries}")
    t.check(min(s[1] for s in tries) < 0.9 * t.slow, f"reading took {tries}")


def case_mirror_with_a_short_dial_timeout(t):
    lay, files = image(t)
    origin = FaultRegistry(t, lay)
    hole = socket.socket()
    hole.bind(("127.0.0.1", 0))
    hole.listen(100)
    t.defer(hole.close)
    hosts_toml(t, origin.host, (f"http://127.0.0.1:{hole.getsockname()[1]}", 'dial_timeout = "100ms"'))
    tries = [t.morsel("ls", "--insecure", "--cache-dir", t.new_path("cache"), origin.ref()).seconds for _ in range(3)]
    t.check(min(tries) < 0.9 * t.slow, f"{tries} s")


def failing(t, says, **fault):
    """The mirror fails for blobs; the registry serves, in time."""
    origin, mirror, files = two(t)
    with t.mounted(origin.ref(), "--insecure") as m:
        mirror.rule(path="/blobs/" + layer_of(origin), **fault)
        start = time.monotonic()
        for name in ("data/f004", "data/f001"):
            read(t, m, files, name)
        seconds = time.monotonic() - start
        t.check(origin.requests("/blobs/"), "the registry was not asked")
        t.contains(m.log(), *says)
        t.equal(m.stat()["read_errors"], 0, "read errors")
        return seconds


def case_mirror_404(t):
    failing(t, ["not found", "asking the next"], status=404)


def case_mirror_5xx(t):
    failing(t, ["503", "asking the next"], status=503)


def case_mirror_429_and_403(t):
    failing(t, ["429", "asking the next"], status=429, headers={"Retry-After": "3600"})
    failing(t, ["403", "asking the next"], status=403)


def case_mirror_that_breaks_off(t):
    failing(t, ["asking the next"], cut=10_000, reset=True)


def case_mirror_that_stalls(t):
    """In the middle of a body: what came is kept, the rest comes from elsewhere."""
    seconds = failing(t, ["asking the next"], stall=30, at=10_000)
    t.check(seconds < 6 * t.slow, f"{seconds:.1f} s")


def case_mirror_that_lies(t):
    """Wrong bytes: asked once more, then the next place; never EIO, never wrong bytes."""
    origin, mirror, files = two(t)
    with t.mounted(origin.ref(), "--insecure") as m:
        mirror.rule(path="/blobs/" + layer_of(origin), replace=b"lies")
        for name in sorted(files):
            read(t, m, files, name)
        t.check(origin.requests("/blobs/"), "the registry was not asked")
        t.contains(m.log(), "chunk", "expected")
        t.check(m.stat()["digest_errors"] >= 1, "digest_errors")
        t.check(len(mirror.requests("/blobs/")) < 12, "the liar was asked again and again")


def case_everybody_lies(t):
    origin, mirror, files = two(t)
    with t.mounted(origin.ref(), "--insecure") as m:
        for r in (origin, mirror):
            r.rule(path="/blobs/" + layer_of(origin), replace=b"lies")
        try:
            m.read("data/f000")
            t.check(False, "bytes came")
        except OSError as e:
            t.equal(e.errno, 5, "errno")
        t.check(origin.requests("/blobs/") and mirror.requests("/blobs/"), "both were asked")


def case_mirror_that_lies_about_documents(t):
    """A manifest by digest, the config, the table of contents."""
    for path in ("/manifests/sha256", "/blobs/"):
        origin, mirror, files = two(t)
        mirror.rule(path=path, replace=b"lies")
        cache = t.new_path("cache")
        t.morsel("cp", "-q", "--insecure", "--cache-dir", cache, origin.ref(origin.digest), "data/f001", cache + ".out")
        with open(cache + ".out", "rb") as f:
            t.check(f.read() == files["data/f001"], "wrong bytes")


def case_mirror_that_lies_about_a_plain_layer(t):
    lay = samples.hello(t)
    origin, mirror = FaultRegistry(t, lay), FaultRegistry(t, lay)
    hosts_toml(t, origin.host, (f"http://{mirror.host}", ""))
    mirror.rule(path="/blobs/" + lay.layer_digests()[0], replace=b"lies")
    out = t.morsel("cat", "--insecure", origin.ref(), "etc/greeting")
    t.equal(out.out, b"hello, world\n", "contents")


def case_pull_only_mirror_never_resolves_tags(t):
    origin, mirror, files = two(t, 'capabilities = ["pull"]')
    with t.mounted(origin.ref(), "--insecure") as m:
        read(t, m, files, "data/f002")
    t.equal(mirror.requests("/manifests/latest"), [], "tags at the mirror")
    t.check(origin.requests("/manifests/latest"), "the tag at the registry")
    t.equal(origin.requests("/blobs/"), [], "blobs of the registry")
    t.check(mirror.requests("/blobs/"), "blobs of the mirror")


def case_credentials_stay_at_home(t):
    """Mirror and registry want different passwords; each sees its own and no other. Custom headers are a mirror's own
    secret: the place it redirects to does not see them."""
    origin, mirror, files = two(t, '[host."http://MIRROR".header]\nX-Key = "abc"\nX-Two = ["1", "2"]\n')
    storage = FaultRegistry(t, origin.layout)
    path = f"{t.work}/hosts/{origin.host.replace(':', '_')}_/hosts.toml"
    with open(path, encoding="ascii") as f:
        text = f.read().replace("MIRROR", mirror.host)
    write(t, os.path.relpath(path, t.work), text)
    for r in (origin, mirror):
        r.rule(path="/v2/", authorized=False, status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
    other = base64.b64encode(f"bob:{SECRET}2".encode()).decode()
    write(t, "home/.docker/config.json", {"auths": {origin.host: {"auth": AUTH}, mirror.host: {"auth": other}}})
    mirror.rule(path="/v2/test/image/blobs/" + layer_of(origin), redirect=f"http://{storage.host}/storage/0/{{digest}}")
    with t.mounted(origin.ref(), "--insecure") as m:
        read(t, m, files, "data/f001")
        mirror.rules.clear()
        mirror.rule(status=500)
        read(t, m, files, "other/layer")
    t.equal({r["authorization"] for r in mirror.log}, {None, f"Basic {other}"}, "at the mirror")
    t.equal({r["authorization"] for r in origin.log}, {None, f"Basic {AUTH}"}, "at the registry")
    t.check(storage.log, "the mirror's storage was asked")
    for r in storage.log:
        t.equal([k for k in r["headers"] if k in ("authorization", "x-key", "x-two", "oci-namespace")], [], "at the storage")
    for r in mirror.log:
        t.equal((r["headers"].get("x-key"), r["headers"].get("x-two")), ("abc", "2"), "custom headers")
    t.equal([r for r in origin.log if "x-key" in r["headers"]], [], "custom headers at the registry")


def case_override_path_and_server(t):
    """The mirror's API is below a path of its own; the server is another host than the reference's."""
    lay, files = image(t)
    real, mirror = FaultRegistry(t, lay), FaultRegistry(t, lay)
    name = f"127.0.0.1:{free_port()}"
    hosts_toml(t, name, (f"http://{mirror.host}/some/path", "override_path = true"), head=f'server = "http://{real.host}"')
    mirror.layouts[REPO] = lay.path
    out = t.morsel("cat", "-v", f"{name}/{REPO}", "data/f001")
    t.check(out.out == files["data/f001"], "wrong bytes")
    t.check(all(r["path"].startswith("/some/path/") for r in mirror.log) and mirror.log, [r["path"] for r in mirror.log])
    t.check(real.requests(f"/v2/{REPO}/blobs/"), "the server was asked")
    t.check(all("ns=" in r["path"] for r in real.log), "ns at a server that is another host")


def case_default_directory(t):
    """_default serves every registry that has no directory of its own."""
    lay, files = image(t)
    origin, mirror = FaultRegistry(t, lay), FaultRegistry(t, lay)
    write(t, "home/.config/containerd/certs.d/_default/hosts.toml", f'[host."http://{mirror.host}"]\n')
    t.morsel("ls", "--insecure", origin.ref())
    t.equal(origin.log, [], "requests at the registry")


def case_registries_conf_mirrors(t):
    """Longest prefix, rewriting, order, and what is tried when the first has it not."""
    lay, files = image(t)
    origin, first, second = FaultRegistry(t, lay), FaultRegistry(t, lay), FaultRegistry(t, lay)
    first.layouts = {}
    second.layouts = {"deep/er/image": lay.path}
    registries_conf(t, f'''
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "{origin.host}"
blocked = true
[[registry]]
prefix = "{origin.host}/test"
location = "{origin.host}/test"
[[registry.mirror]]
location = "{first.host}"
[[registry.mirror]]
location = "{second.host}/deep/er"
''')
    out = t.morsel("cat", "-v", "--insecure", origin.ref(), "data/f001")
    t.check(out.out == files["data/f001"], "wrong bytes")
    t.contains(out.err_text, f"served by mirror http://{second.host}")
    t.check(first.requests("/v2/image/manifests/latest"), "the first mirror")
    t.equal(origin.log, [], "requests at the registry")
    t.equal([r for r in second.log if "ns=" in r["path"]], [], "ns is containerd's")
    t.refused(7, "ls", "--insecure", f"{origin.host}/else/where", says=["blocks", "registries.conf"])


def case_registries_conf_digests_and_location(t):
    """A mirror for digests only never resolves a tag; a rewritten registry is asked in its new place."""
    lay, files = image(t)
    moved, mirror = FaultRegistry(t, lay), FaultRegistry(t, lay)
    moved.layouts = {"new/image": lay.path}
    mirror.layouts = {"m/image": lay.path}
    registries_conf(t, f'''
[[registry]]
prefix = "*.example.com"
location = "{moved.host}/new"
insecure = true
mirror-by-digest-only = true
[[registry.mirror]]
location = "{mirror.host}/m"
insecure = true
''')
    out = t.morsel("cat", "-v", "reg.example.com/image:latest", "data/f003")
    t.check(out.out == files["data/f003"], "wrong bytes")
    t.contains(out.err_text, f"reg.example.com/image: served by the registry, which is at http://{moved.host}/v2/new/image")
    t.equal(mirror.requests("/manifests/latest"), [], "tags at the mirror")
    t.check(mirror.requests("/v2/m/image/blobs/") and moved.requests("/v2/new/image/manifests/latest"), "both served")


def case_a_registry_that_is_elsewhere(t):
    """-v says so without any mirror, for server= and location=; and nothing where the reference says where it is."""
    lay, _ = image(t, 1)
    real = FaultRegistry(t, lay)
    for name, configure in (("toml.example:5", lambda: hosts_toml(t, "toml.example:5", head=f'server = "http://{real.host}"')),
                            ("conf.example", lambda: registries_conf(t, f'''
[[registry]]
prefix = "conf.example"
location = "{real.host}"
insecure = true
'''))):
        configure()
        out = t.morsel("ls", "-v", f"{name}/test/image")
        t.contains(out.err_text, f"{name}/test/image: served by the registry, which is at http://{real.host}/v2/test/image")
    t.check("served by" not in t.morsel("ls", "-v", "--insecure", real.ref()).err_text, "it is where it says")


def case_broken_configuration(t):
    """One line: the file, the line or the key, and what is wrong."""
    lay = samples.hello(t)
    origin = FaultRegistry(t, lay)
    for text, says in (("[host.\"http://x\"\n", "line 1"), ('[host."ftp://x"]\n', "http"),
                       ('[host."http://x"]\ncapabilities = ["fly"]\n', "capabilities"),
                       ('[host."http://x"]\ndial_timeout = "soon"\n', "dial_timeout"),
                       ('[host."http://x"]\nskip_verify = 1\n', "skip_verify"),
                       ('[host."http://x".header]\nRange = "bytes=0-1"\n', "header")):
        path = hosts_toml(t, origin.host, head=text)
        t.refused(1, "ls", "--insecure", origin.ref(), says=[path, says])
    os.unlink(path)
    for text, says in (("[[registry]]\nlocation = 1\n", "location"), ("[[registry]]\nblocked = true\n", "prefix"),
                       ('[registries.search]\nregistries = ["x"]\n', "version 1"),
                       ('[[registry]]\nlocation = "x"\n[[registry.mirror]]\nlocation = "https://y"\n', "https://y"),
                       ('[[registry]]\nlocation = "x"\n[[registry.mirror]]\nlocation = "y"\npull-from-mirror = "no"\n',
                        "pull-from-mirror")):
        path = registries_conf(t, text)
        t.refused(1, "ls", "--insecure", origin.ref(), says=[path, says])
    t.env["CONTAINERS_REGISTRIES_CONF"] = t.path("absent.conf")
    t.refused(3, "ls", "--insecure", origin.ref(), says="absent.conf")


def case_real_mirror_with_tls_and_password(t):
    """docker-registry with a CA of its own and htpasswd, as a mirror: ca in hosts.toml, its own credential."""
    lay = samples.hello(t)
    mirror = Registry(t, tls=True, auth="htpasswd")
    mirror.push(lay)
    origin = FaultRegistry(t, lay)
    origin.rule(status=500)
    hosts_toml(t, origin.host, (f"https://{mirror.host}", f'ca = "{mirror.cert}"'))
    write(t, "home/.docker/config.json", {"auths": {mirror.host: {"auth": AUTH}}})
    t.morsel("ls", "--insecure", origin.ref())
    t.equal(origin.log, [], "requests at the registry")
