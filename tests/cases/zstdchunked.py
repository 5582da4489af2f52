"""zstd:chunked: lazy from the first mount, in both dialects, by podman's code, by stargz-snapshotter's and by hand."""
import gzip
import os
import types

import chunked
import oracles
import samples
import stargz
import treecmp
from faults import FaultRegistry
from images import OCI_LAYER_GZIP, OCI_LAYER_TAR, OCI_LAYER_ZSTD, TOC_DIGEST, Layer, Layout, layer, sha256
from morseltest import need
from registries import Registry
from tarball import Tar

FILES = {"empty": b"", "small": b"s" * 100, "text": samples.noise(1, 50_000), "big": samples.noise(2, 300_000),
         "holes": b"start" + bytes(99_995) + b"middle" * 1000 + bytes(194_000)}
CUTS = (100_000, 106_000, 200_000)


def formats_of(m):
    return [x["format"] for x in m.stat()["layers"]]


def image(t, item):
    lay = Layout(t.new_path("img"))
    lay.image([item])
    return lay


def busy_utf8():
    """The busy layers; a name that is not UTF-8 is no name for a table of contents."""
    tars = [gzip.decompress(x.blob) for x in samples.busy_layers()]
    return [x.replace(b"latin-\xe9\xff", b"latin-\xc3\xa9") for x in tars]


def replaced_sums(tar):
    """A header whose bytes were replaced has another sum."""
    out = bytearray(tar)
    for at in range(0, len(out), 512):
        head = out[at:at + 512]
        if head[257:262] == b"ustar":
            head[148:156] = b" " * 8
            out[at + 148:at + 156] = b"%06o\0 " % sum(head)
    return bytes(out)


def case_by_skopeo_against_umoci(t):
    """Debian's podman 4.3, buildah and skopeo write the old keys; the tree is what umoci unpacks."""
    src = Layout(t.path("src"))
    src.image([Layer(replaced_sums(x)) for x in busy_utf8()])
    out = chunked.by_skopeo(t, src)
    layers = t.morsel("inspect", "--format", "json", f"oci:{out}").json()["layers"]
    t.equal([x["format"] for x in layers], ["zstd:chunked"] * 3, "formats that inspect shows")
    t.equal([x["lazy"] for x in layers], [True] * 3, "lazy")
    with t.mounted(f"oci:{out}") as m:
        t.equal(formats_of(m), ["zstd:chunked"] * 3, "formats")
        got = treecmp.dump(m.path)
        t.check(all(x["lazy"] for x in m.stat()["layers"]), "lazy")
    want = treecmp.dump(oracles.umoci(t, src))
    implied = [name for name in want if name.startswith(b"names/dddd") and want[name]["type"] == "dir"]
    t.no_differences(treecmp.compare(got, want, skip=[(name, "mtime_ns") for name in [*implied, b".", b"names"]]))


def case_names_that_are_not_utf8_are_streamed(t):
    """JSON can't hold them; what can't be shown by the table is shown by the tar."""
    src = Layout(t.path("src"))
    src.image(samples.busy_layers())
    out = chunked.by_skopeo(t, src)
    with t.mounted(f"oci:{src.path}") as m:
        want = treecmp.dump(m.path)
    with t.mounted(f"oci:{out}") as m:
        t.equal(formats_of(m), ["zstd", "zstd:chunked", "zstd:chunked"], "formats")
        t.no_differences(treecmp.compare(treecmp.dump(m.path), want))


