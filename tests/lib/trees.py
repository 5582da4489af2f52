"""Random directory trees from a seed: everything that a tree can hold and an archive must keep.

    make_tree(directory, seed)      # the same tree for the same seed, whatever made it before

Sizes sit on the borders that matter (tar blocks, pages, chunks of a mebibyte), names hold what shells, JSON and terminals
stumble over, times lie before 1970 and after 2038, owners need more than the seven octal digits of a tar header. As root
also devices, owners, capabilities; as a user what a user can make. Trees are small: some hundred kilobytes to some megabytes.
"""
import os
import random
import socket
import stat
import struct

SIZES = (0, 0, 1, 2, 100, 511, 512, 513, 1023, 4095, 4096, 4097, 10000, 65536, 262144, (1 << 20) - 1, 1 << 20, (1 << 20) + 1,
         (2 << 20) + 12345)
SIZE_WEIGHTS = (6, 6, 6, 6, 12, 4, 4, 4, 4, 4, 4, 4, 8, 4, 2, 1, 1, 1, 1)
NAMES = ("a", "b.txt", "with space", " lead", "trail ", "new\nline", "tab\there", "quote'\"", "back\\slash", "-dash", "--",
         "%41", "*?[x]", "#hash", "!bang", "~tilde", "\u00fcml\u00e4ut", "\u4e2d\u6587", "e\u0301", "\u00e9", "\U0001f600",
         "\u202eabc", "\x7fdel", "\x01ctl", "UPPER", "upper", "con", "wh.x", "...", "$HOME", "a=b", "a,b", ";rm", "\ufeffbom")
RAW_NAMES = (b"\xff\xfe", b"latin\xe9", b"cut\xc3", b"over\xc0\x80", b"sur\xed\xa0\x80")
TIMES = (0, 1, 999999999, 1000000000, 1700000000_000000000, 1700000000_123456789, 1700000000_100000000, -1, -1_000000000,
         -1_500000000, -86400_000000000 * 365, (1 << 31) * 1000000000, ((1 << 33) + 5) * 1000000000 + 7)
MODES = (0o644, 0o600, 0o755, 0o4755, 0o2755, 0o1777, 0o6711, 0, 0o444, 0o7777)
OWNERS = (0, 1, 1000, 65534, 2097151, 2097152, 4000000000)
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # cap_net_bind_service=ep


def contents(rng, size):
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(size)
    if kind == 1:
        return bytes(size)
    if kind == 2:
        line = b"%d lines of text, all alike, more or less\n" % rng.randrange(1000)
        return (line * (size // len(line) + 1))[:size]
    half = size // 2
    return rng.randbytes(half) + bytes(size - half)


class Tree:
    def __init__(self, root, seed, utf8, entries):
        self.rng = random.Random(f"tree {seed}")
        self.root = os.fsencode(root)
        self.as_root = os.geteuid() == 0
        self.names = [n.encode() for n in NAMES] + ([] if utf8 else list(RAW_NAMES))
        self.entries = entries
        self.dirs, self.files, self.made = [self.root], [], []

    def path(self):
        """A new name, in a directory that is there."""
        rng = self.rng
        while True:
            name = rng.choice(self.names)
            if rng.random() < 0.3:
                name += b"%d" % rng.randrange(100)
            if rng.random() < 0.04:
                name = (name * 300)[:rng.choice((99, 100, 101, 155, 255))]
                if len(name.decode(errors="ignore").encode()) != len(name) or b"/" in name:
                    name = b"n" * len(name)
            path = rng.choice(self.dirs) + b"/" + name
            if len(path) - len(self.root) < 3900 and not os.path.lexists(path):
                return path

    def directory(self):
        path = self.path()
        os.mkdir(path)
        self.dirs.append(path)
        return path

    def file(self):
        path, rng = self.path(), self.rng
        size = rng.choices(SIZES, SIZE_WEIGHTS)[0]
        with open(path, "wb") as f:
            if size > 4096 and rng.random() < 0.2:  # with a hole in it and one at its end
                f.truncate(size)
                f.seek(size // 3)
                f.write(contents(rng, size // 4))
            else:
                f.write(contents(rng, size))
        self.files.append(path)
        return path

    def symlink(self):
        path = self.path()
        os.symlink(self.rng.choice((b"a", b"../x", b"/etc/passwd", b"missing\nthere", b"t" * 100, b"t" * 101, b"l" * 4000,
                                    b".", b"..", "\u00fcber".encode())), path)
        return path

    def hardlink(self):
        if not self.files:
            return self.file()
        path = self.path()
        os.link(self.rng.choice(self.files), path, follow_symlinks=False)
        return path

    def special(self):
        path, rng = self.path(), self.rng
        kind = rng.choice(("fifo", "fifo", "char", "block") if self.as_root else ("fifo",))
        if kind == "fifo":
            os.mkfifo(path)
        else:
            os.mknod(path, 0o600 | (stat.S_IFCHR if kind == "char" else stat.S_IFBLK),
                     os.makedev(rng.choice((1, 8, 259, 4095)), rng.choice((1, 3, 255, 256, 1048575))))
        return path

    def attributes(self, path):
        rng, st = self.rng, os.lstat(path)
        if self.as_root and rng.random() < 0.3:
            os.chown(path, rng.choice(OWNERS), rng.choice(OWNERS), follow_symlinks=False)
        if stat.S_ISLNK(st.st_mode):
            return
        mode = rng.choice(MODES) if rng.random() < 0.5 else None
        if mode is not None and not self.as_root:
            mode |= 0o700 if stat.S_ISDIR(st.st_mode) else 0o400
        if rng.random() < 0.15 and (stat.S_ISREG(st.st_mode) or stat.S_ISDIR(st.st_mode)):
            for i in range(rng.randint(1, 3)):
                os.setxattr(path, f"user.k{i}.\u00fc", rng.choice((b"v", b"two\nlines\x00", rng.randbytes(300))))
        if mode is not None:
            os.chmod(path, mode)
        if self.as_root and stat.S_ISREG(st.st_mode) and rng.random() < 0.05:
            os.setxattr(path, "security.capability", CAPABILITY)

    def build(self):
        rng = self.rng
        makers = (self.directory, self.file, self.symlink, self.hardlink, self.special)
        for _ in range(rng.randint(1, self.entries)):
            self.made.append(rng.choices(makers, (20, 55, 10, 8, 7))[0]())
        for path in self.made + [self.root]:
            self.attributes(path)
        for path in reversed(self.made):  # what is in a directory before the directory
            t = rng.choice(TIMES) + rng.choice((0, 0, 1, 500000000))
            os.utime(path, ns=(t, t), follow_symlinks=False)
        os.utime(self.root, ns=(1700000000_000000000, 1700000000_000000000))


def make_tree(directory, seed, utf8=False, entries=60):
    """utf8: no names that a JSON table can't hold. The directory must not be there yet."""
    os.mkdir(directory)
    Tree(directory, seed, utf8, entries).build()


def add_socket(path):
    """A socket, which every archive leaves out."""
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.close()
