"""Images in tar files: oci-archive: and docker-archive:, as skopeo, podman, buildah and docker write them."""
import gzip
import json
import os

import oracles
import samples
import treecmp
from images import Layout, layer, sha256
from morseltest import need
from tarball import Tar


def config_of(layers):
    return json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                       "rootfs": {"type": "layers", "diff_ids": [item.diff_id for item in layers]}}).encode()


def archive(t, tar, name="image.tar"):
    path = t.path(name)
    with open(path, "wb") as f:
        f.write(tar if isinstance(tar, bytes) else tar.end())
    return path


def docker(t, images, name="image.tar", before=None):
    """A docker-archive by hand: images is a list of (names, layers); layers are stored as they are."""
    tar, manifest = before or Tar(), []
    for names, layers in images:
        config = config_of(layers)
        paths = []
        for item in layers:
            paths.append(f"{sha256(item.blob)[7:]}.tar.gz")
            tar.file(paths[-1], item.blob)
        tar.file(f"{sha256(config)[7:]}.json", config)
        manifest.append({"Config": f"{sha256(config)[7:]}.json", "RepoTags": names, "Layers": paths})
    return archive(t, tar.file("manifest.json", json.dumps(manifest).encode()), name)


def tar_of(t, directory, name="image.tar", *flags):
    path = t.path(name)
    t.run("tar", "-C", directory, "-cf", path, *flags, ".")
    return path


def greeting(text):
    return [layer(Tar().dir("etc").file("etc/greeting", text))]


def case_oci_archive(t):
    """A tar of a layout is that layout: all verbs, with and without a name."""
    lay = samples.hello(t)
    for flags in ((), ("--format=posix",), ("--format=gnu",), ("--format=ustar",)):
        path = tar_of(t, lay.path, "a.tar", *flags)
        t.equal(t.morsel("cat", f"oci-archive:{path}", "etc/greeting").out, b"hello, world\n", "cat")
        t.equal(t.morsel("cat", f"oci-archive:{path}:latest", "greeting").out, b"hello, world\n", "cat by name")
    with t.mounted(f"oci-archive:{path}") as m:
        t.equal(m.read("etc/greeting"), b"hello, world\n", "contents")
    t.equal(t.morsel("inspect", "--format", "json", f"oci-archive:{path}").json(),
            {**t.morsel("inspect", "--format", "json", f"oci:{lay.path}").json(),
             **{k: v for k, v in t.morsel("inspect", "--format", "json", f"oci-archive:{path}").json().items()
                if k in ("reference", "ref")}}, "inspect")
    t.refused(3, "cat", f"oci-archive:{path}:other", "etc/greeting", says=("other", "latest"))
    t.refused(3, "ls", f"oci-archive:{t.path('none.tar')}", says="none.tar")


def case_oci_archive_skopeo(t):
    """skopeo's archive shows what umoci unpacks."""
    need("skopeo")
    t.need_root()
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    t.run("skopeo", "copy", "--insecure-policy", f"oci:{lay.path}:latest", f"oci-archive:{t.path('a.tar')}:name/of:it")
    with t.mounted(f"oci-archive:{t.path('a.tar')}") as m, t.mounted(f"oci:{lay.path}", at=t.path("other")) as o:
        t.no_differences(treecmp.compare(treecmp.dump(m.path), treecmp.dump(o.path)))


