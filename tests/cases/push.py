"""morsel push: what it makes of directories and options, where it goes, and what others make of that."""
import json
import os
import random
import time
import types

import oracles
import samples
import treecmp
from images import Layout, layer, platform
from morseltest import need, wait_until
from registries import Registry
from tarball import Tar
from trees import make_tree

FORMATS = ("estargz", "zstd:chunked", "gzip", "zstd", "none")
PLUMBING = (b".no.prefetch.landmark", b".prefetch.landmark", b"stargz.index.json")


def small(t, name="tree", text="hello\n"):
    root = t.new_path(name)
    os.makedirs(f"{root}/etc")
    with open(f"{root}/etc/greeting", "w", encoding="utf-8") as f:
        f.write(text)
    return root


def push(t, *args, **kw):
    return t.morsel("push", "--format", "json", *args, **kw).json()


def document(layout, digest):
    with open(f"{layout}/blobs/{digest.replace(':', '/')}", encoding="utf-8") as f:
        return json.load(f)


def made(t, *args, **kw):
    """Pushed into a layout: manifest and config."""
    lay = t.new_path("layout")
    r = push(t, *args, f"oci:{lay}:x", **kw)
    manifest = document(lay, r["digest"])
    return lay, manifest, document(lay, manifest["config"]["digest"])


def case_registries(t):
    """Every format, to a registry of every kind: the mount shows the tree, skopeo copies it, digests agree."""
    need("skopeo")
    make_tree(t.path("tree"), 99, utf8=True)
    want = treecmp.dump(t.path("tree"))
    kinds = ((False, None), (True, None), (True, "htpasswd"), (False, "token"), (False, None))
    for (tls, auth), compression in zip(kinds, FORMATS):
        r = Registry(t, tls=tls, auth=auth)
        flags = (["--tls-verify=false"] if tls else []) + (["--authfile", r.authfile()] if auth else [])
        ref = r.ref(tag="new")
        got = push(t, "--compression", compression, *flags, t.path("tree"), ref)
        if auth:
            t.refused(4, "push", *(["--tls-verify=false"] if tls else []), t.path("tree"), ref)
            t.refused(4, "push", *(["--tls-verify=false"] if tls else []), "--authfile", r.authfile("wrong"),
                      t.path("tree"), ref)
        with t.mounted(ref, *flags) as m:
            t.no_differences(treecmp.compare(want, treecmp.dump(m.path), ignore=PLUMBING))
        out = t.new_path("copied")
        creds = ["--src-authfile", r.authfile()] if auth else []
        t.run("skopeo", "copy", "-q", "--preserve-digests", "--src-tls-verify=false", *creds, f"docker://{ref}", f"oci:{out}:x")
        t.equal(document(out, got["digest"])["layers"][0]["digest"], got["layers"][0]["digest"], "the layer's digest")
        again = push(t, "--compression", compression, *flags, t.path("tree"), ref)
        t.equal(again["digest"], got["digest"], "the digest of a second push")
        t.check(again["blobs_skipped"] >= 1, "the config was sent again")


def case_podman_runs_it(t):
    """podman and buildah's library pull it from a registry and see the tree and the configuration."""
    need("podman")
    t.need_root("podman mounts images only as root")
    make_tree(t.path("tree"), 7, utf8=True)
    want = treecmp.dump(t.path("tree"))
    r = Registry(t)
    env = oracles.podman_env(t)
    for compression in ("estargz", "zstd:chunked", "gzip"):
        ref = r.ref(tag=compression.replace(":", "-"))
        push(t, "--compression", compression, "--entrypoint", "/run me", "--env", "A=b", t.path("tree"), ref)
        try:
            t.run("podman", "pull", "-q", "--tls-verify=false", ref, env=env, timeout=180)
            seen = json.loads(t.run("podman", "image", "inspect", ref, env=env).out)[0]["Config"]
            t.equal((seen["Entrypoint"], seen["Env"]), (["/run", "me"], ["A=b"]), "configuration")
            tree = t.run("podman", "image", "mount", ref, env=env).text.strip()
            old = [(p, "mtime_ns") for p, rec in want.items() if rec["mtime_ns"] < 0]
            lines = treecmp.compare(want, treecmp.dump(tree), skip=old + [(b".", "mtime_ns"), (b".", "mode"), (b".", "uid"),
                                                                         (b".", "gid")], ignore=PLUMBING)
            t.no_differences(lines)
            t.run("podman", "image", "umount", "-f", ref, env=env)
        finally:
            oracles.podman_end(t)


