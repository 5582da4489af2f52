"""The merged index is an ordinary EROFS image: fsck.erofs passes it, and Linux mounts it with the layers as devices and
shows the same tree as our own server and as umoci."""
import contextlib
import glob
import hashlib
import os

import erofsmount
import oracles
import samples
import treecmp
from images import Layout, layer
from morseltest import TOOLS, need
from tarball import Tar


def image_files(t, lay):
    """(tree.erofs, the layers' data files in the order of its device table)"""
    t.morsel("ls", f"oci:{lay.path}")
    [tree] = glob.glob(f"{t.cache}/images/sha256/*/tree.erofs")
    tags = erofsmount.device_tags(tree)
    t.equal(["sha256:" + tag for tag in tags], lay.layer_digests(), "tags of the device table")
    return tree, [layer_data(t, digest) for digest in lay.layer_digests()]


def layer_data(t, blob_digest):
    """layers/<key>/data of a streamed layer: its anchor is the blob's own digest (kind 1)."""
    text = f"morsel layer 1\n{blob_digest}\n1\n{blob_digest}\n"
    return f"{t.cache}/layers/{hashlib.sha256(text.encode()).hexdigest()}/data"


@contextlib.contextmanager
def kernel_mount(t, tree, devices):
    t.need_root()
    at = t.new_path("kernel")
    os.mkdir(at)
    r = t.run("python3", f"{TOOLS}/erofsmount.py", tree, at, *devices, rc=None)
    if r.rc == 77:
        t.skip(f"this kernel does not mount EROFS from files: {r.err_text.strip()}")
    t.equal(r.rc, 0, f"erofsmount: {r.err_text}")
    try:
        yield at
    finally:
        t.run("umount", at)


def same_everywhere(t, lay, umoci_skip=None):
    tree, devices = image_files(t, lay)
    t.run("fsck.erofs", *[f"--device={d}" for d in devices], tree)
    with t.mounted(f"oci:{lay.path}") as m, kernel_mount(t, tree, devices) as at:
        ours, kernels = treecmp.dump(m.path), treecmp.dump(at)
        t.no_differences(treecmp.compare(ours, kernels))
    want = treecmp.dump(oracles.umoci(t, lay))
    t.no_differences(treecmp.compare(kernels, want, skip=[(None, "mtime_ns")], ignore=umoci_skip or ()))
    return kernels


def case_busy_image(t):
    need("fsck.erofs")
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    t.check(len(same_everywhere(t, lay)) > 60, "entries")


def case_many_layers(t):
    need("fsck.erofs")
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file(f"f{i}", samples.noise(i, 5000 + i)).file("same", str(i).encode())) for i in range(40)])
    same_everywhere(t, lay)


def case_big_directory(t):
    need("fsck.erofs")
    tar = Tar()
    for i in range(3000):
        tar.file(f"d/{'x' * (i % 200)}{i}", str(i).encode())
    lay = Layout(t.path("img"))
    lay.image([layer(tar)])
    same_everywhere(t, lay)


def case_same_bytes_every_time(t):
    """Two caches make the same index of the same image."""
    lay = Layout(t.path("img"))
    lay.image(samples.busy_layers())
    sums = []
    for cache in ("one", "two"):
        t.morsel("ls", "--cache-dir", t.path(cache), f"oci:{lay.path}")
        [tree] = glob.glob(f"{t.path(cache)}/images/sha256/*/tree.erofs")
        sums.append((os.path.basename(os.path.dirname(tree)), treecmp.file_sha256(tree)))
    t.equal(sums[0], sums[1], "digests")
