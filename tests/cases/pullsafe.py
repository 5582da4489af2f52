"""morsel pull and images, or local users, that mean it badly: nothing outside the directory is touched."""
import os
import re
import shutil
import threading

import treecmp
from images import Layout, layer
from morseltest import need
from tarball import Tar

CHANGES = ("open,openat,openat2,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,unlink,unlinkat,"
           "rmdir,chmod,fchmodat,chown,lchown,fchownat,utimensat,setxattr,lsetxattr,mknod,mknodat,truncate")


def tricky(t, outside):
    """Layers that try to get at `outside`, which the merge keeps inside the image."""
    one = Tar().dir("d").symlink("abs", outside).symlink("up", "../" * 20 + outside.lstrip("/"))
    one.file("abs/below-a-link", b"1").file("up/below-another", b"2")
    one.file("/absolute/name", b"3").file("d/../sideways", b"4").file("./dots/./in//it", b"5")
    one.symlink("file-link", f"{outside}/victim").hardlink("hard-to-link", "file-link")
    one.symlink("again", f"{outside}/victim").file("again", b"a file after a link of its name")
    one.symlink("dir-again", outside).dir("dir-again").file("dir-again/f", b"6")
    two = Tar().file("abs/from-above", b"7").file("file-link", b"8").file("dir-again/g", b"9").symlink("d", outside)
    two.file("up", b"10").symlink("loop", "loop").symlink("self", ".").symlink("parent", "..")
    lay = Layout(t.path("img"))
    lay.image([layer(one), layer(two)])
    return f"oci:{lay.path}"


def outside_of(t):
    os.mkdir(t.path("outside"))
    with open(t.path("outside/victim"), "w", encoding="ascii") as f:
        f.write("untouched")
    return t.path("outside")


def untouched(t):
    t.equal(os.listdir(t.path("outside")), ["victim"], "files outside")
    with open(t.path("outside/victim"), encoding="ascii") as f:
        t.equal(f.read(), "untouched", "the victim")


def case_tricks(t):
    """Names and links that lead out end up inside, or the image is refused; as the mount shows it."""
    ref = tricky(t, outside_of(t))
    before = treecmp.dump(t.path("outside"))
    t.morsel("pull", ref, t.path("d"))
    with t.mounted(ref) as m:
        t.no_differences(treecmp.compare(treecmp.dump(t.path("d")), treecmp.dump(m.path)))
    t.morsel("pull", "--overwrite", ref, t.path("d"))
    untouched(t)
    t.no_differences(treecmp.compare(before, treecmp.dump(t.path("outside"))))
    for i, tar in enumerate((Tar().file("../x", b""), Tar().file("a/../../x", b""), Tar().file("a", b"").hardlink("b", "../a"),
                             Tar().hardlink("b", "/etc/passwd"), Tar().symlink(".", t.path("outside")).file("x", b""))):
        lay = Layout(t.path(f"bad{i}"))
        lay.image([layer(tar)])
        r = t.morsel("pull", f"oci:{lay.path}", t.path("bad"), rc=None)
        t.check(r.rc in (6, 7), f"exit code {r.rc} for bad image {i}")
        t.check(not os.path.lexists(t.path("bad")), "it appeared")
    untouched(t)


def case_calls(t):
    """strace: whatever is made or changed is named by one component, or beneath, of a directory of ours; by a path only in
    the cache."""
    need("strace")
    if t.slow > 1:
        t.skip("sanitizers make calls of their own, and look for leaks with ptrace")
    ref = tricky(t, outside_of(t))
    t.morsel("pull", ref, t.path("warm"))
    for flags in ((), ("--overwrite",)):
        t.run("strace", "-f", "-y", "-qq", "-o", t.path("trace"), "-e", f"trace={CHANGES}", t.binary, "pull", *flags, ref,
              t.path("d"), timeout=120)
        with open(t.path("trace"), encoding="utf-8", errors="backslashreplace") as f:
            lines = f.read().splitlines()
        made = [line for line in lines if judge(t, line)]
        t.check(len(made) > 20, f"only {len(made)} calls seen in the tree")
    untouched(t)


