"""eStargz: lazy from the first mount, only what is touched is fetched, nothing unverified is served."""
import gzip
import os

import oracles
import samples
import stargz
import treecmp
from images import Layer, Layout, layer, sha256
from registries import Registry
from tarball import Tar


def go_image(t, files, **flags):
    lay = Layout(t.new_path("img"))
    lay.image([stargz.by_go(t, samples.files_tar(files).end(), **flags)])
    return lay


def case_by_go_against_umoci(t):
    """An eStargz layer of a producer that is not ours shows what its tar unpacks to."""
    lay = Layout(t.path("img"))
    lay.image([stargz.by_go(t, gzip.decompress(x.blob)) for x in samples.busy_layers()])
    with t.mounted(f"oci:{lay.path}") as m:
        got = treecmp.dump(m.path)
        # The lowest has a name that is not UTF-8, which JSON can't hold: it is streamed instead.
        t.equal([x["format"] for x in m.stat()["layers"]], ["gzip", "estargz", "estargz"], "formats")
    want = treecmp.dump(oracles.umoci(t, lay))
    # A table of contents has whole seconds only, and who unpacks the tar (umoci, and the mount for the layer that it
    # streams) sees the table and the landmark as files.
    for dump in (got, want):
        for name in (b"stargz.index.json", b".no.prefetch.landmark", b".prefetch.landmark"):
            dump.pop(name, None)
        for entry in dump.values():
            entry["mtime_ns"] = entry["mtime_ns"] // 10 ** 9
    t.no_differences(treecmp.compare(got, want, skip=[(p, "mtime_ns") for p, e in got.items() if e["type"] == "dir"]))


def case_fetches_only_what_is_read(t):
    files = samples.big_files(3, 40, 200_000)
    lay = go_image(t, files)
    r = Registry(t)
    r.push(lay)
    size = os.path.getsize(next(lay.blob_path(x["digest"]) for x in t.morsel(
        "inspect", "--format", "json", r.ref()).json()["layers"]))
    with t.mounted(r.ref()) as m:
        before = m.stat()
        t.equal(len(os.listdir(m / "data")), 40, "files")
        t.check(before["index"]["bytes_fetched"] <= 80_000, f"the table cost {before['index']['bytes_fetched']} bytes")
        t.equal(m.stat()["bytes_fetched"], 0, "bytes fetched for listing")
        t.equal(m.read("data/f017"), files["data/f017"], "contents")
        st = m.stat()
        t.check(0 < st["bytes_fetched"] < size / 4, f"one file of 40 cost {st['bytes_fetched']} of {size}")
        t.equal(st["layers"][0]["lazy"], True, "lazy")
    with t.mounted(r.ref()) as m:
        t.equal(m.read("data/f017"), files["data/f017"], "contents again")
        t.equal(m.stat()["bytes_fetched"], 0, "bytes fetched again")
        for name, data in files.items():
            t.equal(m.read(name), data, name)


def case_chunks_and_priorities(t):
    files = samples.big_files(5, 6, 300_000)
    tar = Tar().dir("data")  # the library wants the parents of what comes first
    for name, data in files.items():
        tar.file(name, data)
    lay = Layout(t.path("img"))
    lay.image([stargz.by_go(t, tar.end(), chunk_size=10_000, prioritized="data/f003,data/f001")])
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(sorted(os.listdir(m.path)), ["data"], "landmarks and the table are hidden")
        with open(m / "data/f004", "rb") as f:
            for off, n in ((0, 1), (9_999, 2), (10_000, 10_000), (295_000, 9_000), (123_456, 70_000), (299_999, 5)):
                f.seek(off)
                t.equal(f.read(n), files["data/f004"][off:off + n], f"{n} bytes at {off}")
        for name, data in files.items():
            t.equal(m.read(name), data, name)


def case_footers_and_groups(t):
    files = {f"f{i}": samples.noise(i, 3000 + 7 * i) for i in range(9)} | {"empty": b""}
    for kind in (51, 47):
        for group in (0, 4):
            lay = Layout(t.new_path("img"))
            lay.image([stargz.by_hand(files, kind=kind, group=group)])
            with t.mounted(f"oci:{lay.path}") as m:
                t.equal(m.stat()["layers"][0]["format"], "estargz", f"footer {kind}")
                for name, data in files.items():
                    t.equal(m.read(name), data, f"{name}, footer {kind}, groups of {group}")


def external(t, files):
    """A layer whose table is elsewhere, and the layer of the image that holds the table."""
    inside = stargz.by_hand(files)
    at = int(inside.blob[-35:-19], 16)
    toc = inside.blob[at:-51]
    blob = inside.blob[:at] + gzip.compress(bytes(1024), mtime=0) + stargz.footer(0, 46)
    item = Layer(b"", blob, diff_id=sha256(gzip.decompress(blob)), annotations=inside.annotations)
    return item, Layer(b"", toc, diff_id=sha256(gzip.decompress(toc)),
                       annotations={"containerd.io/snapshot/stargz/layer.digest": sha256(blob)})