def case_by_buildah(t):
    need("buildah")
    env = oracles.podman_env(t)
    store = ("buildah", "--root", t.path("b/root"), "--runroot", t.path("b/run"), "--storage-driver", "vfs")
    name = t.run(*store, "from", "scratch", env=env).text.strip()
    tree = t.path("tree")
    os.makedirs(tree)
    data = {"noise": samples.noise("buildah", 700_000), "zeros": bytes(3_000_000), "end": b"x" * 9 + bytes(70_000)}
    for file, content in data.items():
        with open(f"{tree}/{file}", "wb") as f:
            f.write(content)
    t.run(*store, "copy", name, tree, "/", env=env)
    t.run(*store, "commit", name, "img", env=env)
    t.run(*store, "push", "--compression-format", "zstd:chunked", "img", f"oci:{t.path('b/img')}:latest", env=env)
    with t.mounted(f"oci:{t.path('b/img')}") as m:
        t.equal(formats_of(m), ["zstd:chunked"], "formats")
        for file, content in data.items():
            t.check(m.read(file) == content, file)


def case_by_go_against_umoci(t):
    """stargz-snapshotter's dialect, of a producer that is not ours."""
    lay, plain = Layout(t.path("img")), Layout(t.path("plain"))
    tars = [replaced_sums(x) for x in busy_utf8()]
    lay.image([stargz.by_go(t, x, zstd=True, level=3) for x in tars])
    plain.image([Layer(x) for x in tars])
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(formats_of(m), ["zstd:chunked"] * 3, "formats")
        got = treecmp.dump(m.path)
    want = treecmp.dump(oracles.umoci(t, plain))
    for entry in [*got.values(), *want.values()]:  # its table has whole seconds only, and rounds up
        entry["mtime_ns"] = entry["mtime_ns"] // 10 ** 9
    t.no_differences(treecmp.compare(got, want, skip=[(p, "mtime_ns") for p, e in got.items()
                                                        if e["type"] == "dir" or p == b"times/sub-second"]))


def case_go_with_chunks_and_landmark(t):
    files = samples.big_files(5, 6, 300_000)
    tar = Tar().dir("data")
    for name, data in files.items():
        tar.file(name, data)
    lay = image(t, stargz.by_go(t, tar.end(), zstd=True, level=3, chunk_size=10_000, prioritized="data/f003,data/f001"))
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(sorted(os.listdir(m.path)), ["data"], "landmarks are hidden")
        with open(m / "data/f004", "rb") as f:
            for off, n in ((0, 1), (9_999, 2), (10_000, 10_000), (295_000, 9_000), (123_456, 70_000), (299_999, 5)):
                f.seek(off)
                t.equal(f.read(n), files["data/f004"][off:off + n], f"{n} bytes at {off}")
        for name, data in files.items():
            t.equal(m.read(name), data, name)


def case_dialects_footers_and_keys(t):
    """What a layer is follows from its content, whichever keys its annotations have."""
    for dialect in ("storage", "stargz"):
        for kind in (64, 56, 40, None):
            for keys in ("new", "old"):
                what = f"{dialect}, footer {kind}, {keys} keys"
                lay = image(t, chunked.by_hand(FILES, dialect, kind, keys, CUTS))
                with t.mounted(f"oci:{lay.path}", "--cache-dir", t.new_path("cache")) as m:
                    t.equal(formats_of(m), ["zstd:chunked"], what)
                    for name, data in FILES.items():
                        t.check(m.read(name) == data, f"{name}: {what}")


def case_either_promise_is_enough(t):
    """A checksum without a position (the footer says where), or the digest of the JSON alone."""
    def no_position(annotations):
        for key in list(annotations):
            if key.endswith("position"):
                del annotations[key]

    for item in (chunked.by_hand(FILES, annotate=no_position), chunked.by_hand(FILES, "stargz", 40, keys=None)):
        with t.mounted(f"oci:{image(t, item).path}", "--cache-dir", t.new_path("cache")) as m:
            t.equal(formats_of(m), ["zstd:chunked"], "formats")
            t.check(m.read("big") == FILES["big"], "contents")


