"""What a pull, a cp or a push leaves in a user's directory when it is killed, and that the next one removes just that."""
import os
import signal
import subprocess
import types

import samples
import treecmp
from faults import FaultRegistry
from images import Layout, layer
from morseltest import wait_until
from tarball import Tar


def leftovers(path):
    return sorted(n for n in os.listdir(path) if n.startswith(".morsel-pull."))


def far_away(t):
    """A registry whose image is lazy, and a function that gives the flags for a cache that knows its index."""
    os.makedirs(t.path("tree/a"))
    for i in range(8):
        with open(t.path(f"tree/a/f{i}"), "wb") as f:
            f.write(samples.noise(i, 100_000))
    t.morsel("push", "-q", t.path("tree"), f"oci:{t.path('img')}:latest")
    reg = FaultRegistry(t, types.SimpleNamespace(path=t.path("img")))

    def known():
        flags = ("--cache-dir", t.new_path("cache"), "--insecure")
        t.morsel("ls", *flags, reg.ref())
        return flags
    return reg, known


def building(t, reg, stall, known, at, verb, *args):
    """A process that waits for contents, `stall` seconds, in the middle of building a tree in `at`."""
    before, flags = leftovers(at), known()
    reg.rule(path="/blobs/", stall=stall, at=0)
    p = t.popen(t.binary, verb, *flags, reg.ref(), *args, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    wait_until("its tree", lambda: any(n not in before and os.path.exists(f"{at}/{n}/.morsel-tree/a") for n in leftovers(at)))
    reg.rules.clear()
    return p


def killed(*args):
    p = building(*args)
    p.send_signal(signal.SIGKILL)
    p.wait()


def case_killed(t):
    """kill -9 in the middle: the next run in the same directory removes what is left, not that of one that lives."""
    reg, known = far_away(t)
    os.mkdir(t.path("p"))
    killed(t, reg, 60, known, t.path("p"), "pull", t.path("p/d"))
    t.equal((len(leftovers(t.path("p"))), os.path.exists(t.path("p/d"))), (1, False), "left, and DIR")
    alive = building(t, reg, 3, known, t.path("p"), "pull", t.path("p/other"))
    alive.send_signal(signal.SIGSTOP)  # it may last as long as it likes
    t.equal(len(leftovers(t.path("p"))), 1, "left beside a run that lives")
    t.morsel("pull", *known(), "--include", "a/f0", reg.ref(), t.path("p/d"))
    t.equal((len(leftovers(t.path("p"))), alive.poll()), (1, None), "that of the run that lives")
    alive.send_signal(signal.SIGCONT)
    t.equal(alive.wait(60), 0, "exit code of the run that lived")
    t.equal(sorted(os.listdir(t.path("p"))), ["d", "other"], "names in the end")
    t.no_differences(treecmp.compare(treecmp.dump(t.path("p/other")), treecmp.dump(t.path("tree"))))


def case_killed_inside(t):
    """A cp into a directory, and a pull onto a symlink to one, build inside of it."""
    reg, known = far_away(t)
    os.mkdir(t.path("target"))
    os.symlink("target", t.path("link"))
    killed(t, reg, 60, known, t.path("target"), "pull", t.path("link"))
    t.equal(len(leftovers(t.path("target"))), 1, "left")
    t.morsel("pull", *known(), reg.ref(), t.path("link"))  # not refused as full
    t.equal(os.listdir(t.path("target")), ["a"], "names")
    os.mkdir(t.path("into"))
    killed(t, reg, 60, known, t.path("into"), "cp", "/", t.path("into"))
    t.equal(len(leftovers(t.path("into"))), 1, "left")
    t.morsel("cp", *known(), reg.ref(), "a/f0", t.path("into"))
    t.equal(os.listdir(t.path("into")), ["f0"], "names")


def case_not_ours(t):
    """What only is called like that stays: other names, files, links, another user's, directories with anything else in them."""
    t.need_root("makes files of another user")
    ref = f"oci:{samples.hello(t).path}"
    os.makedirs(t.path("p"))
    os.mkdir(t.path("outside"))
    with open(t.path("outside/f"), "wb"):
        pass

    def planted(name, mode=0o700, tree=".morsel-tree"):
        os.makedirs(t.path(f"p/.morsel-pull.{name}/{tree}"))
        with open(t.path(f"p/.morsel-pull.{name}/{tree}/f"), "wb"):
            pass
        os.chmod(t.path(f"p/.morsel-pull.{name}"), mode)

    planted("0123456789abcdef")  # this one is removed
    planted("0123456789abcde")
    planted("0123456789abcdef0")
    planted("0123456789ABCDEF")
    planted("0000000000000001", mode=0o755)
    planted("0000000000000002", tree="mine")
    planted("0000000000000003")
    with open(t.path("p/.morsel-pull.0000000000000003/more"), "wb"):
        pass
    planted("0000000000000004")
    os.chown(t.path("p/.morsel-pull.0000000000000004"), 4711, 4711)
    with open(t.path("p/.morsel-pull.0000000000000005"), "wb"):
        pass
    os.symlink(t.path("outside"), t.path("p/.morsel-pull.0000000000000006"))
    os.symlink(t.path("outside"), t.path("p/.morsel-pull.0123456789abcdef/.morsel-tree/link"))
    before = leftovers(t.path("p"))
    t.morsel("pull", ref, t.path("p/d"))
    t.equal(leftovers(t.path("p")), [n for n in before if n != ".morsel-pull.0123456789abcdef"], "names that stay")
    t.equal(os.listdir(t.path("outside")), ["f"], "behind the links")


def case_killed_layout(t):
    """Into a layout: a half blob goes with the next pull or push, unless somebody else is writing there."""
    lay, more = Layout(t.path("img")), Layout(t.path("more"))
    lay.image([layer(Tar().file("f", samples.noise(3, 1 << 20)))])
    more.image([layer(Tar().file("g", b"g"))])

    def temps():
        blobs = t.path("out/blobs")
        return [n for n in os.listdir(blobs) if n.startswith(".tmp-")] if os.path.isdir(blobs) else []

    def writing(reg, stall):
        before = temps()
        reg.rule(path=lay.layer_digests()[0], stall=stall, at=100_000, times=1)
        p = t.popen(t.binary, "pull", "-q", "--insecure", "--oci", t.path("out"), reg.ref(), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        wait_until("a blob", lambda: any(n not in before and os.path.getsize(t.path(f"out/blobs/{n}")) for n in temps()))
        return p

    with FaultRegistry(t, lay) as reg:
        p = writing(reg, 60)
        p.kill()
        p.wait()
        t.equal(len(temps()), 1, "left")
        t.morsel("pull", "--oci", t.path("out") + ":more", f"oci:{more.path}")
        t.equal(temps(), [], "after a pull")
        alive = writing(reg, 3)
        alive.send_signal(signal.SIGSTOP)
        t.morsel("pull", "--oci", t.path("out") + ":again", f"oci:{more.path}")
        t.equal((len(temps()), alive.poll()), (1, None), "of the one that lives")
        alive.send_signal(signal.SIGCONT)
        t.equal((alive.wait(60), temps()), (0, []), "the one that lived")
    with open(t.path("out/blobs/.tmp-0123456789abcdef"), "wb"):
        pass
    os.mkdir(t.path("tree"))
    t.morsel("push", "-q", t.path("tree"), f"oci:{t.path('out')}:pushed")
    t.equal(temps(), [], "after a push")
