"""The mounted tree against what other programs unpack: every path, type, mode, owner, size, time, link count, extended
attribute and content. Which unpacker a case follows where they disagree, and why, stands in the case."""
import gzip
import io
import os
import shutil
import zlib

import oracles
import samples
import treecmp
from images import Layer, Layout, gzip_members, gzip_sync, layer
from morseltest import need
from samples import TIME
from tarball import Tar, vfs_cap_net_raw

# Directories that no layer describes, or that an unpacker touches when it deletes something below them, have the time
# of the unpacking there. In the mount an implied directory is 0755 0:0 at the epoch, one that is described keeps its
# time (formats: "mtime of a directory comes from the tar").
DIR_TIME = "mtime_ns"


def mounted_dump(t, lay, *flags, name="latest"):
    with t.mounted(f"oci:{lay.path}:{name}", *flags) as m:
        first = treecmp.dump(m.path)
        again = treecmp.dump(m.path)
        t.no_differences(treecmp.compare(first, again))
        return first


def dir_times(dump, *paths):
    return [(p.encode(), DIR_TIME) for p in paths]


def build(t, *layers):
    lay = Layout(t.new_path("img"))
    lay.image([item if isinstance(item, Layer) else layer(item) for item in layers])
    return lay


def against_umoci(t, *layers, skip=(), ignore=()):
    lay = build(t, *layers)
    got = mounted_dump(t, lay)
    t.no_differences(treecmp.compare(got, treecmp.dump(oracles.umoci(t, lay)), skip=skip, ignore=ignore))
    return got


def case_busy_image_against_umoci(t):
    """Followed in everything, except: umoci leaves the time of unpacking on the root, on directories in which it
    deleted or made something afterwards, and on implied directories."""
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    got = mounted_dump(t, lay)
    want = treecmp.dump(oracles.umoci(t, lay))
    implied = [name for name in want if name.startswith(b"names/dddd") and want[name]["type"] == "dir"]
    skip = [(name, DIR_TIME) for name in implied] + dir_times(want, ".", "names")
    t.no_differences(treecmp.compare(got, want, skip=skip))
    t.check(len(got) > 60, "entries")
    for name in implied:
        t.equal((got[name]["mode"], got[name]["uid"], got[name]["mtime_ns"]), ("0755", 0, 0), "an implied directory")


def case_busy_image_against_podman(t):
    """Followed in the merge, which is overlayfs's own. Not followed: podman gives implied directories and the root the
    time of unpacking."""
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    got = mounted_dump(t, lay)
    with oracles.podman(t, lay) as tree:
        want = treecmp.dump(tree)
    implied = [name for name in want if name.startswith(b"names/dddd") and want[name]["type"] == "dir"]
    skip = [(name, DIR_TIME) for name in implied] + dir_times(want, ".") + [(b".", "mode")]
    t.no_differences(treecmp.compare(got, want, skip=skip))


def case_negative_times(t):
    """umoci is followed: podman 4.3 turns times before 1970 into 0."""
    against_umoci(t, Tar().dir(".", mtime_ns=TIME).file("a", b"", mtime_ns=-1).file("b", b"", mtime_ns=-1_500_000_000)
                  .file("c", b"", mtime_ns=-10 ** 18).file("d", b"", mtime_ns=-(2 ** 31) * 10 ** 9),
                  skip=[(b".", DIR_TIME)])


def case_whiteouts(t):
    base = Tar().dir("d", mtime_ns=TIME)
    for name in ("file", "dir/x", "dir/y/z", "again", "kept", "link-target"):
        base.file(f"d/{name}", name.encode(), mtime_ns=TIME)
    base.symlink("d/link", "link-target", mtime_ns=TIME).hardlink("d/hard", "d/link-target", mtime_ns=TIME)
    top = Tar().dir("d", mtime_ns=TIME).whiteout("d/file").whiteout("d/dir").whiteout("d/link").whiteout("d/missing")
    top.whiteout("missing/too").whiteout("d/link-target").whiteout("d/again").file("d/again", b"new", mtime_ns=TIME)
    got = against_umoci(t, base, top, skip=[(b".", DIR_TIME), (b"d", DIR_TIME)])
    t.equal(sorted(n for n in got if n.startswith(b"d/")), [b"d/again", b"d/hard", b"d/kept"], "what is left")
    t.equal(got[b"d/hard"]["nlink"], 1, "link count when the other name is gone")