def case_configuration(t):
    root = small(t)
    lay, manifest, config = made(
        t, "--entrypoint", '["/bin/sh", "-c"]', "--cmd", "echo 'a b'", "--env", "A=1", "-e", "FROM_US", "--env", "NOT_SET",
        "--workdir", "/srv", "--user", "7:8", "--label", "x=y", "-l", "z", "--annotation", "org.x=1", "--author", "me & you",
        "--platform", "linux/arm64", root, env={"FROM_US": "v", "SOURCE_DATE_EPOCH": "1700000000"})
    t.equal(config["config"], {"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo", "a b"], "Env": ["A=1", "FROM_US=v"],
                               "WorkingDir": "/srv", "User": "7:8", "Labels": {"x": "y", "z": ""}}, "config")
    t.equal((config["os"], config["architecture"], config["author"], config["created"]),
            ("linux", "arm64", "me & you", "2023-11-14T22:13:20Z"), "config")
    t.equal(manifest["annotations"], {"org.x": "1"}, "annotations of the manifest")
    t.equal(len(config["rootfs"]["diff_ids"]), len(manifest["layers"]), "diff_ids")
    need("umoci")
    t.run("umoci", "stat", "--image", f"{lay}:x")
    for bad in (["--env", "=x"], ["--label", "=x"], ["--annotation", "x"], ["--entrypoint", "[1]"], ["--cmd", "'"],
                ["--workdir", "srv"], ["--owner", "me"], ["--compression", "lzma"], ["--level", "99"], ["--chunk-size", "1"],
                ["--layer", "x"], ["--jobs", "-1"], ["--artifact-type", "x"], ["--base", "a", "--artifact-type", "a/b"]):
        r = t.morsel("push", *bad, root, f"oci:{t.path('not')}:x", rc=2)
        t.check(not os.path.exists(t.path("not")) and len(r.err_text.splitlines()) == 1, f"{bad}: {r.err_text}")
    t.morsel("push", root, f"oci:{t.path('not')}:x", rc=2, env={"SOURCE_DATE_EPOCH": "yesterday"})


def case_reproducible(t):
    """Whatever the directory it is called from, the number of jobs and threads, when files were read, where the tree lies."""
    make_tree(t.path("tree"), 5)
    want = push(t, t.path("tree"), f"oci:{t.path('a')}:x")["digest"]
    os.makedirs(t.path("elsewhere"))
    t.run("cp", "-a", t.path("tree"), t.path("elsewhere/other"))
    for base, _, files in os.walk(t.path("tree")):
        for name in files:
            st = os.lstat(f"{base}/{name}")
            os.utime(f"{base}/{name}", ns=(time.time_ns(), st.st_mtime_ns), follow_symlinks=False)
    t.equal(push(t, "other", "oci:b:x", "--jobs", "1", "--threads", "1", cwd=t.path("elsewhere"))["digest"], want, "digest")
    t.equal(push(t, t.path("tree"), f"oci:{t.path('c')}:x", "--threads", "7")["digest"], want, "digest")


def case_outputs(t):
    """-q prints the digest, --digest-file holds it, JSON has sizes and times; a directory that is missing is exit 3."""
    root, lay = small(t), t.path("lay")
    digest = t.morsel("push", "-q", "--digest-file", t.path("digest"), root, f"oci:{lay}:x").text
    with open(t.path("digest"), encoding="ascii") as f:
        t.equal(f.read(), digest.strip(), "the digest file")
    r = push(t, root, f"oci:{lay}:y")
    t.equal(r["digest"], digest.strip(), "digest")
    t.check(r["skipped_bytes"] > r["layers"][0]["size"] > 0 and r["moved_bytes"] == 0, f"{r}")
    t.equal(sorted(r["seconds"]), ["blobs", "documents", "prepare", "total"], "times")
    t.contains(t.morsel("push", root, f"oci:{lay}:x").text, "digest     " + digest.strip())
    t.refused(3, "push", t.path("missing"), f"oci:{lay}:x", says="missing")
    t.refused(3, "push", f"oci:{lay}:nothing", f"oci:{t.path('lay2')}:x", says="nothing")
    t.morsel("push", f"oci:{lay}:x", rc=2)


