"""morsel pull: the whole tree against the mount and umoci, as root and as a user; patterns; what is there already;
interruptions; disks that are full; tricks."""
import contextlib
import os
import signal
import stat
import subprocess

import oracles
import samples
import stargz
import treecmp
from faults import FaultRegistry
from images import Layout, layer
from morseltest import need, wait_until
from registries import Registry
from tarball import Tar


def busy(t):
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    return lay


def tree_layout(t, name="img"):
    tar = Tar().dir("etc").file("etc/conf", b"c").dir("usr").dir("usr/share").dir("usr/share/doc")
    tar.file("usr/share/doc/a.txt", b"a").file("usr/share/doc/b.md", b"b").file("usr/lib/x.so", b"so", mode=0o755)
    tar.file("usr/lib/deep/er/y.so", b"so2").dir("empty").symlink("lib", "usr/lib").hardlink("etc/conf2", "etc/conf")
    lay = Layout(t.path(name))
    lay.image([layer(tar)])
    return f"oci:{lay.path}"


def names_below(path):
    return sorted(os.path.relpath(os.path.join(b, n), path) for b, d, f in os.walk(path) for n in d + f)


def nothing_left(t, *dirs):
    for d in dirs:
        t.equal([n for n in os.listdir(d) if n.startswith(".morsel")], [], f"left in {d}")


def full_dump(path):
    return treecmp.dump(path, hidden=("trusted.overlay.", "security.selinux"))


# -- the tree


def case_equals_mount_and_umoci(t):
    """All that an image can hold; umoci gives directories the time of unpacking."""
    t.need_root()
    lay = busy(t)
    ref = f"oci:{lay.path}"
    t.morsel("pull", ref, t.path("got"))
    nothing_left(t, t.work)
    got = full_dump(t.path("got"))
    with t.mounted(ref, "--suid", "--dev") as m:
        t.no_differences(treecmp.compare(got, full_dump(m.path)))
    tree = oracles.umoci(t, lay)
    t.no_differences(treecmp.compare(got, full_dump(tree), skip=[(p, "mtime_ns") for p, e in got.items() if e["type"] == "dir"]))


def case_as_user(t):
    """A user owns the files and is told, once, what was left out; JSON has counts and names."""
    t.need_root("changes to an ordinary user")
    need("setpriv")
    ref = f"oci:{busy(t).path}"
    for d in ("own", "ucache"):
        os.mkdir(t.path(d))
        os.chown(t.path(d), 4711, 4711)
    t.run("chmod", "-R", "a+rX", t.path("img"))
    for d in (t.work, t.dir):
        os.chmod(d, 0o755)
    user = ("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", t.binary, "pull", "--cache-dir", t.path("ucache"))
    r = t.run(*user, ref, t.path("own/got"))
    lines = r.err_text.splitlines()
    t.equal(len(lines), 1, "lines of warnings")
    t.contains(lines[0], "owners", "3 devices", "dev/null", "xattrs")
    got = treecmp.dump(t.path("own/got"), hidden=())
    t.equal({r["uid"] for r in got.values()}, {4711}, "owners")
    t.equal(got[b"bin/suid"]["mode"], "0755", "mode of a setuid program")
    t.check(b"dev/null" not in got and b"dev/pipe" in got, "a fifo needs no privilege, a device does")
    with t.mounted(ref) as m:
        want = treecmp.dump(m.path)
    t.no_differences(treecmp.compare(got, want, skip=[(None, "uid"), (None, "gid"), (b"bin/suid", "mode"), (b"bin/sgid", "mode"),
                                                      (b"xattrs/several", "xattrs")],
                                     ignore=(b"dev/null", b"dev/loop7", b"dev/big")))
    r = t.run(*user, "--format", "json", "--quiet", ref, t.path("own/again"))
    t.equal(r.err_text, "", "quiet")
    left = r.json()["left_out"]
    t.equal(left["devices"]["count"], 3, "devices")
    t.equal(sorted(left["devices"]["names"]), ["dev/big", "dev/loop7", "dev/null"], "their names")
    t.equal(left["owners"]["count"] >= len(left["owners"]["names"]) > 10, True, "owners")
    t.equal(sorted(left["xattrs"]["names"]), ["xattrs/cap", "xattrs/several"], "xattrs")


