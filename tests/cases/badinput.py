"""Input that is wrong, hostile or too much: the exit code, exactly one line that says what and where, nothing left behind.
Every limit at its edge and one beyond."""
import glob
import gzip
import hashlib
import json
import os
import shutil
import struct
import zlib

import samples
from images import OCI_CONFIG, OCI_MANIFEST, Layer, Layout, gzip_one, layer, sha256
from tarball import Tar


def image(t, *layers, **kw):
    lay = Layout(t.new_path("img"))
    lay.image(list(layers), **kw)
    return f"oci:{lay.path}"


def refused(t, code, ref, says=()):
    """By ls and by mount."""
    t.refused(code, "ls", ref, says=says)
    t.refused(code, "mount", ref, t.mnt, says=says)


def bad_tar(t, code, tar, says=()):
    refused(t, code, image(t, layer(tar)), says)


def accepted(t, tar, *flags):
    return t.morsel("ls", "-R", *flags, image(t, layer(tar)))


# -- documents

def case_garbage_manifests(t):
    for body in (b"", b"{", b"[]", b"null", b"\0" * 100, b"{}", b'{"schemaVersion":2}', b'"text"',
                 b'{"schemaVersion":2,"config":1,"layers":[]}', b'{"schemaVersion":2,"layers":{}}',
                 b'{"schemaVersion":2,"layers":[],"layers":[]}', b'{"a":' * 40 + b"1" + b"}" * 40,
                 b"\xff\xfe{}", b'{"schemaVersion":2,"config":{},"layers":[]} trailing'):
        lay = Layout(t.new_path("img"))
        lay.tag(lay.document(body, OCI_MANIFEST))
        answer = t.morsel("ls", f"oci:{lay.path}", rc=None)
        t.check(answer.rc in (6, 7, 8), f"{body[:40]!r}: exit code {answer.rc}")
        t.refused(answer.rc, "mount", f"oci:{lay.path}", t.mnt)


def case_descriptors_that_make_no_sense(t):
    good = Layout(t.path("good"))
    good.image([layer(Tar().file("a", b""))])
    with open(good.blob_path(good.manifests[0]["digest"]), "rb") as f:
        manifest = json.load(f)
    base = manifest["layers"][0]
    for change, code in (({"digest": "sha256:12"}, 6), ({"digest": "md5:" + "0" * 32}, 8), ({"digest": 5}, 6),
                         ({"digest": "sha256:" + "A" * 64}, 6), ({"digest": "sha256:../../../../etc/passwd"}, 6),
                         ({"size": -1}, 6), ({"size": 1 << 60}, 6), ({"size": 1.5}, 6), ({"size": "7"}, 6),
                         ({"size": base["size"] + 1}, 6), ({"size": base["size"] - 1}, 6), ({"mediaType": None}, 6)):
        lay = Layout(t.new_path("img"))
        for name in os.listdir(f"{good.path}/blobs/sha256"):
            os.link(f"{good.path}/blobs/sha256/{name}", f"{lay.path}/blobs/sha256/{name}")
        bad = {k: v for k, v in {**base, **change}.items() if v is not None}
        lay.tag(lay.document({**manifest, "layers": [bad]}, OCI_MANIFEST))
        answer = t.morsel("ls", f"oci:{lay.path}", rc=None)
        t.check(answer.rc == code or (code == 6 and answer.rc == 8), f"{change}: exit code {answer.rc}, not {code}")
        t.refused(answer.rc, "mount", f"oci:{lay.path}", t.mnt)


def case_wrong_digests(t):
    """Of the manifest, the config, the layer, the uncompressed layer."""
    lay = Layout(t.path("img"))
    digest = lay.image([layer(Tar().file("a", b"x" * 5000))])
    with open(lay.blob_path(digest), "rb") as f:
        manifest = json.load(f)
    for victim in (digest, manifest["config"]["digest"], manifest["layers"][0]["digest"]):
        path = lay.blob_path(victim)
        with open(path, "rb") as f:
            good = f.read()
        with open(path, "wb") as f:
            f.write(good[:40] + bytes([good[40] ^ 1]) + good[41:])
        refused(t, 6, f"oci:{lay.path}", says="sha256:")
        with open(path, "wb") as f:
            f.write(good)
    t.morsel("ls", f"oci:{lay.path}")
    tar = Tar().file("a", b"").end()
    refused(t, 6, image(t, Layer(tar, diff_id=sha256(b"something else"))), says=["uncompressed", "sha256:"])


