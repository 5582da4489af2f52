"""Mounts by the kernel's EROFS (--backend kernel): layers that are whole are its devices, others are served below it.
`MORSEL_BACKEND=kernel tests/run tree` runs the cases of other files with it."""
import glob
import hashlib
import os
import signal

import oracles
import samples
import stargz
import treecmp
from faults import FaultRegistry
from images import Layout, layer
from morseltest import mounts_below, wait_until
from supervisor import Readers, gone, kill_server
from tarball import Tar

KERNEL = ("--backend", "kernel")


def need_kernel(t):
    t.need_root()
    probe = Layout(t.new_path("probe"))
    probe.image([layer(Tar().file("f", b"x"))])
    r = t.morsel("mount", *KERNEL, f"oci:{probe.path}", t.mnt, rc=None)
    if r.rc == 32 and "use --backend fuse" in r.err_text:
        t.skip(r.err_text.strip())
    t.equal(r.rc, 0, "exit code")
    t.morsel("umount", t.mnt)


def big_image(t, seed=1, count=6, size=900_000):
    files = samples.big_files(seed, count, size)
    lay = Layout(t.new_path("img"))
    lay.image([layer(samples.files_tar(files))])
    return lay, files


def lazy_registry(t, count=6, size=400_000):
    files = samples.big_files(9, count, size)
    lay = Layout(t.new_path("img"))
    lay.image([stargz.by_hand(files)])
    return FaultRegistry(t, lay), lay, files


def devices(m):
    return [la["device"] for la in m.stat()["layers"]]


def cold(path):
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(fd)


def all_right(t, m, files):
    for name, data in files.items():
        cold(m / name)
        t.check(m.read(name) == data, name)


def case_same_tree(t):
    """Everything an image can hold, as FUSE shows it and as umoci unpacks it; file capabilities count, so --suid."""
    need_kernel(t)
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    ref = f"oci:{lay.path}"
    with t.mounted(ref, "--suid", "--dev") as a, t.mounted(ref, *KERNEL, "--suid", "--dev", at=t.path("kernel")) as b:
        t.equal((a.stat()["backend"], b.stat()["backend"]), ("fuse", "kernel"), "backends")
        kernels = treecmp.dump(b.path)
        t.no_differences(treecmp.compare(treecmp.dump(a.path), kernels))
        want = treecmp.dump(oracles.umoci(t, lay))
        t.no_differences(treecmp.compare(kernels, want, skip=[(None, "mtime_ns")]))
        t.check(len(kernels) > 60, "entries")


def case_what_the_system_shows(t):
    need_kernel(t)
    lay, files = big_image(t, count=2)
    ref = f"oci:{lay.path}"
    with t.mounted(ref, *KERNEL) as m:
        source, kind, options = t.run("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", m.path).text.split()
        t.equal(kind, "erofs", "type")
        t.contains(source, lay.manifests[0]["digest"].split(":")[1])
        t.check({"ro", "nosuid", "nodev"} <= set(options.split(",")), options)
        o = m.stat()
        t.equal((o["reference"], o["backend"], o["mountpoint"]), (ref, "kernel", m.path), "stat")
        t.equal(devices(m), ["file"], "a layer that is whole")
        all_right(t, m, files)
        r = t.morsel("mount", ref, m.path, rc=32)
        t.contains(r.err, "umount")


def case_ends_in_every_way(t):
    need_kernel(t)
    lay = samples.hello(t)
    ref = f"oci:{lay.path}"

    def served(end):
        with t.mounted(ref, *KERNEL) as m:
            t.equal(m.read("greeting"), b"hello, world\n", "content")
            end(m)
            gone(t)

    served(lambda m: t.run("umount", m.path))
    served(lambda m: t.run("umount", "-l", m.path))
    served(lambda m: t.morsel("umount", m.path))
    served(lambda m: t.morsel("umount", "-z", m.path))
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        served(lambda m, sig=sig: os.kill(m.pid, sig))
        served(lambda m, sig=sig: os.kill(m.stat()["supervisor_pid"], sig))
    with t.mounted(ref, *KERNEL) as m:
        held = os.open(m / "etc", os.O_RDONLY | os.O_DIRECTORY)
        t.contains(t.morsel("umount", m.path, rc=32).err, "busy")
        t.equal(m.read("greeting"), b"hello, world\n", "it goes on")
        os.close(held)


