"""Layers without an index that are not gzip: plain zstd and plain tar, alone and mixed with the others."""
import gzip
import os
import random

import oracles
import samples
import stargz
import treecmp
from faults import FaultRegistry
from images import DOCKER, OCI, OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD, Layer, Layout, gzip_one
from morseltest import need
from tarball import Tar


def zstd(t, data, *flags):
    """By the zstd program."""
    need("zstd")
    source = t.new_path("raw")
    with open(source, "wb") as f:
        f.write(data)
    return t.run("zstd", "-q", "-c", *flags, source).out


def frames(t, data, step, *flags):
    return b"".join(zstd(t, data[i:i + step], *flags) for i in range(0, len(data), step))


def skippable(data):
    return b"\x5e\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


def tar_layer(tar, **kw):
    return Layer(tar, blob=tar, media_type=kw.pop("media_type", OCI_LAYER_TAR), **kw)


def zstd_layer(t, tar, *flags, **kw):
    return Layer(tar, blob=zstd(t, tar, *flags), media_type=OCI_LAYER_ZSTD, **kw)


def busy_tars():
    return [gzip.decompress(x.blob) for x in samples.busy_layers()]


def formats_of(t, ref, *flags):
    return [x["format"] for x in t.morsel("inspect", "--format", "json", *flags, ref).json()["layers"]]


def served(t, lay):
    r = FaultRegistry(t, lay)
    t.defer(r.end)
    digest = lay.layer_digests()[0]
    r.blob_path, r.blob_size = f"/blobs/{digest}", os.path.getsize(lay.blob_path(digest))
    return r


