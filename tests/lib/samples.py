"""Images that several cases use."""
import random

from images import Layout, layer
from tarball import Tar, vfs_cap_net_raw

TIME = 1_600_000_000 * 10 ** 9


def noise(seed, size):
    """Bytes that gzip can't shrink much but that are not random all over: half text, half noise."""
    rng = random.Random(seed)
    half = size // 2
    words = [rng.randbytes(3).hex().encode() for _ in range(200)]
    text = b" ".join(rng.choice(words) for _ in range(half // 7 + 1))[:half]
    return text + rng.randbytes(size - half)


def hello(t, name="hello", text=b"hello, world\n"):
    """The smallest useful image: its layout."""
    lay = Layout(t.path(name))
    lay.image([layer(Tar().dir("etc").file("etc/greeting", text).symlink("greeting", "etc/greeting"))])
    return lay


def files_tar(files):
    """{path: bytes} as a tar; directories are implied by their files."""
    tar = Tar()
    for path, data in files.items():
        tar.file(path, data)
    return tar


def big_files(seed, count, size):
    return {f"data/f{i:03}": noise(f"{seed}/{i}", size) for i in range(count)}


def busy_layers():
    """Three layers with nearly everything that layers hold and all unpackers agree on. Hardlinks repeat their target's
    attributes, as every archiver writes them: on what they mean when they don't, unpackers disagree."""
    own = {"uid": 1000, "gid": 1001, "mtime_ns": TIME + 123456789}
    base = Tar()
    base.dir(".", mode=0o755, mtime_ns=TIME)
    base.dir("bin", mtime_ns=TIME).file("bin/tool", b"#!/bin/sh\n" * 50, mode=0o755, mtime_ns=TIME + 1)
    base.file("bin/suid", b"suid", mode=0o4755, mtime_ns=TIME).file("bin/sgid", b"sgid", mode=0o2755, mtime_ns=TIME)
    base.hardlink("bin/tool-again", "bin/tool", mode=0o755, mtime_ns=TIME + 1)
    base.symlink("bin/sh", "tool", mtime_ns=TIME + 2).symlink("sbin", "bin", mtime_ns=TIME)
    base.symlink("dangling", "/no/such/thing", mtime_ns=TIME)
    base.dir("tmp", mode=0o1777, mtime_ns=TIME).dir("secret", mode=0o700, mtime_ns=TIME)
    base.file("secret/key", b"k" * 32, mode=0o400, **own)
    base.dir("dev", mtime_ns=TIME).char("dev/null", 1, 3, mode=0o666, mtime_ns=TIME)
    base.block("dev/loop7", 7, 7, mode=0o660, gid=6, mtime_ns=TIME).char("dev/big", 250, 70000, mtime_ns=TIME)
    base.fifo("dev/pipe", mode=0o600, mtime_ns=TIME)
    base.dir("data", mtime_ns=TIME)
    for n in (0, 1, 511, 512, 513, 4095, 4096, 4097, 65536, 300_000):
        base.file(f"data/size-{n}", noise(n, n), mtime_ns=TIME)
    base.dir("names", mtime_ns=TIME)
    base.file("names/" + "x" * 250, b"long name", mtime_ns=TIME)
    base.file("names/" + "/".join(["d" * 60] * 6) + "/deep", b"long path", mtime_ns=TIME)
    base.symlink("names/long-link", "t/" * 150 + "end", mtime_ns=TIME)
    base.file(b"names/caf\xc3\xa9", b"utf-8", mtime_ns=TIME).file(b"names/latin-\xe9\xff", b"not utf-8", mtime_ns=TIME)
    base.file("names/with space and\ttab\nnewline", b"odd", mtime_ns=TIME).file("names/-rf", b"dash", mtime_ns=TIME)
    base.dir("times", mtime_ns=TIME)
    base.file("times/sub-second", b"", mtime_ns=TIME + 987654321).file("times/one-ns", b"", mtime_ns=1)
    base.file("times/far", b"", mtime_ns=7_258_118_400 * 10 ** 9)
    base.dir("xattrs", xattrs={"user.on-dir": b"dir"}, mtime_ns=TIME)
    base.file("xattrs/several", b"x", mtime_ns=TIME,
              xattrs={"user.a": b"1", "user.binary": b"\0\n=\xff" * 9, "user.long": b"v" * 2000,
                      "trusted.t": b"root sees it"})
    base.file("xattrs/cap", b"x", mode=0o755, mtime_ns=TIME, xattrs={"security.capability": vfs_cap_net_raw()})
    base.dir("old", mtime_ns=TIME).file("old/gone", b"1", mtime_ns=TIME).file("old/kept", b"2", mtime_ns=TIME)
    base.dir("old/sub", mtime_ns=TIME).file("old/sub/file", b"3", mtime_ns=TIME)
    base.dir("opaque", mtime_ns=TIME).file("opaque/below", b"1", mtime_ns=TIME)
    base.dir("remade", mtime_ns=TIME).file("remade/below", b"1", mtime_ns=TIME)
    base.dir("dir-to-file", mtime_ns=TIME).file("dir-to-file/x", b"1", mtime_ns=TIME)
    base.file("file-to-dir", b"1", mtime_ns=TIME)
    base.file("owner", b"", uid=3_000_000, gid=4_000_000_000, mtime_ns=TIME)

    middle = Tar()
    middle.dir("old", mtime_ns=TIME + 5).whiteout("old/gone").whiteout("old/sub")
    middle.dir("opaque", mode=0o750, mtime_ns=TIME + 5).opaque("opaque").file("opaque/above", b"2", mtime_ns=TIME)
    middle.file("dir-to-file", b"now a file", mtime_ns=TIME)
    middle.dir("file-to-dir", mtime_ns=TIME + 5).file("file-to-dir/inside", b"now a directory", mtime_ns=TIME)
    middle.whiteout("remade")
    middle.dir("links", mtime_ns=TIME).file("links/one", b"shared", mtime_ns=TIME)
    for name in ("two", "three"):
        middle.hardlink(f"links/{name}", "links/one", mtime_ns=TIME)
    middle.symlink("links/sym", "one", mtime_ns=TIME).hardlink("links/sym-again", "links/sym", mode=0o777, mtime_ns=TIME)

    top = Tar()
    top.dir("remade", mode=0o711, mtime_ns=TIME + 9).file("remade/new", b"3", mtime_ns=TIME)
    top.dir("old", mode=0o555, mtime_ns=TIME + 9).file("old/kept", b"changed", mode=0o600, **own)
    return [layer(base), layer(middle), layer(top)]
