"""Mounting and unmounting: readiness, the foreground, signals, users, what findmnt and df say, and reads of every kind."""
import errno
import hashlib
import mmap
import os
import random
import signal
import subprocess
import time

import samples
from faults import FaultRegistry
from images import Layout, layer
from morseltest import Failure, mounts_below, wait_until
from tarball import Tar


def big_image(t, seed=1, count=6, size=900_000):
    files = samples.big_files(seed, count, size)
    lay = Layout(t.new_path("img"))
    lay.image([layer(samples.files_tar(files))])
    return lay, files


def gone(t, at=None):
    wait_until("the mount and its server to go", lambda: not mounts_below(at or t.mnt) and not t.servers(), 10)


def case_mount_reads_and_unmounts(t):
    lay, files = big_image(t)
    with t.mounted(f"oci:{lay.path}") as m:
        for name, data in files.items():
            t.check(m.read(name) == data, name)
        m.umount()
        t.equal(mounts_below(t.mnt), [], "mounts")
        t.equal(t.servers(), [], "umount waits for the server's end")


def case_umount_in_every_way(t):
    lay = samples.hello(t)
    ref = f"oci:{lay.path}"

    def served(end):
        with t.mounted(ref) as m:
            t.equal(m.read("greeting"), b"hello, world\n", "content")
            end(m)
            gone(t)

    served(lambda m: t.run("umount", m.path))
    served(lambda m: t.run("fusermount3", "-u", m.path))
    served(lambda m: t.run("umount", "-l", m.path))
    served(lambda m: t.morsel("umount", "-z", m.path))
    served(lambda m: t.morsel("umount", m.path + "/../mnt/"))
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        served(lambda m, sig=sig: os.kill(m.pid, sig))


def case_umount_errors(t):
    t.refused(3, "umount", t.mnt, says=t.mnt)
    t.refused(3, "umount", t.path("nothing"), says="nothing")
    lay = samples.hello(t)
    with t.mounted(f"oci:{lay.path}") as m:
        held = os.open(m / "etc", os.O_RDONLY | os.O_DIRECTORY)
        try:
            r = t.morsel("umount", m.path, rc=32)
            t.equal(len(r.err_text.splitlines()), 1, "lines on stderr")
            t.contains(r.err, "busy")
            t.equal(m.read("greeting"), b"hello, world\n", "the mount goes on")
        finally:
            os.close(held)


def case_umount_leaves_other_mounts_alone(t):
    t.need_root()
    other = t.path("tmpfs")
    os.mkdir(other)
    t.run("mount", "-t", "tmpfs", "none", other)
    t.defer(t.run, "umount", other)
    t.refused(3, "umount", other, says=other)
    t.check(os.path.ismount(other), "still mounted")


def case_foreground_and_ready_fd(t):
    lay = samples.hello(t)
    p = t.foreground(f"oci:{lay.path}")
    t.check(p.poll() is None, "it stays in the foreground")
    with open(f"{t.mnt}/greeting", "rb") as f:
        t.equal(f.read(), b"hello, world\n", "it answers when ready was written")
    p.send_signal(signal.SIGTERM)
    t.equal(p.wait(10), 0, "exit code after SIGTERM")
    gone(t)
    with open(p.log_path, "rb") as f:
        t.equal(f.read(), b"", "stderr")


def case_ready_fd_of_a_failure_is_closed_silently(t):
    r, w = os.pipe()
    with os.fdopen(r, "rb") as f:
        t.morsel("mount", "--ready-fd", w, f"oci:{t.path('none')}", t.mnt, rc=3, pass_fds=[w])
        os.close(w)
        t.equal(f.read(), b"", "what came through the descriptor")


def case_mount_returns_when_it_answers(t):
    """And leaves no descriptor of its caller's open: a script that pipes it comes to an end."""
    lay = samples.hello(t)
    r = t.run("timeout", "20", "sh", "-c", f"{t.binary} mount oci:{lay.path} {t.mnt} | cat; cat {t.mnt}/greeting")
    t.equal(r.out, b"hello, world\n", "content")
    t.morsel("umount", t.mnt)


