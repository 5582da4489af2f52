"""A registry that is pushed to, and fails as told: faultregistry.py with uploads, kept in memory.

What is read is first looked for in what was pushed, then in the layouts. Rules are those of FaultServer; for requests that
carry bytes they may say

    status=N, headers={}, body=b""   this answer instead; the bytes are not read, unless read=True
    take=N                           reads and keeps N bytes of the body, then closes (reset=True: by a reset)
    after=True                       does what was asked, then answers as `status` says
    delay_after=S                    does what was asked, and answers later
    lie=True                         the right answer, and nothing is kept
    location="..." or None           this Location, or none
    range="..." or None              this Range, or none
    digest="..."                     this Docker-Content-Digest
    forget=True                      the upload is gone: 404
    lose=N                           only the first N bytes of the upload are left

`max_body` is what one request may carry (else 413), `chunk_min` goes out as OCI-Chunk-Min-Length, `no_patch` answers 405 to
PATCH, `strict` wants Content-Range to fit, `ambiguous` does not know how far an upload is.
"""
import hashlib
import json
import re
import socket
import struct
import threading
import time

import faultregistry

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class PushServer(faultregistry.FaultServer):
    def __init__(self, repositories=(), **kw):
        self.blobs, self.manifests, self.uploads = {}, {}, {}
        self.max_body, self.chunk_min, self.no_patch, self.strict, self.ambiguous = None, None, False, True, False
        self.next_id, self.cancelled = 0, []
        self.state = threading.Lock()
        super().__init__(repositories, **kw)

    def handler(self):
        owner = self

        class Handler(super().handler()):
            def do_GET(self):
                if "/blobs/uploads/" in self.path:
                    self.do_POST()
                else:
                    super().do_GET()

            def do_POST(self):
                try:
                    Push(owner, self).send()
                except (BrokenPipeError, ConnectionResetError, TimeoutError, ValueError):
                    self.close_connection = True

            do_PATCH = do_PUT = do_DELETE = do_POST
            do_HEAD = do_GET

            def handle_expect_100(self):
                """Said when the body is wanted, not before: as real servers do."""
                self.expects = True
                return True

        return Handler

    def find(self, path):
        m = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if m:
            repo, kind, name = m.groups()
            with self.state:
                if kind == "blobs" and (repo, name) in self.blobs:
                    return self.blobs[repo, name], "application/octet-stream", name
                if kind == "manifests" and (repo, name) in self.manifests:
                    media_type, body = self.manifests[repo, name]
                    return body, media_type, "sha256:" + hashlib.sha256(body).hexdigest()
        return super().find(path)

    def tag(self, repo, name):
        """Digest a tag names, or None."""
        with self.state:
            found = self.manifests.get((repo, name))
        return found and "sha256:" + hashlib.sha256(found[1]).hexdigest()

    def whole(self, repo, name):
        """Whether all that the tag's manifest names is there, with the right bytes."""
        with self.state:
            _, body = self.manifests[repo, name]
            manifest = json.loads(body)
            for d in [manifest["config"]] + manifest["layers"]:
                blob = self.blobs.get((repo, d["digest"]))
                if blob is None or len(blob) != d["size"] or "sha256:" + hashlib.sha256(blob).hexdigest() != d["digest"]:
                    return False
        return True