def case_without_a_promise_it_is_streamed(t):
    """No annotation, or no table where one was promised: zstd like any other, as with eStargz."""
    def only_checksum(annotations):
        annotations.clear()
        annotations[chunked.KEYS["new"] + "checksum"] = sha256(b"")

    for item in (chunked.by_hand(FILES, keys=None), chunked.by_hand(FILES, kind=None, annotate=only_checksum)):
        with t.mounted(f"oci:{image(t, item).path}", "--cache-dir", t.new_path("cache")) as m:
            t.equal(formats_of(m), ["zstd"], "formats")
            t.check(m.read("big") == FILES["big"], "contents")


def case_zeros_are_not_fetched(t):
    files = {"holes": b"a" * 5_000 + bytes(20_000_000) + b"z" * 5_000, "none": bytes(9_000_000), "after": b"after"}
    item = chunked.by_hand(files, cuts=(5_000, 4_500_000, 20_005_000))
    lay = image(t, item)
    with t.mounted(f"oci:{lay.path}", "--prefetch", "none") as m:
        for name, data in files.items():
            t.check(m.read(name) == data, name)
        st = m.stat()
        t.check(st["bytes_decoded"] < 100_000, f"{st['bytes_decoded']} bytes were decoded")


def case_times_with_zones(t):
    def dated(text):
        return lambda toc: toc[1].update(modtime=text)

    for text, ns in (("2020-09-13T14:26:40+02:00", 1_600_000_000 * 10 ** 9),
                     ("2020-09-13T05:56:40.5-06:30", 1_600_000_000 * 10 ** 9 + 5 * 10 ** 8),
                     ("1969-12-31T23:59:59.999999999Z", -1), ("2020-09-13T12:26:40.000000001Z", 1_600_000_000 * 10 ** 9 + 1)):
        lay = image(t, chunked.by_hand(FILES, change=dated(text)))
        with t.mounted(f"oci:{lay.path}", "--cache-dir", t.new_path("cache")) as m:
            t.equal(os.stat(m / "small").st_mtime_ns, ns, text)


def case_fetches_only_what_is_read(t):
    files = samples.big_files(3, 40, 200_000)
    src = Layout(t.path("src"))
    src.image([Layer(samples.files_tar(files).end())])
    out = chunked.by_skopeo(t, src)
    r = FaultRegistry(t, types.SimpleNamespace(path=out))
    t.defer(r.end)
    with t.mounted(r.ref(), "--insecure") as m:
        before = m.stat()
        size = before["layers"][0]["size"]
        t.equal(len(os.listdir(m / "data")), 40, "files")
        t.check(before["index"]["bytes_fetched"] <= 100_000, f"the table cost {before['index']['bytes_fetched']} bytes")
        t.equal(m.stat()["bytes_fetched"], 0, "bytes fetched for listing")
        t.equal(m.read("data/f017"), files["data/f017"], "contents")
        st = m.stat()
        t.check(0 < st["bytes_fetched"] < size / 4, f"one file of 40 cost {st['bytes_fetched']} of {size}")
    t.morsel("cache", "prune", "100K")
    with t.mounted(r.ref(), "--insecure", "--prefetch", "none") as m:
        t.equal(formats_of(m), ["zstd:chunked"], "format after pruning")
        r.forget()
        t.equal(m.read("data/f017"), files["data/f017"], "contents after pruning")
        asked = [x for x in r.requests("/blobs/") if x["sent"]]
        t.check(asked and all(x["range"] for x in asked), f"by range: {asked}")
        t.check(sum(x["sent"] for x in asked) < size / 4, f"one file of 40 cost {asked} of {size} after pruning")
        for name, data in files.items():
            t.equal(m.read(name), data, name)


