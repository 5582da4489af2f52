"""morsel profile when something is not as it should be: what it refuses beforehand, what it says, what it leaves."""
import json
import os

from morseltest import need
from profiles import lazy, payload, profile, pushed
from registries import Registry


def as_user(t, *args, **kw):
    """Runs the program as an ordinary user, in a directory of his."""
    t.need_root("changes to an ordinary user")
    need("setpriv")
    home = t.path("user")
    if not os.path.isdir(home):
        os.mkdir(home)
        os.chown(home, 65534, 65534)
        for d in (t.work, t.dir):
            os.chmod(d, 0o755)
    return t.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", t.binary, *args, cwd=home,
                 env={"HOME": home, "TMPDIR": home, "MORSEL_CACHE_DIR": f"{home}/cache"}, **kw)


def case_read_only_directories(t):
    """An image's directories that nobody may write to are removed all the same, by an ordinary user, too."""
    payload(t)
    for d in ("payload/data", "payload/lib"):
        os.chmod(t.path(d), 0o555)
    os.mkdir(t.path("payload/none"))
    os.chmod(t.path("payload/none"), 0)
    r = Registry(t)
    t.morsel("push", t.path("payload"), r.ref())
    p = as_user(t, "profile", "-ref", r.ref(), "-mode", "pull", "-profile", "none")
    t.equal(p.err_text, "", "what is said")
    t.equal([n for n in os.listdir(t.path("user")) if n.startswith("morsel-profile")], [], "temporary directories left")


def case_what_stays_is_told(t):
    """A mount that the workload left beside the image is not looked into, and said."""
    t.need_root()
    r, _ = pushed(t)
    beside = "${MORSEL_MOUNT%/*}/beside"
    p = lazy(t, r, "-profile", "none", "--", "sh", "-ec", f"mkdir {beside}; echo {beside} > where; mount -t tmpfs none {beside}; echo 1 > {beside}/kept")
    with open(t.path("where"), encoding="utf-8") as f:
        where = f.read().strip()
    t.defer(lambda: t.run("umount", where))
    t.equal(len(p.err_text.splitlines()), 1, f"lines on stderr: {p.err_text}")
    t.contains(p.err_text, "beside: can't remove it", "stays")
    t.check(os.path.exists(f"{where}/kept"), "what is mounted there is gone")


def case_options_out_of_place(t):
    """What can't apply is refused before anything is done."""
    for args, says in ((("-ref", "127.0.0.1:1/x/y", "-prefetch"), ["--prefetch", "--lazy"]),
                       (("-attach", t.mnt, "-mode", "push"), ["--mode", "--attach"]),
                       (("-attach", t.mnt, "-ref", "127.0.0.1:1/x/y"), ["--ref", "--attach"]),
                       (("-attach", t.mnt, "-stamp=false"), ["--stamp", "--attach"]),
                       (("-attach", t.mnt, "-repeat", "3"), ["--repeat", "--attach"]),
                       (("report", "-lazy", "x.jsonl"), ["--lazy", "report"]),
                       (("report", "-attach", t.mnt, "x.jsonl"), ["--attach", "report"]),
                       (("-ref", "127.0.0.1:1/x/y", "-pyroscope", "ftp://x"), ["ftp://x", "http"]),
                       (("-attach", t.mnt, "-pyroscope", "ftp://x"), ["ftp://x", "http"])):
        p = profile(t, *args, rc=2)
        t.equal((len(p.err_text.splitlines()), p.text, p.files), (1, "", []), f"what {args} does")
        t.contains(p.err_text, *says)
    profile(t, "-ref", "127.0.0.1:1/x/y", "-prefetch=false", "-profile", "none", "-mode", "pull", rc=5)  # says nothing of prefetching
    with open(t.path("program"), "w", encoding="ascii") as f:
        f.write("#!/bin/sh\n")
    os.chmod(t.path("program"), 0o755)
    payload(t)
    p = profile(t, "-ref", f"oci:{t.path('image')}:x", "-mode", "push", "-payload", "payload", "-out", "program", rc=None)
    t.check(p.rc not in (0, "timeout") and not os.path.exists(t.path("image")), f"exit code {p.rc}, or it was pushed before it was looked at")
    t.contains(p.err_text, "program", "Not a directory")


def case_cache_with_a_link(t):
    """A cache that leads elsewhere is refused before anything is made or removed there."""
    payload(t)
    t.morsel("profile", "-ref", f"oci:{t.path('image')}:x", "-mode", "push", "-payload", "payload", "-profile", "none", cwd=t.work)
    os.mkdir(t.path("elsewhere"))
    for name in ("blobs", "images"):
        cache = t.new_path("cache")
        t.run("cp", "-a", t.cache, cache)
        t.run("rm", "-r", f"{cache}/{name}")
        os.symlink(t.path("elsewhere"), f"{cache}/{name}")
        for args in (("profile", "-ref", f"oci:{t.path('image')}:x", "-mode", "pull", "-clear-cache", "-cache-dir", cache, "-out", t.path("out")),
                     ("cache", "clear", "--cache-dir", cache)):
            r = t.morsel(*args, cwd=t.work, rc=4)
            t.contains(r.err_text, f"{name}/sha256", "remove it")
            t.equal(os.listdir(t.path("elsewhere")), [], "what was made there")


def case_failed_runs_count(t):
    """-cache-stats has what was asked for also when the workload failed; exit codes are a shell's."""
    r, _ = pushed(t)
    with open(t.path("text"), "w", encoding="ascii") as f:
        f.write("no program\n")
    for command, code in ((["sh", "-c", "cat $MORSEL_MOUNT/data/big $MORSEL_MOUNT/data/big > /dev/null; exit 3"], 3), ([t.path("text")], 126),
                          ([t.path("none")], 127)):
        p = lazy(t, r, "-profile", "none", "-cache-stats", "-format", "json", "-clear-cache", "--", *command, rc=code)
        cache = json.loads(p.text)["cache"]
        t.check(cache["requests"] > 0, f"{cache} after exit code {code}")
        if code == 3:
            t.check(0 <= cache["hit_ratio"] <= 1, f"{cache}")
