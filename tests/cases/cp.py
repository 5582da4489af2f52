"""morsel cp against cp -a from a mount of the same image, as root and as an ordinary user."""
import contextlib
import os
import signal
import stat
import subprocess

import samples
import treecmp
from images import Layout, layer
from morseltest import need, wait_until
from tarball import Tar


def busy(t):
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    return f"oci:{lay.path}"


def simple(t, *more):
    tar = Tar().dir("a", mode=0o750, mtime_ns=10 ** 18 + 1).file("a/f", b"contents", mode=0o640, mtime_ns=10 ** 18 + 7)
    tar.symlink("a/rel", "f").symlink("top", "a").symlink("file-link", "a/f").dir("a/sub").file("a/sub/g", b"g")
    tar.file("s", b"set", mode=0o4755).hardlink("a/hard", "a/f", mode=0o640, mtime_ns=10 ** 18 + 7)
    lay = Layout(t.path("img"))
    lay.image([layer(tar), *more])
    return f"oci:{lay.path}"


def no_temps(t, path):
    t.equal([n for _, d, f in os.walk(path) for n in d + f if n.startswith(".morsel")], [], "temporary names left")


def case_whole_tree_as_root(t):
    """Everything an image holds, as cp -a copies it from the mount."""
    t.need_root()
    need("cp")
    ref = busy(t)
    os.mkdir(t.path("got"))
    t.morsel("cp", ref, "/", t.path("got"))
    with t.mounted(ref, "--suid", "--dev") as m:
        t.run("cp", "-a", f"{m.path}/.", t.path("want"))
    t.no_differences(treecmp.compare(treecmp.dump(t.path("got"), hidden=()), treecmp.dump(t.path("want"), hidden=())))
    no_temps(t, t.path("got"))
    t.morsel("cp", ref, "/", t.path("got"))  # once more over what is there
    t.no_differences(treecmp.compare(treecmp.dump(t.path("got"), hidden=()), treecmp.dump(t.path("want"), hidden=())))


def case_whole_tree_as_user(t):
    """A user owns the copies, gets no setuid bits, and is told of devices in one line."""
    t.need_root("changes to an ordinary user")
    need("cp", "setpriv")
    ref = busy(t)
    for d in ("got", "want", "ucache", "mnt"):
        os.mkdir(t.path(d))
        os.chown(t.path(d), 4711, 4711)
    user = ("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups")
    t.run("chmod", "-R", "a+rX", t.path("img"))
    for d in (t.work, t.dir):
        os.chmod(d, 0o755)
    with t.mounted(ref, "--allow-other", at=t.path("mnt")) as m:
        t.run(*user, "cp", "-a", f"{m.path}/.", t.path("want"), rc=None)  # 1: the devices, and what only root may read
    r = t.run(*user, t.binary, "cp", "--cache-dir", t.path("ucache"), ref, "/", t.path("got"))
    lines = r.err_text.splitlines()
    t.equal(len(lines), 1, "lines of warnings")
    t.contains(lines[0], "3 devices", "dev/null")
    differences = treecmp.compare(treecmp.dump(t.path("got")), treecmp.dump(t.path("want")),
                                  ignore=(b"secret", b"bin/suid", b"bin/sgid"))
    # cp opens what it may not read through the mount; cp here reads the image
    t.no_differences([d for d in differences if not d.startswith("only left")])
    t.equal(stat.S_IMODE(os.stat(t.path("got/bin/suid")).st_mode), 0o755, "mode of a setuid program")
    t.equal(os.stat(t.path("got/bin/suid")).st_uid, 4711, "its owner")


def case_names(t):
    """Where things go, and what is followed, as with cp -a."""
    ref = simple(t)
    os.mkdir(t.path("d"))
    for path, as_name in (("a/f", "f"), ("/a/f", "f"), ("file-link", "file-link"), ("top/f", "f"), ("a/rel", "rel")):
        t.morsel("cp", ref, path, t.path("d"))
        p = t.path(f"d/{as_name}")
        t.check(not os.path.islink(p), f"{path}: named on the command line, so followed")
        with open(p, "rb") as f:
            t.equal(f.read(), b"contents", path)
        t.equal((stat.S_IMODE(os.stat(p).st_mode), os.stat(p).st_mtime_ns), (0o640, 10 ** 18 + 7), f"{path}: attributes")
        os.unlink(p)
    t.morsel("cp", ref, "a/f", t.path("new"))
    t.check(os.path.isfile(t.path("new")), "a new name")
    t.morsel("cp", ref, "top", t.path("d"))
    t.equal(sorted(os.listdir(t.path("d/top"))), ["f", "hard", "rel", "sub"], "a tree through a link")
    t.equal(os.readlink(t.path("d/top/rel")), "f", "a symlink inside the tree stays one")
    t.equal(os.stat(t.path("d/top/f")).st_ino, os.stat(t.path("d/top/hard")).st_ino, "hardlinks")
    t.morsel("cp", ref, "a", t.path("tree/"))
    t.equal(sorted(os.listdir(t.path("tree"))), ["f", "hard", "rel", "sub"], "a tree with a new name")
    t.morsel("cp", ref, "a/f", "a/sub", "s", t.path("d"))
    t.equal(sorted(os.listdir(t.path("d"))), ["f", "s", "sub", "top"], "several")
    os.makedirs(t.path("d2"))
    t.morsel("cp", ref, "a/.", t.path("d2"))
    t.equal(sorted(os.listdir(t.path("d2"))), ["f", "hard", "rel", "sub"], "contents")
    t.morsel("cp", ref, "a/hard", "a/f", t.path("d2"))
    t.equal(os.stat(t.path("d2/f")).st_nlink, 2, "links among what was named")
    no_temps(t, t.work)


