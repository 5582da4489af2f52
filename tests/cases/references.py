"""What a reference names: layouts, tags, digests, indexes and platforms; and what is refused by name."""
import json
import os

import samples
from images import (DOCKER_LAYER_GZIP, OCI, OCI_CONFIG, OCI_LAYER_TAR, OCI_MANIFEST, Layer, Layout, gzip_one, layer,
                    platform)
from registries import Registry
from tarball import Tar


def told(text):
    """A layer that says which image it is."""
    return layer(Tar().file("which", text))


def which(t, lay, *flags, name=""):
    return t.morsel("cat", *flags, f"oci:{lay.path}{name}", "which").text


def image(lay, arch, text, variant="", os_name="linux", features=None, **kw):
    d = lay.manifest([told(text)], platform=(os_name, arch, variant))
    return {**d, "platform": platform(os_name, arch, variant or None, features), **kw}


def case_layout_names(t):
    lay = Layout(t.path("img"))
    lay.image([told("only")], name="v1")
    t.equal(which(t, lay), "only", "without a name: the only image")
    lay.image([told("second")], name="v2:rc/1")
    t.equal(which(t, lay, name=":v1"), "only", "by name")
    t.equal(which(t, lay, name=":v2:rc/1"), "second", "a name with a colon in it")
    t.refused(2, "ls", f"oci:{lay.path}", says="v1")
    t.refused(3, "ls", f"oci:{lay.path}:v3", says=["v3", "v1"])
    d = lay.manifests[1]["digest"]
    t.equal(which(t, lay, name=f"@{d}"), "second", "by digest")
    t.refused(3, "ls", f"oci:{t.path('missing')}", says=t.path("missing"))
    t.refused(3, "ls", f"oci:{t.work}", says="oci-layout")


def case_layout_with_a_missing_blob(t):
    lay = samples.hello(t)
    digest = json.load(open(lay.blob_path(lay.manifests[0]["digest"])))["layers"][0]["digest"]
    os.unlink(lay.blob_path(digest))
    t.refused(3, "ls", f"oci:{lay.path}", says=digest)


def case_index_picks_the_platform(t):
    lay = Layout(t.path("img"))
    lay.tag(lay.index([image(lay, "arm64", "arm64"), image(lay, "amd64", "amd64"), image(lay, "arm", "armv7", "v7"),
                       image(lay, "arm", "armv6", "v6"), image(lay, "s390x", "s390x")]))
    for want, got in (("linux/amd64", "amd64"), ("linux/arm64", "arm64"), ("linux/arm64/v8", "arm64"),
                      ("linux/aarch64", "arm64"), ("linux/x86_64", "amd64"), ("linux/arm/v7", "armv7"),
                      ("linux/arm/v6", "armv6"), ("linux/arm", "armv7"), ("amd64", "amd64")):
        t.equal(which(t, lay, "--platform", want), got, want)
    t.equal(which(t, lay), t.run("uname", "-m").text.strip().replace("x86_64", "amd64").replace("aarch64", "arm64"),
            "this machine's")
    line = t.refused(8, "ls", "--platform", "linux/riscv64", f"oci:{lay.path}", says=["linux/riscv64", "linux/s390x"])
    t.check("windows" not in line, line)
    t.refused(8, "mount", "--platform", "windows/amd64", f"oci:{lay.path}", t.mnt)


def case_index_skips_what_is_no_image(t):
    lay = Layout(t.path("img"))
    attestation = image(lay, "unknown", "attestation", os_name="unknown",
                        annotations={"vnd.docker.reference.type": "attestation-manifest"})
    soci = image(lay, "amd64", "soci", artifactType="application/vnd.amazon.soci.index.v2+json")
    nydus = image(lay, "amd64", "nydus", features=["nydus.remoteimage.v1"])
    strange = {**image(lay, "amd64", "strange"), "mediaType": "application/vnd.example.thing+json"}
    lay.tag(lay.index([attestation, soci, nydus, strange, image(lay, "amd64", "image"), soci]))
    t.equal(which(t, lay, "--platform", "linux/amd64"), "image", "the image among other things")
    lay = Layout(t.path("none"))
    lay.tag(lay.index([attestation, soci, nydus]))
    t.refused(8, "ls", "--platform", "linux/amd64", f"oci:{lay.path}")


def case_index_entry_without_a_platform(t):
    lay = Layout(t.path("img"))
    lay.tag(lay.index([lay.manifest([told("only one")])]))
    t.equal(which(t, lay, "--platform", "linux/amd64"), "only one", "the only candidate")
    t.refused(8, "ls", "--platform", "linux/s390x", f"oci:{lay.path}", says="linux/amd64")


def case_nested_indexes(t):
    lay = Layout(t.path("img"))
    inner = lay.index([image(lay, "amd64", "inside")])
    lay.tag(lay.index([{**inner, "platform": platform("linux", "amd64")}]))
    t.equal(which(t, lay), "inside", "two levels")
    deep = Layout(t.path("deep"))
    d = deep.index([image(deep, "amd64", "too deep")])
    for _ in range(2):
        d = deep.index([{**d, "platform": platform("linux", "amd64")}])
    deep.tag(d)
    t.refused(7, "ls", f"oci:{deep.path}", says="nested")


def case_docker_schema_2(t):
    lay = Layout(t.path("img"))
    tar = Tar().file("which", b"docker").end()
    d = lay.manifest([Layer(tar, media_type=DOCKER_LAYER_GZIP)], docker=True)
    lay.tag(lay.index([{**d, "platform": platform("linux", "amd64")}], docker=True))
    t.equal(which(t, lay), "docker", "schema 2")