def case_whiteout_before_or_after_its_namesake(t):
    """A whiteout acts on lower layers only, wherever in the layer it stands. overlayfs (podman) and the specification
    are followed; umoci 0.4.7 does the same."""
    base = Tar().dir("d", mtime_ns=TIME).file("d/below", b"", mtime_ns=TIME)
    for order in ("before", "after"):
        top = Tar()
        if order == "before":
            top.whiteout("d")
        top.dir("d", mode=0o700, mtime_ns=TIME).file("d/above", b"", mtime_ns=TIME)
        if order == "after":
            top.whiteout("d")
        got = mounted_dump(t, build(t, base, top))
        t.equal([n for n in got if n.startswith(b"d/")], [b"d/above"], order)
        t.equal(got[b"d"]["mode"], "0700", order)


def case_opaque_directories(t):
    """The mark acts on lower layers only, whether it stands before or behind its siblings."""
    base = Tar().dir("a", mtime_ns=TIME).file("a/below", b"", mtime_ns=TIME).file("a/sub/below", b"", mtime_ns=TIME)
    for order in ("before", "after"):
        top = Tar().dir("a", mtime_ns=TIME)
        if order == "before":
            top.opaque("a")
        top.file("a/above", b"", mtime_ns=TIME)
        if order == "after":
            top.opaque("a")
        got = mounted_dump(t, build(t, base, top))
        t.equal([n for n in got if n.startswith(b"a/")], [b"a/above"], order)
    got = mounted_dump(t, build(t, base, Tar().file("a/.wh..wh..opq", b"")))
    t.equal([n for n in got if n.startswith(b"a")], [b"a"], "the mark alone")
    got = mounted_dump(t, build(t, Tar().file("x", b"").file("y/z", b""), Tar().file(".wh..wh..opq", b"")))
    t.equal(list(got), [b"."], "an opaque root")


def case_types_that_change_between_layers(t):
    one = Tar().dir("a", mtime_ns=TIME).file("a/x", b"1", mtime_ns=TIME).file("b", b"2", mtime_ns=TIME)
    one.symlink("c", "a", mtime_ns=TIME).dir("e", mtime_ns=TIME).file("e/x", b"", mtime_ns=TIME)
    two = Tar().symlink("a", "b", mtime_ns=TIME).dir("b", mtime_ns=TIME).file("b/y", b"3", mtime_ns=TIME)
    two.dir("c", mtime_ns=TIME).file("c/z", b"4", mtime_ns=TIME).fifo("e", mtime_ns=TIME)
    three = Tar().dir("a", mtime_ns=TIME).file("a/w", b"5", mtime_ns=TIME).file("c", b"6", mtime_ns=TIME)
    lay = build(t, one, two, three)
    got = mounted_dump(t, lay)
    with oracles.podman(t, lay) as tree:
        want = treecmp.dump(tree)
    t.no_differences(treecmp.compare(got, want, skip=[(b".", DIR_TIME), (b".", "mode")]))


def case_symlinked_parents(t):
    """In one layer an entry below a symlink lands where it points, inside the image. A symlink of a lower layer is not
    followed: overlayfs (podman) is, where the directory shadows the link; umoci would write through it."""
    one = Tar().dir("real", mtime_ns=TIME).symlink("via", "real", mtime_ns=TIME).file("via/in", b"1", mtime_ns=TIME)
    one.symlink("up", "../../..", mtime_ns=TIME).file("up/at-root", b"2", mtime_ns=TIME)
    one.symlink("abs", "/real", mtime_ns=TIME).file("abs/too", b"3", mtime_ns=TIME)
    lay = build(t, one)
    got = mounted_dump(t, lay)
    want = treecmp.dump(oracles.umoci(t, lay))
    t.no_differences(treecmp.compare(got, want, skip=[(b".", DIR_TIME), (b"real", DIR_TIME)]))
    two = Tar().file("via/above", b"4", mtime_ns=TIME)
    lay = build(t, one, two)
    got = mounted_dump(t, lay)
    t.equal(got[b"via"]["type"], "dir", "the lower symlink is shadowed")
    t.equal(got[b"via/above"]["size"], 1, "the file is below it")
    t.check(b"real/above" not in got, "nothing was written through the link")


def case_hardlinks(t):
    tar = Tar().dir("d", mtime_ns=TIME).file("d/a", b"shared" * 1000, mtime_ns=TIME, mode=0o600, uid=5)
    for i in range(50):
        tar.hardlink(f"d/l{i:02}", f"d/l{i - 1:02}" if i else "/d/./a", mtime_ns=TIME, mode=0o600, uid=5)
    tar.symlink("d/s", "a", mtime_ns=TIME).hardlink("d/s2", "d/s", mtime_ns=TIME, mode=0o777)
    tar.char("d/c", 1, 5, mtime_ns=TIME).hardlink("d/c2", "d/c", mtime_ns=TIME)
    tar.fifo("d/p", mtime_ns=TIME).hardlink("d/p2", "d/p", mtime_ns=TIME)
    got = against_umoci(t, tar, skip=[(b".", DIR_TIME)])
    t.equal(got[b"d/a"]["nlink"], 51, "link count")