def case_destination_is_no_plain_file(t):
    """A device, fifo or socket is not replaced; a symlink is followed to a file."""
    ref = simple(t)
    os.mkfifo(t.path("fifo"))
    os.symlink("nowhere", t.path("dangling"))
    os.symlink("/dev/null", t.path("null"))
    with open(t.path("file"), "wb"):
        pass
    os.symlink("file", t.path("link"))
    for name in ("fifo", "null"):
        t.refused(2, "cp", ref, "a/f", t.path(name), says="neither a file nor a directory")
    t.refused(3, "cp", ref, "a/f", t.path("dangling"), says="dangling")
    t.refused(1, "cp", ref, "a/f", t.path("file/"), says="file/")
    t.check(stat.S_ISFIFO(os.lstat(t.path("fifo")).st_mode) and os.readlink(t.path("null")) == "/dev/null", "as it was")
    t.morsel("cp", ref, "a/f", t.path("link"))
    t.equal(os.readlink(t.path("link")), "file", "the symlink")
    t.equal(open(t.path("file"), "rb").read(), t.morsel("cat", ref, "a/f").out, "content")
    no_temps(t, t.work)


def case_refused(t):
    ref = simple(t)
    os.mkdir(t.path("d"))
    t.refused(2, "cp", ref, "a")
    t.refused(3, "cp", ref, "nothing", t.path("d"), says="nothing")
    t.refused(2, "cp", ref, "a/f", "s", t.path("absent"), says="not a directory")
    t.refused(3, "cp", ref, "a/f", t.path("absent/x"), says="absent")
    t.refused(2, "cp", ref, "a/f", "top/f", t.path("d"), says="already")
    os.makedirs(t.path("d/f/x"))
    t.refused(1, "cp", ref, "a/f", t.path("d"), says="replace")
    with open(t.path("d/a"), "w", encoding="ascii"):
        pass
    t.refused(1, "cp", ref, "a", t.path("d"), says="exists")
    t.refused(1, "cp", ref, "a/sub", t.path("d/a"), says=t.path("d/a") + ": it exists")
    t.refused(1, "cp", ref, "s", "a", t.path("d"), says="exists")
    t.check(not os.path.exists(t.path("d/s")), "copied although the other is refused")
    for bad in ("absent/.", "absent/..", ""):
        t.refused(2, "cp", ref, "a", f"{t.work}/{bad}" if bad else "", says="no such directory")
    no_temps(t, t.work)


def case_mounts(t):
    """A tree is copied onto one that is a mount; below one that holds a mount, all is refused before anything is done."""
    t.need_root()
    ref = simple(t)
    os.makedirs(t.path("d/a"))
    t.run("mount", "-t", "tmpfs", "-o", "size=1m", "none", t.path("d/a"))
    try:
        t.morsel("cp", ref, "a", t.path("d"))
        t.equal(sorted(os.listdir(t.path("d/a"))), ["f", "hard", "rel", "sub"], "names")
        t.refused(1, "cp", ref, "/", t.path("d"), says="d/a: another filesystem")
        t.equal(os.listdir(t.path("d")), ["a"], "names beside it")
    finally:
        t.run("umount", t.path("d/a"))


def case_only_its_own_directory(t):
    """A user who may write the tree but not what it is in."""
    t.need_root("changes to an ordinary user")
    need("setpriv")
    ref = simple(t)
    os.makedirs(t.path("d/a"))
    for d in ("d/a", "ucache"):
        os.makedirs(t.path(d), exist_ok=True)
        os.chown(t.path(d), 4711, 4711)
    t.run("chmod", "-R", "a+rX", t.path("img"))
    for d in (t.work, t.dir):
        os.chmod(d, 0o755)
    t.run("setpriv", "--reuid=4711", "--regid=4711", "--clear-groups", t.binary, "cp", "--cache-dir", t.path("ucache"), ref, "a", t.path("d"))
    t.equal(sorted(os.listdir(t.path("d/a"))), ["f", "hard", "rel", "sub"], "names")


