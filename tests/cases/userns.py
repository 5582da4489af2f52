"""Root in a user namespace that an ordinary user made: mounts without fusermount3, keeps its own places, sees owners."""
import os

from images import Layout, layer
from morseltest import need, wait_until
from registries import Registry
from tarball import Tar

# As root: an everybody's /dev/fuse, and no fusermount3; then as user 65534 into a namespace of his own.
AS_USER = """
mount --make-rprivate /
mknod -m 666 "$HERE/fuse" c 10 229; mount --bind "$HERE/fuse" /dev/fuse
mount -t tmpfs -o mode=755 none /run; mkdir -p /run/user/65534; chown 65534:65534 /run/user/65534
mount --bind /bin/false "$(command -v fusermount3)"
exec setpriv --reuid=65534 --regid=65534 --clear-groups """


def image(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("mine", b"mine\n", mode=0o644).file("another's", b"secret\n", uid=1000, gid=1000, mode=0o600)
                     .file("tool", b"#!/bin/sh\necho ran\n", mode=0o755))])
    t.run("chmod", "-R", "a+rX", t.work)
    os.chmod(t.dir, 0o711)
    home = t.path("user")
    os.makedirs(f"{home}/mnt")
    for d in (home, f"{home}/mnt"):
        os.chown(d, 65534, 65534)
    return f"oci:{lay.path}", home


def run(t, enter, script, ref, home, setup="", **env):
    t.need_root("the case makes the user's surroundings as root")
    t.need_fuse()
    need("unshare", "setpriv", "fusermount3")
    if t.run("unshare", "-Ur", "true", rc=None).rc:
        t.skip("user namespaces are not allowed here")
    env = {"MORSEL_CACHE_DIR": None, "HOME": home, "XDG_RUNTIME_DIR": None, "HERE": t.work, "MORSEL": t.binary, "REF": ref,
           **env}
    r = t.run("unshare", "-m", "sh", "-euc", setup + AS_USER + enter + ' sh -euc "$0"', script, env=env)
    wait_until("the servers to end", lambda: not t.servers(), 5)
    return r.text.splitlines()


def case_mount(t):
    """unshare -Urm: mount, stat and umount; contents of unmapped owners can be read and show as the overflow user."""
    ref, home = image(t)
    lines = run(t, "unshare -Urm", """cd "$HOME"; id -u
        "$MORSEL" mount "$REF" mnt; cat mnt/mine "mnt/another's"; mnt/tool; stat -c %u:%g mnt/mine "mnt/another's"
        findmnt -n -o FSTYPE,OPTIONS mnt; "$MORSEL" stat --format json mnt >stat.json; "$MORSEL" umount mnt
        findmnt mnt || echo gone; ls /run/user/65534""", ref, home)
    t.equal(lines[:6], ["0", "mine", "secret", "ran", "0:0", "65534:65534"], "what is seen")
    t.contains(lines[6], "fuse.morsel", "ro,nosuid,nodev", "user_id=0")
    t.equal(lines[7:], ["gone", "morsel"], "after umount: the sockets' directory has the user's name outside")
    t.check(os.path.isdir(f"{home}/.cache/morsel/layers"), "the cache is not the user's own")


def case_capable(t):
    """Who keeps his uid in the namespace but may mount there needs no fusermount3 either."""
    ref, home = image(t)
    lines = run(t, "unshare -Um --map-current-user --keep-caps", """cd "$HOME"; id -u
        "$MORSEL" mount "$REF" mnt; cat mnt/mine; "$MORSEL" umount mnt; findmnt mnt || echo gone""", ref, home)
    t.equal(lines, ["65534", "mine", "gone"], "what is seen")


def case_incapable(t):
    """Root of a user namespace in somebody else's mount namespace is told what is missing."""
    ref, home = image(t)
    lines = run(t, "unshare -Ur", """cd "$HOME"; rc=0; "$MORSEL" mount "$REF" mnt 2>err || rc=$?; echo $rc; cat err""",
                ref, home)
    t.equal(lines[0], "32", "exit code")
    t.contains(lines[1], "does not let this root mount")
    t.equal(len(lines), 2, "lines")


def case_podman(t):
    """podman unshare, whose namespace maps more users than one."""
    ref, home = image(t)
    need("podman", "newuidmap")
    for name in ("subuid", "subgid"):
        with open(t.path(name), "w", encoding="ascii") as f:
            f.write("nobody:700000:65536\n")
        os.chmod(t.path(name), 0o644)
    lines = run(t, "podman unshare", """cd "$HOME"; id -u
        "$MORSEL" mount "$REF" mnt; cat "mnt/another's"; stat -c %u:%g mnt/mine "mnt/another's"
        findmnt -n -o FSTYPE mnt; "$MORSEL" umount mnt; findmnt mnt || echo gone""", ref, home,
                setup='mount --bind "$HERE/subuid" /etc/subuid; mount --bind "$HERE/subgid" /etc/subgid',
                XDG_RUNTIME_DIR="/run/user/65534")
    t.equal(lines, ["0", "secret", "0:0", "1000:1000", "fuse.morsel", "gone"], "what is seen")


def case_configuration(t):
    """/etc/containers, which belongs to nobody who has a name in the namespace, is read there as outside."""
    registry = Registry(t)
    lay = Layout(t.path("pushed"))
    lay.image([layer(Tar().file("etc/greeting", b"hello\n"))])
    registry.push(lay)
    _, home = image(t)
    os.makedirs(t.path("containers"))
    with open(t.path("containers/registries.conf"), "w", encoding="ascii") as f:
        f.write(f'[[registry]]\nprefix = "images.test"\nlocation = "{registry.host}"\ninsecure = true\n')
    t.run("chmod", "-R", "a+rX", t.path("containers"))
    lines = run(t, "unshare -Urm", """cd "$HOME"; "$MORSEL" cat "$REF" etc/greeting""", "images.test/test/image", home,
                setup='mkdir -p /etc/containers; mount --bind "$HERE/containers" /etc/containers; ')
    t.equal(lines, ["hello"], "what is read")