def case_external_table(t):
    files = {"a": b"a" * 5000, "b": samples.noise(1, 9000)}
    item, toc = external(t, files)
    lay = Layout(t.path("img"))
    lay.image([item], name="v1")
    lay.image([toc], name="v1-esgztoc")
    r = Registry(t)
    r.push(lay, name="v1")
    r.push(lay, name="v1-esgztoc")
    for ref in (f"oci:{lay.path}:v1", r.ref(tag="v1")):
        with t.mounted(ref, "--cache-dir", t.new_path("cache")) as m:
            t.equal(m.stat()["layers"][0]["format"], "estargz", "format")
            for name, data in files.items():
                t.equal(m.read(name), data, name)


def case_external_table_that_is_not_there(t):
    files = {"a": b"a" * 5000, "b": samples.noise(1, 9000)}
    lay = Layout(t.path("img"))
    lay.image([external(t, files)[0]])
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(m.stat()["layers"][0]["format"], "gzip", "it is streamed")
        for name, data in files.items():
            t.equal(m.read(name), data, name)


def case_mixed_with_gzip(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("a", b"old").file("b", b"kept")),
               stargz.by_go(t, Tar().file("a", b"new").file(".wh.b", b"").file("c", b"see").end()),
               layer(Tar().file("d", b"top"))])
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(sorted(os.listdir(m.path)), ["a", "c", "d"], "names")
        t.equal(b" ".join(m.read(x) for x in "acd"), b"new see top", "contents")
        t.equal([x["format"] for x in m.stat()["layers"]], ["gzip", "estargz", "gzip"], "formats")


def case_table_with_a_wrong_digest(t):
    lay = Layout(t.path("img"))
    item = stargz.by_hand({"a": b"hello"})
    item.annotations = {k: "sha256:" + "0" * 64 for k in item.annotations}
    lay.image([item])
    t.refused(6, "ls", f"oci:{lay.path}", says="table of contents")


def case_corrupt_chunk_is_not_served(t):
    files = {"good": samples.noise(1, 40_000), "bad": samples.noise(2, 40_000)}
    item = stargz.by_hand(files)
    at = item.blob.index(b"\x1f\x8b", item.blob.index(b"\x1f\x8b", item.blob.index(b"\x1f\x8b", 1) + 1) + 1)
    blob = bytearray(item.blob)
    blob[at + 20_000] ^= 1
    item.blob = bytes(blob)
    lay = Layout(t.path("img"))
    lay.image([item])
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(m.read("good"), files["good"], "the good file")
        try:
            m.read("bad")
        except OSError as e:
            t.equal(e.errno, 5, "errno")
        else:
            t.check(False, "corrupt bytes were served")
        t.check(m.stat()["digest_errors"] >= 1 and m.stat()["read_errors"] >= 1, "it is counted")
        t.equal(m.read("good"), files["good"], "the good file, still")
    t.refused(6, "cat", f"oci:{lay.path}", "bad", says="corrupt")
    t.refused(6, "cp", f"oci:{lay.path}", "bad", t.path("copy"), says="corrupt")
    t.refused(6, "pull", f"oci:{lay.path}", t.path("pulled"), says="corrupt")


def refused_toc(t, change, rc=6, files=None, **kw):
    lay = Layout(t.new_path("img"))
    lay.image([stargz.by_hand(files or {"a": b"x" * 1000, "b": b"y" * 1000}, change=change, **kw)])
    t.refused(rc, "ls", f"oci:{lay.path}")


def case_tables_that_lie(t):
    def edit(i, **fields):
        return lambda toc: toc[i].update(fields)

    refused_toc(t, edit(0, chunkSize=999))           # its chunks do not fill the file
    refused_toc(t, edit(0, chunkSize=1001))          # nor reach past it
    refused_toc(t, edit(1, offset=1 << 40))          # nor lie outside the blob
    refused_toc(t, edit(1, name="../b"))
    refused_toc(t, lambda toc: [toc[0].pop("digest"), toc[0].pop("chunkDigest")])
    refused_toc(t, edit(0, size=-1))
    refused_toc(t, edit(0, size=1 << 62))
    refused_toc(t, edit(0, size=1.5))
    refused_toc(t, edit(0, digest="md5:00", chunkDigest="md5:00"))
    refused_toc(t, edit(0, type="socket"), rc=8)
    refused_toc(t, lambda toc: toc.append({"name": "l", "type": "hardlink", "linkName": "missing"}))
    refused_toc(t, lambda toc: toc.append({"name": "c", "type": "chunk", "offset": 1, "chunkSize": 5}))