def case_names_that_are_not_text(t):
    """In JSON a byte that is not UTF-8 is told as everywhere: left out by name, not by a question mark."""
    t.need_root("changes to an ordinary user")
    need("setpriv")
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().char(b"dev/n\xe9 \xc3\xa9", 1, 3))])
    os.mkdir(t.path("own"))
    os.chown(t.path("own"), 4711, 4711)
    t.run("chmod", "-R", "a+rX", lay.path)
    for d in (t.work, t.dir):
        os.chmod(d, 0o755)
    r = t.run("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", t.binary, "pull", "--cache-dir", t.path("own/cache"),
              "--format", "json", "-q", f"oci:{lay.path}", t.path("own/got"))
    t.equal(r.json()["left_out"]["devices"]["names"], ["dev/n\\xe9 \u00e9"], "names")


def case_sparse(t):
    """Holes stay holes, also those that only are zeros."""
    tar = Tar().sparse_pax("s", 64 << 20, [(1 << 20, b"x" * 5000), (40 << 20, b"y" * 4096)], "1.0")
    lay = Layout(t.path("img"))
    lay.image([layer(tar.file("tail", b"z" + bytes(99999)).file("zeros", bytes(300000)).file("empty", b""))])
    t.morsel("pull", f"oci:{lay.path}", t.path("d"))
    st = os.stat(t.path("d/s"))
    t.equal((st.st_size, st.st_blocks * 512 < 1 << 20), (64 << 20, True), "size, and few blocks")
    t.equal(os.stat(t.path("d/zeros")).st_blocks, 0, "blocks of zeros")
    for name, want in (("s", bytes(1 << 20) + b"x" * 5000 + bytes((39 << 20) - 5000) + b"y" * 4096 + bytes((24 << 20) - 4096)),
                       ("tail", b"z" + bytes(99999)), ("zeros", bytes(300000)), ("empty", b"")):
        with open(t.path(f"d/{name}"), "rb") as f:
            t.check(f.read() == want, name)


def case_shared_blocks(t):
    """On a filesystem that can, files share the cache's blocks; as verified and as equal as anywhere."""
    t.need_root()
    need("mkfs.xfs")
    tar = Tar().file("big", samples.noise(1, 3 << 20)).file("odd", samples.noise(2, 100_001)).file("small", b"s" * 5000)
    tar.sparse_pax("holes", 4 << 20, [(1 << 20, samples.noise(3, 300_000))], "1.0").file("exact", samples.noise(4, 1 << 18))
    tar.file("zeros", bytes(2 << 20)).file("between", samples.noise(6, 100_000) + bytes(3 << 20) + samples.noise(7, 100_000))
    lay = Layout(t.path("img"))
    lay.image([layer(tar), layer(Tar().file("other", samples.noise(5, 50_000)))])
    with open(t.path("disk"), "wb") as f:
        f.truncate(512 << 20)
    t.run("mkfs.xfs", "-q", t.path("disk"))
    os.mkdir(t.path("x"))
    r = t.run("mount", "-o", "loop", t.path("disk"), t.path("x"), rc=None)
    if r.rc:
        t.skip("can't mount a loop device")
    try:
        cache = ("--cache-dir", t.path("x/cache"))
        for name in ("cold", "warm"):
            r = t.morsel("pull", *cache, "--format", "json", f"oci:{lay.path}", t.path(f"x/{name}")).json()
            t.check(3 << 20 <= r["cloned_bytes"] < r["written_bytes"], f"{r['cloned_bytes']} shared of {r['written_bytes']}")
            with t.mounted(f"oci:{lay.path}", *cache) as m:
                t.no_differences(treecmp.compare(treecmp.dump(t.path(f"x/{name}")), treecmp.dump(m.path)))
            for file, most in (("zeros", 0), ("between", 400_000), ("holes", 400_000)):
                size = os.stat(t.path(f"x/{name}/{file}")).st_blocks * 512
                t.check(size <= most, f"{name}/{file} has {size} bytes on disk")
        layers = os.listdir(t.path("x/cache/layers"))
        sizes = {n: os.path.getsize(t.path(f"x/cache/layers/{n}/data")) for n in layers}
        with open(t.path(f"x/cache/layers/{max(sizes, key=sizes.get)}/data"), "r+b") as f:
            f.seek(1 << 20)
            f.write(b"dirt")  # in the cache: found, thrown away, fetched again
        r = t.morsel("pull", *cache, "--format", "json", f"oci:{lay.path}", t.path("x/again")).json()
        t.check(0 < r["moved_bytes"], "what was damaged was not fetched again")
        t.no_differences(treecmp.compare(treecmp.dump(t.path("x/again")), treecmp.dump(t.path("x/cold"))))
    finally:
        t.run("umount", t.path("x"))


