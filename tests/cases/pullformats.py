"""morsel pull (and cp) of every layer format: the trees that umoci unpacks, only the bytes that are wanted, zeros as holes."""
import os
import types

import chunked
import formats
import oracles
import samples
import stargz
import treecmp
from faults import FaultRegistry
from images import Layer, Layout
from morseltest import need
from zstdchunked import busy_utf8, replaced_sums

PUSHED = {"estargz": "estargz", "zstd:chunked": "zstd:chunked", "gzip": "gzip", "zstd": "zstd", "none": "tar"}
BLOCK = 4096


def full_dump(path):
    return treecmp.dump(path, hidden=("trusted.overlay.", "security.selinux"))


def made_of(t, tars):
    """(format, by whom, path of a layout) of the same archives."""
    lay = Layout(t.new_path("gzip"))
    lay.image([Layer(x) for x in tars])
    yield "zstd:chunked", "skopeo", chunked.by_skopeo(t, lay)
    for kind, by, layer_of in (("gzip", "gzip", Layer), ("zstd", "zstd", lambda x: formats.zstd_layer(t, x)),
                               ("tar", "tar", formats.tar_layer), ("estargz", "go", lambda x: stargz.by_go(t, x)),
                               ("zstd:chunked", "go", lambda x: stargz.by_go(t, x, zstd=True))):
        lay = Layout(t.new_path("made"))
        lay.image([layer_of(x) for x in tars])
        yield kind, by, lay.path


GO_TIMES = [(name, "mtime_ns") for name in (b"bin/sh", b"bin/tool", b"bin/tool-again", b"old/kept", b"secret/key", b"times/one-ns",
                                            b"times/sub-second")]


def case_trees_as_umoci_unpacks(t):
    """All that layers hold, in every format by other programs; umoci gives directories the time of unpacking, Go's tables
    have whole seconds."""
    t.need_root()
    tars = [replaced_sums(x) for x in busy_utf8()]
    src = Layout(t.path("src"))
    src.image([Layer(x) for x in tars])
    want = full_dump(oracles.umoci(t, src))
    skip = [(name, "mtime_ns") for name, e in want.items() if e["type"] == "dir"]
    for kind, by, path in made_of(t, tars):
        t.equal(formats.formats_of(t, f"oci:{path}"), [kind] * len(tars), "formats")
        out = t.new_path("out")
        t.morsel("pull", f"oci:{path}", out)
        t.no_differences(treecmp.compare(full_dump(out), want, skip=skip + (GO_TIMES if by == "go" else [])))
        os.mkdir(out + ".cp")
        t.morsel("cp", f"oci:{path}", "/", out + ".cp")
        t.no_differences(treecmp.compare(full_dump(out + ".cp"), full_dump(out)))


def case_fetches_what_is_included(t):
    """By range, two files of 30: of layers with an index at once, of the others once the cache knows them (a single zstd
    frame only comes whole)."""
    files = samples.big_files(5, 30, 200_000)
    tar = samples.files_tar(files).end()
    for kind, _, path in made_of(t, [tar]):
        if kind == "zstd":
            lay = Layout(t.new_path("frames"))
            lay.image([Layer(tar, blob=formats.frames(t, tar, 1 << 20), media_type=formats.OCI_LAYER_ZSTD)])
            path = lay.path
        cache = ("--insecure", "--cache-dir", t.new_path("cache"))
        with FaultRegistry(t, types.SimpleNamespace(path=path)) as r:
            if kind not in ("estargz", "zstd:chunked"):
                t.morsel("ls", *cache, r.ref())
                t.morsel("cache", "prune", *cache[1:], "100K")
                t.check(t.morsel("cache", "info", *cache[1:], "--format", "json").json()["bytes"] < 1 << 20, "contents were kept")
                r.forget()
            got = t.morsel("pull", *cache, "--include", "data/f01[78]", "--format", "json", r.ref(), t.new_path("out")).json()
            t.equal((got["files"], got["written_bytes"]), (2, 400_000), "files")
            asked = [x for x in r.requests("/blobs/") if x["sent"]]
            sent = sum(x["sent"] for x in asked if x["range"])
            t.check(0 < sent < got["total_bytes"] / 2, f"{kind}: two files of 30 cost {asked} of {got['total_bytes']}")
            t.check(got["moved_bytes"] < got["total_bytes"] / 2, f"{kind}: moved {got['moved_bytes']} of {got['total_bytes']}")


# -- holes


def sparse_tree(t):
    """Files with holes, and what they are."""
    root = t.path("tree")
    os.mkdir(root)
    pieces = {"disk": [(0, 5000), (4_000_000, 4096), (7_000_001, 3)], "end": [(1 << 20, 100_000)], "one": [(5_000_000, 1)],
              "many": [(i * 150_000, 20_000) for i in range(50)]}
    for name, parts in pieces.items():
        with open(f"{root}/{name}", "wb") as f:
            for off, n in parts:
                f.seek(off)
                f.write(samples.noise(f"{name}{off}", n).replace(b"\0", b"0"))
            f.truncate(8_000_000)
    with open(f"{root}/nothing", "wb") as f:
        f.truncate(5 << 20)
    return root, treecmp.dump(root), blocks_of(root)


def blocks_of(root):
    return {n: os.stat(f"{root}/{n}").st_blocks * 512 for n in os.listdir(root)}


def pull_and_cp(t, ref, want, blocks, what):
    cache, out = ("--cache-dir", t.new_path("cache")), t.new_path("out")
    t.morsel("pull", *cache, ref, out)
    os.mkdir(out + ".cp")
    t.morsel("cp", *cache, ref, "/", out + ".cp")
    for got in (out, out + ".cp"):
        for name, size in blocks_of(got).items():
            t.check(size <= blocks[name] + 4 * BLOCK, f"{what}: {got}/{name} has {size} bytes on disk, the original {blocks[name]}")
        t.no_differences(treecmp.compare(treecmp.dump(got), want, skip=[(None, "mtime_ns")]))
    used, most = int(t.run("du", "-s", "-B1", cache[1]).text.split()[0]), sum(blocks.values()) + (2 << 20)
    t.check(used < most, f"{what}: the cache has {used} bytes on disk")


def case_holes_that_tar_describes(t):
    """Layers by tar -S, in all its sparse formats."""
    need("tar")
    root, want, blocks = sparse_tree(t)
    for flags in (("--format=gnu",), ("--format=posix", "--sparse-version=0.0"), ("--format=posix", "--sparse-version=0.1"),
                  ("--format=posix", "--sparse-version=1.0")):
        tar = t.run("tar", "-S", *flags, "-C", root, "-cf", "-", ".").out
        t.check(len(tar) < sum(blocks.values()) + 100_000, f"tar -S {flags} made {len(tar)} bytes")
        lay = Layout(t.new_path("img"))
        lay.image([formats.tar_layer(tar)])
        pull_and_cp(t, f"oci:{lay.path}", want, blocks, flags)


def case_holes_that_are_zeros(t):
    """In every format that push makes zeros become holes, on disk and in the cache."""
    root, want, blocks = sparse_tree(t)
    for compression, kind in PUSHED.items():
        ref = f"oci:{t.new_path('img')}"
        t.morsel("push", "-q", "--compression", compression, root, ref)
        t.equal(formats.formats_of(t, ref), [kind], "format")
        pull_and_cp(t, ref, want, blocks, kind)