def judge(t, line):
    """Whether a call works on the tree; fails when it could lead out of it."""
    m = re.match(r"\d+ +(\w+)\((.*)", line)
    if not m or "= -1 EPERM" in line:
        return False
    call, args = m.groups()
    writes = "O_CREAT" in args or "O_WRONLY" in args or "O_RDWR" in args
    if call in ("open", "openat", "creat") and not writes:
        return False
    names = re.findall(r'(?:(AT_FDCWD|\d+)(?:<([^>]*)>)?, )?"([^"]*)"', args)
    if call in ("symlinkat", "symlink"):
        names = names[1:]  # the text of a link is anything
    inside = False
    for fd, directory, name in names:
        directory = "" if fd == "AT_FDCWD" else directory
        if not directory:
            t.check(name.startswith(t.cache) or t.cache.startswith(name) or name.startswith("/proc/self/fd/") and call == "lsetxattr" or
                    name.startswith(("/dev/null", "/proc/self/task/")), f"by path: {line}")
            continue
        if directory.startswith((t.cache, "/proc")):
            continue
        t.check(directory == t.work or directory.startswith((t.path("d"), f"{t.work}/.morsel-pull.")), f"elsewhere: {line}")
        inside = True
        if call == "openat2":
            t.check("RESOLVE_BENEATH" in args and "RESOLVE_NO_SYMLINKS" in args and not name.startswith("/"), f"may lead out: {line}")
        else:
            t.check("/" not in name and name != "..", f"more than one component: {line}")
        if call in ("openat", "open"):
            t.check("O_NOFOLLOW" in args and ("O_EXCL" in args or "O_DIRECTORY" in args), f"follows: {line}")
        if call in ("fchownat", "utimensat"):
            t.check("AT_SYMLINK_NOFOLLOW" in args, f"follows: {line}")
    return inside


def case_swapped_directories(t):
    """Somebody puts a symlink where a directory was, and back, while a pull merges into it."""
    outside = outside_of(t)
    tar = Tar()
    for i in range(40):
        tar.dir(f"s/d{i}").file(f"s/d{i}/f", b"x" * 100).dir(f"s/d{i}/e").file(f"s/d{i}/e/victim", b"evil")
    lay = Layout(t.path("img"))
    lay.image([layer(tar)])
    stop = threading.Event()

    def swap():
        i = 0
        while not stop.is_set():
            i = (i + 1) % 40
            here = t.path(f"d/s/d{i}")
            try:
                os.rename(here, t.path("aside"))
                os.symlink(outside, here)
                os.unlink(here)
            except OSError:
                pass
            try:
                os.rename(t.path("aside"), here)
            except OSError:
                shutil.rmtree(t.path("aside"), ignore_errors=True)

    thread = threading.Thread(target=swap)
    t.morsel("pull", f"oci:{lay.path}", t.path("d"))
    thread.start()
    try:
        codes = [t.morsel("pull", "-q", "--overwrite", f"oci:{lay.path}", t.path("d"), rc=None).rc for _ in range(15)]
    finally:
        stop.set()
        thread.join()
    t.check(all(c in (0, 1, 3) for c in codes), f"exit codes {codes}")
    untouched(t)
    t.equal(os.stat(outside).st_mode & 0o7777, 0o755, "mode of the directory outside")
    t.equal([n for n in os.listdir(t.work) if n.startswith(".morsel")], [], "left behind")


def case_planted(t):
    """A directory or symlink with an inherited ACL, a setgid bit: nothing of it gets into the tree."""
    t.need_root()
    need("setfacl", "getfacl")
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().dir("d").file("d/f", b"x"))])
    os.mkdir(t.path("parent"))
    os.chown(t.path("parent"), 0, 4711)
    os.chmod(t.path("parent"), 0o2775)
    t.run("setfacl", "-d", "-m", "u:4712:rwx", t.path("parent"))
    t.morsel("pull", f"oci:{lay.path}", t.path("parent/out"))
    with t.mounted(f"oci:{lay.path}") as m:
        t.no_differences(treecmp.compare(treecmp.dump(t.path("parent/out")), treecmp.dump(m.path)))