def case_lazy_layers(t):
    """Their contents are fetched as they are read, below the kernel's mount; nobody sees the mount with the devices."""
    need_kernel(t)
    r, lay, files = lazy_registry(t, count=40)
    with t.mounted(r.ref(), *KERNEL, "--prefetch", "none") as m:
        t.equal(devices(m), ["served"], "devices")
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as f:
            t.equal([x for x in f if t.dir in x and "fuse" in x], [], "FUSE mounts")
        r.forget()
        names = sorted(files)
        t.check(m.read(names[3]) == files[names[3]], names[3])
        cost = m.stat()["bytes_fetched"]
        t.check(cost < sum(map(len, files.values())) * 0.2, f"one file of 40 cost {cost} bytes")
        all_right(t, m, files)
        t.check(m.stat()["bytes_served"] >= sum(map(len, files.values())), "bytes served")
        m.umount()
        t.equal((mounts_below(t.mnt), t.servers()), ([], []), "left")
    with t.mounted(r.ref(), *KERNEL) as m:  # by now all of it is here
        t.equal(devices(m), ["file"], "devices of the next mount")
        all_right(t, m, files)


def case_killed_under_readers(t):
    """kill -9 of the server that serves the devices: no read fails."""
    need_kernel(t)
    r, _, files = lazy_registry(t)
    with t.mounted(r.ref(), *KERNEL, "--prefetch", "none") as m:
        readers = Readers(m, files, n=4)
        try:
            for _ in range(6):
                kill_server(t, m)
        finally:
            readers.end()
        t.no_differences(readers.wrong)
        t.equal(m.stat()["backend"], "kernel", "backend")
        m.umount()
        t.equal((mounts_below(t.mnt), t.servers()), ([], []), "left")


def case_killed_server_of_whole_layers(t):
    need_kernel(t)
    lay, files = big_image(t, count=2)
    with t.mounted(f"oci:{lay.path}", *KERNEL) as m:
        kill_server(t, m)
        all_right(t, m, files)
        t.morsel("umount", m.path)
        gone(t)


def case_nothing_is_evicted_below_it(t):
    """Whole layers go whole or not at all, also when nobody of ours lives any more."""
    need_kernel(t)
    lay, files = big_image(t, count=3)
    with t.mounted(f"oci:{lay.path}", *KERNEL) as m:
        t.morsel("cache", "prune", "0")
        all_right(t, m, files)
        m.kill()
        for verb in (("prune", "0"), ("verify",), ("clear",)):
            t.morsel("cache", *verb)
            t.run("sync")
            all_right(t, m, files)
        t.contains(t.morsel("stat", m.path, rc=1).err, "morsel umount")
        t.morsel("umount", m.path)
        t.equal(mounts_below(t.mnt), [], "mounts")


def data_file(t):
    [data] = [p for p in glob.glob(f"{t.cache}/layers/*/data") if os.stat(p).st_blocks > 1000]
    return data


def case_damage_is_found_when_it_is_mounted(t):
    """A wrong byte in a layer, or one that should be zero between two files: the kernel does not get it as a device."""
    need_kernel(t)
    lay, files = big_image(t, count=3, size=899_999)
    ref = f"oci:{lay.path}"
    t.morsel("ls", ref)
    where = {"inside a file": 500_000, "between two files": None}
    for what, at in where.items():
        data = data_file(t)
        with open(data, "r+b") as f:
            whole = f.read()
            at = at or whole.index(files["data/f000"]) + len(files["data/f000"]) + 1
            t.check(at < len(whole), what)
            f.seek(at)
            f.write(bytes([whole[at] ^ 0xff]))
        with t.mounted(ref, *KERNEL) as m:
            t.equal(devices(m), ["served"], what)
            all_right(t, m, files)
        t.morsel("cache", "clear")
        t.morsel("ls", ref)


