"""What reading costs on the line: bytes and requests, as the registry counts them. bench/link measures the time."""
import random
import re

import samples
import stargz
from faults import FaultRegistry
from images import Layout
from morseltest import Failure

KIB = 1024


def registry(t, files):
    """A registry with the files as one eStargz layer of a producer that is not ours; the layer's digest and blob."""
    lay = Layout(t.new_path("img"))
    layer = stargz.by_go(t, samples.files_tar(files).end())
    lay.image([layer])
    return FaultRegistry(t, lay), lay.layer_digests()[0], layer.blob


def asked(r, digest):
    """The ranges of the blob that were asked for, in the blob's order: (first, last) each."""
    out = []
    for q in r.requests(digest):
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", q["range"] or "")
        if not found:
            raise Failure(f"{q['path']} is asked for with {q['range']!r}")
        out.append((int(found[1]), int(found[2])))
    return sorted(out)


def case_one_file_of_many(t):
    """Mounting and reading one file of 64 KiB moves the table of contents and at most 256 KiB."""
    rng = random.Random(1)
    files = {f"data/f{i:03}": rng.randbytes(64 * KIB) for i in range(300)}
    r, digest, blob = registry(t, files)
    table = len(blob) - int(blob[-51:][16:32], 16)
    with t.mounted(r.ref(), "--insecure") as m:
        t.equal(m.read("data/f150"), files["data/f150"], "contents")
        sent = sum(q["sent"] for q in r.requests(digest))
        t.check(64 * KIB <= sent <= table + 256 * KIB, f"{sent} bytes were sent, the table has {table}")


def case_neighbouring_files(t):
    """A thousand small neighbours come in few requests, none twice, with little that is not theirs."""
    rng = random.Random(2)
    files = {f"a/f{i:02}": rng.randbytes(64 * KIB) for i in range(60)}
    files |= {f"n/f{i:03}": rng.randbytes(4 * KIB) for i in range(1000)}
    files |= {f"z/f{i:03}": rng.randbytes(64 * KIB) for i in range(240)}
    r, digest, blob = registry(t, files)
    whole = sum(len(v) for k, v in files.items() if k.startswith("n/"))
    with t.mounted(r.ref(), "--insecure") as m:
        r.forget()
        for name in sorted(files):
            if name.startswith("n/"):
                t.equal(m.read(name), files[name], name)
        ranges = asked(r, digest)
        t.check(len(ranges) <= 100, f"{len(ranges)} requests for 1,000 neighbours")
        # How far a stream runs ahead depends on the link, and loopback has no bound worth a name.
        t.check(sum(last + 1 - first for first, last in ranges) > whole, "bytes came that were not asked for")
        for a, b in zip(ranges, ranges[1:]):
            t.check(a[1] < b[0], f"{a} and {b} overlap: a byte is fetched twice")
