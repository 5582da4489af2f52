"""morsel push: options that can't be what they are, that do not apply, and what the exit code says of the tag."""
import json
import os

from images import Layout, layer
from registries import Registry
from tarball import Tar


def small(t, name="tree"):
    root = t.new_path(name)
    os.makedirs(f"{root}/etc")
    with open(f"{root}/etc/greeting", "w", encoding="ascii") as f:
        f.write("hello\n")
    return root


def case_ranges(t):
    """A number outside of what the manual says is refused, and the message names the range; also zero, also a variable."""
    root, to = small(t), f"oci:{t.path('not')}:x"
    for option, bad, says in (("--level", ("0", "20", "x", "-1"), ("1 to 12", "1 to 19")),
                              ("--chunk-size", ("0", "4095", "9M", "1X"), ("4K to 8M",)),
                              ("--jobs", ("0", "65", "-1"), ("1 to 64",)), ("--threads", ("0", "1025"), ("1 to 1024",))):
        for value in bad:
            t.refused(2, "push", option, value, root, to, says=(f'{option}: "{value}" is not valid', *says))
    t.refused(2, "push", root, to, says=("MORSEL_JOBS", "1 to 64"), env={"MORSEL_JOBS": "0"})
    t.refused(2, "push", "--level", "13", root, to, says="1 to 12")
    t.check(not os.path.exists(t.path("not")), "something was pushed")
    t.morsel("push", "--level", "19", "--chunk-size", "4K", "--jobs", "64", "--threads", "1", "--compression", "zstd", root, to)


def case_copies_take_no_changes(t):
    """An image is copied as it is: what would make it another one is refused, what stands in a variable is not meant."""
    lay = Layout(t.path("lay"))
    want = lay.image([layer(Tar().file("etc/greeting", b"hello\n"))])
    src, to = f"oci:{lay.path}", f"oci:{t.path('not')}:x"
    for option in (["--compression", "zstd"], ["--level", "3"], ["--chunk-size", "1M"], ["--base", "x/y"], ["--cmd", "a"],
                   ["--entrypoint", "/x"], ["-e", "A=b"], ["-w", "/"], ["-u", "7"], ["-l", "a=b"], ["--annotation", "a=b"],
                   ["--author", "me"], ["--artifact-type", "a/b"], ["--owner", "0"], ["--exclude", "x"], ["--ignore-file", ""],
                   ["--prioritize", "/dev/null"], ["--threads", "2"], ["--allow-changed"], ["--platform", "linux/amd64"]):
        name = {"-e": "--env", "-w": "--workdir", "-u": "--user", "-l": "--label"}.get(option[0], option[0])
        t.refused(2, "push", src, *option, to, says=(src, "copied as it is", name + " is"))
    t.check(not os.path.exists(t.path("not")), "something was pushed")
    got = t.morsel("push", "-q", "--jobs", "2", src, to, env={"MORSEL_COMPRESSION": "zstd", "MORSEL_LEVEL": "3"}).text.strip()
    t.equal(got, want, "digest of the copy")


def case_artifacts_have_no_configuration(t):
    """What an artifact has no place for is refused; annotations it has."""
    root, lay = small(t), t.path("lay")
    for option in (["--entrypoint", "/x"], ["--cmd", "x"], ["--env", "A=b"], ["--label", "a=b"], ["--workdir", "/"],
                   ["--user", "7"], ["--author", "me"]):
        t.refused(2, "push", "--artifact-type", "a/b", *option, root, f"oci:{lay}:x", says=("--artifact-type", option[0]))
    t.check(not os.path.exists(lay), "something was pushed")
    digest = t.morsel("push", "-q", "--artifact-type", "a/b", "--annotation", "a=b", root, f"oci:{lay}:x").text.strip()
    with open(f"{lay}/blobs/{digest.replace(':', '/')}", encoding="utf-8") as f:
        t.equal(json.load(f)["annotations"], {"a": "b"}, "annotations")


def case_patterns(t):
    """A pattern that is none is a matter of usage, and where it stands is said."""
    root, to = small(t), f"oci:{t.path('not')}:x"
    with open(t.path("ignore"), "w", encoding="ascii") as f:
        f.write("# one\n\ngood\na[\n")
    t.refused(2, "push", "--exclude", "[", root, to, says=('--exclude: "["', "not ended"))
    t.refused(2, "push", "--ignore-file", t.path("ignore"), root, to, says=(f'{t.path("ignore")}:4: "a["',))
    with open(f"{root}/.dockerignore", "w", encoding="ascii") as f:
        f.write("\n!\n")
    t.refused(2, "push", root, to, says=(f'{root}/.dockerignore:2: "!"',))
    t.morsel("push", "--ignore-file", "", root, to)
    t.refused(2, "pull", "--exclude", "x[", to, t.path("out"), says=('--exclude: "x["',))


def case_digest_file(t):
    """What can't be opened is said before anything is sent; what can't be written is said to be too late."""
    root, r = small(t), Registry(t)
    t.refused(3, "push", "-q", "--digest-file", t.path("none/x"), root, r.ref(), says=("--digest-file", "none/x", "nothing was sent"))
    t.refused(3, "ls", r.ref())
    t.refused(3, "push", "-q", "--digest-file", t.path("d"), t.path("missing"), r.ref(), says="missing")
    t.check(not os.path.exists(t.path("d")), "a digest file without a digest")
    with open(t.path("d"), "w", encoding="ascii") as f:
        f.write("x" * 200)
    t.refused(3, "push", "-q", "--digest-file", t.path("d"), t.path("missing"), r.ref(), says="missing")
    t.equal(os.path.getsize(t.path("d")), 200, "bytes of what was there")
    digest = t.morsel("push", "-q", "--digest-file", t.path("d"), root, r.ref()).text.strip()
    with open(t.path("d"), encoding="ascii") as f:
        t.equal(f.read(), digest, "the digest file")
    got = t.morsel("push", "-q", "--digest-file", "/dev/full", root, r.ref(tag="full"), rc=1)
    t.contains(got.err_text, "the image is pushed")
    t.morsel("ls", r.ref(tag="full"))