def case_from_a_registry_by_podman(t):
    """Pushed by podman 4.3 to docker-registry, lazily read from there."""
    need("podman")
    t.need_root()
    src = Layout(t.path("src"))
    data = samples.noise(1, 900_000)
    src.image([layer(Tar().dir("d").file("d/f", data))])
    r = Registry(t)
    env = oracles.podman_env(t)
    try:
        image_id = t.run("podman", "pull", "-q", f"oci:{os.path.relpath(src.path, t.work)}:latest", env=env, timeout=180,
                         cwd=t.work).text.split()[-1]
        t.run("podman", "push", "-q", "--tls-verify=false", "--compression-format", "zstd:chunked", "--format", "oci",
              "--remove-signatures", image_id, f"docker://{r.ref()}", env=env, timeout=180)
    finally:
        oracles.podman_end(t)
    with t.mounted(r.ref(), "--insecure") as m:
        t.equal(formats_of(m), ["zstd:chunked"], "format")
        t.check(m.read("d/f") == data, "contents")


def case_mixed_with_the_others(t):
    parts = [{f"{kind}/f{i}": samples.noise(f"{kind}{i}", 30_000) for i in range(3)} for kind in "cszetg"]
    tars = [samples.files_tar(x).end() for x in parts]
    lay = Layout(t.path("img"))
    lay.image([chunked.by_hand(parts[0], cuts=(9_000,)), stargz.by_go(t, tars[1], zstd=True, level=3),
               Layer(tars[2], blob=chunked.frame(tars[2]), media_type=OCI_LAYER_ZSTD), stargz.by_go(t, tars[3]),
               Layer(tars[4], blob=tars[4], media_type=OCI_LAYER_TAR), Layer(tars[5])])
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(formats_of(m), ["zstd:chunked", "zstd:chunked", "zstd", "estargz", "tar", "gzip"], "formats")
        for part in parts:
            for name, data in part.items():
                t.check(m.read(name) == data, name)


def case_media_types_are_not_trusted(t):
    for media_type in (OCI_LAYER_TAR, OCI_LAYER_GZIP, OCI_LAYER_ZSTD):
        for dialect in ("storage", "stargz"):
            item = chunked.by_hand(FILES, dialect)
            item.media_type = media_type
            with t.mounted(f"oci:{image(t, item).path}", "--cache-dir", t.new_path("cache")) as m:
                t.equal(formats_of(m), ["zstd:chunked"], media_type)
                t.check(m.read("big") == FILES["big"], "contents")


def case_corrupt_chunk_is_not_served(t):
    for dialect in ("storage", "stargz"):
        item = chunked.by_hand({"good": samples.noise(1, 40_000), "bad": samples.noise(2, 40_000)}, dialect)
        toc = []
        chunked.by_hand({"good": samples.noise(1, 40_000), "bad": samples.noise(2, 40_000)}, dialect, change=toc.extend)
        blob = bytearray(item.blob)
        blob[toc[1]["offset"] + 20_000] ^= 1
        item.blob = bytes(blob)
        with t.mounted(f"oci:{image(t, item).path}", "--cache-dir", t.new_path("cache")) as m:
            t.check(m.read("good") == samples.noise(1, 40_000), "the good file")
            try:
                m.read("bad")
            except OSError as e:
                t.equal(e.errno, 5, "errno")
            else:
                t.check(False, "corrupt bytes were served")
            t.check(m.stat()["digest_errors"] >= 1 and m.stat()["read_errors"] >= 1, "it is counted")
            t.check(m.read("good") == samples.noise(1, 40_000), "the good file, still")


def refused(t, rc, says, *args, **kw):
    lay = image(t, chunked.by_hand(FILES, *args, **{"cuts": CUTS, **kw}))
    t.refused(rc, "ls", f"oci:{lay.path}", says=says)


