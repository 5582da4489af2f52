"""mount(8), umount(8), findmnt(8) and fstab with mount.morsel, in a mount namespace where it is installed."""
import os

import samples
from backend import need_kernel
from library import install
from morseltest import ROOT, need

# /usr/local is what was installed; /usr/sbin is as it is, with links to our helpers when HELPERS is set.
PREAMBLE = """
mount --bind "$DEST" /usr/local
mkdir -p "$SBIN" "$ORIGINAL"
mount --bind /usr/sbin "$ORIGINAL"
for f in "$ORIGINAL"/*; do ln -sf "$f" "$SBIN/"; done
for f in $HELPERS; do ln -sf "/usr/local/sbin/$f" "$SBIN/$f"; done
mount --bind "$SBIN" /usr/sbin
"""


class Machine:
    """A shell in a namespace of its own, as root, with IMG and MNT set."""

    def __init__(self, t, helpers="mount.morsel mount.fuse.morsel"):
        t.need_root("mounts")
        t.need_fuse()
        need("unshare", "mount", "findmnt")
        dest, prefix = install(t)
        if prefix != f"{dest}/usr/local":
            t.skip("the build is not for /usr/local")
        self.t = t
        self.img = f"oci:{samples.hello(t, name='an image').path}"
        self.env = {"DEST": prefix, "SBIN": t.path("sbin"), "ORIGINAL": t.path("original"), "HELPERS": helpers,
                    "IMG": self.img, "MNT": t.mnt, "FSTAB": t.path("fstab")}

    def run(self, script, rc=0, env=None):
        return self.t.run("unshare", "-m", "--propagation", "private", "sh", "-eu", "-c", PREAMBLE + script, rc=rc,
                          env={**self.env, **(env or {})})

    def fstab(self, *lines):
        with open(self.env["FSTAB"], "w", encoding="ascii") as f:
            f.writelines(f"{self.img.replace(' ', chr(92) + '040')} {where} {how} 0 0\n" for where, how in lines)


def case_mount(t):
    """mount -t fuse.morsel and -t morsel; findmnt and umount see what they should."""
    # not: asan tsan
    m = Machine(t)
    for kind in ("fuse.morsel", "morsel"):
        r = m.run(f'''mount -v -t {kind} -o ro,allow_other,_netdev,nofail,x-systemd.automount "$IMG" "$MNT" >&2
            cat "$MNT/greeting"; findmnt -n -o SOURCE,FSTYPE "$MNT"; findmnt -n -o OPTIONS "$MNT"
            umount "$MNT"; findmnt "$MNT" || echo gone''')
        lines = r.text.splitlines()
        t.equal((lines[0], lines[-1]), ("hello, world", "gone"), "contents")
        t.equal(lines[1].rsplit(None, 1), [m.img, "fuse.morsel"], "findmnt")
        t.check({"ro", "nosuid", "nodev", "allow_other"} <= set(lines[2].split(",")), lines[2])


def case_fstab(t):
    """mount -a mounts once, also when it is run again; noauto waits to be asked; a directory alone is enough."""
    # not: asan tsan
    m = Machine(t)
    other = t.path("other")
    os.mkdir(other)
    m.fstab((t.mnt, "fuse.morsel ro,allow_other,_netdev,nofail"),
            (other, "morsel noauto,_netdev,nofail,noexec,x-systemd.automount,x-systemd.idle-timeout=10min"))
    r = m.run(f'''mount -a -T "$FSTAB"; mount -a -T "$FSTAB"; findmnt -l -n -o TARGET -t fuse.morsel | grep -x "$MNT"
        mount -T "$FSTAB" {other}; findmnt -n -o OPTIONS {other}; cat {other}/greeting
        umount {other} "$MNT"''')
    lines = r.text.splitlines()
    t.equal((lines[0], lines[2]), (t.mnt, "hello, world"), "mounts")
    t.contains(lines[1], "noexec")


def case_mounted_already(t):
    """By the kernel's EROFS, which mount -a does not recognise: it is left alone. In another way it is refused."""
    # not: asan tsan
    need_kernel(t)
    m = Machine(t)
    m.fstab((t.mnt, "fuse.morsel ro,backend=kernel,noexec,_netdev,nofail"))
    r = m.run(f'''mount -a -T "$FSTAB"; mount -a -T "$FSTAB"; findmnt -l -n -o FSTYPE "$MNT"; {t.binary} stat --format json "$MNT" | grep restarts
        umount "$MNT"; findmnt "$MNT" || echo gone''')
    t.equal([line.split()[-1] for line in r.text.splitlines()], ["erofs", "0,", "gone"], "one mount")
    r = m.run('''mount.morsel "$IMG" "$MNT" -o allow_other; mount.morsel "$IMG" "$MNT" -o allow_other
        for how in ro allow_other,noexec allow_other,allow_suid allow_other,allow_dev allow_other,platform=linux/amd64 backend=kernel; do
            mount.morsel "$IMG" "$MNT" -o $how || echo $?; done
        mount.morsel "$IMG:latest" "$MNT" -o allow_other || echo $?; umount "$MNT"''')
    t.equal(r.text.split(), ["32"] * 7, "mounted in another way")
    t.equal(r.err_text.count("has mounted an image there"), 7, "lines")


