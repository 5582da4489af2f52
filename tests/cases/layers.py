"""Layers that push makes: what other programs read in them, and that they are the same every time."""
import gzip
import io
import json
import os
import shutil
import subprocess
import tarfile

import oracles
import stargz
import treecmp
from images import TOC_DIGEST, Layer, Layout
from morseltest import need
from registries import Registry
from trees import add_socket, make_tree

FORMATS = ("estargz", "zstd:chunked", "gzip", "zstd", "none")
PLUMBING = (b".no.prefetch.landmark", b".prefetch.landmark", b"stargz.index.json")
TREES = range(*map(int, os.environ.get("MORSEL_TREES", "0:10").split(":")))  # seeds; a hundred fit into a case's time


class Pushed:
    """A directory in a layout, by `morsel push`; the one layer of it."""

    def __init__(self, t, tree, *flags, env=None):
        self.path = t.new_path("layout")
        self.name = f"oci:{self.path}:latest"
        self.report = t.morsel("push", "--format", "json", *flags, tree, self.name, env=env).json()
        self.layer = self.report["layers"][0]
        manifest = self.document(self.report["digest"])
        self.descriptor = manifest["layers"][0]
        self.blob = self.blob_path(self.layer["digest"])

    def blob_path(self, digest):
        return f"{self.path}/blobs/{digest.replace(':', '/')}"

    def document(self, digest):
        with open(self.blob_path(digest), encoding="utf-8") as f:
            return json.load(f)


def tar_stream(t, p, compression):
    """The layer's archive, by the programs that every system has."""
    with open(p.blob, "rb") as f:
        blob = f.read()
    if compression == "none":
        return blob
    need("zstd", "gzip")
    return t.run("gzip" if "gzip" in p.descriptor["mediaType"] else "zstd", "-dc", input=blob).out


def case_other_readers(t):
    """gzip, zstd and GNU tar make the tree again from any format; Python's tarfile reads the same names."""
    make_tree(t.path("tree"), 4711, utf8=True)
    want = treecmp.dump(t.path("tree"), hidden=())
    for compression in FORMATS:
        p = Pushed(t, t.path("tree"), "--compression", compression)
        tar = tar_stream(t, p, compression)
        out = t.new_path("out")
        os.mkdir(out)
        t.run("tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", out, input=tar)
        t.no_differences(treecmp.compare(want, treecmp.dump(out, hidden=()), ignore=PLUMBING))
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            names = {os.path.normpath(m.name).encode("utf-8", "surrogateescape") for m in archive}
        t.equal(names - set(PLUMBING), set(want), f"names that tarfile reads in {compression}")


def case_unpackers(t):
    """umoci unpacks what it can decompress, podman zstd; both the same tree."""
    t.need_root()
    make_tree(t.path("tree"), 12, utf8=True)
    want = treecmp.dump(t.path("tree"))
    for compression in ("estargz", "gzip", "none"):
        p = Pushed(t, t.path("tree"), "--compression", compression)
        got = treecmp.dump(oracles.umoci(t, p))
        t.no_differences(treecmp.compare(want, got, ignore=PLUMBING))
        shutil.rmtree(t.path("umoci"))
    for compression in ("zstd", "zstd:chunked"):
        p = Pushed(t, t.path("tree"), "--compression", compression)
        with oracles.podman(t, p) as tree:
            t.no_differences(treecmp.compare(want, treecmp.dump(tree), skip={(None, "mtime_ns"), (b".", "mode")}))


def case_go_library(t):
    """Debian's estargz library reads every file and chunk, with and without files that come first."""
    make_tree(t.path("tree"), 99, utf8=True, entries=120)
    os.mkdir(t.path("tree/first"))
    with open(t.path("tree/first/large"), "wb") as f:
        f.write(os.urandom(3 << 20))
    with open(t.path("list"), "w", encoding="utf-8") as f:
        f.write("/first/large\n/not/there\n")
    reader = stargz.go_tool(t, "readestargz")
    for flags in ((), ("--chunk-size", "64K"), ("--prioritize", t.path("list"))):
        p = Pushed(t, t.path("tree"), *flags)
        said = t.run(reader, p.blob, p.descriptor["annotations"][TOC_DIGEST]).out.split()
        t.equal(int(said[0]), p.layer["entries"], "entries, with the landmark for the root")
        if "--prioritize" in flags:
            t.check(3 << 20 < int(said[1]) < (3 << 20) + 65536, f"the landmark is at {said[1]}, behind the first file")
        else:
            t.equal(int(said[1]), 0, "no landmark")