def case_nothing_of_the_caller_stays_open(t):
    """A lock it holds, its terminal's session; and closed standard descriptors do no harm."""
    lay = samples.hello(t)
    t.need_fuse()
    lock = t.path("lock")
    t.run("sh", "-c", f"exec 9>{lock}; flock 9; {t.binary} mount oci:{lay.path} {t.mnt}")
    try:
        t.run("flock", "-n", lock, "true")
        o = t.morsel("stat", "--format", "json", t.mnt).json()
        t.check(os.getsid(o["pid"]) != os.getsid(0) != os.getsid(o["supervisor_pid"]), "sessions")
    finally:
        t.morsel("umount", t.mnt)
    t.run("sh", "-c", f"{t.binary} mount oci:{lay.path} {t.mnt} <&- >&- 2>&-")
    with open(f"{t.mnt}/greeting", "rb") as f:
        t.equal(f.read(), b"hello, world\n", "content")
    t.morsel("umount", t.mnt)
    p = t.popen(t.binary, "mount", f"--log-file={t.path('log')}", f"oci:{lay.path}", t.mnt, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        t.equal((p.communicate(timeout=20), p.returncode), ((b"", b""), 0), "pipes that end with the command")
    finally:
        t.morsel("umount", t.mnt)
    gone(t)


def case_umount_of_another_user(t):
    t.need_root()
    lay = samples.hello(t)
    with t.mounted(f"oci:{lay.path}") as m:
        r = t.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", t.binary, "umount", m.path, rc=4)
        t.contains(r.err, "was mounted by user 0")
        t.equal(len(r.err_text.splitlines()), 1, "lines on stderr")


def case_mount_on_what_is_no_directory(t):
    lay = samples.hello(t)
    with open(t.path("file"), "w", encoding="ascii"):
        pass
    t.refused(32, "mount", f"oci:{lay.path}", t.path("file"), says="file")
    t.refused(32, "mount", f"oci:{lay.path}", t.path("absent"), says="absent")


def case_interrupted_while_opening(t):
    """SIGINT, SIGTERM or SIGHUP during a mount that still fetches: exit code 130, nothing left."""
    lay, _ = big_image(t, count=2)
    r = FaultRegistry(t, lay)
    for sig, path, at in ((signal.SIGINT, "/manifests/", 0), (signal.SIGTERM, "/manifests/", 0),
                          (signal.SIGINT, lay.layer_digests()[0], 0), (signal.SIGINT, lay.layer_digests()[0], 50_000),
                          (signal.SIGTERM, lay.layer_digests()[0], 50_000), (signal.SIGHUP, lay.layer_digests()[0], 50_000)):
        r.heal()
        r.forget()
        r.rule(path=path, stall=60, at=at)
        p = t.popen(t.binary, "mount", "-f", r.ref(), t.mnt, stderr=subprocess.PIPE)
        wait_until("the answer that stalls", lambda path=path: r.requests(path))
        time.sleep(0.2)
        start = time.monotonic()
        p.send_signal(sig)
        t.equal(p.wait(10), 130, f"exit code after signal {sig} during {path}")
        t.check(time.monotonic() - start < 3, "it took long")
        t.equal(len(p.stderr.read().splitlines()), 1, "lines on stderr")
        gone(t)
        t.check_cache_tmp()


def case_what_the_system_shows(t):
    lay = samples.hello(t)
    ref = f"oci:{lay.path}"
    with t.mounted(ref) as m:
        line = t.run("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", m.path).text.split()
        t.equal(line[:2], [ref, "fuse.morsel"], "source and type")
        t.check({"ro", "nosuid", "nodev"} <= set(line[2].split(",")), line[2])
        st = os.statvfs(m.path)
        t.equal((st.f_namemax, st.f_bavail, st.f_ffree), (255, 0, 0), "statfs")
        t.check(st.f_files >= 3 and st.f_blocks >= 1, f"statfs: {st}")
        with open(f"/proc/{m.pid}/comm", encoding="ascii") as f:
            t.equal(f.read(), "morsel\n", "name of the server")


def case_stat(t):
    lay, files = big_image(t)
    ref = f"oci:{lay.path}"
    with t.mounted(ref) as m:
        o = m.stat()
        t.equal((o["reference"], o["digest"], o["mountpoint"], o["backend"]),
                (ref, lay.manifests[0]["digest"], m.path, "fuse"), "stat")
        t.equal(o["laziness"], {"layers": 1, "lazy": 0, "indexed_before": 0, "streamed_now": 1}, "laziness")
        t.equal((o["layers"][0]["format"], o["layers"][0]["lazy"]), ("gzip", False), "the layer")
        before = o["bytes_served"]
        t.equal(len(m.read("data/f000")), len(files["data/f000"]), "length")
        t.check(m.stat()["bytes_served"] - before >= len(files["data/f000"]), "bytes served")
        table = t.morsel("stat", m.path).text
        t.contains(table, ref, "gzip", "FORMAT")
        r = t.morsel("stat", t.work, rc=None)
        t.check(r.rc != 0 and len(r.err_text.splitlines()) == 1, "stat of no mount")
    with t.mounted(ref) as m:
        o = m.stat()
        t.equal(o["laziness"]["indexed_before"], 1, "a second mount is lazy")
        t.equal(o["layers"][0]["lazy"], True, "the layer")


def case_control_socket_is_its_owners(t):
    t.need_root("needs root to become somebody else")
    lay = samples.hello(t)
    os.chmod(t.dir, 0o711)
    with t.mounted(f"oci:{lay.path}", "--allow-other") as m:
        r = t.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", t.binary, "stat", m.path, rc=None)
        t.check(r.rc != 0, "somebody else can read the statistics")
        t.equal(len(r.err_text.splitlines()), 1, "lines on stderr")


def case_reads_of_every_kind(t):
    """pread at random and around borders, mmap, sendfile, copy, exec, O_DIRECT, past the end."""
    lay, files = big_image(t, count=3, size=2_000_003)
    with t.mounted(f"oci:{lay.path}") as m:
        rng = random.Random(7)
        for name, data in files.items():
            fd = os.open(m / name, os.O_RDONLY)
            edges = [0, 1, 4095, 4096, 4097, 131071, 131072, (1 << 20) - 1, 1 << 20, len(data) - 1, len(data),
                     len(data) + 5]
            for off in edges + [rng.randrange(len(data)) for _ in range(200)]:
                n = rng.choice((1, 511, 4096, 65537, 1 << 20))
                t.check(os.pread(fd, n, off) == data[off:off + n], f"{name}: {n} bytes at {off}")
            with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as mapped:
                t.check(mapped[:] == data, f"{name}: mmap")
            os.lseek(fd, 0, 0)
            out = os.open(t.path("copy"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            while os.sendfile(out, fd, None, 1 << 20):
                pass
            t.check(os.pread(out, len(data) + 1, 0) == data, f"{name}: sendfile")
            os.close(out)
            os.close(fd)


def case_programs_run_from_it(t):
    lay = Layout(t.path("img"))
    with open("/bin/true", "rb") as f:
        binary = f.read()
    lay.image([layer(Tar().file("prog", binary, mode=0o755).file("script", b"#!/bin/sh\necho ran\n", mode=0o755))])
    with t.mounted(f"oci:{lay.path}") as m:
        t.run(m / "prog")
        t.equal(t.run(m / "script").text, "ran\n", "a script")


def case_read_only(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().dir("d").file("d/f", b"x").symlink("s", "d/f").fifo("p"))])
    with t.mounted(f"oci:{lay.path}") as m:
        attempts = {
            "create": lambda: os.open(m / "new", os.O_CREAT | os.O_WRONLY),
            "write": lambda: os.open(m / "d/f", os.O_WRONLY), "truncate": lambda: os.truncate(m / "d/f", 0),
            "mkdir": lambda: os.mkdir(m / "new"), "rmdir": lambda: os.rmdir(m / "d"),
            "unlink": lambda: os.unlink(m / "d/f"), "rename": lambda: os.rename(m / "d/f", m / "g"),
            "symlink": lambda: os.symlink("x", m / "new"), "link": lambda: os.link(m / "d/f", m / "new"),
            "chmod": lambda: os.chmod(m / "d/f", 0o777), "chown": lambda: os.chown(m / "d/f", 1, 1),
            "utime": lambda: os.utime(m / "d/f"), "mknod": lambda: os.mknod(m / "new", 0o10644),
            "setxattr": lambda: os.setxattr(m / "d/f", "user.x", b"y"),
            "removexattr": lambda: os.removexattr(m / "d/f", "user.x"),
        }
        for what, attempt in attempts.items():
            try:
                attempt()
            except OSError as e:
                t.equal(e.errno, errno.EROFS, what)
            else:
                raise Failure(f"{what} was possible")


def case_inode_numbers_are_stable(t):
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    ref = f"oci:{lay.path}"

    def numbers(m):
        return {os.path.join(d, f): os.lstat(os.path.join(d, f)).st_ino for d, ds, fs in os.walk(m.path) for f in ds + fs}

    with t.mounted(ref) as m:
        first = numbers(m)
        t.equal(len(set(first.values())) < len(first), True, "hardlinks share a number")
    with t.mounted(ref) as m:
        t.equal(numbers(m), first, "the same in the next mount")


def case_several_mounts_of_one_image(t):
    lay, files = big_image(t)
    ref = f"oci:{lay.path}"
    with t.mounted(ref) as a, t.mounted(ref, at=t.path("second")) as b:
        for name, data in files.items():
            t.check(a.read(name) == data and b.read(name) == data, name)
        a.umount()
        t.check(b.read("data/f001") == files["data/f001"], "the other goes on")


def case_many_mount_at_once(t):
    """Of processes that mount on one directory at once, all that succeed serve, and all go."""
    lay, files = big_image(t, count=2)
    dirs = [t.new_path("m") for _ in range(8)]
    for d in dirs:
        os.mkdir(d)
    try:
        t.parallel(8, lambda i: t.morsel("mount", f"oci:{lay.path}", dirs[i], timeout=60))
        for d in dirs:
            with open(f"{d}/data/f001", "rb") as f:
                t.check(f.read() == files["data/f001"], d)
    finally:
        for d in dirs:
            t.morsel("umount", d, rc=None)
    t.equal(t.servers(), [], "servers")
    t.check_cache_tmp()


def case_mount_and_umount_many_times(t):
    lay = samples.hello(t)
    for _ in range(25):
        t.morsel("mount", f"oci:{lay.path}", t.mnt)
        t.morsel("umount", t.mnt)
    t.equal((mounts_below(t.mnt), t.servers()), ([], []), "left")


def case_kill_9_and_mount_again(t):
    """Supervisor and server die: no hang, the mount can be taken away, and the same cache serves the next one."""
    lay, files = big_image(t)
    ref = f"oci:{lay.path}"
    with t.mounted(ref) as m:
        t.equal(len(m.read("data/f000")), len(files["data/f000"]), "length")
        m.kill()
        try:
            m.read("data/f001")
            t.check(False, "a read after the server died")
        except OSError as e:
            t.check(e.errno in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO), str(e))
        t.morsel("umount", m.path)
        t.equal(mounts_below(m.path), [], "mounts")
    with t.mounted(ref) as m:
        for name, data in files.items():
            t.check(m.read(name) == data, name)


