"""zstd:chunked layers: by Debian's skopeo, and by hand in both dialects, with all footers and what one wants wrong."""
import base64
import ctypes
import ctypes.util
import functools
import hashlib
import json
import os
import struct

import oracles
from images import OCI_LAYER_ZSTD, TOC_DIGEST, Layer, sha256
from morseltest import Skip, need
from stargz import header

KEYS = {"new": "io.github.containers.zstd-chunked.manifest-", "old": "io.containers.zstd-chunked.manifest-"}
TIME = "2020-09-13T12:26:40Z"


@functools.cache
def libzstd():
    name = ctypes.util.find_library("zstd")
    if not name:
        raise Skip("libzstd is not installed")
    lib = ctypes.CDLL(name)
    lib.ZSTD_compressBound.restype = lib.ZSTD_compress.restype = ctypes.c_size_t
    lib.ZSTD_compressBound.argtypes = [ctypes.c_size_t]
    lib.ZSTD_compress.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    return lib


def frame(data, level=3):
    lib = libzstd()
    out = ctypes.create_string_buffer(lib.ZSTD_compressBound(len(data)))
    n = lib.ZSTD_compress(out, len(out), data, len(data), level)
    return out.raw[:n]


def skippable(payload):
    return b"\x50\x2a\x4d\x18" + struct.pack("<I", len(payload)) + payload


def footer(kind, toc, split):
    """toc: (offset, packed, raw, type); split: (offset, packed, raw)."""
    if kind == 64:
        return struct.pack("<7Q", *toc, *split) + b"GNUlInUx"
    return struct.pack("<4Q", *toc) + b"GnUlInUx" + bytes(16 if kind == 56 else 0)


def chunks_of(data, cuts):
    edges = [0, *cuts, len(data)]
    return [(a, data[a:b]) for a, b in zip(edges, edges[1:])]


def file_entries(name, data, cuts, dialect, blob):
    """The entries of a file whose frames go to the end of blob (bytearray). Chunks that are all zeros and have more than
    1 KiB are marked as containers/storage marks them."""
    entries = []
    parts = chunks_of(data, cuts)
    for off, part in parts:
        e = {"type": "chunk" if off else "reg", "name": name, "offset": len(blob)}
        if not off:
            e |= {"size": len(data), "mode": 0o644, "modtime": TIME, "digest": sha256(data)}
        if len(parts) > 1:
            e |= {"chunkSize": len(part), "chunkDigest": sha256(part)}
            if off:
                e["chunkOffset"] = off
            if dialect == "storage" and len(part) > 1024 and not any(part):
                e["chunkType"] = "zeros"
        elif dialect == "stargz":
            e["chunkDigest"] = sha256(part)
        blob += frame(part)
        entries.append(e)
    if dialect == "storage":
        entries[0]["endOffset"] = len(blob)
    return entries


def by_hand(files, dialect="storage", kind=64, keys="new", cuts=(), entries=None, change=None, raw_change=None,
            position=None, toc_digest=True, split=b"tar-split", annotate=None, pack=frame):
    """{name: bytes} as a zstd:chunked layer. cuts: where files that are long enough are cut. entries: more of them;
    change(list) edits them, raw_change(bytes) the JSON, pack(bytes) compresses it; position(toc) the four numbers of footer and annotation;
    annotate(dict) the annotations."""
    blob, tar, toc = bytearray(), b"", []
    for name, data in files.items():
        lead = header(name, len(data))
        pad = bytes(-len(data) % 512)
        blob += frame(lead)
        if data:
            toc += file_entries(name, data, [c for c in cuts if c < len(data)], dialect, blob)
        else:
            toc.append({"type": "reg", "name": name, "mode": 0o644, "modtime": TIME})
        blob += frame(pad) if pad else b""
        tar += lead + data + pad
    blob += frame(bytes(1024))
    tar += bytes(1024)
    toc += entries or []
    if change:
        change(toc)
    text = json.dumps({"version": 1, "entries": toc}, indent="\t" if dialect == "stargz" else None).encode()
    text = raw_change(text) if raw_change else text
    packed = pack(text)
    at = [len(blob) + 8, len(packed), len(text), 1]
    blob += skippable(packed)
    split_at = (len(blob) + 8, len(split), 1000)
    if kind == 64:
        blob += skippable(split)
    if position:
        at = position(at)
    if kind:
        blob += skippable(footer(kind, at, split_at))
    annotations = {}
    if keys:
        annotations = {KEYS[keys] + "checksum": sha256(packed), KEYS[keys] + "position": ":".join(map(str, at))}
    if dialect == "stargz" and toc_digest:
        annotations[TOC_DIGEST] = sha256(text)
    if annotate:
        annotate(annotations)
    return Layer(tar, bytes(blob), media_type=OCI_LAYER_ZSTD, annotations=annotations)


def by_skopeo(t, layout, name="latest"):
    """Its copy of an image, as zstd:chunked: a layout's path. What podman and buildah push is made by the same code."""
    need("skopeo")
    out = t.new_path("skopeo")
    t.run("skopeo", "copy", "--insecure-policy", "--dest-compress-format", "zstd:chunked", f"oci:{layout.path}:{name}",
          f"oci:{out}:{name}", env=oracles.podman_env(t))
    return out
