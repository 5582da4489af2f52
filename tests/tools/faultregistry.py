#!/usr/bin/env python3
"""A registry that does, on request, what real ones do only on their bad days. Standard library only.

Serves OCI layout directories under the distribution API: manifests by tag and digest, blobs with ranges. Rules change
single answers; everything asked is written down. In a case:

    server = FaultServer({"test/image": "/path/of/layout"})
    server.rule(path="/blobs/", ranged=True, times=1, status=503)

A rule matches by path (a part of it), method, ranged (with or without a Range header), authorized (with or without an
Authorization header), and after its first `skip` matches; it is used `times` times (None: for ever). The first rule that matches acts, later ones wait. Its actions:

    status=N, headers={}, body=b""   this answer instead
    replace=b"..."                   the right status and headers, another body of that length
    delay=S                          waits before the answer
    stall=S, at=N                    sends N bytes of the body, then nothing for S seconds, then closes
    cut=N                            sends N bytes of the body, then closes; with reset=True by a reset
    drip=S                           a byte every S seconds
    rate=N                           N bytes a second
    flip=N                           bit 0 of byte N of the body is wrong
    whole=True                       200 and the whole blob, as if there were no Range
    content_range="..."              this Content-Range (None: none at all); {first} {last} {total} are filled in
    short=N                          an honest 206 for the first N bytes of the range only
    redirect=URL                     307 there; {digest} is filled in

Redirects to the server's own storage: storage_url(digest) gives a link that works until expire_links(); then it answers
as expired_status says. The storage shares all rules; its paths begin with /storage/.

usage: faultregistry.py [--port N] NAME=LAYOUT...     serves without rules, prints "ready PORT"
"""
import argparse
import contextlib
import hashlib
import http.server
import json
import os
import re
import socket
import struct
import sys
import threading
import time


class Rule:
    def __init__(self, path="", method=None, ranged=None, authorized=None, skip=0, times=None, **actions):
        self.path, self.method, self.ranged, self.authorized = path, method, ranged, authorized
        self.skip, self.times = skip, times
        self.actions = actions
        self.hits = 0

    def matches(self, request):
        return (self.path in request["path"] and self.method in (None, request["method"]) and
                self.ranged in (None, request["range"] is not None) and
                self.authorized in (None, request["authorization"] is not None) and self.times != 0)

    def take(self):
        """One match: True when it acts."""
        self.hits += 1
        if self.hits <= self.skip:
            return False
        if self.times is not None:
            self.times -= 1
        return True


class FaultServer:
    def __init__(self, repositories, port=0, tls=None):
        self.layouts = dict(repositories)
        self.rules = []
        self.log = []  # every request: method, path, range, authorization, status, sent, time
        self.connections = set()
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.generation, self.expired_status = 0, 403
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self.handler())
        self.server.daemon_threads = True
        if tls:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        """Also what is connected comes to an end."""
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        with self.lock:
            open_ones = list(self.connections)
        for c in open_ones:
            with contextlib.suppress(OSError):
                c.shutdown(socket.SHUT_RDWR)

    # -- for the case

    def rule(self, **kw):
        with self.lock:
            self.rules.append(Rule(**kw))
            return self.rules[-1]

    def heal(self):
        with self.lock:
            self.rules.clear()

    def requests(self, path="", method="GET"):
        with self.lock:
            return [r for r in self.log if path in r["path"] and r["method"] == method]

    def forget(self):
        with self.lock:
            self.log.clear()

    def storage_url(self, digest="{digest}", host=None):
        return f"http://{host or self.host}/storage/{self.generation}/{digest}?X-Signature=s{self.generation}"

    def expire_links(self, status=403):
        self.generation += 1
        self.expired_status = status

    # -- what is asked for

    def acting_rule(self, request):
        with self.lock:
            for r in self.rules:
                if r.matches(request) and r.take():
                    return r.actions
        return {}

    def find(self, path):
        """(body, Content-Type, digest), or an error (status, body, digest)."""
        if path in ("/v2/", "/v2"):
            return b"{}", "application/json", None
        m = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if m and m.group(1) in self.layouts:
            layout, kind, name = self.layouts[m.group(1)], m.group(2), m.group(3)
            if kind == "manifests":
                return self.manifest(layout, name)
            return self.blob(layout, name)
        m = re.fullmatch(r"/storage/(\d+)/(sha256:[0-9a-f]{64})", path)
        if m and int(m.group(1)) != self.generation:
            return self.expired_status, b"<Error><Code>AccessDenied</Code></Error>", None
        if m:
            for layout in self.layouts.values():
                if os.path.exists(blob_path(layout, m.group(2))):
                    return self.blob(layout, m.group(2))
        return 404, json.dumps({"errors": [{"code": "NAME_UNKNOWN", "message": "not known here"}]}).encode(), None

    @staticmethod
    def manifest(layout, name):
        digest, media_type = name, None
        with open(f"{layout}/index.json", "rb") as f:
            for d in json.load(f)["manifests"]:
                if name in (d["digest"], d.get("annotations", {}).get("org.opencontainers.image.ref.name")):
                    digest, media_type = d["digest"], d["mediaType"]
        try:
            with open(blob_path(layout, digest), "rb") as f:
                body = f.read()
        except OSError:
            return 404, json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}).encode(), None
        if not media_type:
            try:
                media_type = json.loads(body).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
            except ValueError:
                media_type = "application/vnd.oci.image.manifest.v1+json"
        return body, media_type, "sha256:" + hashlib.sha256(body).hexdigest()

    @staticmethod
    def blob(layout, digest):
        try:
            with open(blob_path(layout, digest), "rb") as f:
                return f.read(), "application/octet-stream", digest
        except OSError:
            return 404, json.dumps({"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown"}]}).encode(), None

    def handler(self):
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def setup(self):
                super().setup()
                with owner.lock:
                    owner.connections.add(self.connection)

            def finish(self):
                with owner.lock:
                    owner.connections.discard(self.connection)
                with contextlib.suppress(OSError, ValueError):
                    super().finish()

            def do_GET(self):
                try:
                    Answer(owner, self).send()
                except (BrokenPipeError, ConnectionResetError, TimeoutError):
                    self.close_connection = True

            do_HEAD = do_GET

        return Handler