def case_read_only_root(t):
    """A user gets the modes of an image whose root nobody may write to; the tree is moved all the same."""
    t.need_root("changes to an ordinary user")
    need("setpriv")
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().dir(".", mode=0o555, mtime_ns=samples.TIME + 5).dir("d", mode=0o500).file("d/f", b"f"))])
    os.mkdir(t.path("own"))
    os.chown(t.path("own"), 4711, 4711)
    t.run("chmod", "-R", "a+rX", t.path("img"))
    for d in (t.work, t.dir):
        os.chmod(d, 0o755)
    user = ("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", t.binary, "pull", "-q", "--cache-dir", t.path("own/cache"))
    for name in ("new", "empty"):
        if name == "empty":
            t.run("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", "mkdir", t.path("own/empty"))
        t.run(*user, f"oci:{lay.path}", t.path(f"own/{name}"))
        got = full_dump(t.path(f"own/{name}"))
        t.equal((got[b"."]["mode"], got[b"."]["mtime_ns"], got[b"d"]["mode"]), ("0555", samples.TIME + 5, "0500"), name)
        # read-only directories of one's own are no reason to stop halfway
        os.rename(t.path(f"own/{name}/d/f"), t.path(f"own/{name}/g"))
        os.rename(t.path(f"own/{name}/d"), t.path(f"own/{name}/e"))
        t.run(*user, "--overwrite", f"oci:{lay.path}", t.path(f"own/{name}"))
        t.run("rm", "-r", t.path(f"own/{name}/e"), t.path(f"own/{name}/g"))
        os.utime(t.path(f"own/{name}"), ns=(0, samples.TIME + 5))
        t.run(*user, "--overwrite", f"oci:{lay.path}", t.path(f"own/{name}"))
        t.equal(full_dump(t.path(f"own/{name}")), got, f"{name}, again")
    t.equal(sorted(os.listdir(t.path("own"))), ["cache", "empty", "new"], "names")


# -- which files


def case_patterns(t):
    ref = tree_layout(t)

    def got(*flags):
        out = t.new_path("out")
        t.morsel("pull", *flags, ref, out)
        return names_below(out)

    t.equal(got("--include", "etc"), ["etc", "etc/conf", "etc/conf2"], "a directory means all of it")
    t.equal(got("--include", "/etc/conf2"), ["etc", "etc/conf2"], "one file, with a slash")
    t.equal(got("--include", "**/*.so"), ["usr", "usr/lib", "usr/lib/deep", "usr/lib/deep/er", "usr/lib/deep/er/y.so",
                                          "usr/lib/x.so"], "at any depth")
    t.equal(got("--include", "usr/lib/*.so"), ["usr", "usr/lib", "usr/lib/x.so"], "a star stops at slashes")
    t.equal(got("--include", "*.so", "--include", "empty"), ["empty"], "anchored, and repeated")
    t.equal(got("--include", "usr/**", "--exclude", "usr/lib"), ["usr", "usr/share", "usr/share/doc", "usr/share/doc/a.txt",
                                                                 "usr/share/doc/b.md"], "exclude wins")
    t.equal(got("--exclude", "usr", "--exclude", "**/conf?"), ["empty", "etc", "etc/conf", "lib"], "everything but")
    t.equal(got("--include", "usr/share/doc/[^a].*"), ["usr", "usr/share", "usr/share/doc", "usr/share/doc/b.md"], "sets")
    t.equal(got("--strip-prefix", "usr/share"), ["doc", "doc/a.txt", "doc/b.md"], "a prefix")
    t.equal(got("--strip-prefix", "/lib/"), ["deep", "deep/er", "deep/er/y.so", "x.so"], "through a symlink")
    t.equal(got("--strip-prefix", "usr", "--include", "usr/lib/deep"), ["lib", "lib/deep", "lib/deep/er", "lib/deep/er/y.so"],
            "patterns are of whole paths")
    t.equal(got("--include", "usr/**", "--exclude", "usr/lib", "--exclude", "!usr/lib/x.so", "--exclude", "usr/share"),
            ["usr", "usr/lib", "usr/lib/x.so"], "taken back")
    t.refused(2, "pull", "--include", "a[", ref, t.path("no"), says="a[")
    t.refused(3, "pull", "--include", "nothing/**", ref, t.path("no"), says="matches")
    t.refused(3, "pull", "--strip-prefix", "nothing", ref, t.path("no"), says="nothing")
    t.refused(1, "pull", "--strip-prefix", "etc/conf", ref, t.path("no"), says="not a directory")
    t.check(not os.path.exists(t.path("no")), "made although refused")
    nothing_left(t, t.work)


