"""Two directory trees, compared in everything that a file system shows.

dump(root) gives {path: record}. A record holds type, mode, uid, gid, mtime_ns; for files size, nlink, sha256 and the
group of names that share the inode; link text; device number; extended attributes. The size and link count of a
directory are a file system's own business and left out. compare() gives a list of readable differences.
"""
import errno
import hashlib
import os
import stat
import sys

TYPES = {stat.S_IFDIR: "dir", stat.S_IFREG: "file", stat.S_IFLNK: "symlink", stat.S_IFCHR: "char",
         stat.S_IFBLK: "block", stat.S_IFIFO: "fifo", stat.S_IFSOCK: "socket"}
# What an image's layers may hold but a mount hides by design: the overlay's own marks, and file capabilities unless
# the mount honours them. security.selinux belongs to the host.
HIDDEN = ("trusted.overlay.", "security.capability", "security.selinux")


def file_sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while piece := f.read(1 << 20):
            h.update(piece)
    return h.hexdigest()


def xattrs_of(path, hidden):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as e:
        if e.errno in (errno.ENOTSUP, errno.ENOSYS, errno.EPERM):
            return {}
        raise
    return {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in sorted(names)
            if not name.startswith(hidden)}


def record(path, st, contents, hidden):
    kind = stat.S_IFMT(st.st_mode)
    r = {"type": TYPES[kind], "mode": f"{stat.S_IMODE(st.st_mode):04o}", "uid": st.st_uid, "gid": st.st_gid,
         "mtime_ns": st.st_mtime_ns}
    if kind != stat.S_IFDIR:
        r["nlink"] = st.st_nlink
    if kind == stat.S_IFREG:
        r["size"] = st.st_size
        if contents:
            r["sha256"] = file_sha256(path)
    elif kind == stat.S_IFLNK:
        r["link"] = os.readlink(path)
        r["size"] = st.st_size
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        r["rdev"] = f"{os.major(st.st_rdev)}:{os.minor(st.st_rdev)}"
    xattrs = xattrs_of(path, hidden)
    if xattrs:
        r["xattrs"] = xattrs
    return r


def dump(root, contents=True, hidden=HIDDEN):
    root = os.fsencode(root)
    records, inodes = {}, {}

    def visit(path, name):
        st = os.lstat(path)
        records[name] = record(path, st, contents, hidden)
        if stat.S_ISDIR(st.st_mode):
            for child in sorted(os.listdir(path)):
                visit(path + b"/" + child, name + b"/" + child if name != b"." else child)
        elif st.st_nlink > 1:
            inodes.setdefault((st.st_dev, st.st_ino), []).append(name)

    visit(root, b".")
    for names in inodes.values():
        for name in names:
            records[name]["same_inode"] = [show(n) for n in sorted(names)]
    return records


def short(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {short(v)}" for k, v in value.items()) + "}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}... ({len(text)})"


def show(name):
    return name.decode("utf-8", "backslashreplace")


def compare(left, right, skip=(), ignore=()):
    """Differences between two dumps. skip: (path or None, key) pairs not to look at, as in (b".", "mode") for the
    root's mode or (None, "mtime_ns") for every time. ignore: paths left out together with what is below them."""
    skip = set(skip)
    lines = []

    def ignored(name):
        return any(name == i or name.startswith(i + b"/") for i in ignore)

    for name in sorted(set(left) | set(right)):
        if ignored(name):
            continue
        if name not in right:
            lines.append(f"only left:  {show(name)} {left[name]}")
        elif name not in left:
            lines.append(f"only right: {show(name)} {right[name]}")
        else:
            a, b = left[name], right[name]
            for key in sorted(set(a) | set(b)):
                if a.get(key) != b.get(key) and (name, key) not in skip and (None, key) not in skip:
                    lines.append(f"{show(name)}: {key}: left {short(a.get(key))}, right {short(b.get(key))}")
    return lines


def main():
    if len(sys.argv) != 3:
        print("usage: treecmp.py LEFT RIGHT", file=sys.stderr)
        return 2
    lines = compare(dump(sys.argv[1]), dump(sys.argv[2]))
    print("\n".join(lines) if lines else "equal")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