def case_ordinary_user(t):
    """Through fusermount3, in a mount namespace of its own where /dev/fuse is everybody's (0666, as Debian has it)."""
    t.need_root("the case makes the user's surroundings as root")
    t.need_fuse()
    lay, files = big_image(t, count=2)
    home = t.path("nobody")
    os.makedirs(f"{home}/mnt")
    for d in (home, f"{home}/mnt"):
        os.chown(d, 65534, 65534)
    for d in (t.dir, t.work):
        os.chmod(d, 0o711)
    script = f"""
set -e
mount --make-rprivate /
mkdir {home}/dev && mknod {home}/dev/fuse c 10 229 && chmod 666 {home}/dev/fuse
mount --bind {home}/dev/fuse /dev/fuse
exec setpriv --reuid=65534 --regid=65534 --clear-groups sh -ec '
  cd {home}
  "$1" mount "oci:$2" mnt
  findmnt -n -o FSTYPE,OPTIONS mnt
  sha256sum mnt/data/f000 mnt/data/f001
  "$1" stat --format json mnt
  if "$1" mount --suid "oci:$2" mnt 2>/dev/null; then exit 90; fi
  "$1" umount mnt
  "$1" mount "oci:$2" mnt
  fusermount3 -u mnt
' sh {t.binary} {lay.path}
"""
    env = {"MORSEL_CACHE_DIR": None, "XDG_CACHE_HOME": f"{home}/xdg", "HOME": home, "XDG_RUNTIME_DIR": None}
    r = t.run("unshare", "-m", "sh", "-c", script, env=env, timeout=60)
    t.contains(r.text, "fuse.morsel", "nosuid", "nodev", '"fuse"')
    for name, data in files.items():
        t.contains(r.text, hashlib.sha256(data).hexdigest())
    t.check(os.path.isdir(f"{home}/xdg/morsel/layers"), "the user's own cache")
    wait_until("the servers to end", lambda: not t.servers(), 5)


