"""A limit on the size of files (ulimit -f): caches go on in memory, what must be a file is an error; SIGXFSZ kills nobody."""
import contextlib
import os

import samples
from caching import all_right, drop_pages, gzip_image, stargz_image
from images import Layout, layer
from tarball import Tar


@contextlib.contextmanager
def files_of(t, kib):
    """The program can make no larger files meanwhile."""
    program, limited = t.binary, t.new_path("limited")
    with open(limited, "w", encoding="utf-8") as f:
        f.write(f'#!/bin/bash\nulimit -f {kib}\nexec "{program}" "$@"\n')
    os.chmod(limited, 0o755)
    t.binary = limited
    try:
        yield
    finally:
        t.binary = program


def mounts_well(t, r, files, kib):
    with files_of(t, kib), t.mounted(r.ref(), "--insecure", "--cache-dir", t.new_path("cache"), log_level="warn") as m:
        all_right(t, m, files, f"files of {kib} KiB")
        drop_pages(m, files)
        all_right(t, m, files, f"files of {kib} KiB, again")
        lines = m.log().splitlines()
    t.equal(len(lines), 1, f"lines in the log: {lines}")
    t.contains(lines[0], "File too large", "held in memory", "ulimit -f")


def case_cache_of_a_plain_layer(t):
    """Contents are too large for a file: they are served all the same, and that is said once."""
    r, files = gzip_image(t, count=4)
    for kib in (512, 2048):
        mounts_well(t, r, files, kib)


def case_cache_of_a_lazy_layer(t):
    """The same for contents that come as they are read."""
    r, files = stargz_image(t, count=4)
    for kib in (8, 1024):
        mounts_well(t, r, files, kib)


def case_cache_made_without_the_limit(t):
    """What is there already is larger than files may be: it is used, and what is missing goes to memory."""
    r, files = stargz_image(t, count=4)
    first = next(iter(files))
    t.equal(t.morsel("cat", "--insecure", r.ref(), first).out, files[first], "contents")
    with files_of(t, 64), t.mounted(r.ref(), "--insecure") as m:
        all_right(t, m, files, "from the cache and beside it")


def case_index_too_large(t):
    """The tables of a layer have to be a file: one line says what to do."""
    tar = Tar()
    for i in range(3000):
        tar.file(f"directory/file-with-some-name-{i}", b"")
    lay = Layout(t.path("img"))
    lay.image([layer(tar)])
    with files_of(t, 16):
        for verb in (("ls",), ("mount",)):
            line = t.refused(1, *verb, "--log-level", "error", f"oci:{lay.path}", *([t.mnt] if verb == ("mount",) else []),
                             says="its index is larger than files may be")
            t.contains(line, "layer sha256:", "ulimit -f")


def case_merged_index_too_large(t):
    """The index of each layer fits a file, the merged one does not: it is in none, and what wants one says so."""
    tars = [Tar(), Tar()]
    for i in range(100):
        for n, tar in enumerate(tars):
            tar.file(f"{i:03}{n}" + "n" * 140, f"{n}{i}".encode())
    lay = Layout(t.path("img"))
    lay.image([layer(tar) for tar in tars])
    ref = f"oci:{lay.path}"
    with files_of(t, 32):
        with t.mounted(ref, log_level="warn") as m:
            t.equal(len(os.listdir(m.path)), 200, "names")
            t.equal(m.read("0421" + "n" * 140), b"142", "contents")
            t.equal(len(m.log().splitlines()), 1, "lines in the log")
        if not os.geteuid():
            t.refused(32, "mount", "--log-level", "error", "--backend", "kernel", ref, t.mnt, says=["in no file", "--backend fuse"])
            with t.mounted(ref, "--backend", "auto", "--allow-other", log_level="error") as m:
                t.equal(m.stat()["backend"], "fuse", "backend")


def big_image(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("small", b"s").file("big", samples.noise(1, 3 << 20)))])
    return f"oci:{lay.path}"


def case_destinations(t):
    """Files that pull, cp and cat write: one line, nothing half-written, and a cache that is not needed is not missed."""
    ref, quiet = big_image(t), ("--log-level", "error")
    os.mkdir(t.path("d"))
    with files_of(t, 1024), open(t.path("out"), "wb") as out:
        before = sorted(os.listdir(t.work))
        t.refused(1, "pull", *quiet, ref, t.path("tree"), says="File too large")
        t.refused(1, "pull", *quiet, "--oci", f"{t.path('layout')}:x", ref, says="File too large")
        t.refused(1, "cp", *quiet, ref, "big", t.path("d"), says="File too large")
        t.refused(1, "push", *quiet, ref, f"oci:{t.path('copy')}:x", says="File too large")
        r = t.run("sh", "-c", f'exec "{t.binary}" cat {" ".join(quiet)} {ref} big >&{out.fileno()}', pass_fds=[out.fileno()],
                  rc=1)
        t.contains(r.err_text, "File too large")
        t.equal(sorted(os.listdir(t.work)), before, "names beside")
    t.equal(os.listdir(t.path("d")), [], "left behind")


def case_pushed_directories(t):
    """A payload is streamed to a registry with no file of its size; to a layout it needs one."""
    os.mkdir(t.path("payload"))
    with open(t.path("payload/big"), "wb") as f:
        f.write(samples.noise(2, 3 << 20))
    with files_of(t, 1024):
        t.refused(1, "push", "--log-level", "error", t.path("payload"), f"oci:{t.path('pushed')}:x", says="File too large")
    t.check(not os.path.exists(t.path("pushed")), "a layout was left")


def case_workload(t):
    """A workload gets its signals as everybody has them."""
    t.need_fuse()
    lay = samples.hello(t)
    with open(t.path("status.sh"), "w", encoding="ascii") as f:
        f.write("grep SigIgn /proc/self/status\n")
    r = t.morsel("profile", "-mode", "pull", "-lazy", "-profile", "none", "-out", t.path("profiles"), "-ref", f"oci:{lay.path}",
                 "--", "sh", t.path("status.sh"))
    ignored = [line.split()[1] for line in r.text.splitlines() + r.err_text.splitlines() if "SigIgn:" in line]
    t.equal([int(i, 16) & (1 << 24 | 1 << 12) for i in ignored], [0], "SIGXFSZ and SIGPIPE ignored")
