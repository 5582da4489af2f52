"""The limits of docs/architecture.md at their edges, where only a server or a blob can reach them; badinput.py, references.py,
network.py and the unit tests have the others."""
import contextlib
import gzip
import hashlib
import json
import os
import socket
import threading

import samples
import stargz
from faults import FaultRegistry
from images import OCI_MANIFEST, TOC_DIGEST, Layer, Layout, gzip_repeated, layer
from tarball import Tar


def hello(t):
    lay = Layout(t.new_path("img"))
    lay.image([layer(Tar().file("greeting", b"hello, world\n"))])
    return lay, FaultRegistry(t, lay)


def with_manifest(lay, r, **kw):
    """A rule that answers with the manifest, and more."""
    digest = lay.manifests[0]["digest"]
    with open(lay.blob_path(digest), "rb") as f:
        body = f.read()
    headers = {"Content-Type": lay.manifests[0]["mediaType"], "Docker-Content-Digest": digest, **kw}
    r.rule(path="/manifests/", status=200, body=body, headers=headers)


def case_headers(t):
    """256 KiB of headers."""
    lay, r = hello(t)
    for kib, code in ((240, 0), (257, 5), (3000, 5)):
        r.heal()
        with_manifest(lay, r, **{f"X-Padding-{i}": "x" * (16 * 1024) for i in range(kib // 16)},
                      **({"X-Rest": "x" * (kib % 16 * 1024)} if kib % 16 else {}))
        if code:
            t.refused(code, "cat", "--cache-dir", t.new_path("cache"), r.ref(), "greeting", says="headers")
        else:
            t.equal(t.morsel("cat", "--cache-dir", t.new_path("cache"), r.ref(), "greeting").out, b"hello, world\n", "content")


def case_error_body(t):
    """What a server says with an error is read to 64 KiB, however much it is, and said in one line."""
    _, r = hello(t)
    for size in (65_535, 65_536, 65_537, 8 << 20):
        r.heal()
        r.rule(path="/manifests/", status=404, body=json.dumps({"errors": [{"code": "X", "message": "m" * size}]}).encode())
        line = t.refused(3, "ls", r.ref(), says="latest")
        t.check(len(line) < 1024, f"{len(line)} bytes on stderr")


def case_answers_without_an_end(t):
    """An error's text is cut; a document that goes on and on is refused. Neither takes the deadline of 30 s."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(8)
    t.defer(listener.close)
    status = [404]

    def endless(connection):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" %
                               (status[0], OCI_MANIFEST.encode()))
            while True:
                connection.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")

    def accept():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=endless, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    ref = f"127.0.0.1:{listener.getsockname()[1]}/a/b"
    for status[0], code, words in ((404, 3, "not found"), (401, 4, "denied"), (200, 7, "more than 4194304 bytes")):
        t.refused(code, "ls", "--insecure", ref, says=words, timeout=20)


def case_token(t):
    """A token server's answer has 1 MiB."""
    _, r = hello(t)
    for size, code in ((1 << 20, 0), ((1 << 20) + 1, 7), (3 << 20, 7)):
        r.heal()
        r.rule(path="/token", status=200, body=b'{"token":"abc"}'.ljust(size), headers={"Content-Type": "application/json"})
        r.rule(path="/v2/", authorized=False, status=401,
               headers={"WWW-Authenticate": f'Bearer realm="http://{r.host}/token",service="s"'})
        cache = ("--cache-dir", t.new_path("cache"))
        if code:
            t.refused(code, "cat", *cache, r.ref(), "greeting", says="token")
        else:
            t.equal(t.morsel("cat", *cache, r.ref(), "greeting").out, b"hello, world\n", "content")


def sparse_layer(lay, toc_bytes):
    """A layer of an image whose table of contents, all zeros, has this length; its blob is a sparse file."""
    digest = "sha256:" + f"{toc_bytes:064x}"
    start = 4096
    with open(lay.blob_path(digest), "wb") as f:
        f.seek(start + toc_bytes)
        f.write(stargz.footer(start))
        size = f.tell()

    class Sparse:
        diff_id, blob = digest, b""

        @staticmethod
        def descriptor():
            return {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size,
                    "annotations": {TOC_DIGEST: "sha256:" + "0" * 64}}
    return Sparse()


def case_table_of_contents(t):
    """64 MiB, compressed: at the limit it is looked at (and found to be no gzip), beyond it is not."""
    for bytes_, code, words in ((64 << 20, 6, "layer"), ((64 << 20) + 1, 7, str((64 << 20) + 1)),
                                (1 << 31, 7, str(1 << 31)), ((1 << 32) + 1, 7, str((1 << 32) + 1))):
        lay = Layout(t.new_path("img"))
        lay.image([sparse_layer(lay, bytes_)])
        t.refused(code, "ls", f"oci:{lay.path}", says=words)

MIB = 1 << 20


def roomy_toc(t, size, said=None):
    """A layout whose one file is in a table of contents of so many bytes, nearly all of them blank; said: what its tar
    header says instead."""
    content = b"hello, world\n"
    blob = gzip.compress(stargz.header("greeting", len(content))) + gzip.compress(content + bytes(512 - len(content)))
    at = len(blob)
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    entry = {"name": "greeting", "type": "reg", "size": len(content), "mode": 0o644, "modtime": "2020-09-13T12:26:40Z",
             "offset": len(gzip.compress(stargz.header("greeting", len(content)))), "digest": digest, "chunkDigest": digest}
    text = json.dumps({"version": 1, "entries": [entry]}).encode()[:-1]
    blanks, rest = divmod(size - len(text) - 1, MIB)
    head = Tar().header("stargz.index.json", size=said or size).out + text
    member, _ = gzip_repeated(bytes(head), b" " * MIB, blanks, b" " * rest + b"}" + bytes(-size % 512 + 1024))
    document = hashlib.sha256(text)
    for _ in range(blanks):
        document.update(b" " * MIB)
    document.update(b" " * rest + b"}")
    blob += member + stargz.footer(at)
    lay = Layout(t.new_path("img"))
    lay.image([Layer(b"", blob, diff_id="sha256:" + "0" * 64, annotations={TOC_DIGEST: "sha256:" + document.hexdigest()})])
    return f"oci:{lay.path}"


def case_table_of_contents_unpacked(t):
    """512 MiB of JSON, out of less than one of gzip."""
    # not: asan tsan
    limit = 512 * MIB
    t.equal(t.morsel("cat", roomy_toc(t, limit), "greeting").out, b"hello, world\n", "at the limit")
    for said in (limit + 1, (1 << 31) - 1, 1 << 32, (1 << 63) - 1):
        t.refused(7, "ls", "--cache-dir", t.path("c"), roomy_toc(t, MIB, said), says=[str(said), str(limit)])
    t.equal(os.listdir(t.path("c/layers")), [], "layers kept")


def heavy_layer(entries):
    """A layer whose index has 62,000 bytes an entry, all of them attributes; its blob has little."""
    one = Tar().file("f", b"", xattrs={"user.a": b"x" * 62_000}).out
    blob, diff_id = gzip_repeated(b"", bytes(one), entries, bytes(1024))
    return Layer(b"", blob, diff_id=diff_id)


def case_parser_memory(t):
    """An index may take 512 MiB while it is made; doubling, it has that beyond 256 MiB."""
    # not: asan tsan
    for entries, code in ((4000, 0), (4800, 7)):
        lay = Layout(t.new_path("img"))
        lay.image([heavy_layer(entries)])
        ref = f"oci:{lay.path}"
        if code:
            t.refused(7, "ls", "--cache-dir", t.path("c"), ref, says=["layer sha256:", "memory", "512 MiB"])
            t.equal(os.listdir(t.path("c/layers")), [], "layers kept")
        else:
            t.equal(t.morsel("ls", ref).text, "f\n", "one file of many entries")


def case_a_container_of_many_limits(t):
    """Names of 255 bytes, paths of 4095, 1024 deep, 64 KiB of attributes: all at once in a mount, by both backends."""
    deep = "/".join(["d" * 2] * 1023)
    tar = (Tar().file("n" * 255, b"name").symlink("link", "l" * 4095)
           .file("/".join(["p" * 254] * 15 + ["p" * 255]), b"path").file(deep + "/f", b"deep"))
    lay = Layout(t.path("img"))
    lay.image([layer(tar)])
    backends = ("fuse", "kernel") if not os.geteuid() else ("fuse",)
    for b in backends:
        r = t.morsel("mount", "--backend", b, f"oci:{lay.path}", t.mnt, rc=None)
        if r.rc == 32 and "use --backend fuse" in r.err_text:
            continue
        t.equal(r.rc, 0, f"exit code of {b}")
        try:
            with open(f"{t.mnt}/{'n' * 255}", "rb") as f:
                t.equal(f.read(), b"name", b)
            t.equal(len(os.readlink(f"{t.mnt}/link")), 4095, b)
            at = os.open(t.mnt, os.O_RDONLY | os.O_DIRECTORY)
            for part in ["p" * 254] * 15:
                at, old = os.open(part, os.O_RDONLY | os.O_DIRECTORY, dir_fd=at), at
                os.close(old)
            fd = os.open("p" * 255, os.O_RDONLY, dir_fd=at)
            t.equal(os.read(fd, 10), b"path", b)
            os.close(fd)
            os.close(at)
        finally:
            t.morsel("umount", t.mnt)
    t.equal(t.morsel("cat", f"oci:{lay.path}", deep + "/f").out, b"deep", "the deepest file")


def case_names_beyond(t):
    lay = samples.hello(t)
    with t.mounted(f"oci:{lay.path}") as m:
        for name in ("x" * 256, "x" * 300):
            try:
                os.stat(m / name)
                t.check(False, "a name of more than 255 bytes")
            except OSError as e:
                t.equal(e.errno, 36, f"errno of {len(name)} bytes")