def case_manifest_without_media_type(t):
    lay = Layout(t.path("img"))
    lay.image([told("old")], mediaType=None)
    t.equal(which(t, lay), "old", "an early OCI manifest")


def case_media_types_that_lie(t):
    """What a layer is, its first bytes decide."""
    lay = Layout(t.path("img"))
    tar = Tar().file("which", b"sniffed").end()
    lay.image([Layer(tar, media_type=OCI_LAYER_TAR)])  # gzip inside
    t.equal(which(t, lay), "sniffed", "gzip that is called tar")


def case_schema_1_is_refused(t):
    lay = Layout(t.path("img"))
    v1 = {"schemaVersion": 1, "name": "x", "tag": "y", "architecture": "amd64", "fsLayers": [], "history": []}
    lay.tag(lay.document(v1, "application/vnd.docker.distribution.manifest.v1+prettyjws"))
    t.refused(8, "ls", f"oci:{lay.path}", says="schema 1")


def case_artifacts_are_refused(t):
    lay = Layout(t.path("img"))
    chart = {"schemaVersion": 2, "mediaType": OCI_MANIFEST,
             "config": lay.document({}, "application/vnd.cncf.helm.config.v1+json"), "layers": []}
    lay.tag(lay.document(chart, OCI_MANIFEST))
    t.refused(8, "ls", f"oci:{lay.path}", says=("helm", lay.path))


def case_unknown_layer_types_are_refused(t):
    for kind in ("layer.v1.tar+gzip+encrypted", "layer.nydus.blob.v1", "layer.v1.tar+bzip3"):
        lay = Layout(t.new_path("img"))
        lay.image([Layer(Tar().end(), media_type=OCI + kind)])
        t.refused(8, "ls", f"oci:{lay.path}", says=(kind, lay.path))
    lay = Layout(t.new_path("img"))
    lay.image([Layer(b"xz", blob=b"\xfd7zXZ\0" + bytes(600))])
    t.refused(8, "ls", f"oci:{lay.path}")


def case_ambiguous_manifests_are_refused(t):
    """A document that reads as a manifest and as an index (CVE-2021-41190)."""
    lay = Layout(t.path("img"))
    both = {"schemaVersion": 2, "config": lay.document({}, OCI_CONFIG), "layers": [], "manifests": []}
    lay.tag(lay.document(both, OCI_MANIFEST))
    t.refused(6, "ls", f"oci:{lay.path}", says="ambiguous")


def case_tag_and_digest(t):
    """The digest wins; both are shown."""
    r = Registry(t)
    lay = Layout(t.path("img"))
    first = lay.image([told("first")], name="v1")
    lay.image([told("second")], name="v2")
    for name in ("v1", "v2"):
        r.push(lay, name=name)
    ref = f"{r.host}/test/image:v2@{first}"
    t.equal(t.morsel("cat", ref, "which").text, "first", "what the digest names")
    o = t.morsel("inspect", "--format", "json", ref).json()
    t.equal(o["digest"], first, "digest")
    t.contains(o["reference"], ":v2", first)
    t.equal(t.morsel("cat", f"docker://{r.host}/test/image:v2", "which").text, "second", "docker://")
    t.equal(t.morsel("cat", f"localhost:{r.port}/test/image:v1", "which").text, "first", "localhost")


def case_what_is_not_there(t):
    r = Registry(t)
    lay = samples.hello(t)
    r.push(lay)
    t.refused(3, "ls", f"{r.host}/test/image:nope", says=["nope", r.host])
    t.refused(3, "ls", f"{r.host}/no/such", says=r.host)
    t.refused(3, "ls", f"{r.host}/test/image@sha256:{'0' * 64}")
    t.refused(32, "mount", r.ref(), t.path("no-such-directory"), says="no-such-directory")


def case_ipv6_host(t):
    if not os.path.exists("/proc/net/if_inet6"):
        t.skip("no IPv6")
    lay = samples.hello(t)
    r = Registry(t)
    r.stop()
    r.config["http"]["addr"] = f":{r.port}"
    r.start()
    r.push(lay)
    t.contains(t.morsel("cat", f"[::1]:{r.port}/test/image", "greeting").text, "hello")


def case_empty_layers(t):
    """The old empty layer, an all-zero tar, a 0-byte archive inside gzip."""
    legacy = bytes.fromhex("1f8b080000096e8800ff621805a360148c5800080000ffff2eafb5ef00040000")
    lay = Layout(t.path("img"))
    lay.image([Layer(bytes(1024), blob=legacy), told("there"), Layer(bytes(10240)), Layer(b"", blob=gzip_one(b""))])
    t.equal(which(t, lay), "there", "between empty layers")


def case_the_same_layer_twice(t):
    lay = Layout(t.path("img"))
    a = layer(Tar().file("which", b"a").file("only-a", b""))
    b = layer(Tar().file("which", b"b").whiteout("only-a"))
    lay.image([a, b, a])
    t.equal(which(t, lay), "a", "the upper copy counts")
    t.equal(t.morsel("ls", f"oci:{lay.path}").text, "only-a\nwhich\n", "and undoes the whiteout")


def case_image_without_layers(t):
    lay = Layout(t.path("img"))
    lay.image([])
    t.equal(t.morsel("ls", f"oci:{lay.path}").text, "", "an empty image")
    with t.mounted(f"oci:{lay.path}") as m:
            t.equal(os.listdir(m.path), [], "mounted")