def case_layouts(t):
    """Tags stay, are replaced, are copied; a directory that is something else is not touched."""
    need("skopeo")
    lay = t.path("lay")
    one = push(t, small(t, text="1"), f"oci:{lay}:one")["digest"]
    two = push(t, small(t, text="2"), f"oci:{lay}:two")["digest"]
    t.equal(sorted(t.morsel("tags", f"oci:{lay}").text.split()), ["one", "two"], "tags")
    t.equal(t.run("skopeo", "inspect", "--format", "{{.Digest}}", f"oci:{lay}:one").text.strip(), one, "digest of one")
    push(t, small(t, text="3"), f"oci:{lay}:one")
    t.equal(sorted(t.morsel("tags", f"oci:{lay}").text.split()), ["one", "two"], "tags")
    t.equal(t.morsel("cat", f"oci:{lay}:one", "etc/greeting").text, "3", "contents")
    t.equal(push(t, f"oci:{lay}:two", f"oci:{t.path('new')}:x")["digest"], two, "digest of a copy")
    t.equal(push(t, f"oci:{t.path('new')}", f"oci:{t.path('new2')}")["digest"], two, "digest of a copy without a name")
    root = small(t, "full")
    t.refused(1, "push", root, f"oci:{root}:x", says="not empty")
    t.parallel(4, lambda i: push(t, f"oci:{lay}:two", f"oci:{t.path('many')}:t{i}"))
    t.equal(sorted(t.morsel("tags", f"oci:{t.path('many')}").text.split()), ["t0", "t1", "t2", "t3"], "tags of many")


def case_layers(t):
    """Several directories and prefixes: several layers, the later ones above."""
    a, b, c = small(t, "a", "a\n"), small(t, "b", "b\n"), small(t, "c", "c\n")
    lay, manifest, config = made(t, "--layer", f"/opt/app={c}", a, b)
    t.equal(len(manifest["layers"]), 3, "layers")
    t.equal([h["created_by"] for h in config["history"]], ["morsel push", "morsel push", "morsel push /opt/app"], "history")
    t.equal(t.morsel("cat", f"oci:{lay}:x", "etc/greeting", "opt/app/etc/greeting").text, "b\nc\n", "contents")
    lay, manifest, _ = made(t, "--layer", f"opt={c}", "--owner", "12:34", "--exclude", "etc/nothing")
    t.contains(t.morsel("ls", "-l", f"oci:{lay}:x", "opt/etc").text, "12", "34")
    tree = oracles.umoci(t, types.SimpleNamespace(path=lay), "x")
    with open(f"{tree}/opt/etc/greeting", encoding="ascii") as f:
        t.equal(f.read(), "c\n", "what umoci unpacks")


def case_base(t):
    """On another image of the registry: its layers are mounted, not sent; its configuration stays but for what was said."""
    r = Registry(t)
    lay = Layout(t.path("base"))
    lay.image([layer(Tar().file("bin/tool", b"tool\n").file("etc/greeting", b"old\n")), layer(Tar().file("etc/more", b"m\n"))],
              config={"config": {"Env": ["PATH=/bin"], "Cmd": ["tool"], "Labels": {"from": "base"}}})
    r.push(lay, repo="base/image")
    ref = r.ref(repo="my/app")
    got = push(t, "--base", r.ref(repo="base/image"), "--label", "x=1", small(t), ref)
    t.equal(got["blobs_skipped"], 2, "layers that were mounted")
    t.equal(t.morsel("cat", ref, "bin/tool", "etc/greeting", "etc/more").text, "tool\nhello\nm\n", "contents")
    config = t.morsel("inspect", "--format", "json", ref).json()["config"]
    t.equal((config["Env"], config["Cmd"], config["Labels"]), (["PATH=/bin"], ["tool"], {"from": "base", "x": "1"}), "config")
    other = t.path("elsewhere")
    push(t, "--base", r.ref(repo="base/image"), "--entrypoint", "/e", small(t), f"oci:{other}:x")  # copied where it can't be
    t.equal(t.morsel("cat", f"oci:{other}:x", "bin/tool", "etc/greeting").text, "tool\nhello\n", "contents")
    t.check("Cmd" not in t.morsel("inspect", "--format", "json", f"oci:{other}:x").json()["config"], "the base's Cmd stayed")
    t.refused(3, "push", "--base", r.ref(repo="base/none"), small(t), ref)


