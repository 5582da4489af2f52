"""How registries are reached: CAs and client certificates of certs.d, --tls-verify, proxies."""
import os
import select
import shutil
import socket
import threading

import samples
from credentials import write
from faults import REPO, FaultRegistry
from morseltest import SECRET, need
from registries import Registry


def client_pair(t, name="client"):
    """A self-signed client certificate and its key: their paths."""
    need("openssl")
    crt, key = t.path(f"{name}.cert"), t.path(f"{name}.key")
    t.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
          "-subj", f"/CN={name}", "-addext", "extendedKeyUsage=clientAuth", "-keyout", key, "-out", crt)
    return crt, key


def certs_d(t, host, *files, where="home/.config/containers/certs.d"):
    """Puts (path, name) into the certs.d directory of host; its path."""
    d = f"{t.work}/{where}/{host}"
    os.makedirs(d, exist_ok=True)
    for path, name in files:
        shutil.copy(path, f"{d}/{name}")
    return d


def case_ca_of_certs_d(t):
    """The CA counts for that host only."""
    lay = samples.hello(t)
    r, other = Registry(t, tls=True), Registry(t, tls=True)
    for x in (r, other):
        x.push(lay)
    certs_d(t, r.host, (r.cert, "ca.crt"))
    t.morsel("ls", r.ref())
    t.refused(5, "ls", "--cache-dir", t.new_path("cache"), other.ref(), says="certificate")
    d = certs_d(t, other.host)
    write(t, os.path.relpath(d, t.work) + "/bad.crt", "this is no certificate\n")
    t.refused(1, "ls", "--cache-dir", t.new_path("cache"), other.ref(), says=[d, "PEM"])


def case_ca_where_hosts_toml_would_be(t):
    lay = samples.hello(t)
    r = Registry(t, tls=True)
    r.push(lay)
    certs_d(t, r.host, (r.cert, "x.crt"), where="home/.config/containerd/certs.d")
    t.morsel("ls", r.ref())


def case_client_certificate(t):
    """docker-registry that lets nobody in without one: certs.d, and hosts.toml's client."""
    crt, key = client_pair(t)
    lay = samples.hello(t)
    plain = Registry(t, tls=True)
    plain.push(lay)
    plain.stop()
    r = Registry(t, tls=True, client_ca=crt, data=plain.dir)
    d = certs_d(t, r.host, (r.cert, "ca.crt"))
    t.refused(5, "ls", r.ref(), says=r.host)
    certs_d(t, r.host, (crt, "me.cert"))
    t.refused(1, "ls", r.ref(), says=[d, "me.key"])
    certs_d(t, r.host, (key, "me.key"))
    t.morsel("ls", r.ref())
    shutil.rmtree(d)
    host = write(t, f"home/.config/containerd/certs.d/{r.host}/hosts.toml",
                 f'server = "https://{r.host}"\nca = "{r.cert}"\nclient = [["{crt}", "{key}"]]\n')
    t.morsel("ls", "--cache-dir", t.new_path("cache"), r.ref())
    write(t, os.path.relpath(host, t.work), f'server = "https://{r.host}"\nskip_verify = true\nclient = "absent.pem"\n')
    t.refused(3, "ls", "--cache-dir", t.new_path("cache"), r.ref(), says="absent.pem")


def case_several_client_certificates(t):
    """Of several in one directory the server gets the one whose issuer it names, as from docker and podman; also from
    hosts.toml."""
    pairs = {name: client_pair(t, name) for name in ("alpha", "beta", "gamma")}
    lay = samples.hello(t)
    plain = Registry(t, tls=True)
    plain.push(lay)
    plain.stop()

    def asks(name):
        r = Registry(t, tls=True, client_ca=pairs[name][0], data=plain.dir)
        certs_d(t, r.host, (r.cert, "ca.crt"))
        return r

    for name in pairs:
        r = asks(name)
        for i, (crt, key) in enumerate(pairs.values()):
            certs_d(t, r.host, (crt, f"{i}.cert"), (key, f"{i}.key"))
        t.equal(t.morsel("cat", "--cache-dir", t.new_path("cache"), r.ref(), "greeting").text, "hello, world\n", name)
    r = asks("beta")
    both = ", ".join(f'["{crt}", "{key}"]' for crt, key in pairs.values())
    write(t, f"home/.config/containerd/certs.d/{r.host}/hosts.toml",
          f'server = "https://{r.host}"\nca = "{r.cert}"\nclient = [{both}]\n')
    t.morsel("ls", "--cache-dir", t.new_path("cache"), r.ref())
    r = asks("gamma")
    for name in ("alpha", "beta"):
        certs_d(t, r.host, (pairs[name][0], f"{name}.cert"), (pairs[name][1], f"{name}.key"))
    t.refused(5, "ls", "--cache-dir", t.new_path("cache"), r.ref(), says=r.host)


