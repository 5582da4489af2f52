"""Makes images as OCI layout directories, blob by blob, so that a case decides every byte of them."""
import gzip
import hashlib
import io
import json
import os
import struct
import zlib

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
OCI_INDEX, OCI_MANIFEST, OCI_CONFIG = OCI + "index.v1+json", OCI + "manifest.v1+json", OCI + "config.v1+json"
OCI_LAYER_TAR, OCI_LAYER_GZIP = OCI + "layer.v1.tar", OCI + "layer.v1.tar+gzip"
OCI_LAYER_ZSTD = OCI + "layer.v1.tar+zstd"
DOCKER_LIST = DOCKER + "distribution.manifest.list.v2+json"
DOCKER_MANIFEST = DOCKER + "distribution.manifest.v2+json"
DOCKER_CONFIG = DOCKER + "container.image.v1+json"
DOCKER_LAYER_GZIP = DOCKER + "image.rootfs.diff.tar.gzip"
TOC_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
TOC_SIZE = "io.containers.estargz.uncompressed-size"


def sha256(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def gzip_members(data, cuts):
    """Several gzip members one behind the other, as pigz -i and eStargz write them."""
    edges = [0, *cuts, len(data)]
    return b"".join(gzip.compress(data[a:b], 6, mtime=0) for a, b in zip(edges, edges[1:]))


def gzip_one(data, level=6):
    return gzip.compress(data, level, mtime=0)


def gzip_sync(data, step):
    """One member with a full flush every step bytes."""
    out = io.BytesIO()
    c = zlib.compressobj(6, zlib.DEFLATED, 31)
    for i in range(0, len(data), step):
        out.write(c.compress(data[i:i + step]))
        out.write(c.flush(zlib.Z_FULL_FLUSH))
    out.write(c.flush())
    return out.getvalue()


def gzip_repeated(head, block, count, tail):
    """One member of head, count times block and tail: as quick as its checksum. And the sha256 of what it holds."""
    c = zlib.compressobj(9, zlib.DEFLATED, -15)
    first = c.compress(head) + c.flush(zlib.Z_FULL_FLUSH)
    middle = c.compress(block) + c.flush(zlib.Z_FULL_FLUSH)
    last = c.compress(tail) + c.flush()
    crc, sha = 0, hashlib.sha256()
    for part in (head, *[block] * count, tail):
        crc = zlib.crc32(part, crc)
        sha.update(part)
    end = struct.pack("<II", crc, len(head) + count * len(block) + len(tail) & 0xffffffff)
    return gzip.compress(b"")[:10] + first + middle * count + last + end, "sha256:" + sha.hexdigest()


class Layer:
    """A layer as stored (blob), and what it is uncompressed (tar)."""

    def __init__(self, tar, blob=None, media_type=OCI_LAYER_GZIP, annotations=None, diff_id=None):
        self.blob = gzip_one(tar) if blob is None else blob
        self.diff_id = diff_id or sha256(tar)
        self.media_type = media_type
        self.annotations = annotations

    def descriptor(self):
        d = {"mediaType": self.media_type, "digest": sha256(self.blob), "size": len(self.blob)}
        if self.annotations:
            d["annotations"] = self.annotations
        return d


def layer(tar):
    """An ordinary gzip layer; tar is a Tar or bytes."""
    return Layer(tar if isinstance(tar, bytes) else tar.end())


class Layout:
    def __init__(self, path):
        self.path = path
        os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
        with open(f"{path}/oci-layout", "w", encoding="ascii") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')
        self.manifests = []
        self._write_index()

    def _write_index(self):
        with open(f"{self.path}/index.json", "w", encoding="utf-8") as f:
            json.dump({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": self.manifests}, f)

    def blob(self, data):
        """Stores bytes; their digest."""
        digest = sha256(data)
        with open(self.blob_path(digest), "wb") as f:
            f.write(data)
        return digest

    def blob_path(self, digest):
        return f"{self.path}/blobs/{digest.replace(':', '/', 1)}"

    def document(self, obj, media_type, **more):
        """Stores a JSON document (or exact bytes); its descriptor."""
        data = obj if isinstance(obj, bytes) else json.dumps(obj).encode()
        return {"mediaType": media_type, "digest": self.blob(data), "size": len(data), **more}

    def tag(self, descriptor, name="latest"):
        """Puts a descriptor into index.json; name None: without one. Its digest."""
        d = dict(descriptor)
        if name:
            d["annotations"] = {**d.get("annotations", {}), "org.opencontainers.image.ref.name": name}
        self.manifests.append(d)
        self._write_index()
        return d["digest"]

    def manifest(self, layers, docker=False, platform=("linux", "amd64", ""), config=None, **fields):
        """Stores an image's blobs, config and manifest; the manifest's descriptor. fields override the manifest's."""
        for item in layers:
            self.blob(item.blob)
        os_name, arch, variant = platform
        obj = {"architecture": arch, "os": os_name, "config": {},
               "rootfs": {"type": "layers", "diff_ids": [item.diff_id for item in layers]}}
        if variant:
            obj["variant"] = variant
        obj.update(config or {})
        media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        body = {"schemaVersion": 2, "mediaType": media_type,
                "config": self.document(obj, DOCKER_CONFIG if docker else OCI_CONFIG),
                "layers": [item.descriptor() for item in layers]}
        body.update(fields)
        return self.document({k: v for k, v in body.items() if v is not None}, media_type)

    def index(self, descriptors, docker=False, **fields):
        media_type = DOCKER_LIST if docker else OCI_INDEX
        return self.document({"schemaVersion": 2, "mediaType": media_type, "manifests": descriptors, **fields},
                             media_type)

    def layer_digests(self, at=0):
        """Of the image that stands at this place of index.json."""
        with open(self.blob_path(self.manifests[at]["digest"]), "rb") as f:
            return [d["digest"] for d in json.load(f)["layers"]]

    def image(self, layers, name="latest", **kw):
        """The ordinary case: an image with a name. The manifest's digest."""
        return self.tag(self.manifest(layers, **kw), name)


def platform(os_name, arch, variant=None, features=None):
    p = {"os": os_name, "architecture": arch}
    if variant:
        p["variant"] = variant
    if features:
        p["os.features"] = features
    return p