def case_pushed_again(t):
    """A layer that the registry has is not sent again, whatever its format; one that only looks the same is."""
    root, r = t.new_path("tree"), Registry(t)
    make_tree(root, 3, utf8=True)
    with open(f"{root}/noise", "wb") as f:
        f.write(random.Random(1).randbytes(3 << 20))
    st = os.stat(f"{root}/noise")
    for compression in FORMATS:
        first = push(t, "--compression", compression, root, r.ref(tag="first"))
        t.check(first["moved_bytes"] > 3 << 20, f"{compression}: {first}")
        again = push(t, "--compression", compression, root, r.ref(tag="again"))
        t.equal((again["digest"], again["blobs_skipped"], again["moved_bytes"]), (first["digest"], 2, 0), f"{compression} again")
        t.equal(again["skipped_bytes"] > first["layers"][0]["size"], True, "bytes that were there")
    other = push(t, "--compression", compression, root, r.ref(repo="other"))
    t.check(other["moved_bytes"] > 3 << 20 and other["digest"] == first["digest"], f"to a repository without it: {other}")
    based = push(t, "--compression", compression, "--base", r.ref(tag="first"), root, r.ref(tag="twice"))
    t.check(based["moved_bytes"] < 1 << 20, f"the base's own layer on the base: {based}")
    with open(f"{root}/noise", "r+b") as f:
        f.seek(1 << 20)
        f.write(b"changed, and hidden")
    os.utime(f"{root}/noise", ns=(st.st_atime_ns, st.st_mtime_ns))
    for compression in ("estargz", "none"):
        ref = r.ref(tag="changed")
        changed = push(t, "--compression", compression, root, ref)
        t.check(changed["moved_bytes"] > 3 << 20, f"{compression} after a change: {changed}")
        t.contains(t.morsel("cat", ref, "noise").out[1 << 20:][:30], "changed, and hidden")
    lay = f"oci:{t.path('lay')}"
    push(t, root, f"{lay}:a")
    got = push(t, root, f"{lay}:b")
    t.equal((got["blobs_skipped"], got["moved_bytes"]), (2, 0), "again into a layout")


def case_artifact(t):
    """An OCI artifact: empty config, the type in the manifest and in the layout's index; not an image to mount."""
    lay = t.path("lay")
    got = push(t, "--artifact-type", "application/x.thing", small(t), f"oci:{lay}:x")
    manifest = document(lay, got["digest"])
    t.equal((manifest["artifactType"], manifest["config"]["mediaType"], manifest["config"]["data"]),
            ("application/x.thing", "application/vnd.oci.empty.v1+json", "e30="), "manifest")
    with open(f"{lay}/index.json", encoding="utf-8") as f:
        t.equal(json.load(f)["manifests"][0]["artifactType"], "application/x.thing", "index.json")
    t.refused(8, "ls", f"oci:{lay}:x", says="application/x.thing")
    r = Registry(t)
    t.equal(push(t, f"oci:{lay}:x", r.ref())["digest"], got["digest"], "digest of a copy")


