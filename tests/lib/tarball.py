"""Writes tar archives header by header, also ones that no decent program writes.

Names and link texts are str (encoded with surrogateescape) or bytes. What does not fit in a ustar header goes into a
pax header in front, as GNU tar --format=posix does; pax(), gnu_long() and header() write what a case wants exactly.
"""
import struct

BLOCK = 512


def to_bytes(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def pax_record(key, value):
    body = b" " + to_bytes(key) + b"=" + to_bytes(value) + b"\n"
    n = len(body)
    while len(str(n)) + len(body) != n:
        n = len(str(n)) + len(body)
    return str(n).encode() + body


def number(value, width):
    """Octal with a terminating NUL, or base-256 where that can't hold it."""
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return (value & (256 ** width - 1) | (0x80 << 8 * (width - 1))).to_bytes(width, "big")


def decimal_time(ns):
    sign = "-" if ns < 0 else ""
    s, frac = divmod(abs(ns), 10 ** 9)
    return sign + (f"{s}.{frac:09d}".rstrip("0") if frac else str(s))


class Tar:
    def __init__(self):
        self.out = bytearray()

    # -- exact pieces

    def raw(self, data):
        self.out += data
        return self

    def pad(self):
        self.out += b"\0" * (-len(self.out) % BLOCK)
        return self

    def header(self, name, typeflag=b"0", size=0, mode=0o644, uid=0, gid=0, mtime=0, link=b"", magic=b"ustar\00000",
               major=0, minor=0, prefix=b"", uname=b"", gname=b"", checksum=None, tail=None):
        """One 512 byte block. tail replaces what stands behind the link name's magic (offset 345 on)."""
        h = bytearray(BLOCK)
        for off, width, value in ((0, 100, to_bytes(name)), (157, 100, to_bytes(link)), (257, 8, magic),
                                  (265, 32, to_bytes(uname)), (297, 32, to_bytes(gname)),
                                  (345, 155, to_bytes(prefix))):
            if len(value) > width:
                raise ValueError(f"field at {off}: {len(value)} bytes")
            h[off:off + len(value)] = value
        h[100:108], h[108:116], h[116:124] = number(mode, 8), number(uid, 8), number(gid, 8)
        h[124:136], h[136:148] = number(size, 12), number(mtime, 12)
        h[156:157] = typeflag
        if major or minor or typeflag in b"34":
            h[329:337], h[337:345] = number(major, 8), number(minor, 8)
        if tail is not None:
            h[345:345 + len(tail)] = tail
        h[148:156] = b" " * 8
        h[148:156] = b"%06o\0 " % (sum(h) if checksum is None else checksum)
        self.out += h
        return self

    def pax(self, records, glob=False):
        """records: pairs, or a dict."""
        pairs = records.items() if isinstance(records, dict) else records
        body = b"".join(pax_record(k, v) for k, v in pairs)
        self.header(b"PaxHeaders/x", b"g" if glob else b"x", size=len(body))
        return self.raw(body).pad()

    def gnu_long(self, text, typeflag=b"L"):
        body = to_bytes(text) + b"\0"
        self.header(b"././@LongLink", typeflag, size=len(body), magic=b"ustar  \0")
        return self.raw(body).pad()

    # -- entries

    def entry(self, name, typeflag, data=b"", mode=0o644, uid=0, gid=0, mtime_ns=10 ** 18, link=b"", xattrs=None,
              major=0, minor=0, pax=None):
        name, link = to_bytes(name), to_bytes(link)
        records = []
        mtime = mtime_ns // 10 ** 9
        if len(name) > 100 or any(c > 127 for c in name):
            records.append(("path", name))
            name = name[:90].replace(b"/", b"_") + (b"/" if typeflag == b"5" else b"")
        if len(link) > 100 or any(c > 127 for c in link):
            records.append(("linkpath", link))
            link = link[:90]
        if mtime_ns % 10 ** 9 or mtime_ns < 0 or mtime >= 8 ** 11:
            records.append(("mtime", decimal_time(mtime_ns)))
            mtime = 0
        for key, value in (("uid", uid), ("gid", gid)):
            if value >= 8 ** 7:
                records.append((key, str(value)))
        uid, gid = uid if uid < 8 ** 7 else 0, gid if gid < 8 ** 7 else 0
        for key, value in (xattrs or {}).items():
            records.append((b"SCHILY.xattr." + to_bytes(key), value))
        records += list((pax or {}).items())
        if records:
            self.pax(records)
        self.header(name, typeflag, len(data), mode, uid, gid, mtime, link, major=major, minor=minor)
        return self.raw(data).pad()

    def file(self, name, data=b"", **attrs):
        return self.entry(name, b"0", to_bytes(data), **attrs)

    def dir(self, name, mode=0o755, **attrs):
        name = to_bytes(name)
        return self.entry(name if name.endswith(b"/") else name + b"/", b"5", mode=mode, **attrs)

    def symlink(self, name, target, mode=0o777, **attrs):
        return self.entry(name, b"2", link=target, mode=mode, **attrs)

    def hardlink(self, name, target, **attrs):
        return self.entry(name, b"1", link=target, **attrs)

    def char(self, name, major, minor, **attrs):
        return self.entry(name, b"3", major=major, minor=minor, **attrs)

    def block(self, name, major, minor, **attrs):
        return self.entry(name, b"4", major=major, minor=minor, **attrs)

    def fifo(self, name, **attrs):
        return self.entry(name, b"6", **attrs)

    def whiteout(self, path):
        head, _, tail = to_bytes(path).rpartition(b"/")
        return self.file((head + b"/" if head else b"") + b".wh." + tail, b"", mode=0)

    def opaque(self, directory):
        return self.file(to_bytes(directory).rstrip(b"/") + b"/.wh..wh..opq", b"", mode=0)

    # -- sparse files: extents are (offset, data) in order

    def sparse_gnu(self, name, size, extents, mode=0o644, mtime=10 ** 9):
        """Type S: four extents in the header, 21 in each block behind it."""
        extents = extents + [(size, b"")]  # GNU tar ends the list with an empty extent at the end
        pieces = [number(off, 12) + number(len(d), 12) for off, d in extents]
        tail = bytearray(155 + 12)
        tail[41:41 + 24 * min(4, len(pieces))] = b"".join(pieces[:4])
        tail[137] = len(pieces) > 4
        tail[138:150] = number(size, 12)
        self.header(name, b"S", sum(len(d) for _, d in extents), mode, mtime=mtime, magic=b"ustar  \0", tail=bytes(tail))
        rest = pieces[4:]
        while rest:
            block = bytearray(BLOCK)
            part, rest = rest[:21], rest[21:]
            block[:24 * len(part)] = b"".join(part)
            block[504] = bool(rest)
            self.raw(block)
        return self.raw(b"".join(d for _, d in extents)).pad()

    def sparse_pax(self, name, size, extents, version, mode=0o644, mtime=10 ** 9):
        """version "0.0", "0.1" or "1.0"."""
        data = b"".join(d for _, d in extents)
        extents = extents + [(size, b"")]
        if version == "1.0":
            table = f"{len(extents)}\n".encode() + b"".join(f"{o}\n{len(d)}\n".encode() for o, d in extents)
            data = table + b"\0" * (-len(table) % BLOCK) + data
            self.pax([("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", name),
                      ("GNU.sparse.realsize", str(size))])
        elif version == "0.1":
            self.pax([("GNU.sparse.size", str(size)), ("GNU.sparse.numblocks", str(len(extents))),
                      ("GNU.sparse.name", name),
                      ("GNU.sparse.map", ",".join(f"{o},{len(d)}" for o, d in extents))])
        else:
            records = [("GNU.sparse.size", str(size)), ("GNU.sparse.numblocks", str(len(extents)))]
            for o, d in extents:
                records += [("GNU.sparse.offset", str(o)), ("GNU.sparse.numbytes", str(len(d)))]
            self.pax(records)
        self.header(name if version == "0.0" else b"GNUSparseFile.0/" + to_bytes(name)[:60], b"0", len(data), mode,
                    mtime=mtime)
        return self.raw(data).pad()

    def end(self, blocks=2):
        """The archive's bytes, with its end marker."""
        return bytes(self.out) + b"\0" * (BLOCK * blocks)


def vfs_cap_net_raw():
    """A security.capability value: cap_net_raw+ep, version 2."""
    return struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