def case_random_trees(t):
    """Random trees come back as they were, format after format, also with names that are not UTF-8."""
    t.need_fuse()
    for seed in TREES:
        tree = t.new_path("tree")
        make_tree(tree, seed, utf8=bool(seed % 2))
        p = Pushed(t, tree, "--compression", FORMATS[seed % len(FORMATS)])
        with t.mounted(p.name) as m:
            t.no_differences(treecmp.compare(treecmp.dump(tree), treecmp.dump(m.path)))
        shutil.rmtree(tree)
        shutil.rmtree(p.path)


def case_reproducible(t):
    """The same tree has the same digest: made again, on one processor, with the cache and without."""
    make_tree(t.path("a"), 5, utf8=True, entries=150)
    make_tree(t.path("b"), 5, utf8=True, entries=150)
    for compression in FORMATS:
        flags = ("--compression", compression, "--chunk-size", "100000")
        first = Pushed(t, t.path("a"), *flags)
        again = Pushed(t, t.path("b"), *flags)
        t.equal(again.layer["digest"], first.layer["digest"], f"{compression}: another copy, and what the cache has")
        out = t.new_path("layout")
        said = t.run("taskset", "-c", "0", t.binary, "push", "--format", "json", "--cache-dir", t.new_path("cache"), *flags,
                     t.path("a"), f"oci:{out}:latest", env={"TZ": "Asia/Kathmandu", "LC_ALL": "C"}).json()
        t.equal(said["layers"][0]["digest"], first.layer["digest"], f"{compression}: one processor, another zone and locale")


def case_pushed_again(t):
    """What has not changed comes out of the cache, if it is not damaged; the cache's verbs know of it."""
    tree, cache = t.path("tree"), t.path("pieces")
    os.mkdir(tree)
    for i in range(40):
        with open(f"{tree}/f{i:02}", "wb") as f:
            f.write(b"%d " % i * 3000)
    flags = ("--cache-dir", cache)
    first = Pushed(t, tree, *flags)
    t.equal(first.layer["members_cached"], 0, "from an empty cache")
    with open(f"{tree}/f20", "ab") as f:
        f.write(b"more")
    second = Pushed(t, tree, *flags)
    # f20 itself, and what holds the header behind f19's contents
    t.equal(second.layer["members"] - second.layer["members_cached"], 2, "pieces that were compressed again")
    items = t.morsel("cache", "ls", "--format", "json", *flags).json()["items"]
    packs = [i for i in items if i["kind"] == "members"]
    t.equal(len(packs), 2, "packs in the cache")
    for pack in os.listdir(f"{cache}/members"):
        with open(f"{cache}/members/{pack}", "r+b") as f:
            f.seek(10)
            f.write(b"damage")
    third = Pushed(t, tree, *flags)
    t.equal(third.layer["digest"], second.layer["digest"], "with damaged pieces in the cache")
    verified = t.morsel("cache", "verify", "--format", "json", *flags, rc=None)
    t.check(verified.json()["damaged"] == 2, "verify finds both damaged packs")
    t.morsel("cache", "clear", *flags)
    t.equal(os.listdir(f"{cache}/members"), [], "packs after clear")
    t.equal(Pushed(t, tree, *flags).layer["digest"], second.layer["digest"], "from an empty cache again")


def case_left_out(t):
    """Sockets with a warning; what .dockerignore and --exclude say, in their order."""
    tree = t.path("tree")
    os.makedirs(f"{tree}/d/keep")
    for name in ("a.o", "b.c", "d/x", "d/keep/y", "d/keep/z"):
        with open(f"{tree}/{name}", "w", encoding="ascii") as f:
            f.write(name)
    add_socket(f"{tree}/sock")
    with open(f"{tree}/.dockerignore", "w", encoding="ascii") as f:
        f.write("# objects\n*.o\nd\n!d/keep\n")
    said = t.morsel("push", "--compression", "none", "--exclude", "**/z", tree, f"oci:{t.path('l')}:x")
    t.contains(said.err_text, "sock", "socket")
    with t.mounted(f"oci:{t.path('l')}:x") as m:
        t.equal({n for n in treecmp.dump(m.path)}, {b".", b".dockerignore", b"b.c", b"d", b"d/keep", b"d/keep/y"}, "what is there")