def case_fetches_what_is_wanted(t):
    """Of an eStargz layer only the files that match; of a known gzip layer too."""
    tar = Tar()
    for i in range(30):
        tar.file(f"d{i}/f", os.urandom(200_000))
    lay = Layout(t.path("img"))
    lay.image([stargz.by_go(t, tar.end())])
    reg = Registry(t)
    reg.push(lay)
    r = t.morsel("pull", "--include", "d7", "--format", "json", reg.ref(), t.path("one")).json()
    t.equal(names_below(t.path("one")), ["d7", "d7/f"], "files")
    t.check(200_000 < r["moved_bytes"] < 1_500_000, f"moved {r['moved_bytes']} of {r['total_bytes']}")
    t.equal(r["skipped_bytes"], r["total_bytes"] - r["moved_bytes"], "skipped")
    t.morsel("pull", reg.ref(), t.path("all"))
    r = t.morsel("pull", "--offline", "--format", "json", reg.ref(), t.path("again")).json()
    t.equal((r["moved_bytes"], r["requests"]), (0, 0), "moved once the cache has it")
    t.no_differences(treecmp.compare(treecmp.dump(t.path("all")), treecmp.dump(t.path("again"))))


# -- the destination


def case_destinations(t):
    ref = tree_layout(t)
    os.mkdir(t.path("empty"))
    t.morsel("pull", ref, t.path("empty"))
    t.check(os.path.exists(t.path("empty/etc/conf")), "an empty directory is accepted")
    t.refused(7, "pull", ref, t.path("empty"), says="--overwrite")
    os.mkdir(t.path("target"))
    os.symlink("target", t.path("link"))
    t.morsel("pull", ref, t.path("link") + "/")
    t.check(os.path.islink(t.path("link")) and os.path.exists(t.path("target/etc/conf")), "a symlink to an empty directory")
    nothing_left(t, t.work, t.path("target"))
    os.mkdir(t.path("cwd"))
    t.run(t.binary, "pull", "--cache-dir", t.path("cache"), ref, ".", cwd=t.path("cwd"))
    t.check(os.path.exists(t.path("cwd/etc/conf")), "the current directory")
    t.run(t.binary, "pull", "--cache-dir", t.path("cache"), ref, "rel", cwd=t.path("cwd/empty"))
    t.check(os.path.exists(t.path("cwd/empty/rel/etc/conf")), "a relative name")
    with open(t.path("file"), "wb"):
        pass
    os.symlink("nowhere", t.path("dangling"))
    t.refused(1, "pull", ref, t.path("file"), says="Not a directory")
    t.refused(1, "pull", "--overwrite", ref, t.path("dangling"), says="symlink to nothing")
    t.refused(3, "pull", ref, t.path("no/such/dir"), says="No such file")
    t.refused(3, "pull", f"oci:{t.path('nowhere')}", t.path("x"))
    t.refused(2, "pull", ref)
    nothing_left(t, t.work)
    q = t.morsel("pull", "-q", ref, t.path("q"))
    t.equal(q.text, t.morsel("inspect", "--format", "json", ref).json()["digest"] + "\n", "quiet")


