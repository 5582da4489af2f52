"""Inputs of the benchmarks: trees and images made from seeds, so that every run measures the same bytes."""
import gzip
import hashlib
import io
import json
import os
import random
import tarfile


def words(rng, size):
    """Text that compresses like source code does (about 4:1)."""
    vocabulary = [bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz_", k=rng.randint(2, 9))) for _ in range(2000)]
    out = bytearray()
    while len(out) < size:
        out += b" ".join(rng.choices(vocabulary, k=12)) + b";\n"
    return bytes(out[:size])


def many_files(n, size=200, per_dir=20):
    """(path, bytes) of n small files in directories of per_dir."""
    rng = random.Random(7)
    base = words(rng, size * 4)
    for i in range(n):
        start = rng.randrange(len(base) - size)
        yield f"d{i // (per_dir * 50):04}/s{i // per_dir % 50:02}/f{i:07}", base[start:start + size]


def mixed_files(total):
    """About total bytes in files of 1 KiB to 4 MiB, some 22 KiB in the mean, gzip to about 0.4: as base images are."""
    rng = random.Random(11)
    pool = words(rng, 9 << 20) + rng.randbytes(1 << 20)
    done = i = 0
    while done < total:
        size = int(min(4 << 20, 1024 * 2 ** rng.expovariate(0.55)))
        start = rng.randrange(len(pool) - size)
        yield f"usr/share/m{i // 100:03}/file{i:06}", pool[start:start + size]
        done += size
        i += 1


def write_tar(files, out):
    """A tar stream of the files with their directories, owners 0, one fixed time."""
    seen = set()
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:
        for path, data in files:
            parts = path.split("/")
            for k in range(1, len(parts)):
                d = "/".join(parts[:k])
                if d not in seen:
                    seen.add(d)
                    info = tarfile.TarInfo(d)
                    info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, 1700000000
                    tar.addfile(info)
            info = tarfile.TarInfo(path)
            info.size, info.mode, info.mtime = len(data), 0o644, 1700000000
            tar.addfile(info, io.BytesIO(data))


def put_blob(layout, data):
    digest = hashlib.sha256(data).hexdigest()
    os.makedirs(f"{layout}/blobs/sha256", exist_ok=True)
    with open(f"{layout}/blobs/sha256/{digest}", "wb") as f:
        f.write(data)
    return "sha256:" + digest, len(data)


def write_layout(layout, layers, name="latest"):
    """An OCI layout of gzip layers, each given as an iterable of (path, bytes). Returns the manifest digest."""
    descriptors, diff_ids = [], []
    for files in layers:
        raw = io.BytesIO()
        write_tar(files, raw)
        diff_ids.append("sha256:" + hashlib.sha256(raw.getbuffer()).hexdigest())
        digest, size = put_blob(layout, gzip.compress(raw.getbuffer(), 6, mtime=0))
        descriptors.append({"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest, "size": size})
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    config_digest, config_size = put_blob(layout, config)
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest,
                                      "size": config_size},
                           "layers": descriptors}).encode()
    digest, size = put_blob(layout, manifest)
    with open(f"{layout}/oci-layout", "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    with open(f"{layout}/index.json", "w") as f:
        json.dump({"schemaVersion": 2, "manifests": [
            {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
             "annotations": {"org.opencontainers.image.ref.name": name},
             "platform": {"architecture": "amd64", "os": "linux"}}]}, f)
    return digest