def case_hardlink_that_an_upper_layer_replaces(t):
    """The count is of the names that are left: umoci is followed; overlayfs shows the lower layer's count."""
    got = against_umoci(t, Tar().file("a", b"1", mtime_ns=TIME).hardlink("b", "a", mtime_ns=TIME)
                        .hardlink("c", "a", mtime_ns=TIME),
                        Tar().file("b", b"2", mtime_ns=TIME), skip=[(b".", DIR_TIME)])
    t.equal((got[b"a"]["nlink"], got[b"b"]["nlink"]), (2, 1), "link counts")


def case_hardlink_to_a_lower_layer_is_refused(t):
    lay = build(t, Tar().file("a", b"1"), Tar().hardlink("b", "a"))
    t.refused(6, "ls", f"oci:{lay.path}", says="hardlink")


def case_duplicates(t):
    """The last one wins, as tar does it."""
    got = against_umoci(t, Tar().file("a", b"first", mtime_ns=TIME).file("./a", b"second", mtime_ns=TIME)
                        .file("b", b"file", mtime_ns=TIME).symlink("b", "a", mtime_ns=TIME)
                        .dir("c", mode=0o700, mtime_ns=TIME).file("c/kept", b"", mtime_ns=TIME)
                        .dir("c", mode=0o755, mtime_ns=TIME + 1)
                        .file("e", b"\xc3\xa9", mtime_ns=TIME).file("E", b"", mtime_ns=TIME)
                        .file(b"e\xcc\x81", b"nfd", mtime_ns=TIME).file(b"\xc3\xa9", b"nfc", mtime_ns=TIME),
                        skip=[(b".", DIR_TIME)])
    t.equal(got[b"a"]["size"], 6, "a")
    t.equal(got[b"b"]["type"], "symlink", "b")


def case_names(t):
    tar = Tar().dir("n", mtime_ns=TIME)
    for name in (b"\xff\xfe", b"\x01\x02\x7f", b" ", b"...", b"a\\b", b"*?[", b"\xe2\x80\xae", b"x" * 255, b"\xc3" * 255):
        tar.file(b"n/" + name, name, mtime_ns=TIME)
    against_umoci(t, tar, skip=[(b".", DIR_TIME)])


def case_unclean_names(t):
    got = mounted_dump(t, build(t, Tar().file("/abs", b"").file("./dot/./x", b"").file("a//b", b"")
                                .file("p/q/../r", b"")))
    t.equal(sorted(got), [b".", b"a", b"a/b", b"abs", b"dot", b"dot/x", b"p", b"p/r"], "cleaned names")


def case_implied_parents(t):
    """0755 0:0; but a directory that a lower layer describes keeps what it has there."""
    one = Tar().dir("kept", mode=0o700, uid=7, gid=8, mtime_ns=TIME, xattrs={"user.k": b"v"})
    two = Tar().file("kept/new", b"").file("fresh/a/b", b"")
    got = mounted_dump(t, build(t, one, two))
    t.equal((got[b"kept"]["mode"], got[b"kept"]["uid"], got[b"kept"]["mtime_ns"], got[b"kept"]["xattrs"]),
            ("0700", 7, TIME, {"user.k": b"v".hex()}), "a directory of a lower layer")
    t.equal((got[b"fresh/a"]["mode"], got[b"fresh/a"]["uid"], got[b"fresh/a"]["mtime_ns"]), ("0755", 0, 0), "implied")


def case_root_attributes(t):
    """Those of the topmost layer that has them; the design's own rule: containerd ignores them, podman keeps them."""
    got = mounted_dump(t, build(t, Tar().dir(".", mode=0o750, uid=3, mtime_ns=TIME), Tar().file("x", b"")))
    t.equal((got[b"."]["mode"], got[b"."]["uid"], got[b"."]["mtime_ns"]), ("0750", 3, TIME), "root")
    got = mounted_dump(t, build(t, Tar().dir(".", mode=0o750, mtime_ns=TIME), Tar().dir("./", mode=0o711, mtime_ns=TIME)))
    t.equal(got[b"."]["mode"], "0711", "the topmost")
    got = mounted_dump(t, build(t, Tar().file("x", b"")))
    t.equal((got[b"."]["mode"], got[b"."]["uid"]), ("0755", 0), "none has them")