def case_empty_attributes(t):
    """GNU tar keeps extended attributes without a value; images do not: umoci loses them, and so a push says that it does."""
    t.need_root("umoci unpacks owners only as root")
    need("tar", "umoci")
    os.mkdir(t.path("tree"))
    with open(t.path("tree/f"), "w", encoding="ascii") as f:
        f.write("x")
    os.setxattr(t.path("tree/f"), "user.empty", b"")
    os.setxattr(t.path("tree/f"), "user.full", b"1")
    t.run("tar", "--xattrs", "-cf", t.path("a.tar"), "-C", t.path("tree"), "f")
    with open(t.path("a.tar"), "rb") as f:
        tar = f.read()
    t.check(b" SCHILY.xattr.user.empty=\n" in tar, "GNU tar does not write an empty attribute")
    lay = Layout(t.path("by-tar"))
    lay.image([Layer(tar, gzip.compress(tar))])
    t.equal(os.listxattr(f"{oracles.umoci(t, lay)}/f"), ["user.full"], "attributes that umoci unpacks")
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(os.listxattr(f"{m.path}/f"), ["user.full"], "attributes in the mount")
    said = t.morsel("push", "--format", "json", t.path("tree"), f"oci:{t.path('l')}:x")
    t.contains(said.err_text, "tree/f: 1 extended attributes that unpackers of images lose (empty")
    t.equal(said.json()["layers"][0]["xattrs_skipped"], 1, "attributes that were left out")
    with t.mounted(f"oci:{t.path('l')}:x") as m:
        t.equal(os.listxattr(f"{m.path}/f"), ["user.full"], "attributes in the mount of the push")


def case_file_grows(t):
    """A file that changes while it is read ends the push, named; --allow-changed goes on."""
    tree = t.path("tree")
    os.mkdir(tree)
    with open(f"{tree}/log", "wb") as f:
        f.truncate(400 << 20)
    writer = subprocess.Popen(["sh", "-c", f"while sleep 0.02; do echo x >> {tree}/log; done"])
    t.defer(t.end_process, writer)
    flags = ("--cache-dir", t.path("c"), "--compression", "none")
    t.refused(1, "push", *flags, tree, f"oci:{t.path('l')}:x", says=("log", "changed"))
    said = t.morsel("push", *flags, "--allow-changed", tree, f"oci:{t.path('l')}:x")
    t.contains(said.err_text, "log", "changed")


def case_podman_fetches_parts(t):
    """podman 4.3 reads our zstd:chunked layer by its table, under the keys that it knows; what it makes is the tree, but for
    times and owners of files, which it forgets (also those of layers that skopeo made)."""
    t.need_root()
    need("podman")
    tree = t.path("tree")
    os.makedirs(f"{tree}/d")
    for name, data in (("d/text", b"words and words\n" * 4000), ("large", os.urandom(3 << 20)), ("empty", b""), ("x", b"1")):
        with open(f"{tree}/{name}", "wb") as f:
            f.write(data)
    os.link(f"{tree}/x", f"{tree}/d/hardlink")
    os.symlink("text", f"{tree}/d/symlink")
    os.setxattr(f"{tree}/large", "user.k", b"v")
    p = Pushed(t, tree, "--compression", "zstd:chunked")
    layout = Layout(t.path("old"))
    shutil.copytree(f"{p.path}/blobs", f"{layout.path}/blobs", dirs_exist_ok=True)
    manifest = p.document(p.report["digest"])
    notes = manifest["layers"][0]["annotations"]
    manifest["layers"][0]["annotations"] = {k.replace("io.github.containers.", "io.containers."): v for k, v in notes.items()}
    layout.tag(layout.document(manifest, manifest["mediaType"]))
    reg = Registry(t)
    reg.push(layout)
    env = oracles.podman_env(t)
    with open(env["CONTAINERS_STORAGE_CONF"], "a", encoding="ascii") as f:
        f.write('[storage.options]\npull_options = {enable_partial_images = "true"}\n')
    try:
        said = t.run("podman", "--log-level=debug", "pull", "--tls-verify=false", f"docker://{reg.ref()}", env=env)
        t.contains(said.err_text, "Retrieved partial blob")
        got = t.run("podman", "image", "mount", reg.ref(), env=env).out.decode().strip()
        differences = treecmp.compare(treecmp.dump(tree), treecmp.dump(got), skip={(None, "mtime_ns"), (b".", "mode")})
        t.run("podman", "image", "umount", "-f", reg.ref(), env=env)
        t.no_differences(differences)
    finally:
        oracles.podman_end(t)