def case_copies(t):
    """Images of others, and an index with all its images, unchanged through layout, registry and back."""
    need("skopeo")
    r = Registry(t)
    lay = Layout(t.path("multi"))
    images = [{**lay.manifest([layer(Tar().file("arch", arch.encode()))], platform=("linux", arch, "")),
               "platform": platform("linux", arch)} for arch in ("amd64", "arm64")]
    want = lay.tag(lay.index(images), "all")
    t.equal(push(t, f"oci:{lay.path}:all", r.ref(tag="all"))["digest"], want, "digest of the index")
    t.equal(t.morsel("cat", "--platform", "linux/arm64", r.ref(tag="all"), "arch").text, "arm64", "the other platform")
    t.equal(push(t, f"docker://{r.ref(tag='all')}", f"oci:{t.path('back')}:all")["digest"], want, "digest of the index")
    hello = samples.hello(t)
    t.run("skopeo", "copy", "-q", f"oci:{hello.path}:latest", f"docker-archive:{t.path('a.tar')}:x:y")
    got = push(t, f"docker-archive:{t.path('a.tar')}:x:y", r.ref(tag="d"))["digest"]
    t.equal(t.run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}", f"docker://{r.ref(tag='d')}")
            .text.strip(), got, "digest")
    config = document(lay.path, images[0]["digest"])["config"]["digest"]
    with open(f"{lay.path}/blobs/{config.replace(':', '/')}", "r+b") as f:
        f.write(b"X")
    t.refused(6, "push", f"oci:{lay.path}:all", r.ref(repo="new/repo"), says="corrupt")


def case_first_things_first(t):
    """--prioritize: a mount fetches these before they are read, in both formats with a table; unpackers see the landmark."""
    root = small(t)
    with open(f"{root}/big", "wb") as f:
        f.write(samples.noise(3, 1 << 20))
    with open(f"{root}/etc/first", "wb") as f:
        f.write(random.Random(4).randbytes(300000))
    with open(t.path("list"), "w", encoding="ascii") as f:
        f.write("/etc/first\nmissing\n")
    r = Registry(t)
    for compression in ("estargz", "zstd:chunked"):
        ref = r.ref(tag=compression.replace(":", "-"))
        push(t, "--compression", compression, "--prioritize", t.path("list"), root, ref)
        with t.mounted(ref, "--prefetch", "landmark") as m:
            wait_until("the landmark's files are fetched", lambda: m.stat()["prefetch_bytes"] >= 300000, 30)
            t.check(m.stat()["prefetch_bytes"] < 1 << 20, "all was fetched")
            t.equal(sorted(os.listdir(m.path)), ["big", "etc"], "what is shown")
            t.equal(m.read("etc/greeting"), b"hello\n", "contents")
        lay, manifest, _ = made(t, "--compression", compression, root)
        layer_file = f"{lay}/blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"
        listed = t.run("tar", "-tf", layer_file, "--zstd" if "zstd" in compression else "-z").text.split()
        t.equal([n for n in listed if "landmark" in n], [".no.prefetch.landmark"] if compression == "estargz" else [],
                "what others see without a list")
    t.refused(3, "push", "--prioritize", t.path("none"), root, r.ref(), says="none")
    t.refused(6, "push", "--prioritize", t.binary, root, r.ref(), says=[t.binary, "no path"])
    with open(t.path("list"), "w", encoding="ascii") as f:
        f.write("/etc/nothing\nmissing\n")
    said = t.morsel("push", "--prioritize", t.path("list"), root, r.ref()).err_text
    t.contains(said, "--prioritize", "2 paths none is there")


def case_names_that_formats_use(t):
    """Files of the user's with the names of landmarks and tables: in, or out with a warning, never lost in silence."""
    names = sorted(n.decode() for n in PLUMBING)
    root, lay = t.new_path("tree"), t.path("lay")
    os.mkdir(root)
    for n in names:
        with open(f"{root}/{n}", "w", encoding="ascii") as f:
            f.write("mine\n")
    for compression in FORMATS:
        name = compression.replace(":", "-")
        r = t.morsel("push", "--compression", compression, root, f"oci:{lay}:{name}")
        out = {n for n in names if f"{root}/{n} is left out" in r.err_text}
        seen = {n for n in names if n not in out}
        t.equal(sorted(t.morsel("ls", f"oci:{lay}:{name}").text.split()), sorted(seen), f"files in {compression}")
        t.morsel("pull", f"oci:{lay}:{name}", t.path(name))
        t.equal(sorted(os.listdir(t.path(name))), sorted(seen), f"files pulled from {compression}")
        t.equal(len(out), {"estargz": 3, "zstd:chunked": 2}.get(compression, 0), f"files left out of {compression}")
