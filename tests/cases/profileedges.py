"""morsel profile when something is not as it should be: what it refuses beforehand, what it says, what it leaves."""
import os

from morseltest import need
from profiles import payload
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
