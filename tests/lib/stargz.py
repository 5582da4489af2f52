"""eStargz layers: by Debian's Go library, and by hand where a case needs bytes that it does not make."""
import base64
import fcntl
import glob
import gzip
import hashlib
import io
import json
import os
import struct
import tarfile

from images import OCI_LAYER_GZIP, OCI_LAYER_ZSTD, TOC_DIGEST, TOC_SIZE, Layer, sha256
from morseltest import TOOLS, Skip

GO_CODE = "/usr/share/gocode"


def go_tool(t, name="mkestargz"):
    """The converter, or another tool, built once for all cases of a run."""
    compilers = sorted(glob.glob("/usr/lib/go-1.*/bin/go"))
    if not compilers or not os.path.isdir(f"{GO_CODE}/src/github.com/containerd/stargz-snapshotter/estargz"):
        raise Skip("Debian's golang-go and golang-github-containerd-stargz-snapshotter-dev are not installed")
    shared = os.path.dirname(t.dir)
    tool = f"{shared}/{name}"
    with open(f"{shared}/{name}.lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(tool):
            t.run(compilers[-1], "build", "-o", tool, f"{TOOLS}/{name}.go", timeout=170,
                  env={"GOPATH": GO_CODE, "GO111MODULE": "off", "GOFLAGS": "", "GOCACHE": f"{shared}/gocache"})
    return tool


def by_go(t, tar, **flags):
    """An eStargz layer of a tar (bytes); flags: chunk_size, level, prioritized; zstd=True: zstd:chunked."""
    source, blob = t.new_path("tar"), t.new_path("blob")
    with open(source, "wb") as f:
        f.write(tar)
    args = [f"-{k.replace('_', '-')}={'true' if v is True else v}" for k, v in flags.items()]
    said = t.run(go_tool(t), "-in", source, "-out", blob, *args).json()
    with open(blob, "rb") as f:
        data = f.read()
    return Layer(tar, data, diff_id=said["diffID"], media_type=OCI_LAYER_ZSTD if flags.get("zstd") else OCI_LAYER_GZIP,
                 annotations={TOC_DIGEST: said["tocDigest"], TOC_SIZE: str(said["uncompressedSize"]),
                              **said["annotations"]})


# -- by hand

def footer(offset, kind=51):
    """The three footers, byte for byte as their description has them."""
    number = b"%016x" % offset + b"STARGZ"
    extra = {51: b"SG" + struct.pack("<H", 22) + number, 47: number,
             46: b"SG" + struct.pack("<H", 17) + b"STARGZEXTERNALTOC"}[kind]
    out = bytes.fromhex("1f8b08040000000000ff") + struct.pack("<H", len(extra)) + extra + bytes.fromhex("010000ffff") + bytes(8)
    assert len(out) == kind
    return out


def toc_member(entries):
    """The TOC member, and the digest of its JSON."""
    document = json.dumps({"version": 1, "entries": entries}, indent="\t").encode()
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        info = tarfile.TarInfo("stargz.index.json")
        info.size = len(document)
        tar.addfile(info, io.BytesIO(document))
    return gzip.compress(raw.getvalue(), mtime=0), sha256(document)


def header(name, size=0, kind=tarfile.REGTYPE, mode=0o644):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.mode, info.mtime = size, kind, mode, 1_600_000_000
    return info.tobuf(tarfile.GNU_FORMAT)


def by_hand(files, kind=51, group=0, entries=None, change=None):
    """{name: bytes} as an eStargz layer; group: so many files share a gzip member (innerOffset). entries: more of
    them; change(entries): edits the list before it is written."""
    blob, raw, toc = b"", b"", []
    names = list(files)
    step = group or 1
    for i in range(0, len(names), step):
        member = b""
        at = len(blob)
        pending = []
        for name in names[i:i + step]:
            data = files[name]
            lead = header(name, len(data))
            if not group:  # as the library writes: headers stand in members of their own
                blob += gzip.compress(lead, mtime=0)
                at = len(blob)
            else:
                member += lead
            pending.append((name, data, at, len(member)))
            member += data + bytes(-len(data) % 512)
            raw += lead + data + bytes(-len(data) % 512)
        blob += gzip.compress(member, mtime=0)
        for name, data, offset, inner in pending:
            e = {"name": name, "type": "reg", "size": len(data), "modtime": "2020-09-13T12:26:40Z", "mode": 0o644,
                 "offset": offset, "digest": "sha256:" + hashlib.sha256(data).hexdigest(),
                 "chunkDigest": "sha256:" + hashlib.sha256(data).hexdigest()}
            toc.append({**e, "innerOffset": inner} if inner else e)
    toc += entries or []
    if change:
        change(toc)
    member, toc_digest = toc_member(toc)
    offset = len(blob)
    blob += member + footer(offset, kind)
    return Layer(b"", blob, diff_id=sha256(gzip.decompress(blob)), annotations={TOC_DIGEST: toc_digest})


def xattr(value):
    return base64.b64encode(value).decode()