def case_sparse_files(t):
    """Four dialects, GNU tar is followed: umoci and podman refuse the old one and know the others, which the first case
    compares too. A file's holes are zeros and cost nothing in the cache."""
    # GNU tar reads each extent from a block of its own: only the last one may end within a block.
    extents = [(0, b"start---" * 64), (512 * 9000, b"m" * 10240), (512 * 97_000, b"end")]
    many = [(i * 102_400, bytes([65 + i % 26]) * 1024) for i in range(60)]
    tar = Tar()
    for version in ("0.0", "0.1", "1.0"):
        tar.sparse_pax(f"pax-{version}", 50_000_000, extents, version)
        tar.sparse_pax(f"pax-{version}-many", 6_500_000, many, version)
    lay = build(t, tar)
    got = mounted_dump(t, lay)
    t.no_differences(treecmp.compare(got, treecmp.dump(oracles.umoci(t, lay)), skip=[(b".", DIR_TIME)]))
    tar.sparse_gnu("gnu", 50_000_000, extents).sparse_gnu("gnu-extended", 6_500_000, many)
    tar.sparse_gnu("gnu-hole", 1 << 20, [])
    got = mounted_dump(t, build(t, tar))
    want = t.path("gnu-tar")
    os.mkdir(want)
    t.run("tar", "-xf", "-", "-C", want, "--no-same-owner", input=tar.end())
    for name in os.listdir(want):
        t.equal(got[name.encode()].get("sha256"), treecmp.file_sha256(f"{want}/{name}"), name)
    t.equal(len(got), 10, "files and the root")
    used = t.morsel("cache", "info", "--format", "json").json()["bytes"]
    t.check(used < 8_000_000, f"sparse files of 150 MB use {used} bytes of the cache")


def case_extended_attributes(t):
    """The overlay's own marks and file capabilities are hidden by design, the latter unless --suid. An attribute without
    a value is none: Go's reader, and so umoci and podman, is followed; GNU tar would set it."""
    tar = Tar().file("f", b"x", mode=0o755, mtime_ns=TIME, xattrs={
        "user.a": b"1", "trusted.overlay.opaque": b"y", "trusted.overlay.redirect": b"/etc", "trusted.x": b"2",
        "security.capability": vfs_cap_net_raw(), "user.nl": b"a=b\nc\0d", "user.empty": b""})
    lay = build(t, tar)
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(sorted(os.listxattr(m / "f")), ["trusted.x", "user.a", "user.nl"], "xattrs")
        t.equal(os.getxattr(m / "f", "user.nl"), b"a=b\nc\0d", "a binary value")
        try:
            os.getxattr(m / "f", "security.capability")
            t.check(False, "security.capability is readable")
        except OSError as e:
            t.check(e.errno in (61, 95), f"errno {e.errno}")
    if not os.geteuid():
        with t.mounted(f"oci:{lay.path}", "--suid") as m:
            t.equal(os.getxattr(m / "f", "security.capability"), vfs_cap_net_raw(), "with --suid")
            t.contains(t.run("getcap", m / "f").text, "cap_net_raw")


def case_old_archives(t):
    """V7 and GNU headers, directories by a trailing slash, hardlinks with a size, contiguous files, global pax headers,
    numbers in base 256, vendor headers to skip, one zero block or none at the end, garbage behind it."""
    tar = Tar()
    tar.pax({"comment": "a git commit", "mtime": "1"}, glob=True)
    tar.header("v7", b"\0", 3, mtime=5, magic=b"").raw(b"abc").pad()
    tar.header("v7dir/", b"\0", 0, 0o711, mtime=5, magic=b"")
    tar.header("contiguous", b"7", 4, mtime=5).raw(b"abcd").pad()
    tar.header("hard", b"1", 4096, mtime=5, link=b"v7")  # no payload follows whatever it says
    tar.gnu_long("g" * 150).header("cut", b"0", 1, mtime=5, magic=b"ustar  \0").raw(b"g").pad()
    tar.gnu_long("t" * 200, b"K").header("long-link", b"2", 0, mtime=5, magic=b"ustar  \0", link=b"cut")
    tar.header("base256", b"0", 2, uid=3_000_000, gid=2 ** 31, mtime=-5).raw(b"bb").pad()
    tar.header("prefixed", b"0", 1, mtime=5, prefix=b"some/prefix").raw(b"p").pad()
    tar.header("label", b"V", 0, mtime=5)
    tar.gnu_long("not-this").gnu_long("the-last-long-name").header("nor-this", b"0", 0, mtime=5, magic=b"ustar  \0")
    for end, garbage in ((2, b""), (1, b""), (0, b""), (2, b"garbage" * 1000)):
        got = mounted_dump(t, build(t, tar.end(end) + garbage))
        t.equal(sorted(n.decode() for n in got),
                sorted([".", "v7", "v7dir", "contiguous", "hard", "g" * 150, "long-link", "base256", "some",
                        "some/prefix", "some/prefix/prefixed", "the-last-long-name"]), f"names with {end} end blocks")
        t.equal(got[b"v7dir"]["type"], "dir", "v7dir")
        t.equal(got[b"v7"]["nlink"], 2, "hardlink with a size")
        t.equal(got[b"long-link"]["link"], b"t" * 200, "long link")
        t.equal((got[b"base256"]["uid"], got[b"base256"]["gid"], got[b"base256"]["mtime_ns"]),
                (3_000_000, 2 ** 31, -5 * 10 ** 9), "base 256")