def case_promises_that_are_not_kept(t):
    """One table, and every digest that the manifest gives is that table's."""
    zero = "sha256:" + "0" * 64

    def lies(key, value=zero):
        return lambda a: a.update({key: value})

    refused(t, 6, "checksum of its table", annotate=lies(chunked.KEYS["new"] + "checksum"))
    refused(t, 6, "digest of its table", "stargz", annotate=lies(TOC_DIGEST))
    refused(t, 6, "checksum of its table", "stargz", annotate=lies(chunked.KEYS["new"] + "checksum"))
    refused(t, 6, "checksum", annotate=lies(chunked.KEYS["old"] + "checksum"))  # both keys, not one table
    refused(t, 6, "disagree", annotate=lies(chunked.KEYS["new"] + "position", "100:200:300:1"))
    for position in ("0:10:10:1", "9:99999999:10:1", "100:200:300:2", "100:0:300:1"):
        refused(t, 6, "can't be", kind=None,
                annotate=lies(chunked.KEYS["new"] + "position", position))
    refused(t, 6, "", position=lambda p: [p[0], p[1], p[2] + 1, 1])
    refused(t, 6, "more than", position=lambda p: [p[0], p[1], p[2] - 1, 1])
    refused(t, 7, "limit", kind=None, position=lambda p: [p[0], p[1], (512 << 20) + 1, 1])
    item = stargz.by_hand({"a": b"a" * 1000})  # a gzip blob with an eStargz table, annotated as both
    item.annotations[chunked.KEYS["old"] + "checksum"] = zero
    t.refused(6, "ls", f"oci:{image(t, item).path}", says="checksum of its table")


def case_table_of_512_mib(t):
    """The limit of a table unpacked: there it is read, beyond it is refused whatever the frames hold."""
    # not: asan tsan
    limit, mib = 512 << 20, 1 << 20

    def pack(text):
        blanks, rest = divmod(limit - len(text), mib)
        return chunked.frame(text[:-1]) + chunked.frame(b" " * mib) * blanks + chunked.frame(b" " * rest + b"}")

    lay = image(t, chunked.by_hand({"f": b"hello"}, pack=pack, position=lambda p: [p[0], p[1], limit, 1]))
    t.equal(t.morsel("cat", f"oci:{lay.path}", "f").out, b"hello", "at the limit")
    for size in (limit + 1, 1 << 31, 1 << 32):
        refused(t, 7, [str(size), str(limit)], pack=pack, position=lambda p: [p[0], p[1], size, 1])
    refused(t, 6, "makes no sense", pack=pack, position=lambda p: [p[0], p[1], (1 << 63) - 1, 1])


def case_tables_that_lie(t):
    def edit(file, nth=0, **fields):
        def change(toc):
            [e for e in toc if e["name"] == file][nth].update(fields)
        return change

    def drop(name, *keys, nth=0):
        return lambda toc: [[e for e in toc if e["name"] == name][nth].pop(k) for k in keys]

    refused(t, 6, "of its", change=edit("big", size=300_001))
    refused(t, 6, "past its end", change=edit("big", 3, chunkSize=100_001))
    refused(t, 6, "follow", change=edit("big", 1, chunkOffset=100_001))
    refused(t, 6, "digest", change=drop("big", "chunkDigest", nth=1))
    refused(t, 6, "digest", change=drop("text", "digest"))
    refused(t, 6, "not in the blob", change=edit("text", offset=1 << 40))
    refused(t, 6, "can't end", change=edit("text", endOffset=1 << 40))
    refused(t, 6, "can't end", change=edit("text", endOffset=1))
    refused(t, 6, "can't end", change=edit("big", 1, offset=1))
    refused(t, 8, "unknown type", change=edit("big", 1, chunkType="ones"))
    refused(t, 6, "", change=edit("text", name="../text"))
    refused(t, 6, "", change=edit("text", size=-1))
    refused(t, 6, "", raw_change=lambda text: text + b"{}")
    refused(t, 6, "", raw_change=lambda text: text[:-9])
    t.equal(os.listdir(f"{t.cache}/layers"), [], "layers kept")


def case_chunks_too_large_for_the_tables_are_streamed(t):
    data = (b"0123456789abcdef" * (9 << 16))[:9 << 20]
    lay = image(t, chunked.by_hand({"a": data}))
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(formats_of(m), ["zstd"], "format")
        t.check(m.read("a") == data, "contents")
