"""Independent unpackers: what other programs make of the same image.

umoci unpacks layer over layer into one directory; podman keeps a directory a layer and lets overlayfs merge them. Where
they disagree a case says which one it follows and why. What is known to differ, with the versions of Debian 12:

  podman  turns times before 1970 into 0; gives the root and implied directories the time of unpacking; of a merge
          shows what overlayfs does: names that an upper layer replaced still count as links of the lower file.
  umoci   gives directories that it made or deleted something in afterwards the time of doing so; refuses GNU's old
          sparse format; follows a symlink of a lower layer, where overlayfs shadows it.
"""
import contextlib
import os

from morseltest import need


def umoci(t, layout, name="latest"):
    """Unpacks as root; the tree's path."""
    need("umoci")
    if os.geteuid():
        t.skip("umoci unpacks owners and devices only as root")
    bundle = t.path("umoci")
    t.run("umoci", "unpack", "--image", f"{layout.path}:{name}", bundle, timeout=120)
    return f"{bundle}/rootfs"


@contextlib.contextmanager
def podman(t, layout, name="latest"):
    """Pulls into a store of its own and mounts with overlayfs; yields the tree's path."""
    need("podman")
    if os.geteuid():
        t.skip("podman mounts images only as root")
    env = podman_env(t)
    try:
        # podman names the image after the path, which has to be a legal name then: a relative one is.
        image = t.run("podman", "pull", "-q", f"oci:{os.path.relpath(layout.path, t.work)}:{name}", env=env, timeout=180,
                      cwd=t.work).out.decode().split()[-1]
        tree = t.run("podman", "image", "mount", image, env=env).out.decode().strip()
        try:
            yield tree
        finally:
            t.run("podman", "image", "umount", "-f", image, env=env)
    finally:
        podman_end(t)


def podman_env(t):
    """Environment for a podman that touches nothing outside the case's directory."""
    base = t.path("podman")
    os.makedirs(base, exist_ok=True)
    with open(f"{base}/storage.conf", "w", encoding="ascii") as f:
        f.write(f'[storage]\ndriver = "overlay"\ngraphroot = "{base}/root"\nrunroot = "{base}/run"\n')
    with open(f"{base}/containers.conf", "w", encoding="ascii") as f:
        f.write('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\nnetns = "host"\n'
                f'[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
                f'tmp_dir = "{base}/tmp"\nstatic_dir = "{base}/static"\nvolume_path = "{base}/volumes"\n')
    with open(f"{base}/policy.json", "w", encoding="ascii") as f:
        f.write('{"default": [{"type": "insecureAcceptAnything"}]}')
    return {"CONTAINERS_STORAGE_CONF": f"{base}/storage.conf", "CONTAINERS_CONF": f"{base}/containers.conf"}


def podman_end(t):
    """podman binds its store onto itself; that mount goes with the store."""
    t.run("umount", "-l", t.path("podman") + "/root/overlay", rc=None)