def case_never_outside(t):
    """Symlinks at the destination lead nowhere; files are replaced whole."""
    ref = simple(t)
    os.makedirs(t.path("out"))
    os.makedirs(t.path("d/a"))
    with open(t.path("out/victim"), "w", encoding="ascii") as f:
        f.write("untouched")
    os.symlink(t.path("out/victim"), t.path("d/a/f"))
    t.morsel("cp", ref, "a", t.path("d"))
    t.check(not os.path.islink(t.path("d/a/f")), "the symlink was replaced")
    with open(t.path("out/victim"), encoding="ascii") as f:
        t.equal(f.read(), "untouched", "what it pointed to")
    os.unlink(t.path("d/a/sub/g"))
    os.rmdir(t.path("d/a/sub"))
    os.symlink(t.path("out"), t.path("d/a/sub"))
    t.refused(1, "cp", ref, "a", t.path("d"), says="exists")
    t.equal(os.listdir(t.path("out")), ["victim"], "files outside")
    with open(t.path("d/a/f"), "rb") as old:
        t.run("rm", t.path("d/a/sub"))
        t.morsel("cp", ref, "a", t.path("d"))
        t.check(os.fstat(old.fileno()).st_ino != os.stat(t.path("d/a/f")).st_ino, "a file is replaced, not overwritten")


def case_sparse(t):
    """Holes stay holes."""
    tar = Tar().sparse_pax("s", 64 << 20, [(1 << 20, b"x" * 5000), (40 << 20, b"y" * 4096)], "1.0")
    lay = Layout(t.path("img"))
    lay.image([layer(tar.file("tail", b"z" + bytes(9999)))])
    t.morsel("cp", f"oci:{lay.path}", "s", t.path("s"))
    st = os.stat(t.path("s"))
    t.equal(st.st_size, 64 << 20, "size")
    t.check(st.st_blocks * 512 < 1 << 20, f"{st.st_blocks} blocks")
    with open(t.path("s"), "rb") as f:
        data = f.read()
    t.check(data == bytes(1 << 20) + b"x" * 5000 + bytes((39 << 20) - 5000) + b"y" * 4096 + bytes((24 << 20) - 4096), "bytes")
    t.morsel("cp", f"oci:{lay.path}", "tail", t.path("tail"))
    with open(t.path("tail"), "rb") as f:
        t.equal(f.read(), b"z" + bytes(9999), "zeros at the end")


def case_interrupted(t):
    """130, nothing left, what was there untouched."""
    lay = Layout(t.path("img"))
    tar = Tar().dir("a", mode=0o750)
    for i in range(400):
        tar.file(f"a/f{i}", samples.noise(i, 200_000))
    lay.image([layer(tar)])
    ref = f"oci:{lay.path}"
    t.morsel("ls", ref)
    os.mkdir(t.path("d"))
    for _ in range(20):
        os.mkdir(t.path("d/a"), mode=0o711)
        p = t.popen(t.binary, "cp", ref, "a", t.path("d"), stderr=subprocess.PIPE)
        with contextlib.suppress(OSError):
            wait_until("its directory", lambda: p.poll() is not None or
                       any(n.startswith(".morsel") for n in os.listdir(t.path("d/a"))), 20, 0.001)
        p.send_signal(signal.SIGINT)
        err = p.communicate(timeout=20)[1].decode()
        no_temps(t, t.path("d"))
        if p.returncode == 130:
            t.equal(err, "morsel: interrupted\n", "stderr")
            t.equal((os.listdir(t.path("d/a")), stat.S_IMODE(os.stat(t.path("d/a")).st_mode)), ([], 0o711), "the directory that was there")
            return
        t.run("rm", "-rf", t.path("d/a"))
    t.skip("this machine is too fast to be interrupted")


def case_full_disk(t):
    """No space: one line, nothing half-written."""
    t.need_root()
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("small", b"s").file("big", samples.noise(1, 3 << 20)))])
    os.mkdir(t.path("d"))
    t.run("mount", "-t", "tmpfs", "-o", "size=1m", "none", t.path("d"))
    try:
        t.refused(1, "cp", f"oci:{lay.path}", "big", t.path("d"), says="No space left")
        t.equal(os.listdir(t.path("d")), [], "left behind")
    finally:
        t.run("umount", t.path("d"))


def case_corrupt(t):
    """What does not match its digest is not copied."""
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("f", samples.noise(3, 1 << 20)))])
    with open(lay.blob_path(lay.layer_digests()[0]), "r+b") as f:
        f.seek(5000)
        f.write(b"\x00\x01\x02\x03")
    os.mkdir(t.path("d"))
    t.refused(6, "cp", f"oci:{lay.path}", "f", t.path("d"))
    t.equal(os.listdir(t.path("d")), [], "left behind")


def case_terminal(t):
    """Names that draw are made harmless in messages."""
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().dir("d").file("d/\x1b[2J", b""))])
    os.makedirs(t.path("out/d/\x1b[2J/x"))
    line = t.refused(1, "cp", f"oci:{lay.path}", "d", t.path("out"))
    t.check("\x1b" not in line, "it draws")
