"""Images made and moved by the tools people have: skopeo, buildah, podman; and what HTTP/2 changes (nothing)."""
import glob
import os
import shutil

import oracles
import samples
import treecmp
from images import Layout
from morseltest import need
from registries import Registry


def same_tree(t, ref, want, *flags):
    with t.mounted(ref, *flags) as m:
        got = treecmp.dump(m.path)
    names = [n for n in got if got[n]["type"] == "dir"]  # implied ones have the unpacker's time
    t.no_differences(treecmp.compare(got, want, skip=[(n, "mtime_ns") for n in names]))


def case_skopeo_copies_to_a_registry(t):
    """As OCI and as Docker schema 2, over HTTP and HTTPS."""
    need("skopeo", "umoci")
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    want = treecmp.dump(oracles.umoci(t, lay))
    for tls in (False, True):
        r = Registry(t, tls=tls)
        for form in ("oci", "v2s2"):
            t.run("skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", "--format", form,
                  f"oci:{lay.path}:latest", f"docker://{r.host}/by/skopeo:{form}", env=oracles.podman_env(t))
            same_tree(t, f"{r.host}/by/skopeo:{form}", want, *(["--tls-verify=false"] if tls else []))
        types = {t.morsel("inspect", "--format", "json", *(["--tls-verify=false"] if tls else []),
                          f"{r.host}/by/skopeo:{form}").json()["media_type"] for form in ("oci", "v2s2")}
        t.equal(len(types), 2, f"media types {types}")
        r.stop()


def case_buildah_builds(t):
    need("buildah", "umoci")
    t.need_root()
    env = oracles.podman_env(t)
    store = ("buildah", "--root", t.path("b/root"), "--runroot", t.path("b/run"), "--storage-driver", "vfs")
    work = t.run(*store, "from", "scratch", env=env).text.strip()
    files = samples.big_files("buildah", 3, 50_000)
    for name, data in files.items():
        os.makedirs(os.path.dirname(t.path(f"src/{name}")), exist_ok=True)
        with open(t.path(f"src/{name}"), "wb") as f:
            f.write(data)
    t.run(*store, "add", work, t.path("src"), "/opt", env=env)
    t.run(*store, "commit", "-q", "--disable-compression=false", "--format", "oci", work, f"oci:{t.path('built')}:v1", env=env)
    ref = f"oci:{t.path('built')}:v1"
    with t.mounted(ref) as m:
        for name, data in files.items():
            t.check(m.read(f"opt/{name}") == data, name)
        got = treecmp.dump(m / "opt")
    t.no_differences(treecmp.compare(got, treecmp.dump(t.path("src")),
                                     skip=[(None, "mtime_ns"), (b".", "mode")]))


def case_podman_and_morsel_see_the_same_registry(t):
    need("podman")
    t.need_root()
    r = Registry(t)
    lay = samples.hello(t)
    digest = r.push(lay)
    env = oracles.podman_env(t)
    t.run("podman", "pull", "-q", "--tls-verify=false", r.ref(), env=env, timeout=120)
    t.defer(oracles.podman_end, t)
    seen = t.run("podman", "image", "inspect", "--format", "{{.Digest}}", r.ref(), env=env).text.strip()
    t.equal(seen, digest, "podman's digest")
    t.equal(t.morsel("inspect", "--format", "json", r.ref()).json()["digest"], digest, "ours")


def case_programs_run_in_a_chroot(t):
    """The mount is a root file system like any other."""
    need("umoci")
    t.need_root()
    tree = t.path("rootfs")
    for path in ["/bin/sh", "/bin/cat"] + glob.glob("/lib64/ld-linux*") + glob.glob("/lib/*/libc.so.6"):
        os.makedirs(os.path.dirname(tree + path), exist_ok=True)
        shutil.copy(path, tree + path)
    with open(f"{tree}/greeting", "w", encoding="ascii") as f:
        f.write("from inside\n")
    path = t.path("img")
    t.run("umoci", "init", "--layout", path)
    t.run("umoci", "new", "--image", f"{path}:latest")
    t.run("umoci", "insert", "--image", f"{path}:latest", tree, "/")
    with t.mounted(f"oci:{path}:latest") as m:
        t.equal(t.run("chroot", m.path, "/bin/sh", "-c", "cat /greeting").text, "from inside\n", "chroot")
