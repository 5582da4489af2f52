"""morsel pull --oci: images as they are, digest for digest, beside what skopeo copies."""
import hashlib
import json
import os
import signal
import subprocess

import samples
from faults import FaultRegistry
from images import Layout, layer, platform
from morseltest import need, wait_until
from registries import Registry
from tarball import Tar


def blobs(path):
    found = set()
    for algo in os.listdir(f"{path}/blobs"):
        for name in os.listdir(f"{path}/blobs/{algo}"):
            with open(f"{path}/blobs/{algo}/{name}", "rb") as f:
                assert hashlib.new(algo, f.read()).hexdigest() == name, name
            found.add(f"{algo}:{name}")
    return found


def index(path):
    with open(f"{path}/index.json", encoding="utf-8") as f:
        return json.load(f)["manifests"]


def case_as_skopeo(t):
    """From a registry: the same blobs and the same entry as skopeo copies; umoci unpacks it, and we read it."""
    need("skopeo", "umoci")
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    reg = Registry(t)
    reg.push(lay)
    r = t.morsel("pull", "--oci", t.path("ours"), "--format", "json", reg.ref()).json()
    t.run("skopeo", "copy", "--insecure-policy", "--src-tls-verify=false", f"docker://{reg.ref()}", f"oci:{t.path('theirs')}:latest")
    t.equal(blobs(t.path("ours")), blobs(t.path("theirs")), "blobs")
    ours, theirs = index(t.path("ours")), index(t.path("theirs"))
    t.equal([(x["digest"], x["size"], x["annotations"]) for x in ours], [(x["digest"], x["size"], x["annotations"]) for x in theirs], "index.json")
    t.equal((r["digest"], r["moved_bytes"] > 0, r["skipped_bytes"]), (ours[0]["digest"], True, 0), "the result")
    if not os.geteuid():
        t.run("umoci", "unpack", "--image", f"{t.path('ours')}:latest", t.path("bundle"))
    t.equal(t.morsel("cat", f"oci:{t.path('ours')}", "data/size-513").out, samples.noise(513, 513), "a file of it")
    r = t.morsel("pull", "--oci", f"{t.path('ours')}:second", "--format", "json", reg.ref()).json()
    t.equal((r["moved_bytes"], r["skipped_bytes"], r["name"]), (0, r["total_bytes"], "second"), "once more, with a name")
    t.equal(sorted(x["annotations"]["org.opencontainers.image.ref.name"] for x in index(t.path("ours"))), ["latest", "second"], "names")
    t.equal(t.morsel("pull", "-q", "--oci", t.path("q"), reg.ref()).text, ours[0]["digest"] + "\n", "quiet")


def case_platforms(t):
    """Of an index one platform's image, or all of it."""
    lay = Layout(t.path("img"))
    made = []
    for arch in ("amd64", "arm64"):
        m = lay.manifest([layer(Tar().file("arch", arch.encode()))], platform=("linux", arch, ""))
        made.append({**m, "platform": platform("linux", arch)})
    top = lay.tag(lay.index(made))
    ref = f"oci:{lay.path}"
    t.morsel("pull", "--platform", "linux/arm64", "--oci", t.path("one"), ref)
    t.equal([x["digest"] for x in index(t.path("one"))], [made[1]["digest"]], "the platform's manifest")
    t.equal(len(blobs(t.path("one"))), 3, "its blobs")
    t.morsel("pull", "--all-platforms", "--oci", t.path("all"), ref)
    t.equal([x["digest"] for x in index(t.path("all"))], [top], "the index")
    t.equal(blobs(t.path("all")), blobs(lay.path), "all blobs")
    for arch in ("amd64", "arm64"):
        t.equal(t.morsel("cat", "--platform", f"linux/{arch}", f"oci:{t.path('all')}", "arch").text, arch, "a file")
    t.refused(8, "pull", "--platform", "linux/s390x", "--oci", t.path("none"), ref, says="s390x")
    t.check(not os.path.exists(t.path("none")), "a layout of nothing")


def case_docker_and_archives(t):
    """Docker's types stay what they are; archives are sources too."""
    need("tar")
    lay = Layout(t.path("img"))
    digest = lay.image(samples.busy_layers(), docker=True)
    t.run("tar", "cf", t.path("img.tar"), "-C", lay.path, ".")
    for i, ref in enumerate((f"oci:{lay.path}", f"oci-archive:{t.path('img.tar')}")):
        t.morsel("pull", "--oci", t.path(f"out{i}") + ":x", ref)
        t.equal([x["digest"] for x in index(t.path(f"out{i}"))], [digest], "digest")
        t.equal(blobs(t.path(f"out{i}")), blobs(lay.path), "blobs")


def case_usage(t):
    ref = f"oci:{samples.hello(t).path}"
    t.refused(2, "pull", "--oci", t.path("x"), ref, t.path("d"), says="--oci")
    t.refused(2, "pull", "--oci", t.path("x"), "--include", "etc", ref, says="--include")
    t.refused(2, "pull", "--all-platforms", ref, t.path("d"), says="--all-platforms")
    os.makedirs(t.path("full/of"))
    t.refused(1, "pull", "--oci", t.path("full"), ref, says="not an OCI image layout")
    t.refused(3, "pull", "--oci", t.path("x"), f"oci:{t.path('nowhere')}")
    t.check(not os.path.exists(t.path("x")), "a layout was made")


def case_corrupt(t):
    """A layer that is not what its digest says: exit code 6, and no layout."""
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("f", samples.noise(3, 1 << 20)))])
    with FaultRegistry(t, lay) as reg:
        reg.rule(path=lay.layer_digests()[0], flip=5000)
        t.refused(6, "pull", "--oci", t.path("x"), reg.ref())
        t.check(not os.path.exists(t.path("x")), "a layout was made")


def case_interrupted(t):
    """In the middle of a layer: 130, nothing left of a new layout; one that was there stays as it was."""
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("f", samples.noise(3, 1 << 20)))])
    old = samples.hello(t, "old")
    t.morsel("pull", "--oci", t.path("there"), f"oci:{old.path}")
    before = index(t.path("there"))
    with FaultRegistry(t, lay) as reg:
        reg.rule(path=lay.layer_digests()[0], stall=60, at=100_000)
        for name in ("new", "there"):
            p = t.popen(t.binary, "pull", "--oci", f"{t.path(name)}:new", reg.ref(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
            wait_until("the layer", lambda n=name: os.path.isdir(f"{t.path(n)}/blobs") and
                       any(x.startswith(".tmp") and os.path.getsize(f"{t.path(n)}/blobs/{x}") > 0 for x in os.listdir(f"{t.path(n)}/blobs")))
            p.send_signal(signal.SIGINT)
            t.equal((p.communicate(timeout=20)[1].decode(), p.returncode), ("morsel: interrupted\n", 130), "interrupted")
    t.check(not os.path.exists(t.path("new")), "a layout was left")
    t.equal(index(t.path("there")), before, "index.json")
    t.equal([x for x in os.listdir(f"{t.path('there')}/blobs") if x.startswith(".")], [], "temporary files")
