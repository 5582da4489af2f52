"""Random trees through a registry: pushed, mounted, pulled, and the same in everything."""
import os
import shutil

import treecmp
from registries import Registry
from trees import make_tree

FORMATS = ("estargz", "zstd:chunked", "gzip", "zstd", "none")
TREES = range(*map(int, os.environ.get("MORSEL_TREES", "0:5").split(":")))  # seeds; a second each
HIDDEN = ("trusted.overlay.", "security.selinux")  # file capabilities count: mounts are with --suid


def differences(want, where):
    return treecmp.compare(want, treecmp.dump(where, hidden=HIDDEN))


def case_same_again(t):
    """Each seed's tree, whatever the format and the size of chunks; names that are not UTF-8 in every second one."""
    t.need_fuse()
    as_root = ("--suid", "--dev") if os.geteuid() == 0 else ()
    registry = Registry(t)
    for seed in TREES:
        t.log(f"-- seed {seed}")
        tree, pulled, ref = t.new_path("tree"), t.new_path("pulled"), registry.ref(tag=f"seed{seed}")
        make_tree(tree, seed, utf8=bool(seed % 2))
        want = treecmp.dump(tree, hidden=HIDDEN)
        chunks = ("--chunk-size", str(4096 + seed * 1000)) if seed % 3 == 0 else ()
        t.morsel("push", "-q", "--compression", FORMATS[seed % len(FORMATS)], *chunks, tree, ref)
        with t.mounted(ref, *as_root, log_level="info") as m:
            t.no_differences(differences(want, m.path))
        t.morsel("cache", "clear")
        t.morsel("pull", ref, pulled)
        t.no_differences(differences(want, pulled))
        t.morsel("cache", "clear")
        shutil.rmtree(tree)
        shutil.rmtree(pulled)