def drop_pages(m, files):
    for name in files:
        fd = os.open(m / name, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def case_same_tree_as_umoci_shows_of_gzip(t):
    """The same archives as gzip (which umoci 0.4.7 unpacks), as zstd in one frame and in many, with long windows, as tar,
    and mixed: one tree."""
    tars = busy_tars()
    gz = Layout(t.path("gz"))
    gz.image([Layer(x) for x in tars])
    with t.mounted(f"oci:{gz.path}") as m:
        want = treecmp.dump(m.path)
    other = treecmp.dump(oracles.umoci(t, gz))
    implied = [name for name in other if name.startswith(b"names/dddd") and other[name]["type"] == "dir"]
    skip = [(name, "mtime_ns") for name in [*implied, b".", b"names"]]
    t.no_differences(treecmp.compare(want, other, skip=skip))
    cut = 100_000
    for names, layers in (
            (["zstd"] * 3, [zstd_layer(t, x) for x in tars]),
            (["zstd"] * 3, [zstd_layer(t, x, "--long=27", "-19", "--check") for x in tars]),
            (["zstd"] * 3, [Layer(x, blob=skippable(b"s") + frames(t, x, cut) + skippable(b"e" * 70_000),
                                  media_type=OCI_LAYER_ZSTD) for x in tars]),
            (["tar"] * 3, [tar_layer(x) for x in tars]),
            (["tar", "zstd", "gzip"], [tar_layer(tars[0]), zstd_layer(t, tars[1]), Layer(tars[2])])):
        lay = Layout(t.new_path("img"))
        lay.image(layers)
        with t.mounted(f"oci:{lay.path}") as m:
            t.equal([x["format"] for x in m.stat()["layers"]], names, "formats")
            t.no_differences(treecmp.compare(treecmp.dump(m.path), want))
        with t.mounted(f"oci:{lay.path}") as m:
            t.no_differences(treecmp.compare(treecmp.dump(m.path), want))
        t.equal(formats_of(t, f"oci:{lay.path}"), names, "formats that inspect shows")


def case_mixed_with_estargz(t):
    files = [{f"{kind}/f{i}": samples.noise(f"{kind}{i}", 50_000) for i in range(5)} for kind in ("e", "z", "t", "g")]
    tars = [samples.files_tar(x).end() for x in files]
    lay = Layout(t.path("img"))
    lay.image([stargz.by_go(t, tars[0]), zstd_layer(t, tars[1]), tar_layer(tars[2]), Layer(tars[3])])
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal([x["format"] for x in m.stat()["layers"]], ["estargz", "zstd", "tar", "gzip"], "formats")
        for part in files:
            for name, data in part.items():
                t.check(m.read(name) == data, name)


def case_media_types_are_not_trusted(t):
    tar = Tar().file("which", b"plain").end()
    blobs = {"gzip": gzip_one(tar), "zstd": zstd(t, tar), "tar": tar}
    for kind, blob in blobs.items():
        for media_type in (OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD, OCI + "layer.nondistributable.v1.tar+zstd"):
            lay = Layout(t.new_path("img"))
            lay.image([Layer(tar, blob=blob, media_type=media_type)])
            t.equal(t.morsel("cat", f"oci:{lay.path}", "which").text, "plain", f"{kind} as {media_type}")
            t.equal(formats_of(t, f"oci:{lay.path}"), [kind], media_type)
        for media_type in ("image.rootfs.diff.tar", "image.rootfs.diff.tar.gzip", "image.rootfs.diff.tar.zstd"):
            lay = Layout(t.new_path("img"))
            lay.image([Layer(tar, blob=blob, media_type=DOCKER + media_type)], docker=True)
            t.equal(t.morsel("cat", f"oci:{lay.path}", "which").text, "plain", f"{kind} as {media_type}")


def case_by_skopeo_and_buildah(t):
    """Their own zstd; and buildah's default into a layout, which is not compressed."""
    need("skopeo", "buildah")
    src = Layout(t.path("src"))
    src.image(samples.busy_layers())
    with t.mounted(f"oci:{src.path}") as m:
        want = treecmp.dump(m.path)
    env = oracles.podman_env(t)
    out = t.path("zstd")
    t.run("skopeo", "copy", "--insecure-policy", "--dest-compress-format", "zstd", f"oci:{src.path}:latest",
          f"oci:{out}:latest", env=env)
    t.equal(set(formats_of(t, f"oci:{out}")), {"zstd"}, "what skopeo made")
    with t.mounted(f"oci:{out}") as m:
        t.equal({x["format"] for x in m.stat()["layers"]}, {"zstd"}, "formats")
        t.no_differences(treecmp.compare(treecmp.dump(m.path), want))
    store = ("buildah", "--root", t.path("b/root"), "--runroot", t.path("b/run"), "--storage-driver", "vfs")
    name = t.run(*store, "from", "scratch", env=env).text.strip()
    tree = t.path("tree")
    os.makedirs(tree)
    data = samples.noise("buildah", 700_000)
    with open(f"{tree}/file", "wb") as f:
        f.write(data)
    t.run(*store, "copy", name, tree, "/", env=env)
    t.run(*store, "commit", "--disable-compression", name, f"oci:{t.path('b/img')}:latest", env=env)
    with t.mounted(f"oci:{t.path('b/img')}") as m:
        t.equal([x["format"] for x in m.stat()["layers"]], ["tar"], "what buildah made")
        t.check(m.read("file") == data, "contents")


def case_evicted_and_fetched_again_by_range(t):
    """Tar and many frames: what is read again is asked for by range, and never the whole blob."""
    files = samples.big_files(5, 12, 1_000_000)
    tar = samples.files_tar(files).end()
    for kind, item in (("tar", tar_layer(tar)),
                       ("zstd", Layer(tar, blob=frames(t, tar, 700_000), media_type=OCI_LAYER_ZSTD))):
        lay = Layout(t.new_path("img"))
        lay.image([item])
        r = served(t, lay)
        with t.mounted(r.ref(), "--insecure") as m:
            t.equal([x["format"] for x in m.stat()["layers"]], [kind], "format")
            for name, data in files.items():
                t.check(m.read(name) == data, name)
        t.morsel("cache", "prune", "1M")
        # Or it would fetch in the order just learned, before anything is read.
        with t.mounted(r.ref(), "--insecure", "--prefetch", "none") as m:
            t.equal(m.stat()["layers"][0]["lazy"], True, "lazy")
            r.forget()
            t.check(m.read("data/f007") == files["data/f007"], "one file")
            cost = sum(x["sent"] for x in r.requests(r.blob_path))
            t.check(1_000 < cost < r.blob_size * 0.6, f"one file of twelve cost {cost} of {r.blob_size} bytes ({kind})")
            rng = random.Random(1)
            for name in rng.sample(list(files), len(files)):
                t.check(m.read(name) == files[name], name)
            t.check(all(x["range"] for x in r.requests(r.blob_path)), "the whole blob was asked for")


def case_a_single_frame_comes_whole_and_once(t):
    """One touched byte brings the frame, all of it is kept, and it leaves as a whole."""
    files = samples.big_files(6, 12, 1_000_000)
    lay = Layout(t.path("img"))
    lay.image([zstd_layer(t, samples.files_tar(files).end())])
    r = served(t, lay)
    t.morsel("ls", "--insecure", r.ref())
    t.morsel("cache", "prune", "1M")
    with t.mounted(r.ref(), "--insecure") as m:
        r.forget()
        with open(m / "data/f003", "rb") as f:
            t.equal(f.read(100), files["data/f003"][:100], "the first bytes")
        for name, data in files.items():
            t.check(m.read(name) == data, name)
        sent = sum(x["sent"] for x in r.requests(r.blob_path))
        t.check(0.9 * r.blob_size < sent < 1.1 * r.blob_size, f"{sent} bytes were sent of {r.blob_size}")


def case_wrong_digests_are_refused(t):
    """What was promised does not come: exit 6, and nothing is kept."""
    tar = samples.files_tar(samples.big_files(7, 3, 100_000)).end()
    for item in (tar_layer(tar), zstd_layer(t, tar)):
        lay = Layout(t.new_path("img"))
        lay.image([Layer(tar, blob=item.blob, media_type=item.media_type, diff_id="sha256:" + "5" * 64)])
        t.refused(6, "ls", f"oci:{lay.path}", says="uncompressed data")
        lay = Layout(t.new_path("img"))
        lay.image([item])
        with open(lay.blob_path(lay.layer_digests()[0]), "r+b") as f:
            f.seek(50_000)
            was = f.read(1)[0]
            f.seek(50_000)
            f.write(bytes([was ^ 1]))
        t.refused(6, "ls", f"oci:{lay.path}", says="the digest of the data received")
    t.equal(os.listdir(f"{t.cache}/layers"), [], "layers kept")


def case_bad_data_is_refused(t):
    """Its digest is right, it makes no sense."""
    tar = samples.files_tar(samples.big_files(8, 2, 100_000)).end()
    good = zstd(t, tar, "--check")
    far = t.run("zstd", "-q", "-c", "--long=28", "--no-check", "-", input=tar).out
    for blob, code, says in (
            (good[:-1], 6, "cut off"), (good[:30_000], 6, "cut off"), (good + b"more", 6, "garbage"),
            (good + bytes(1000), 6, "garbage"), (good[:-1] + bytes([good[-1] ^ 1]), 6, "checksum"),
            (b"\x28\xb5\x2f\xfd" + bytes(600), 6, "zstd"), (tar[:70_000], 6, "cut off"),
            (far, 7, "128 MiB"),
            (b"\x28\xb5\x2f\xfd\x21\x07" + bytes(4), 8, "dictionary")):
        lay = Layout(t.new_path("img"))
        lay.image([Layer(tar, blob=blob, media_type=OCI_LAYER_ZSTD)])
        t.refused(code, "ls", f"oci:{lay.path}", says=says)
    t.equal(os.listdir(f"{t.cache}/layers"), [], "layers kept")


def disagreements():
    """Archives that our walk alone would take, and other programs read in another way."""
    tail = Tar().file("after", b"a" * 600)
    # To Go a hardlink has no contents whatever its size says; to POSIX, in a pax archive, it may.
    link = Tar().file("a", b"1").pax({"comment": "x"}).header("l", b"1", size=600, link="a").raw(tail.out)
    # GNU tar's size of a sparse file, in a file that is none.
    size = Tar().header("f", size=3, magic=b"ustar  \0", tail=bytes(138) + b"00000004200\0").raw(b"abc").pad()
    # A directory's list of contents, in GNU's incremental archives.
    listing = Tar().header("d/", b"D", size=4, magic=b"ustar  \0").raw(b"Yx\0\0").pad().file("d/x", b"1")
    return {"hardlink": link.end(), "size": size.end(), "listing": listing.end()}


def case_what_libarchive_reads_otherwise_is_refused(t):
    for name, tar in disagreements().items():
        for item in (tar_layer(tar), zstd_layer(t, tar), Layer(tar)):
            lay = Layout(t.new_path("img"))
            lay.image([item])
            t.refused(6, "ls", f"oci:{lay.path}", says="libarchive does not agree")
    t.equal(os.listdir(f"{t.cache}/layers"), [], "layers kept")


def case_names_in_any_encoding(t):
    """libarchive warns of every name that it can't convert; a warning refuses nothing, in no locale."""
    utf8, latin = "caf\xe9".encode(), b"caf\xe9"
    tar = Tar().dir(utf8).dir(latin)
    for i, name in enumerate((utf8, latin)):
        tar.file(name + b"/f\xff", b"pax").symlink(name + b"/s", name).hardlink(name + b"/h", name + b"/f\xff")
        long = name * 30 + b"%d" % i
        tar.gnu_long(long).header(long[:100], size=3, magic=b"ustar  \0").raw(b"gnu").pad()
        tar.header(name + b"-ustar", size=5).raw(b"ustar").pad()
    lay = Layout(t.path("img"))
    lay.image([tar_layer(tar.end())])
    for locale in ("C", "C.UTF-8"):
        cache = t.new_path("cache")
        t.morsel("ls", "--cache-dir", cache, f"oci:{lay.path}", env={"LC_ALL": locale})
        for name in (utf8, latin):
            for path, data in ((b"/f\xff", b"pax"), (b"/h", b"pax"), (b"-ustar", b"ustar")):
                got = t.morsel("cat", "--cache-dir", cache, f"oci:{lay.path}", name + path, env={"LC_ALL": locale}).out
                t.equal(got, data, f"{name + path} in {locale}")