def case_docker_archive_by_hand(t):
    """Compressed layers, as kaniko and crane write them; several images; names chosen as docker and podman write them."""
    a, b = greeting(b"one"), greeting(b"two")
    path = docker(t, [(["alpine:3", "quay.io/x/y:z"], a), (["team/app:latest"], b)])
    ref = f"docker-archive:{path}"
    for name, want in (("alpine:3", b"one"), ("docker.io/library/alpine:3", b"one"), ("quay.io/x/y:z", b"one"),
                       ("team/app", b"two"), ("docker.io/team/app:latest", b"two")):
        t.equal(t.morsel("cat", f"{ref}:{name}", "etc/greeting").out, want, name)
    t.refused(2, "cat", ref, "etc/greeting", says=("2 images", "alpine:3", "team/app:latest"))
    t.refused(3, "cat", f"{ref}:alpine:4", "etc/greeting", says=("alpine:4", "quay.io/x/y:z"))
    single = f"docker-archive:{docker(t, [(None, a)], 'single.tar')}"
    t.equal(t.morsel("cat", single, "etc/greeting").out, b"one", "the only image needs no name")
    info = t.morsel("inspect", "--format", "json", single).json()
    again = t.morsel("inspect", "--format", "json", single).json()
    t.equal(info, again, "the same image every time")
    digest = next(v for v in info.values() if isinstance(v, str) and v.startswith("sha256:"))
    t.equal(t.morsel("cat", f"{single}@{digest}", "etc/greeting").out, b"one", "by digest")
    t.refused(3, "cat", f"{single}@sha256:{'0' * 64}", "etc/greeting")


def case_docker_archive_links(t):
    """Layers that are links to other members, as docker and podman de-duplicate them."""
    item = greeting(b"linked")[0]
    for make in (lambda tar: tar.symlink("b/layer.tar", "../a/layer.tar"), lambda tar: tar.hardlink("b/layer.tar", "a/layer.tar"),
                 lambda tar: tar.symlink("b/layer.tar", "./x").symlink("b/x", ".././a/layer.tar")):
        config = config_of([item, item])
        tar = Tar().dir("a").file("a/layer.tar", item.blob).dir("b")
        make(tar).file("c.json", config)
        tar.file("manifest.json", json.dumps([{"Config": "c.json", "Layers": ["a/layer.tar", "b/layer.tar"]}]).encode())
        t.equal(t.morsel("cat", f"docker-archive:{archive(t, tar)}", "etc/greeting").out, b"linked", "through a link")


def case_docker_archive_tools(t):
    """What podman save, skopeo and buildah write, plain tar layers among them, is what oci: shows of the same image."""
    need("skopeo", "podman", "buildah")
    t.need_root()
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    env = oracles.podman_env(t)
    files = {"skopeo": t.path("skopeo.tar"), "podman": t.path("podman.tar"), "buildah": t.path("buildah.tar")}
    t.run("skopeo", "copy", "--insecure-policy", f"oci:{lay.path}:latest", f"docker-archive:{files['skopeo']}:some/name:1")
    try:
        image = t.run("podman", "pull", "-q", f"oci:{os.path.relpath(lay.path, t.work)}:latest", env=env, timeout=180,
                      cwd=t.work).text.split()[-1]
        t.run("podman", "tag", image, "some/name:1", env=env)
        t.run("podman", "save", "--format", "docker-archive", "-o", files["podman"], "some/name:1", env=env)
        t.run("buildah", "push", image, f"docker-archive:{files['buildah']}:some/name:1", env=env)
    finally:
        oracles.podman_end(t)
    with t.mounted(f"oci:{lay.path}", at=t.path("want")) as o:
        want = treecmp.dump(o.path)
    for tool, path in files.items():
        with t.mounted(f"docker-archive:{path}") as m:
            t.no_differences([f"{tool}: {line}" for line in treecmp.compare(treecmp.dump(m.path), want)])
        with t.mounted(f"docker-archive:{path}") as m:  # a second time: from the cache
            t.no_differences([f"{tool}: {line}" for line in treecmp.compare(treecmp.dump(m.path), want)])


def case_docker_save_25(t):
    """docker since 25 writes an OCI layout with a manifest.json beside it: both sources read it."""
    lay = samples.hello(t)
    with open(lay.blob_path(lay.manifests[0]["digest"]), "rb") as f:
        body = json.load(f)
    blob = lambda d: "blobs/" + d["digest"].replace(":", "/")
    with open(f"{lay.path}/manifest.json", "w", encoding="ascii") as f:
        json.dump([{"Config": blob(body["config"]), "RepoTags": ["hello:latest"],
                    "Layers": [blob(d) for d in body["layers"]]}], f)
    path = tar_of(t, lay.path)
    for scheme in ("oci-archive", "docker-archive"):
        t.equal(t.morsel("cat", f"{scheme}:{path}", "greeting").out, b"hello, world\n", scheme)


