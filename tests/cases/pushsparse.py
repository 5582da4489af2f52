"""Sparse files: holes are not read, and make the same layer as zeros do."""
import os
import re

from morseltest import need
from samples import noise

FORMATS = ("estargz", "zstd:chunked", "gzip", "zstd", "none")
MIB = 1 << 20


def sparse(path, size, extents):
    """A file of holes, and noise at (offset, length)."""
    with open(path, "wb") as f:
        f.truncate(size)
        for i, (off, n) in enumerate(extents):
            f.seek(off)
            f.write(noise(i, n))


def digest(t, tree, *flags):
    return t.morsel("push", "--format", "json", *flags, tree, f"oci:{t.new_path('lay')}:x").json()["digest"]


def case_like_zeros(t):
    """The digests of files with holes of all kinds are those of copies without: whatever the format and the chunks."""
    os.mkdir(t.path("holes"))
    for name, size, extents in (
            ("nothing", 5 * MIB, ()), ("begins", 3 * MIB, ((0, 70000),)), ("ends", 3 * MIB + 11, ((2 * MIB, MIB + 11),)),
            ("between", 4 * MIB, ((0, 4096), (MIB + 4096, 8192), (3 * MIB, MIB))), ("odd", 2 * MIB + 1, ((MIB - 1, 2),)),
            ("small", 65535, ()), ("least", 65536, ((32768, 1),)), ("dense", MIB, ((0, MIB),)), ("again", 5 * MIB, ())):
        sparse(f"{t.path('holes')}/{name}", size, extents)
    t.check(os.stat(f"{t.path('holes')}/nothing").st_blocks == 0, "this file system has no holes")
    t.run("cp", "-a", "--sparse=never", t.path("holes"), t.path("zeros"))
    t.check(os.stat(f"{t.path('zeros')}/nothing").st_blocks >= 5 * MIB // 512, "cp made no copy without holes")
    for i, compression in enumerate(FORMATS):
        flags = ("--compression", compression, *(("--chunk-size", "100000") if i % 2 else ()))
        cache = ("--cache-dir", t.new_path("cache"))
        want = digest(t, t.path("zeros"), *flags, "--cache-dir", t.new_path("cache"))
        t.equal(digest(t, t.path("holes"), *flags, *cache), want, compression)
        said = t.morsel("push", "--format", "json", *flags, *cache, t.path("holes"), f"oci:{t.new_path('lay')}:x").json()
        t.equal(said["digest"], want, f"{compression}, from the cache")
        if compression != "none":
            t.equal(said["layers"][0]["members_cached"], said["layers"][0]["members"], f"members from the cache, {compression}")


def case_only_data_is_read(t):
    """1 GiB with 1 MiB of data: that is all that is read, and memory is bounded."""
    # not: asan tsan
    need("strace")
    os.mkdir(t.path("tree"))
    sparse(t.path("tree/disk"), 1024 * MIB, [(i * 64 * MIB + 12288, 65536) for i in range(16)])
    p = t.popen("strace", "-f", "-y", "-qq", "-o", t.path("trace"), "-e", "trace=read,pread64,readv,preadv,preadv2", t.binary,
                "push", "-q", t.path("tree"), f"oci:{t.path('lay')}:x")
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    t.equal(p.returncode, 0, "exit code")
    t.check(usage.ru_maxrss < 256 * 1024, f"it took {usage.ru_maxrss} KiB of memory")
    with open(t.path("trace"), encoding="utf-8", errors="replace") as f:
        read = sum(int(m[1]) for line in f if "/tree/disk>" in line and (m := re.search(r" = (\d+)$", line)))
    t.check(MIB <= read <= 2 * MIB, f"it read {read} bytes of 1 MiB of data")
    size = sum(os.path.getsize(f"{base}/{name}") for base, _, names in os.walk(t.path("lay")) for name in names)
    t.check(size < 4 * MIB, f"the layout has {size} bytes")
    with t.mounted(f"oci:{t.path('lay')}:x") as m, open(t.path("tree/disk"), "rb") as want, open(f"{m.path}/disk", "rb") as got:
        for off in (0, 12288, 64 * MIB, 960 * MIB + 12288 + 60000, 1024 * MIB - 4096):
            t.equal(os.pread(got.fileno(), 8192, off), os.pread(want.fileno(), 8192, off), f"bytes at {off}")