def case_config_that_disagrees(t):
    two = {"rootfs": {"type": "layers", "diff_ids": [sha256(b"a"), sha256(b"b")]}}
    refused(t, 6, image(t, layer(Tar()), config=two))
    refused(t, 6, image(t, layer(Tar()), config={"rootfs": {"type": "layers", "diff_ids": [7]}}))
    refused(t, 8, image(t, layer(Tar()), config={"rootfs": {"type": "layers+base", "diff_ids": []}}))


def case_manifest_size_limit(t):
    """4 MiB, and one byte more."""
    for extra, code in ((0, 0), (1, 7)):
        lay = Layout(t.new_path("img"))
        body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "layers": [], "annotations": {"fill": ""},
                "config": lay.document({"os": "linux", "architecture": "amd64",
                                        "rootfs": {"type": "layers", "diff_ids": []}}, OCI_CONFIG)}
        body["annotations"]["fill"] = "x" * ((4 << 20) + extra - len(json.dumps(body)))
        d = lay.document(body, OCI_MANIFEST)
        t.equal(d["size"], (4 << 20) + extra, "size of the manifest")
        lay.tag(d)
        if code:
            refused(t, code, f"oci:{lay.path}", says="limit")
        else:
            t.morsel("ls", f"oci:{lay.path}")


def case_layer_count_limit(t):
    one = layer(Tar().file("a", b"a"))
    t.equal(t.morsel("cat", image(t, *[one] * 500), "a").text, "a", "500 layers")
    refused(t, 7, image(t, *[one] * 501), says=["501", "500"])


# -- compression