def case_client_certificates_that_are_none(t):
    """Each is looked at, also one that would not be shown; nobody is asked for a passphrase."""
    crt, key = client_pair(t)
    _, other = client_pair(t, "other")
    t.run("openssl", "ec", "-aes128", "-passout", "pass:secret", "-in", key, "-out", t.path("locked.key"))
    r = Registry(t, tls=True)
    d = certs_d(t, r.host, (r.cert, "ca.crt"), (crt, "a.cert"), (key, "a.key"))
    for cert, its_key, words in ((crt, other, "is not its key"), (crt, t.path("locked.key"), "is encrypted"),
                                 (key, key, "there is no certificate"), (crt, crt, "is no key")):
        certs_d(t, r.host, (cert, "z.cert"), (its_key, "z.key"))
        t.refused(1, "ls", r.ref(), says=[d + "/z.", words])


def case_skip_verify_is_for_its_host_only(t):
    lay = samples.hello(t)
    r, other = Registry(t, tls=True), Registry(t, tls=True)
    for x in (r, other):
        x.push(lay)
    write(t, f"home/.config/containerd/certs.d/{r.host}/hosts.toml", f'server = "https://{r.host}"\nskip_verify = true\n')
    t.morsel("ls", r.ref())
    t.refused(5, "ls", "--cache-dir", t.new_path("cache"), other.ref(), says="certificate")


class Tunnel:
    """A proxy that knows CONNECT only, and leads every tunnel to one port of loopback."""

    def __init__(self, t, port):
        self.heads, self.port = [], port
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"
        t.defer(self.socket.close)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                threading.Thread(target=self.serve, args=self.socket.accept()[:1], daemon=True).start()
            except OSError:
                return

    def serve(self, c):
        head = b""
        while b"\r\n\r\n" not in head:
            piece = c.recv(4096)
            if not piece:
                return
            head += piece
        self.heads.append(head.decode())
        with socket.create_connection(("127.0.0.1", self.port)) as s, c:
            c.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
            while True:
                for one in select.select([c, s], [], [])[0]:
                    data = one.recv(65536)
                    if not data:
                        return
                    (s if one is c else c).sendall(data)


def case_https_through_a_proxy(t):
    """CONNECT; NO_PROXY and loopback go directly."""
    lay = samples.hello(t)
    r = Registry(t, tls=True)
    r.push(lay)
    p = Tunnel(t, r.port)
    ref = "registry.example.invalid:5443/test/image"
    t.morsel("ls", "--tls-verify=false", ref, env={"HTTPS_PROXY": p.url})
    t.check(p.heads and all(h.startswith("CONNECT registry.example.invalid:5443 ") for h in p.heads), p.heads)
    t.check(all("authorization" not in h.lower() for h in p.heads), "a credential for the proxy")
    p.heads.clear()
    t.morsel("ls", "--tls-verify=false", "--cache-dir", t.new_path("cache"), ref, env={"https_proxy": p.url})
    t.check(p.heads, "in lower case")
    p.heads.clear()
    for no in ("example.invalid", "registry.example.invalid:5443"):
        t.refused(5, "ls", "--tls-verify=false", "--cache-dir", t.new_path("cache"), "--read-timeout", "1s", ref,
                  env={"HTTPS_PROXY": p.url, "NO_PROXY": f"x.y, {no}"})
    t.morsel("ls", "--tls-verify=false", "--cache-dir", t.new_path("cache"), r.ref(), env={"HTTPS_PROXY": p.url})
    t.equal(p.heads, [], "asked of the proxy although it should not be")


def case_a_proxy_that_fails(t):
    """It is named, with its variable and without its password; one that can't be any is refused at once."""
    ref = "registry.example.invalid/test/image"
    secret = f"user:{SECRET}@"
    for name, flags in (("HTTPS_PROXY", ()), ("http_proxy", ("--insecure",))):
        line = t.refused(5, "ls", *flags, ref, env={name: f"http://{secret}127.0.0.1:1/"},
                         says=f"through the proxy http://127.0.0.1:1 of ${name}: ")
        t.check(SECRET not in line, line)
    for bad in ("junk://", "http://", "ftp://"):
        r = t.morsel("ls", ref, env={"HTTPS_PROXY": bad + secret + "x:1" if bad != "http://" else bad}, rc=1)
        t.contains(r.err_text, f'the proxy "{bad}', "of $HTTPS_PROXY can't be used")
        t.check(r.seconds < 1.8 * t.slow and SECRET not in r.err_text, r.err_text)


def case_http_through_a_proxy(t):
    """The whole URL; not in a CGI program, where HTTP_PROXY is a client's header. That the proxy is at loopback does not
    let the registry send us there."""
    lay = samples.hello(t)
    r = FaultRegistry(t, lay)
    ref = f"registry.example.invalid/{REPO}"
    t.morsel("ls", "--insecure", ref, env={"HTTP_PROXY": f"http://{r.host}"})
    t.check(r.log and all(x["path"].startswith("http://registry.example.invalid/v2/") for x in r.log),
            [x["path"] for x in r.log])
    t.refused(5, "ls", "--insecure", "--cache-dir", t.new_path("cache"), "--read-timeout", "1s", ref,
              env={"HTTP_PROXY": f"http://{r.host}", "REQUEST_METHOD": "GET"})
    r.rule(path="/blobs/", redirect="http://127.0.0.1:1/x")
    t.refused(7, "ls", "--insecure", "--cache-dir", t.new_path("cache"), ref, says="redirect",
              env={"HTTP_PROXY": f"http://{r.host}"})