def case_mount_point(t):
    t.need_root()
    ref = tree_layout(t)
    os.mkdir(t.path("m"))
    t.run("mount", "-t", "tmpfs", "-o", "size=4m", "none", t.path("m"))
    try:
        t.morsel("pull", ref, t.path("m"))
        with t.mounted(ref) as m:
            t.no_differences(treecmp.compare(treecmp.dump(t.path("m")), treecmp.dump(m.path)))
    finally:
        t.run("umount", t.path("m"))


def case_overwrite(t):
    """What the image has is replaced, the rest stays, nothing is followed, conflicts change nothing."""
    ref = tree_layout(t)
    os.makedirs(t.path("out"))
    with open(t.path("out/victim"), "w", encoding="ascii") as f:
        f.write("untouched")
    os.makedirs(t.path("d/usr/share/doc"), mode=0o700)
    os.makedirs(t.path("d/empty/notempty"))
    for name in ("mine", "usr/mine", "usr/share/doc/a.txt"):
        with open(t.path(f"d/{name}"), "w", encoding="ascii") as f:
            f.write("mine")
    os.link(t.path("d/usr/share/doc/a.txt"), t.path("d/other-name"))
    os.symlink(t.path("out"), t.path("d/usr/lib"))  # the image has a directory there
    os.mkdir(t.path("d/lib"))  # and a symlink here
    os.mkdir(t.path("d/etc"))
    os.symlink(t.path("out/victim"), t.path("d/etc/conf"))
    t.morsel("pull", "--overwrite", ref, t.path("d"))
    t.equal(os.listdir(t.path("out")), ["victim"], "files outside")
    for name, want in (("out/victim", "untouched"), ("d/mine", "mine"), ("d/usr/mine", "mine"), ("d/other-name", "mine"),
                       ("d/usr/share/doc/a.txt", "a"), ("d/etc/conf", "c"), ("d/usr/lib/x.so", "so")):
        with open(t.path(name), encoding="ascii") as f:
            t.equal(f.read(), want, name)
    t.check(os.path.islink(t.path("d/lib")) and os.path.isdir(t.path("d/empty/notempty")), "types")
    t.equal(stat.S_IMODE(os.stat(t.path("d/usr/share/doc")).st_mode), 0o755, "attributes of a directory that was there")
    t.equal(os.stat(t.path("d/etc/conf")).st_ino, os.stat(t.path("d/etc/conf2")).st_ino, "hardlinks")
    before = treecmp.dump(t.path("d"))
    t.morsel("pull", "--overwrite", ref, t.path("d"))
    t.no_differences(treecmp.compare(before, treecmp.dump(t.path("d"))))
    os.makedirs(t.path("e/etc/conf/x"))
    with open(t.path("e/etc/conf2"), "w", encoding="ascii") as f:
        f.write("stays")
    t.refused(7, "pull", "--overwrite", ref, t.path("e"), says="etc/conf")
    t.equal(names_below(t.path("e")), ["etc", "etc/conf", "etc/conf/x", "etc/conf2"], "after a refusal")
    nothing_left(t, t.work, t.path("d"), t.path("e"))


# -- what goes wrong


def big(t, count=400, size=200_000):
    lay = Layout(t.path("img"))
    tar = Tar().dir("a", mode=0o550)
    for i in range(count):
        tar.file(f"a/{i % 7}/f{i}", samples.noise(i, size))
    lay.image([layer(tar)])
    return lay