def case_gzip_shapes(t):
    """One member, several, empty ones between, a name in the header, flushes, stored blocks, trailing zeros."""
    files = samples.big_files(3, 6, 700_000)
    tar = samples.files_tar(files).end()
    named = io.BytesIO()
    with gzip.GzipFile("a-name.tar", "wb", 6, named, mtime=1) as f:
        f.write(tar)
    stored = zlib.compressobj(0, zlib.DEFLATED, 31)
    shapes = {
        "one member": gzip.compress(tar, 6),
        "three members": gzip_members(tar, [1000, 1_500_001]),
        "empty members": gzip.compress(b"") + gzip_members(tar, [512]) + gzip.compress(b""),
        "many members": gzip_members(tar, range(100_000, len(tar), 100_000)),
        "a name": named.getvalue(),
        "flushes": gzip_sync(tar, 65536),
        "stored": stored.compress(tar) + stored.flush(),
        "trailing zeros": gzip.compress(tar, 9) + bytes(1024),
    }
    for what, blob in shapes.items():
        lay = build(t, Layer(tar, blob=blob))
        with t.mounted(f"oci:{lay.path}") as m:
            for name, data in files.items():
                t.check(m.read(name) == data, f"{what}: {name}")


def case_aufs_plumbing(t):
    """Entries named .wh..wh.* are not shown; a hardlink to one of them is an ordinary file."""
    tar = Tar().dir(".wh..wh.plnk", mtime_ns=TIME).file(".wh..wh.plnk/1.2", b"linked", mtime_ns=TIME)
    tar.hardlink("a", ".wh..wh.plnk/1.2", mtime_ns=TIME).hardlink("b", ".wh..wh.plnk/1.2", mtime_ns=TIME)
    tar.dir(".wh..wh.orph", mtime_ns=TIME).file(".wh..wh.aufs", b"", mtime_ns=TIME)
    got = mounted_dump(t, build(t, tar))
    t.equal(sorted(got), [b".", b"a", b"b"], "what is shown")
    t.equal((got[b"a"]["nlink"], got[b"a"]["size"]), (2, 6), "the linked file")


def case_many_entries_in_a_directory(t):
    tar = Tar().dir("d")
    names = [f"{'n' * (i % 40)}{i:05}" for i in range(20_000)]
    for name in names:
        tar.file(f"d/{name}", b"")
    lay = build(t, tar)
    with t.mounted(f"oci:{lay.path}") as m:
        t.equal(sorted(os.listdir(m / "d")), sorted(names), "names")
        t.equal(len(os.listdir(m / "d")), len(names), "a second time")
        t.check(not os.path.exists(m / "d/absent"), "a name that is not there")


def case_real_tools_make_it(t):
    """A tree of this machine, packed by umoci; found again by mount, GNU tar and rsync-like comparison."""
    need("umoci")
    t.need_root()
    path = t.path("real")
    t.run("umoci", "init", "--layout", path)
    t.run("umoci", "new", "--image", f"{path}:latest")
    tree = t.path("tree")
    shutil.copytree("/usr/share/doc/bash", f"{tree}/doc", symlinks=True)
    shutil.copytree("/usr/lib/python3/dist-packages", f"{tree}/py", symlinks=True, ignore=lambda d, names:
                    names[40:] if d.endswith("dist-packages") else [])
    for d in (f"{tree}/doc", f"{tree}/py", tree):
        os.utime(d, ns=(TIME, TIME))  # umoci insert writes whole seconds
    t.run("umoci", "insert", "--image", f"{path}:latest", tree, "/data")
    with t.mounted(f"oci:{path}:latest") as m:
        t.no_differences(treecmp.compare(treecmp.dump(m / "data"), treecmp.dump(tree), skip=[(b".", DIR_TIME)]))