def case_truncated_gzip(t):
    tar = samples.files_tar(samples.big_files(1, 2, 100_000)).end()
    blob = gzip_one(tar)
    for cut in (17, len(blob) // 2, len(blob) - 9, len(blob) - 1):
        refused(t, 6, image(t, Layer(tar, blob=blob[:cut])))
    for cut in (1, 5):  # too short to be called gzip
        answer = t.morsel("ls", image(t, Layer(tar, blob=blob[:cut])), rc=None)
        t.check(answer.rc in (6, 8), f"{cut} bytes: exit code {answer.rc}")


def case_damaged_gzip(t):
    tar = samples.files_tar(samples.big_files(1, 2, 100_000)).end()
    blob = gzip_one(tar)
    crc = blob[:-8] + bytes([blob[-8] ^ 1]) + blob[-7:]
    size = blob[:-4] + struct.pack("<I", len(tar) + 1)
    middle = blob[:5000] + b"\xff" * 40 + blob[5040:]
    for what in (crc, size, middle, blob + b"garbage behind it", blob + gzip_one(b"x")[:9]):
        refused(t, 6, image(t, Layer(tar, blob=what)))


def case_gzip_bomb(t):
    """A thousand bytes a byte: 300 MiB of zeros behind a tar's end cost time and nothing else."""
    c = zlib.compressobj(9, zlib.DEFLATED, 31)
    tar = Tar().file("a", b"a").end()
    blob = c.compress(tar)
    zeros = bytes(1 << 20)
    h = hashlib.sha256(tar)
    for _ in range(300):
        blob += c.compress(zeros)
        h.update(zeros)
    blob += c.flush()
    ref = image(t, Layer(tar, blob=blob, diff_id="sha256:" + h.hexdigest()))
    t.equal(t.morsel("cat", ref, "a", timeout=60).text, "a", "what stands before the zeros")
    used = t.morsel("cache", "info", "--format", "json").json()["bytes"]
    t.check(used < 20 << 20, f"{used} bytes of the cache for one byte of contents")


# -- tar

def case_truncated_tar(t):
    full = Tar().file("a", b"x" * 3000).end()
    for cut in (100, 511, 513, 1000, 3400):
        bad_tar(t, 6, full[:cut])


def case_names_that_climb_out(t):
    for name in ("../x", "a/../../x", "/../x", "..", "./..", "a/b/../../../c"):
        bad_tar(t, 6, Tar().file(name, b"evil"), says="climbs")
    bad_tar(t, 6, Tar().file("a", b"").hardlink("b", "../a"))
    bad_tar(t, 6, Tar().pax({"path": "a\0b"}).header("x"), says="NUL")


def case_root_that_is_no_directory(t):
    for tar in (Tar().symlink(".", "/etc"), Tar().file("/", b"x"), Tar().file("a/..", b"x")):
        answer = t.morsel("ls", image(t, layer(tar)), rc=None)
        t.check(answer.rc in (0, 6), f"exit code {answer.rc}")
        if answer.rc == 0:  # a name that ends in a slash is a directory
            t.check(answer.text == "", answer.text)


def case_broken_headers(t):
    bad_tar(t, 6, Tar().header("a", checksum=12345), says="checksum")
    bad_tar(t, 6, Tar().header("a", size=-1))
    bad_tar(t, 7, Tar().header("a", size=1 << 62))
    bad_tar(t, 8, Tar().header("a", b"Z"), says="type")
    bad_tar(t, 6, Tar().header("c", b"3", major=-1, minor=0))
    bad_tar(t, 7, Tar().char("whiteout", 0, 0), says="0:0")


def case_broken_pax_records(t):
    for body in (b"9999 path=x\n", b"5 x\n", b"0 a=b\n", b"-6 a=b\n", b"7 path=x", b"12 mtime=1x2\n", b"11 size=-5\n",
                 b"30 mtime=99999999999999999999\n", b"99999999999999999999 a=b\n"):
        bad_tar(t, 6, Tar().header("x", b"x", size=len(body)).raw(body).pad().file("a", b""))


def case_extended_header_limit(t):
    accepted(t, Tar().pax({"comment": "x" * ((1 << 20) - 100)}).file("a", b""))
    bad_tar(t, 7, Tar().pax({"comment": "x" * (1 << 20)}).file("a", b""), says="limit")
    bad_tar(t, 7, Tar().header("x", b"x", size=1 << 40), says="limit")


def case_name_limits(t):
    accepted(t, Tar().file("d/" + "n" * 255, b""))
    bad_tar(t, 7, Tar().file("d/" + "n" * 256, b""), says=["256", "255"])
    path = "/".join(["p" * 127] * 32)  # 4095 bytes
    t.equal(len(path), 4095, "length")
    accepted(t, Tar().file(path, b""))
    bad_tar(t, 7, Tar().file("x" + path, b""), says="4095")
    accepted(t, Tar().symlink("l", "t" * 4095))
    bad_tar(t, 7, Tar().symlink("l", "t" * 4096), says="4095")
    accepted(t, Tar().dir("/".join(["d"] * 1024)))
    bad_tar(t, 7, Tar().dir("/".join(["d"] * 1025)), says="1024")
    bad_tar(t, 6, Tar().symlink("l", ""))


def case_xattr_limits(t):
    accepted(t, Tar().file("a", b"", xattrs={"user." + "n" * 250: b"v"}))
    bad_tar(t, 6, Tar().file("a", b"", xattrs={"user." + "n" * 251: b"v"}))
    ref = image(t, layer(Tar().file("a", b"", xattrs={f"user.{i:02}": bytes([i + 1]) * 6000 for i in range(10)})))
    with t.mounted(ref) as m:
        t.equal(len(os.listxattr(m / "a")), 10, "60 kB of attributes")
    bad_tar(t, 7, Tar().file("a", b"", xattrs={f"user.{i:02}": b"v" * 6000 for i in range(12)}))


def case_whiteouts_of_nothing(t):
    for name in (".wh.", "d/.wh.", ".wh..", ".wh..."):
        bad_tar(t, 6, Tar().file(name, b""), says="whiteout")


def case_hardlinks_that_lead_nowhere(t):
    for tar in (Tar().hardlink("a", "missing"), Tar().hardlink("a", "a"), Tar().dir("d").hardlink("a", "d"),
                Tar().hardlink("a", "b").hardlink("b", "a"), Tar().hardlink("a", "/")):
        bad_tar(t, 6, tar)


def case_symlink_loops_in_parents(t):
    answer = t.morsel("ls", image(t, layer(Tar().symlink("l", "l").file("l/x", b""))), rc=None)
    t.check(answer.rc in (6, 7), f"exit code {answer.rc}")
    t.equal(len(answer.err_text.splitlines()), 1, "lines on stderr")


def case_entry_limit(t):
    """--max-entries, at the edge: all names of the merged image count, implied directories too."""
    tar = Tar()
    for i in range(9):
        tar.file(f"d/{i}", b"")
    ref = image(t, layer(tar))
    t.morsel("ls", "--max-entries", "10", "--cache-dir", t.path("cache-10"), ref)
    t.refused(7, "ls", "--max-entries", "9", ref, says=["9", "--max-entries"])
    t.refused(7, "mount", "--max-entries", "9", ref, t.mnt, says="--max-entries")
    cached = ("--cache-dir", t.path("cache-10"), ref)
    for limit, words in ((8, "layer sha256:"), (9, "the image has 10 files, the limit is 9")):
        lines = {t.refused(7, "ls", "--max-entries", str(limit), *cached, says=[words, "--max-entries"])}
        t.refused(7, "mount", "--max-entries", str(limit), *cached, t.mnt, says=words)
        for known in glob.glob(t.path("cache-10/images/sha256/*")):
            shutil.rmtree(known)
        lines.add(t.refused(7, "ls", "--max-entries", str(limit), *cached, says=words))
        t.equal(len(lines), 1, "errors of a merged image and of one that is not")
        t.morsel("ls", "--max-entries", "10", *cached)


def case_entry_limit_of_links(t):
    """Each name of a hard link counts, also of an image that was merged before."""
    tar = Tar().file("a/b/f", b"x")
    for i in range(7):
        tar.hardlink(f"l{i}", "a/b/f")
    ref = image(t, layer(tar))
    t.morsel("ls", "--max-entries", "10", ref)
    t.refused(7, "ls", "--max-entries", "9", ref, says="the image has 10 files")
    t.morsel("ls", "--max-entries", "10", ref)


def case_entry_bomb(t):
    """A million and more empty files in a few kB are over the default limit."""
    block = Tar().header("x").out
    tar = bytes(block) * 1_100_000
    blob = gzip.compress(tar, 1, mtime=0)
    t.refused(7, "ls", image(t, Layer(tar, blob=blob)), says="--max-entries", timeout=120)


def case_sparse_maps_that_lie(t):
    good = [(0, b"a" * 512), (4096, b"b" * 512)]
    accepted(t, Tar().sparse_pax("s", 8192, good, "0.1"))
    for extents, size in (([(4096, b"a" * 512), (0, b"b" * 512)], 8192), ([(0, b"a" * 512), (256, b"b" * 512)], 8192),
                          (good, 4097)):
        for version in ("0.0", "0.1", "1.0"):
            bad_tar(t, 6, Tar().sparse_pax("s", size, extents, version))
        bad_tar(t, 6, Tar().sparse_gnu("s", size, extents))
    bad_tar(t, 6, Tar().pax({"GNU.sparse.size": "8192", "GNU.sparse.map": "0,512,x"}).header("s", size=512)
            .raw(bytes(512)))
    huge = str(1 << 63)
    bad_tar(t, 6, Tar().pax({"GNU.sparse.size": "8192", "GNU.sparse.map": f"{huge},512"}).header("s", size=512)
            .raw(bytes(512)))
    answer = t.morsel("ls", image(t, layer(Tar().pax(
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "8192"})
        .header("s", size=512).raw(b"70000\n".ljust(512, b"\0")))), rc=None)
    t.equal(answer.rc, 7, "more pieces than the limit")