def case_other_users_may_not_look_unless_asked(t):
    t.need_root()
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("all", b"", mode=0o644).file("mine", b"", mode=0o600))])
    os.chmod(t.dir, 0o711)
    as_nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with t.mounted(f"oci:{lay.path}") as m:
        t.check(t.run(*as_nobody, "cat", m / "all", rc=None).rc != 0, "without --allow-other")
    with t.mounted(f"oci:{lay.path}", "--allow-other") as m:
        t.run(*as_nobody, "cat", m / "all")
        t.check(t.run(*as_nobody, "cat", m / "mine", rc=None).rc != 0, "modes count")


def case_devices_and_setuid_only_when_asked(t):
    t.need_root()
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().char("zero", 1, 5, mode=0o666))])
    with t.mounted(f"oci:{lay.path}") as m:
        try:
            os.close(os.open(m / "zero", os.O_RDONLY))
            t.check(False, "a device opens without --dev")
        except PermissionError:
            pass
    with t.mounted(f"oci:{lay.path}", "--dev", "--suid") as m:
        fd = os.open(m / "zero", os.O_RDONLY)
        t.equal(os.read(fd, 4), b"\0\0\0\0", "with --dev")
        os.close(fd)
        options = t.run("findmnt", "-n", "-o", "OPTIONS", m.path).text
        t.check("nosuid" not in options and "nodev" not in options, options)


def case_overlay_on_top(t):
    t.need_root()
    lay, files = big_image(t, count=2)
    with t.mounted(f"oci:{lay.path}", "--suid", "--dev") as m:
        for d in ("upper", "work", "merged"):
            os.mkdir(t.path(d))
        t.run("mount", "-t", "overlay", "overlay", "-o",
              f"lowerdir={m.path},upperdir={t.path('upper')},workdir={t.path('work')}", t.path("merged"))
        try:
            with open(t.path("merged/data/f000"), "ab") as f:
                f.write(b"more")
            with open(t.path("merged/data/f000"), "rb") as f:
                t.check(f.read() == files["data/f000"] + b"more", "copy-up")
            os.unlink(t.path("merged/data/f001"))
            t.equal(os.listdir(t.path("merged/data")), ["f000"], "whiteout")
            t.check(m.read("data/f001") == files["data/f001"], "the image is as it was")
        finally:
            t.run("umount", t.path("merged"))