def case_wrong_bytes(t):
    """A layer or config that is not what the names promise is refused, never shown."""
    item = greeting(b"one")[0]
    item.diff_id = "sha256:" + "1" * 64
    t.refused(6, "cat", f"docker-archive:{docker(t, [(None, [item])])}", "etc/greeting")
    lay = samples.hello(t)
    digest = lay.layer_digests()[0]
    with open(lay.blob_path(digest), "r+b") as f:
        f.seek(30)
        f.write(b"\xff\xff")
    t.refused(6, "cat", f"oci-archive:{tar_of(t, lay.path)}", "etc/greeting")


def case_refused(t):
    """Not a tar, compressed, truncated, the other kind, members missing, names that climb."""
    good = docker(t, [(None, greeting(b"x" * 5000))], "good.tar")
    with open(good, "rb") as f:
        data = f.read()
    cases = {"not a tar": b"x" * 2048, "empty": b"", "gzip": gzip.compress(data), "cut": data[:1500]}
    for name, body in cases.items():
        path = archive(t, body, "bad.tar")
        for scheme in ("docker-archive", "oci-archive"):
            t.refused(8 if name == "gzip" else 6, "ls", f"{scheme}:{path}",
                      says={"gzip": "gzip -d", "cut": "truncated"}.get(name, "not a tar"))
    damaged = bytearray(data)
    damaged[512 * (data.index(b"manifest.json") // 512)] ^= 1
    t.refused(6, "ls", f"docker-archive:{archive(t, bytes(damaged))}", says="checksum")
    t.refused(6, "ls", f"docker-archive:{tar_of(t, samples.hello(t).path)}", says="oci-archive:")
    t.refused(3, "ls", f"oci-archive:{good}", says="docker-archive:")
    t.refused(2, "ls", f"docker-archive:{t.work}", says="regular file")
    item = greeting(b"x")[0]
    config = config_of([item])

    def manifest(tar, *layers, cfg="c.json"):
        tar.file("c.json", config).file("manifest.json", json.dumps([{"Config": cfg, "Layers": layers}]).encode())
        return f"docker-archive:{archive(t, tar)}"

    t.refused(6, "ls", manifest(Tar(), "gone.tar"), says="gone.tar")
    t.refused(6, "ls", manifest(Tar().file("l", item.blob), "l", "l"), says="diff_ids")
    t.refused(6, "ls", manifest(Tar().dir("l"), "l"), says="not a file")
    t.refused(6, "ls", manifest(Tar().symlink("l", "l"), "l"), says="not a file")
    for target in ("/etc/passwd", "../../etc/passwd"):
        t.refused(6, "ls", manifest(Tar().symlink("l", target), "l"), says="not a file")
        t.refused(6, "ls", manifest(Tar(), target), says="passwd")
    t.refused(6, "ls", manifest(Tar().file("../l", item.blob), "l"), says="climbs")
    for body in (b"", b"[]", b"{}", b"[[]]", b'[{"Config": 1, "Layers": []}]', b'[{"Config": "c.json", "Layers": [1]}]',
                 b'[{"Config": "c.json", "Layers": []}'):
        path = archive(t, Tar().file("c.json", config).file("manifest.json", body))
        t.refused(3 if body == b"[]" else 6, "ls", f"docker-archive:{path}")
    evil = docker(t, [(["\x1b[2Jx:1"], [item]), (["b:1"], [item])])
    line = t.refused(2, "ls", f"docker-archive:{evil}")
    t.check("\x1b" not in line, "a name draws on the terminal")