class Push:
    """One request of an upload, or of a manifest."""

    def __init__(self, owner, handler):
        self.owner, self.h = owner, handler
        self.path, _, self.query = handler.path.partition("?")
        self.request = {"method": handler.command, "path": handler.path, "range": handler.headers.get("Content-Range"),
                        "authorization": handler.headers.get("Authorization"), "status": None, "sent": 0, "got": 0,
                        "length": handler.headers.get("Content-Length"), "time": time.monotonic()}
        with owner.lock:
            owner.log.append(self.request)
        self.do = owner.acting_rule(self.request)

    def pieces(self):
        if getattr(self.h, "expects", False):
            self.h.expects = False
            self.h.send_response_only(100)
            self.h.end_headers()
        if self.h.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while True:
                n = int(self.h.rfile.readline().split(b";")[0], 16)
                left = n
                while left:
                    piece = self.h.rfile.read(min(left, 65536))
                    if not piece:
                        raise ConnectionResetError
                    left -= len(piece)
                    yield piece
                self.h.rfile.readline()
                if not n:
                    return
        left = int(self.request["length"] or 0)
        while left:
            piece = self.h.rfile.read(min(left, 65536))
            if not piece:
                raise ConnectionResetError
            left -= len(piece)
            yield piece

    def body(self, into=None):
        """Reads the body, into an upload as it comes."""
        into = bytearray() if into is None else into
        limit = self.do.get("take")
        for piece in self.pieces():
            if limit is not None and self.request["got"] + len(piece) >= limit:
                piece = piece[:limit - self.request["got"]]
                into += piece
                self.drop()
            into += piece
            self.request["got"] += len(piece)
        return into

    def drop(self):
        if self.do.get("reset"):
            self.h.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.h.close_connection = True
        self.h.connection.shutdown(socket.SHUT_RDWR) if not self.do.get("reset") else self.h.connection.close()
        raise ConnectionResetError

    def reply(self, status, headers=(), body=b""):
        self.request["status"] = status
        headers = dict(headers)
        for key, name in (("location", "Location"), ("range", "Range"), ("digest", "Docker-Content-Digest")):
            if key in self.do:
                headers.pop(name, None)
                if self.do[key] is not None:
                    headers[name] = self.do[key]
        self.h.send_response(status)
        for name, value in headers.items():
            self.h.send_header(name, value)
        if status != 204:
            self.h.send_header("Content-Length", str(len(body)))
        if self.h.close_connection:
            self.h.send_header("Connection", "close")
        self.h.end_headers()
        self.h.wfile.write(body)

    def error(self, status, code):
        self.h.close_connection = True  # the body may not have been read
        self.reply(status, {"Content-Type": "application/json"},
                   json.dumps({"errors": [{"code": code, "message": "said by the test"}]}).encode())

    def send(self):
        if "delay" in self.do:
            self.owner.stopping.wait(self.do["delay"])
        if "status" in self.do and not self.do.get("after"):
            if self.do.get("read"):
                self.body()
            self.h.close_connection = not self.do.get("read")
            return self.reply(self.do["status"], self.do.get("headers", {}), self.do.get("body", b"as the rule says\n"))
        length = int(self.request["length"] or 0)
        if self.owner.max_body is not None and length > self.owner.max_body:
            return self.error(413, "SIZE_INVALID")
        m = re.fullmatch(r"/v2/(.+?)/(blobs/uploads|manifests)/(.*)", self.path)
        if not m:
            return self.error(404, "NAME_UNKNOWN")
        repo, kind, name = m.groups()
        if kind == "manifests":
            return self.manifest(repo, name)
        if not name:
            return self.begin(repo)
        return self.go_on(repo, name)

    def answer(self, status, headers=(), body=b""):
        self.owner.stopping.wait(self.do.get("delay_after", 0))
        if self.do.get("after"):
            return self.reply(self.do["status"], self.do.get("headers", {}), self.do.get("body", b""))
        return self.reply(status, headers, body)

    def begin(self, repo):
        query = dict(p.split("=", 1) for p in self.query.split("&") if "=" in p)
        source = (query.get("from"), query.get("mount", "").replace("%3A", ":"))
        with self.owner.state:
            if source in self.owner.blobs:
                self.owner.blobs[repo, source[1]] = self.owner.blobs[source]
                return self.answer(201, {"Location": f"/v2/{repo}/blobs/{source[1]}"})
            self.owner.next_id += 1
            upload = f"u{self.owner.next_id}"
            self.owner.uploads[upload] = bytearray()
        headers = {"Location": f"/v2/{repo}/blobs/uploads/{upload}?_state=a%2Fb%3D%3D", "Range": "0-0"}
        if self.owner.chunk_min:
            headers["OCI-Chunk-Min-Length"] = str(self.owner.chunk_min)
        return self.answer(202, headers)

    def go_on(self, repo, name):
        upload = self.owner.uploads.get(name)
        if self.do.get("forget"):
            self.owner.uploads.pop(name, None)
            upload = None
        if upload is None:
            return self.error(404, "BLOB_UPLOAD_UNKNOWN")
        del upload[self.do.get("lose", len(upload)):]
        if "_state=a%2Fb%3D%3D" not in self.query:
            return self.error(400, "BLOB_UPLOAD_INVALID")
        where = {"Location": f"/v2/{repo}/blobs/uploads/{name}?_state=a%2Fb%3D%3D"}
        method = self.h.command
        if method == "DELETE":
            self.owner.uploads.pop(name)
            self.owner.cancelled.append(name)
            return self.answer(204)
        if method == "GET":
            if self.owner.ambiguous:
                return self.error(405, "UNSUPPORTED")
            return self.answer(204, {**where, "Range": f"0-{max(len(upload) - 1, 0)}"})
        if method == "PATCH":
            if self.owner.no_patch:
                return self.error(405, "UNSUPPORTED")
            asked = re.fullmatch(r"(\d+)-(\d+)", self.request["range"] or "")
            if asked and int(asked.group(1)) != len(upload) and self.owner.strict:
                return self.error(416, "RANGE_INVALID")
            self.body(bytearray() if self.do.get("lie") else upload)
            return self.answer(202, {**where, "Range": f"0-{max(len(upload) - 1, 0)}"})
        self.body(upload)
        digest = re.search(r"digest=([^&]*)", self.query).group(1).replace("%3A", ":")
        if not self.do.get("lie"):
            if "sha256:" + hashlib.sha256(upload).hexdigest() != digest:
                return self.error(400, "DIGEST_INVALID")
            with self.owner.state:
                self.owner.blobs[repo, digest] = bytes(upload)
        self.owner.uploads.pop(name)
        return self.answer(201, {"Location": f"/v2/{repo}/blobs/{digest}", "Docker-Content-Digest": digest})

    def manifest(self, repo, name):
        body = bytes(self.body())
        digest = "sha256:" + hashlib.sha256(body).hexdigest()
        if not self.do.get("lie"):
            with self.owner.state:
                self.owner.manifests[repo, name] = self.owner.manifests[repo, digest] = (
                    self.h.headers.get("Content-Type", OCI_MANIFEST), body)
        return self.answer(201, {"Location": f"/v2/{repo}/manifests/{digest}", "Docker-Content-Digest": digest})