def blob_path(layout, digest):
    return f"{layout}/blobs/{digest.replace(':', '/', 1)}"


class Answer:
    """One request, answered rightly or as a rule says."""

    def __init__(self, owner, handler):
        self.owner, self.h = owner, handler
        self.path = re.sub("^http://[^/]*", "", handler.path.partition("?")[0])  # it may be asked as a proxy
        self.request = {"method": handler.command, "path": handler.path, "range": handler.headers.get("Range"),
                        "authorization": handler.headers.get("Authorization"), "status": None, "sent": 0,
                        "headers": {k.lower(): v for k, v in handler.headers.items()},
                        "time": time.monotonic(), "port": handler.client_address[1]}
        with owner.lock:
            owner.log.append(self.request)
        self.do = owner.acting_rule(self.request)

    def wait(self, seconds):
        self.owner.stopping.wait(seconds)

    def send(self):
        if "delay" in self.do:
            self.wait(self.do["delay"])
        if "redirect" in self.do:
            digest = self.path.rpartition("/")[2]
            return self.reply(307, {"Location": self.do["redirect"].replace("{digest}", digest)}, b"")
        if "status" in self.do:
            return self.reply(self.do["status"], self.do.get("headers", {}), self.do.get("body", b"as the rule says\n"))
        body, kind, digest = self.owner.find(self.path)
        if isinstance(body, int):
            return self.reply(body, {"Content-Type": "application/json"}, kind)
        headers = {"Content-Type": kind, "Accept-Ranges": "bytes"}
        if digest:
            headers["Docker-Content-Digest"] = digest
        m = re.fullmatch(r"bytes=(\d+)-(\d*)", self.request["range"] or "")
        if not m or self.do.get("whole"):
            return self.reply(200, {**headers, **self.do.get("headers", {})}, body)
        first, last = int(m.group(1)), min(int(m.group(2) or len(body) - 1), len(body) - 1)
        if first >= len(body) or first > last:
            return self.reply(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
        if "short" in self.do:
            last = min(last, first + self.do["short"] - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
        if "content_range" in self.do:
            headers.pop("Content-Range")
            if self.do["content_range"] is not None:
                headers["Content-Range"] = self.do["content_range"].format(
                    first=first, last=last, total=len(body), shifted=first + 1, shifted_last=last + 1)
        return self.reply(206, {**headers, **self.do.get("headers", {})}, body[first:last + 1])

    def reply(self, status, headers, body):
        self.request["status"] = status
        if "replace" in self.do:
            body = (self.do["replace"] * (len(body) // len(self.do["replace"]) + 1))[:len(body)]
        if "flip" in self.do and len(body) > self.do["flip"]:
            body = bytearray(body)
            body[self.do["flip"]] ^= 1
        self.h.send_response(status)
        for name, value in headers.items():
            self.h.send_header(name, value)
        self.h.send_header("Content-Length", str(len(body)))
        self.h.end_headers()
        if self.h.command == "HEAD":
            return
        if "drip" in self.do:
            for i in range(len(body)):
                self.write(body[i:i + 1])
                self.wait(self.do["drip"])
                if self.owner.stopping.is_set():
                    return
            return
        if "rate" in self.do:
            step = max(1, self.do["rate"] // 50)
            for i in range(0, len(body), step):
                self.write(body[i:i + step])
                self.wait(0.02)
                if self.owner.stopping.is_set():
                    return
            return
        limit = self.do.get("cut", self.do.get("at", 0) if "stall" in self.do else None)
        if limit is None:
            self.write(body)
            return
        self.write(body[:limit])
        if "stall" in self.do:
            self.wait(self.do["stall"])
        self.h.close_connection = True
        if self.do.get("reset"):
            self.h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.h.connection.close()

    def write(self, data):
        self.h.wfile.write(data)
        self.request["sent"] += len(data)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--port", type=int, default=0)
    p.add_argument("repositories", nargs="+", metavar="NAME=LAYOUT")
    a = p.parse_args()
    s = FaultServer(dict(r.split("=", 1) for r in a.repositories), a.port)
    print(f"ready {s.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    sys.exit(main())