def case_a_huge_sparse_file(t):
    """60 GB in a few kB are a file like others; more than a device can hold is refused."""
    ref = image(t, layer(Tar().sparse_pax("s", 60 * 10 ** 9, [(59 * 10 ** 9, b"x" * 512)], "1.0")))
    with t.mounted(ref) as m:
        t.equal(os.path.getsize(m / "s"), 60 * 10 ** 9, "size")
        fd = os.open(m / "s", os.O_RDONLY)
        t.equal(os.pread(fd, 3, 59 * 10 ** 9 + 10), b"xxx", "data")
        t.equal(os.pread(fd, 3, 10 ** 9), b"\0\0\0", "hole")
        os.close(fd)
    t.check(t.morsel("cache", "info", "--format", "json").json()["bytes"] < 1 << 20, "it is sparse in the cache")
    answer = t.morsel("ls", image(t, layer(Tar().sparse_pax("s", 1 << 61, [(0, b"x" * 512)], "1.0"))), rc=None)
    t.check(answer.rc in (6, 7), f"exit code {answer.rc}")


def case_duplicate_keys_in_json(t):
    lay = Layout(t.path("img"))
    body = (b'{"schemaVersion":2,"layers":[],"config":{"mediaType":"application/vnd.oci.image.config.v1+json",'
            b'"digest":"sha256:' + b"0" * 64 + b'","size":2,"size":3}}')
    lay.tag(lay.document(body, OCI_MANIFEST))
    refused(t, 6, f"oci:{lay.path}")
