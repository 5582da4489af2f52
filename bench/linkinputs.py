"""Images for bench/link, built once and kept in the work directory's registry, with the facts the figures need."""
import glob
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import zlib

import inputs

NEIGHBOURS, NEIGHBOUR_BYTES = 1000, 4096
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
GO_CODE = "/usr/share/gocode"

# What an image with python3 holds: the interpreter, its libraries, and a small Debian around it.
PACKAGES = """base-files base-passwd bash bsdutils coreutils dash debianutils diffutils findutils gcc-12-base grep gzip
libacl1 libattr1 libbz2-1.0 libc-bin libc6 libcom-err2 libcrypt1 libdb5.3 libexpat1 libffi8 libgcc-s1 libgmp10
libgssapi-krb5-2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 liblzma5 libncursesw6 libnsl2 libpcre2-8-0
libpython3-stdlib libpython3.11-minimal libpython3.11-stdlib libreadline8 libselinux1 libsqlite3-0 libssl3 libstdc++6
libtinfo6 libtirpc3 libuuid1 libzstd1 media-types ncurses-base perl-base python3 python3-minimal python3.11
python3.11-minimal readline-common sed tar tzdata util-linux zlib1g""".split()


def half_random(rng, pool, size):
    """Compresses to about six tenths, as the contents of an image do that are not all text."""
    start = rng.randrange(len(pool) - size)
    return pool[start:start + size // 2] + rng.randbytes(size - size // 2)


def neighbour_files(total=56 << 20):
    """A layer of about total bytes, in whose middle stand 1,000 files of 4 KiB side by side."""
    rng = random.Random(21)
    pool = inputs.words(rng, 6 << 20)
    for part in ("usr/a", "usr/z"):
        done = i = 0
        while done < total // 2:
            size = int(min(2 << 20, 1024 * 2 ** rng.expovariate(0.45)))
            yield f"{part}/m{i // 100:03}/file{i:06}", half_random(rng, pool, size)
            done += size
            i += 1
        if part == "usr/a":
            for k in range(NEIGHBOURS):
                yield f"usr/n/file{k:04}", half_random(rng, pool, NEIGHBOUR_BYTES)


def large_files():
    """400 MiB that don't compress, and among them one file of 64 KiB."""
    rng = random.Random(22)
    block = rng.randbytes(8 << 20)
    done = i = 0
    while done < 400 << 20:
        size = rng.choice((16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20))
        start = rng.randrange(len(block) - size)
        yield f"opt/m{i // 50:03}/file{i:05}", block[start:start + size]
        done += size
        i += 1
        if i == 120:
            yield "opt/m002/one", rng.randbytes(64 << 10)


class Inputs:
    def __init__(self, link, work):
        self.link, self.work = link, work

    def image(self, name):
        """{"ref", "layers": [{"digest", "size", "toc": bytes or None}], ...}; built when it is not there."""
        facts = f"{self.work}/images/{name}.json"
        if not os.path.exists(facts):
            print(f"# building {name}", flush=True)
            os.makedirs(os.path.dirname(facts), exist_ok=True)
            scratch = f"{self.work}/scratch"
            shutil.rmtree(scratch, ignore_errors=True)
            os.makedirs(scratch)
            try:
                self.build(name, scratch)
                found = self.facts(name)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            with open(facts + ".tmp", "w", encoding="ascii") as f:
                json.dump(found, f)
            os.rename(facts + ".tmp", facts)
        with open(facts, encoding="ascii") as f:
            return json.load(f)

    def build(self, name, scratch):
        kind, _, form = name.partition("-")
        if kind == "python":
            self.debian_tree(f"{scratch}/tree")
            self.tar_of(f"{scratch}/tree", f"{scratch}/tar")
        else:
            files = {"neighbours": neighbour_files, "large": large_files,
                     "many": lambda: inputs.many_files(100_000)}[kind]()
            with open(f"{scratch}/tar", "wb") as f:
                inputs.write_tar(files, f)
        if form == "zstdchunked":
            self.push_zstd_chunked(f"{scratch}/tar", name, scratch)
        else:
            self.push_estargz(f"{scratch}/tar", name, scratch)

    # -- ways into the registry

    def converter(self):
        tool = f"{self.work}/mkestargz"
        if not os.path.exists(tool):
            compiler = sorted(glob.glob("/usr/lib/go-1.*/bin/go"))[-1]
            subprocess.run([compiler, "build", "-o", tool, f"{ROOT}/tests/tools/mkestargz.go"], check=True,
                           env={**os.environ, "GOPATH": GO_CODE, "GO111MODULE": "off", "GOFLAGS": "",
                                "GOCACHE": f"{self.work}/gocache"})
        return tool

    def push_estargz(self, tar, name, scratch):
        said = json.loads(subprocess.run([self.converter(), "-in", tar, "-out", f"{scratch}/blob"], check=True,
                                         capture_output=True).stdout)
        layout = f"{scratch}/layout"
        with open(f"{scratch}/blob", "rb") as f:
            digest, size = inputs.put_blob(layout, f.read())
        config, config_size = inputs.put_blob(layout, json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [said["diffID"]]}}).encode())
        oci = "application/vnd.oci.image."
        manifest, manifest_size = inputs.put_blob(layout, json.dumps({
            "schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
            "config": {"mediaType": oci + "config.v1+json", "digest": config, "size": config_size},
            "layers": [{"mediaType": oci + "layer.v1.tar+gzip", "digest": digest, "size": size,
                        "annotations": {"containerd.io/snapshot/stargz/toc.digest": said["tocDigest"]}}]}).encode())
        with open(f"{layout}/oci-layout", "w", encoding="ascii") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')
        with open(f"{layout}/index.json", "w", encoding="ascii") as f:
            json.dump({"schemaVersion": 2, "manifests": [{
                "mediaType": oci + "manifest.v1+json", "digest": manifest, "size": manifest_size,
                "annotations": {"org.opencontainers.image.ref.name": "latest"}}]}, f)
        self.link.run("server", "skopeo", "copy", "--dest-tls-verify=false", f"oci:{layout}:latest",
                      f"docker://127.0.0.1:5000/bench/{name}:latest")

    def push_zstd_chunked(self, tar, name, scratch):
        """By buildah, from its own store: a producer that is not ours."""
        store = ["--root", f"{scratch}/store", "--runroot", f"{scratch}/run", "--storage-driver", "vfs"]

        def buildah(*args):
            return self.link.run("server", "buildah", *store, *args, text=True).stdout.strip()

        container = buildah("from", "scratch")
        buildah("add", container, tar, "/")
        image = buildah("commit", container)
        buildah("push", "--tls-verify=false", "--compression-format", "zstd:chunked", "--format", "oci", image,
                f"docker://127.0.0.1:5000/bench/{name}:latest")

    def debian_tree(self, tree):
        debs = f"{self.work}/debs"
        os.makedirs(debs, exist_ok=True)
        have = {os.path.basename(p).split("_")[0] for p in glob.glob(f"{debs}/*.deb")}
        missing = [p for p in PACKAGES if p not in have]
        if missing:
            subprocess.run(["apt-get", "download", "-q", *missing], cwd=debs, check=True, stdout=subprocess.DEVNULL)
        for name in ("bin", "sbin", "lib", "lib64"):
            os.makedirs(f"{tree}/usr/{name}")
            os.symlink(f"usr/{name}", f"{tree}/{name}")
        for deb in sorted(glob.glob(f"{debs}/*.deb")):
            unpack = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE)
            subprocess.run(["tar", "-x", "--keep-directory-symlink", "-C", tree], stdin=unpack.stdout, check=True)
            unpack.wait()
        os.makedirs(f"{tree}/tmp", exist_ok=True)
        # As the interpreter's installation script does it: start-up reads compiled modules.
        subprocess.run(["chroot", tree, "/usr/bin/python3.11", "-m", "compileall", "-q", "--invalidation-mode",
                        "unchecked-hash", "/usr/lib/python3.11"], check=True, stdout=subprocess.DEVNULL)

    def tar_of(self, tree, tar):
        subprocess.run(["tar", "-c", "--sort=name", "--format=pax", "--numeric-owner", "-f", tar, "-C", tree, "."],
                       check=True)

    # -- what is in the registry

    def get(self, path, *flags):
        return self.link.run("server", "curl", "-sSf", *flags, f"http://127.0.0.1:5000/v2/{path}").stdout

    def facts(self, name):
        repo = f"bench/{name}"
        manifest = json.loads(self.get(f"{repo}/manifests/latest", "-H",
                                       "Accept: application/vnd.oci.image.manifest.v1+json"))
        layers = []
        for d in manifest["layers"]:
            blob = self.get(f"{repo}/blobs/{d['digest']}")
            if "sha256:" + hashlib.sha256(blob).hexdigest() != d["digest"]:
                raise SystemExit(f"bench/link: the registry's blob {d['digest']} is another")
            toc, end, toc_bytes = self.table(blob, d.get("annotations", {}))
            near = [e["offset"] for e in toc if e["name"].startswith("usr/n/") and e["type"] == "reg"]
            after = [e["offset"] for e in toc if near and e.get("offset", 0) > max(near)]
            layers.append({"digest": d["digest"], "size": d["size"], "toc_bytes": toc_bytes, "files": len(toc),
                           "near": (min(near), min(after, default=end)) if near else None})
        return {"repo": repo, "layers": layers}

    def table(self, blob, annotations):
        """A layer's table of contents, its offset, and its compressed size."""
        where = next((v for k, v in annotations.items() if k.endswith("zstd-chunked.manifest-position")), None)
        if where:
            offset, size = map(int, where.split(":")[:2])
            raw = subprocess.run(["zstd", "-dc"], input=blob[offset:offset + size], check=True,
                                 capture_output=True).stdout
            return json.loads(raw)["entries"], offset, size
        offset = int(blob[-51:][16:32], 16)
        raw = zlib.decompressobj(31).decompress(blob[offset:-51])
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            return json.load(tar.extractfile("stargz.index.json"))["entries"], offset, len(blob) - offset
