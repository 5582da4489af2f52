"""docker-registry on loopback: plain, with TLS, with passwords, with tokens; and what it takes to fill it."""
import base64
import http.client
import json
import os
import ssl
import urllib.parse

import tokenserver
from morseltest import SECRET, USER, Failure, free_port, need, port_open, wait_until



class Registry:
    """A running docker-registry. auth: None, "htpasswd" or "token"."""

    def __init__(self, t, tls=False, auth=None, anonymous=False, token_lifetime=300, data=None,
                 client_ca=None, proxy_of=None):
        need("docker-registry")
        self.t, self.tls, self.auth, self.client_ca = t, tls, auth, client_ca
        self.dir = data or t.new_path("registry")
        os.makedirs(self.dir, exist_ok=True)
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        self.tokens = None
        self.process = None
        self.config = {"version": "0.1", "log": {"accesslog": {"disabled": False}, "level": "error"},
                       "storage": {"filesystem": {"rootdirectory": f"{self.dir}/data"}, "delete": {"enabled": True}},
                       "http": {"addr": self.host}}
        if proxy_of:  # a pull-through cache
            self.config["proxy"] = {"remoteurl": proxy_of}
        if tls:
            self.make_certificate()
        if auth == "htpasswd":
            need("htpasswd")
            line = t.run("htpasswd", "-iBn", USER, input=SECRET.encode()).out
            with open(f"{self.dir}/htpasswd", "wb") as f:
                f.write(line)
            self.config["auth"] = {"htpasswd": {"realm": "test", "path": f"{self.dir}/htpasswd"}}
        elif auth == "token":
            need("openssl")
            self.tokens = tokenserver.TokenServer(f"{self.dir}/tokens", USER, SECRET, lifetime=token_lifetime,
                                                  anonymous=anonymous)
            t.defer(self.tokens.stop)
            self.config["auth"] = {"token": {"realm": self.tokens.realm, "service": tokenserver.SERVICE,
                                             "issuer": tokenserver.ISSUER, "rootcertbundle": self.tokens.cert}}
        self.start()

    def make_certificate(self):
        need("openssl")
        self.cert = f"{self.dir}/tls.crt"
        self.t.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                   "/CN=morsel-test",
                   "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", f"{self.dir}/tls.key", "-out", self.cert)
        self.config["http"]["tls"] = {"certificate": self.cert, "key": f"{self.dir}/tls.key"}
        if self.client_ca:
            self.config["http"]["tls"]["clientcas"] = [self.client_ca]

    def start(self):
        config = f"{self.dir}/config.yml"
        with open(config, "w", encoding="ascii") as f:
            json.dump(self.config, f)  # JSON is YAML
        with open(f"{self.dir}/log", "ab") as log:
            # docker-registry takes every REGISTRY_... of the environment as configuration.
            self.process = self.t.popen("docker-registry", "serve", config, stdout=log, stderr=log,
                                        env={"REGISTRY_AUTH_FILE": None})
        wait_until("docker-registry answers", lambda: self.alive() and port_open(self.port))

    def alive(self):
        if self.process.poll() is None:
            return True
        with open(f"{self.dir}/log", encoding="utf-8", errors="replace") as f:
            raise Failure("docker-registry ended: " + f.read()[-2000:])

    def stop(self):
        self.t.end_process(self.process)

    def requests(self, needle=""):
        """Lines of the access log that hold needle."""
        with open(f"{self.dir}/log", encoding="utf-8", errors="replace") as f:
            return [line for line in f if '"GET ' in line or '"HEAD ' in line if needle in line]

    def ref(self, repo="test/image", tag="latest"):
        return f"{self.host}/{repo}@{tag}" if tag.startswith("sha256:") else f"{self.host}/{repo}:{tag}"

    def authorization(self, repo):
        if self.auth == "htpasswd":
            return {"Authorization": "Basic " + base64.b64encode(f"{USER}:{SECRET}".encode()).decode()}
        if self.auth == "token":
            return {"Authorization": "Bearer " + self.tokens.token([f"repository:{repo}:pull,push"])}
        return {}

    def authfile(self, password=SECRET):
        """A docker config.json with the registry's password; its path."""
        path = self.t.new_path("auth.json")
        with open(path, "w", encoding="ascii") as f:
            json.dump({"auths": {self.host: {"auth": base64.b64encode(f"{USER}:{password}".encode()).decode()}}}, f)
        os.chmod(path, 0o600)
        return path

    # -- filling it

    def push(self, layout, repo="test/image", name="latest", tag=None):
        """Copies the image or index called name, with all it refers to, byte for byte. Its digest."""
        d = next(m for m in layout.manifests
                 if m.get("annotations", {}).get("org.opencontainers.image.ref.name") == name)
        connection = self.connect()
        try:
            self.push_document(connection, layout, repo, d, tag or name)
        finally:
            connection.close()
        return d["digest"]

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30,
                                               context=ssl._create_unverified_context())
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def request(self, connection, method, path, repo, body=None, headers=None, want=(200, 201, 202)):
        connection.request(method, path, body, {**self.authorization(repo), **(headers or {})})
        r = connection.getresponse()
        data = r.read()
        if r.status not in want:
            raise Failure(f"{method} {path}: {r.status} {data[:300]!r}")
        return r

    def push_document(self, connection, layout, repo, descriptor, name):
        with open(layout.blob_path(descriptor["digest"]), "rb") as f:
            body = f.read()
        obj = json.loads(body)
        for child in obj.get("manifests", []):
            self.push_document(connection, layout, repo, child, child["digest"])
        for blob in ([obj["config"]] if "config" in obj else []) + obj.get("layers", []):
            self.push_blob(connection, layout, repo, blob["digest"])
        self.request(connection, "PUT", f"/v2/{repo}/manifests/{name}", repo, body,
                     {"Content-Type": descriptor["mediaType"]})

    def push_blob(self, connection, layout, repo, digest):
        r = self.request(connection, "HEAD", f"/v2/{repo}/blobs/{digest}", repo, want=(200, 404))
        if r.status == 200:
            return
        r = self.request(connection, "POST", f"/v2/{repo}/blobs/uploads/", repo)
        where = urllib.parse.urlsplit(r.headers["Location"])
        with open(layout.blob_path(digest), "rb") as f:
            self.request(connection, "PUT", f"{where.path}?{where.query}&digest={urllib.parse.quote(digest)}", repo,
                         f.read(), {"Content-Type": "application/octet-stream"})