def case_options(t):
    """Options of morsel mount, values with commas, and the letters of mount(8)."""
    # not: asan tsan
    m = Machine(t)
    cache, log = t.path("a,cache"), t.path("a,log")
    r = m.run(f'''mount -t morsel -o 'allow_suid,cache_dir="{cache}",log-file={log.replace(",", chr(92) + ",")},platform=linux/amd64' \\
        "$IMG" "$MNT"; findmnt -n -o OPTIONS "$MNT"; umount "$MNT"
        mount -f -t morsel "$IMG" "$MNT"; mount -s -t morsel -o frobnicate "$IMG" "$MNT"; umount "$MNT"''')
    t.check("nosuid" not in r.text and "nodev" in r.text, r.text)
    t.check(os.path.isdir(f"{cache}/layers") and os.path.exists(log), "the cache or the log is elsewhere")
    for code, args in ((1, "-o frobnicate"), (1, "-o cache-size=many"), (1, "-o foreground"), (1, "-o remount"),
                       (1, "-o cache-dir"), (1, "-o insecure=0"), (32, "-o platform=linux/s390x")):
        r = m.run(f'mount -t fuse.morsel {args} "$IMG" "$MNT"', rc=code)
        t.check(r.err_text.startswith("morsel: "), r.err_text)
    t.contains(r.err_text, "s390x")
    for args, says in (("-h", '"-h"'), ("-o", '"-o"'), ("-o prefetch", '"prefetch"')):
        r = m.run(f'mount.morsel "$IMG" "$MNT" {args}', rc=1)
        t.equal((len(r.err_text.splitlines()), says in r.err_text), (1, True), r.err_text)
    m.run('mount -t morsel "oci:$MNT/nothing" "$MNT"', rc=32)
    m.run('mount -t morsel "$IMG" "$MNT/nothing"', rc=32)
    t.run(t.binary, "mount", "--noexec", m.img, t.mnt)
    t.contains(t.run("findmnt", "-n", "-o", "OPTIONS", t.mnt).text, "noexec,")
    t.morsel("umount", t.mnt)


def case_by_mount_fuse3(t):
    """Where our helper is not in /sbin, mount.fuse3 finds morsel in PATH; the suid and dev that it adds mean nothing."""
    # not: asan tsan
    need("mount.fuse3")
    m = Machine(t, helpers="")
    r = m.run('''mount -t fuse.morsel -o allow_other "$IMG" "$MNT"; cat "$MNT/greeting"
        findmnt -n -o OPTIONS "$MNT"; umount "$MNT"''')
    lines = r.text.splitlines()
    t.equal(lines[0], "hello, world", "contents")
    t.check({"nosuid", "nodev", "allow_other"} <= set(lines[1].split(",")), lines[1])


def case_user(t):
    """An ordinary user mounts and unmounts what fstab lets users mount."""
    # not: asan tsan
    need("setpriv", "fusermount3")
    m = Machine(t)
    m.fstab((t.mnt, "fuse.morsel noauto,user,cache-dir=/run/user/65534/cache"))
    os.chmod(t.dir, 0o711)
    os.chown(t.mnt, 65534, 65534)
    t.run("chmod", "-R", "a+rX", t.work)
    r = m.run('''mknod -m 666 "$MNT.fuse" c 10 229; mount --bind "$MNT.fuse" /dev/fuse
        mount -t tmpfs -o mode=755 none /run; mkdir -p /run/user/65534; chown nobody:nogroup /run/user/65534; mount --bind "$FSTAB" /etc/fstab
        as="setpriv --reuid nobody --regid nogroup --clear-groups env -u XDG_RUNTIME_DIR"
        $as mount "$MNT"; $as cat "$MNT/greeting"; findmnt -n -o OPTIONS "$MNT"; $as umount "$MNT"
        findmnt "$MNT" || echo gone''')
    lines = r.text.splitlines()
    t.equal((lines[0], lines[2]), ("hello, world", "gone"), "contents")
    t.check({"noexec", "nosuid", "nodev", "user_id=65534"} <= set(lines[1].split(",")), lines[1])


def case_fstab_lines(t):
    """systemd makes of the manual's fstab lines what the manual says: units that wait for the network."""
    generator = "/usr/lib/systemd/system-generators/systemd-fstab-generator"
    if not os.access(generator, os.X_OK):
        t.skip("systemd is not installed")
    with open(f"{ROOT}/man/mount.morsel.8", encoding="ascii") as f:
        lines = [line.replace("\\-", "-") for line in f if line.endswith(" 0 0\n")]
    t.equal(len(lines), 2, "lines for fstab")
    with open(t.path("fstab"), "w", encoding="ascii") as f:
        f.writelines(lines)
    units = t.path("units")
    os.mkdir(units)
    t.run(generator, units, units, units, env={"SYSTEMD_FSTAB": t.path("fstab")})
    t.equal(sorted(os.listdir(f"{units}/remote-fs.target.wants")), ["mnt-debian.mount", "srv-data.automount"], "wanted")
    with open(f"{units}/srv-data.automount", encoding="utf-8") as f:
        t.contains(f.read(), "TimeoutIdleSec=10min")