def case_interrupted(t):
    """Exit code 130, nothing left, whenever the signal comes; the next run fetches nothing again."""
    ref = f"oci:{big(t).path}"
    t.morsel("ls", ref)
    for _ in range(20):
        p = t.popen(t.binary, "pull", ref, t.path("d"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        with contextlib.suppress(OSError):
            wait_until("its directory", lambda: p.poll() is not None or
                       any(n.startswith(".morsel-pull") for n in os.listdir(t.work)), 20, 0.0005)
        p.send_signal(signal.SIGINT)
        err = p.communicate(timeout=20)[1].decode()
        nothing_left(t, t.work)
        if p.returncode == 130:
            t.equal(err, "morsel: interrupted\n", "stderr")
            t.check(not os.path.exists(t.path("d")), "DIR is there")
            r = t.morsel("pull", "--format", "json", ref, t.path("d")).json()
            t.equal((r["moved_bytes"], r["skipped_bytes"]), (0, r["total_bytes"]), "bytes moved again")
            return
        t.run("rm", "-rf", t.path("d"))
    t.skip("this machine is too fast to be interrupted")


def case_interrupted_fetch(t):
    """In the middle of the second layer, also when the terminal is closed: the first is not fetched again."""
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("one", samples.noise(1, 1 << 20))), layer(Tar().file("two", samples.noise(2, 1 << 20)))])
    digests = lay.layer_digests()
    sizes = [os.stat(lay.blob_path(d)).st_size for d in digests]
    with FaultRegistry(t, lay) as reg:
        reg.rule(path=digests[1], stall=60, at=100_000)
        for sig in (signal.SIGINT, signal.SIGHUP):
            reg.forget()
            p = t.popen(t.binary, "pull", reg.ref(), t.path("d"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            wait_until("the first layer and half of the second", lambda: os.path.isdir(f"{t.cache}/layers") and
                       os.listdir(f"{t.cache}/layers") and reg.requests(digests[1]))
            p.send_signal(sig)
            t.equal((p.communicate(timeout=20)[1].decode(), p.returncode), ("morsel: interrupted\n", 130), "interrupted")
            nothing_left(t, t.work)
            t.check(not os.path.exists(t.path("d")), "DIR is there")
        reg.rules.clear()
        r = t.morsel("pull", "--format", "json", reg.ref(), t.path("d")).json()
        t.equal((r["moved_bytes"], r["skipped_bytes"]), (sizes[1], sizes[0]), "moved and skipped")


def case_full_disk(t):
    """No space: one line, nothing left; what was there stays."""
    t.need_root()
    ref = f"oci:{big(t, 20).path}"
    os.mkdir(t.path("m"))
    t.run("mount", "-t", "tmpfs", "-o", "size=1m", "none", t.path("m"))
    try:
        t.refused(1, "pull", ref, t.path("m/d"), says="No space left")
        t.equal(os.listdir(t.path("m")), [], "left behind")
        t.refused(1, "pull", ref, t.path("m"), says="No space left")
        t.equal(os.listdir(t.path("m")), [], "left behind")
        os.makedirs(t.path("m/d/a"))
        t.refused(1, "pull", "--overwrite", ref, t.path("m/d"), says="No space left")
        t.equal(names_below(t.path("m")), ["d", "d/a"], "what was there")
    finally:
        t.run("umount", t.path("m"))


def case_corrupt(t):
    """One byte of one layer: nothing appears."""
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("good", b"g")), layer(Tar().file("f", samples.noise(3, 1 << 20)))])
    with open(lay.blob_path(lay.layer_digests()[1]), "r+b") as f:
        f.seek(5000)
        f.write(b"\x00\x01\x02\x03")
    t.refused(6, "pull", f"oci:{lay.path}", t.path("d"))
    t.check(not os.path.exists(t.path("d")), "it appeared")
    nothing_left(t, t.work)


def case_corrupt_chunk(t):
    """The table of contents is good, a file's bytes are not."""
    lay = Layout(t.path("img"))
    lay.image([stargz.by_go(t, Tar().file("good", b"g").file("f", os.urandom(1 << 20)).end())])
    with open(lay.blob_path(lay.layer_digests()[0]), "r+b") as f:
        f.seek(500_000)
        f.write(b"\x00\x01\x02\x03")
    t.refused(6, "pull", "-q", f"oci:{lay.path}", t.path("d"), says="corrupt")
    t.check(not os.path.exists(t.path("d")), "it appeared")
    t.morsel("pull", "--include", "good", f"oci:{lay.path}", t.path("d"))
    t.equal(names_below(t.path("d")), ["good"], "what is not damaged")