def case_what_only_fuse_can_hide(t):
    """File capabilities show with --suid only, which the kernel can't be told; names and contents that look like them
    do not matter. trusted.overlay.* is not even in the index."""
    need_kernel(t)
    caps = bytes.fromhex("0100000200200000000000000000000000000000")

    def image(**xattrs):
        lay = Layout(t.new_path("img"))
        lay.image([layer(Tar().file("capability", b"security.capability").file("f", b"x", xattrs=xattrs))])
        return f"oci:{lay.path}"

    ref = image(**{"security.capability": caps})
    t.refused(32, "mount", *KERNEL, ref, t.mnt, says=["file capabilities", "--backend fuse", "--suid"])
    with t.mounted(ref, "--backend", "auto", "--allow-other") as m:
        t.equal((m.stat()["backend"], os.listxattr(m / "f")), ("fuse", []), "what auto chose, and what it shows")
    with t.mounted(ref, *KERNEL, "--suid") as m:
        t.equal(os.listxattr(m / "f"), ["security.capability"], "with --suid")
    with t.mounted(image(**{"trusted.overlay.opaque": b"y", "user.capability": b"z"}), *KERNEL) as m:
        t.equal(os.listxattr(m / "f"), ["user.capability"], "attributes")


def case_auto(t):
    """The kernel where it can, but only with --allow-other: its mounts can be entered by everybody."""
    need_kernel(t)
    lay = samples.hello(t)
    ref = f"oci:{lay.path}"
    for flags, want in (((), "fuse"), (("--backend", "auto"), "fuse"), (("--backend", "auto", "--allow-other"), "kernel")):
        with t.mounted(ref, *flags) as m:
            t.equal(m.stat()["backend"], want, f"backend with {flags}")
    t.refused(2, "mount", "--backend", "erofs", ref, t.mnt, says="fuse, kernel, auto")
    os.mkdir(t.path("tmpfs"))
    t.run("mount", "-t", "tmpfs", "none", t.path("tmpfs"))
    t.defer(t.run, "umount", t.path("tmpfs"))
    cache = ("--cache-dir", t.path("tmpfs/cache"))
    t.refused(32, "mount", *KERNEL, *cache, ref, t.mnt, says="use --backend fuse")
    with t.mounted(ref, *cache, "--backend", "auto", "--allow-other") as m:
        t.equal(m.stat()["backend"], "fuse", "backend with a cache on tmpfs")


def case_users_are_refused(t):
    t.need_root("needs root to become somebody else")
    lay = samples.hello(t)
    home = t.path("nobody")
    os.makedirs(f"{home}/mnt")
    os.chown(home, 65534, 65534)
    os.chown(f"{home}/mnt", 65534, 65534)
    for d in (t.dir, t.work):
        os.chmod(d, 0o711)
    env = {"MORSEL_CACHE_DIR": f"{home}/cache", "XDG_RUNTIME_DIR": None}
    r = t.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", t.binary, "mount", *KERNEL, f"oci:{lay.path}",
              f"{home}/mnt", rc=32, env=env)
    t.contains(r.err, "root", "--backend fuse")
    t.equal(mounts_below(t.work), [], "mounts")
    t.equal(t.servers(), [], "servers")


def case_many_layers(t):
    """Whole ones and served ones mixed, one twice."""
    need_kernel(t)
    files = samples.big_files(4, 3, 200_000)
    lay = Layout(t.path("img"))
    twice = layer(Tar().file("twice", samples.noise(1, 50_000)))
    lay.image([layer(Tar().file(f"f{i}", samples.noise(i, 5000 + i))) for i in range(60)] + [twice, twice] +
              [stargz.by_hand(files)])
    r = FaultRegistry(t, lay)
    with t.mounted(r.ref(), *KERNEL, "--prefetch", "none") as m:
        t.equal(devices(m), ["file"] * 62 + ["served"], "devices")
        for i in range(60):
            t.check(m.read(f"f{i}") == samples.noise(i, 5000 + i), f"f{i}")
        t.equal(hashlib.sha256(m.read("twice")).digest(), hashlib.sha256(samples.noise(1, 50_000)).digest(), "twice")
        all_right(t, m, files)
        wait_until("the server", lambda: m.stat()["requests"] > 0)
