"""The command line itself: verbs, options, help, exit codes, and what ls, cat, inspect and cache print."""
import json
import os
import re

import samples
from images import Layout, layer
from tarball import Tar

VERBS = ("mount", "umount", "stat", "ls", "cat", "cp", "tags", "inspect", "cache", "completion", "version", "help")


def case_version(t):
    for args in (("version",), ("--version",), ("-V",)):
        t.check(re.fullmatch(r"morsel \d+\.\d+\.\d+\n", t.morsel(*args).text), "not a version")


def case_help(t):
    text = t.morsel("help").text
    t.contains(text, *VERBS)
    for verb in VERBS:
        t.contains(t.morsel("help", verb).text, f"usage: morsel {verb}")
        t.equal(t.morsel(verb, "--help").text, t.morsel("help", verb).text, f"{verb} --help")


def case_usage_errors(t):
    lay = samples.hello(t)
    ref = f"oci:{lay.path}"
    r = t.morsel(rc=2)
    t.equal(r.out, b"", "stdout")
    for args in (["frobnicate"], ["mount"], ["mount", ref], ["mount", ref, t.mnt, "more"], ["ls"], ["cat", ref],
                 ["stat"], ["inspect"], ["cache"], ["cache", "frobnicate"], ["umount"], ["help", "frobnicate"],
                 ["ls", "--no-such-flag", ref], ["ls", "--format", "xml", ref], ["ls", "--pull", "sometimes", ref],
                 ["ls", "--cache-dir=", ref], ["ls", "--cache-size", "many", ref], ["ls", "--cache-size", "0", ref], ["ls", "--cache-size"],
                 ["ls", "--max-entries", "-1", ref], ["ls", "--platform", "linux/", ref],
                 ["ls", "--log-level", "loud", ref], ["ls", "--tls-verify=perhaps", ref],
                 ["cache", "prune", "much"], ["cache", "info", "more"], ["mount", "--read-timeout", "0", ref, t.mnt],
                 ["mount", "--ready-fd", "99", ref, t.mnt], ["stat", "--insecure", t.mnt],
                 ["ls", ""], ["ls", "UPPER/Case"], ["ls", "a@sha256:12"], ["ls", "x:" + "t" * 129],
                 ["ls", "[::1/x"], ["ls", "host:99999/x"], ["ls", "http://host/x"], ["ls", "oci:"]):
        t.refused(2, *args)


def case_ls(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().dir("d", mtime_ns=0).file("d/b", b"x" * 1536, mode=0o640, uid=7, gid=8, mtime_ns=0)
                     .file("a", b"12345", mtime_ns=10 ** 18).symlink("link", "d/b").char("null", 1, 3)
                     .dir("d/sub").file("d/sub/deep", b""))])
    ref = f"oci:{lay.path}"
    t.equal(t.morsel("ls", ref).text, "a\nd\nlink\nnull\n", "ls")
    t.equal(t.morsel("ls", "-la", ref).text, t.morsel("ls", "-l", ref).text, "ls -la")
    for path in ("d", "/d", "d/", "/d/."):
        t.equal(t.morsel("ls", ref, path).text, "b\nsub\n", f"ls {path}")
    t.equal(t.morsel("ls", ref, "a").text.strip().lstrip("/"), "a", "ls of a file")
    long = t.morsel("ls", "-l", ref).text.splitlines()
    t.check(re.match(r"-rw-r--r--\s+1\s+0\s+0\s+5 2001-09-09 01:46 a$", long[0]), long[0])
    t.check(re.match(r"drwxr-xr-x\s+3\s", long[1]), long[1])
    t.check(long[2].startswith("lrwxrwxrwx") and long[2].endswith(" link -> d/b"), long[2])
    t.check(re.match(r"crw-r--r--\s+1\s+0\s+0\s+1, 3 ", long[3]), long[3])
    t.contains(t.morsel("ls", "-lh", ref, "d").text, "-rw-r----- ", " 1.5K ")
    t.equal(t.morsel("ls", "-R", ref).text,
            "/:\na\nd\nlink\nnull\n\n/d:\nb\nsub\n\n/d/sub:\ndeep\n", "ls -R")
    t.contains(t.morsel("ls", "-lRh", ref).text, "/d/sub:", "1.5K")
    t.refused(3, "ls", ref, "/no/such", says="/no/such")
    t.refused(3, "ls", ref, "a/below")
    t.contains(t.morsel("ls", "-l", ref, "link").text, "link -> d/b")
    for verb in ("ls", "cat"):
        t.refused(3, verb, ref, "a/", says="not a directory")
        t.refused(3, verb, ref, "link/", says="not a directory")
    o = {e["path"]: e for e in t.morsel("ls", "--format", "json", ref).json()}
    t.equal((o["/null"]["rdev_major"], o["/null"]["rdev_minor"], "rdev_major" in o["/a"]), (1, 3, False), "devices")


def case_ls_sizes_are_those_of_ls(t):
    sizes = [0, 1, 1023, 1024, 1025, 10137, 10138, 10239, 10240, 10241, 1047553, 1048575, 1048576, 10485760, 10485761, 1073741823, 1 << 30]
    d = t.path("d")
    os.mkdir(d)
    for n in sizes:
        with open(f"{d}/{n}", "wb") as f:
            f.truncate(n)
    t.morsel("push", "-q", "--compression", "zstd", d, f"oci:{t.path('img')}:x")

    def shown(text):
        return sorted((f[-1], f[4]) for f in map(str.split, text.splitlines()) if len(f) > 4)
    t.equal(shown(t.morsel("ls", "-lh", f"oci:{t.path('img')}:x").text), shown(t.run("ls", "-lh", d).text), "sizes")


def case_ls_json(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().dir("d").file("d/b", b"xyz", uid=7, gid=8, mode=0o4755, mtime_ns=-1_500_000_000)
                     .symlink("d/link", "b").file(b"d/\xe9", b""))])
    entries = {e["path"]: e for e in t.morsel("ls", "-R", "--format", "json", f"oci:{lay.path}").json()}
    b = entries["/d/b"]
    t.equal((b["type"], b["size"], b["uid"], b["gid"], b["mode"], b["nlink"]), ("reg", 3, 7, 8, "4755", 1), "d/b")
    t.equal((b["mtime"], b["mtime_ns"]), (-2, 500_000_000), "time before 1970")
    t.equal(entries["/d/link"]["link"], "b", "link")
    t.equal(len(entries), 4, "entries")


def case_cat(t):
    lay = Layout(t.path("img"))
    big = samples.noise(1, 3_000_000)
    lay.image([layer(Tar().file("one", b"1\n").file("two", b"2\n").file("empty", b"").file("big", big)
                     .dir("d").symlink("d/up", "../one").symlink("abs", "/d/up").symlink("loop", "loop")
                     .symlink("out", "../../../../../../etc/passwd"))])
    ref = f"oci:{lay.path}"
    t.equal(t.morsel("cat", ref, "one").out, b"1\n", "cat")
    t.equal(t.morsel("cat", ref, "/two", "empty", "one").out, b"2\n1\n", "several")
    t.equal(t.morsel("cat", ref, "big").out, big, "a big one")
    t.equal(t.morsel("cat", ref, "abs", "d/up").out, b"1\n1\n", "through symlinks")
    t.refused(3, "cat", ref, "missing", says="missing")
    t.refused(3, "cat", ref, "out")  # symlinks end inside the image
    r = t.morsel("cat", ref, "loop", rc=None)
    t.check(r.rc != 0 and len(r.err_text.splitlines()) == 1, "a symlink loop")
    r = t.morsel("cat", ref, "d", rc=None)
    t.equal((r.rc, r.err_text), (1, "morsel: d: is a directory\n"), "a directory")
    r = t.morsel("cat", ref, "one", "missing", "d", "two", rc=3)
    t.equal((r.out, len(r.err_text.splitlines())), (b"1\n2\n", 2), "what is there is written, as cat(1) would")


def case_cat_into_a_closed_pipe(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("big", samples.noise(1, 5_000_000)))])
    r = t.run("sh", "-c", f"{t.binary} cat oci:{lay.path} big | head -c 10 | wc -c")
    t.equal(r.text.strip(), "10", "what came through")
    t.equal(r.err, b"", "stderr")


def case_stdout_that_is_full(t):
    if not os.path.exists("/dev/full"):
        t.skip("no /dev/full")
    lay = samples.hello(t)
    r = t.run("sh", "-c", f"{t.binary} cat oci:{lay.path} greeting >/dev/full", rc=1)
    t.contains(r.err, "stdout")


def case_inspect(t):
    lay = Layout(t.path("img"))
    layers = samples.busy_layers()
    digest = lay.image(layers, config={"config": {"Env": ["A=b"]}, "created": "2020-01-01T00:00:00Z"})
    o = t.morsel("inspect", "--format", "json", f"oci:{lay.path}").json()
    t.equal(o["digest"], digest, "digest")
    t.equal(o["platform"], "linux/amd64", "platform")
    t.equal([(x["digest"], x["size"], x["diff_id"]) for x in o["layers"]],
            [(x.descriptor()["digest"], len(x.blob), x.diff_id) for x in layers], "layers")
    t.equal({x["format"] for x in o["layers"]}, {"gzip"}, "formats")
    t.equal({x["lazy"] for x in o["layers"]}, {False}, "lazy before any index is known")
    table = t.morsel("inspect", f"oci:{lay.path}").text
    t.contains(table, digest, "linux/amd64", "gzip")
    t.morsel("ls", f"oci:{lay.path}")
    o = t.morsel("inspect", "--format", "json", f"oci:{lay.path}").json()
    t.equal({x["lazy"] for x in o["layers"]}, {True}, "lazy once indexed")


def case_cache_verbs(t):
    lay = Layout(t.path("img"))
    lay.image([layer(samples.files_tar(samples.big_files(1, 4, 500_000)))])
    info = t.morsel("cache", "info", "--format", "json").json()
    t.equal((info["cache_dir"], info["limit"]), (t.cache, 10 << 30), "an empty cache")
    t.morsel("ls", f"oci:{lay.path}")
    info = t.morsel("cache", "info", "--format", "json").json()
    t.check(info["bytes"] > 2_000_000, "the layer's contents are kept")
    t.contains(t.morsel("cache", "info").text, t.cache, "layer")
    items = t.morsel("cache", "ls", "--format", "json").json()["items"]
    t.check({"layer", "image"} <= {i["kind"] for i in items}, "kinds")
    t.contains(t.morsel("cache", "ls").text, "layer", "gzip")
    verified = t.morsel("cache", "verify", "--format", "json").json()
    t.equal(verified["damaged"], 0, "damaged")
    freed = json.loads(t.morsel("cache", "prune", "--format", "json", "1M").out)["freed"]
    t.check(freed >= 1_000_000, f"prune freed {freed}")
    t.check(t.morsel("cache", "info", "--format", "json").json()["bytes"] <= 1 << 20, "pruned to the size asked for")
    t.morsel("cache", "clear")
    t.equal(t.morsel("cache", "ls", "--format", "json").json()["items"], [], "after clear")
    t.equal(t.morsel("cat", f"oci:{lay.path}", "data/f002").out, samples.big_files(1, 4, 500_000)["data/f002"],
            "read again")
    t.check(os.path.exists(f"{t.cache}/CACHEDIR.TAG"), "CACHEDIR.TAG")
    t.equal(os.stat(t.cache).st_mode & 0o7777, 0o700, "mode of the cache")


def case_environment(t):
    """MORSEL_* sets what the flags set; the flags win."""
    lay = samples.hello(t)
    other = t.path("other-cache")
    t.morsel("ls", f"oci:{lay.path}", env={"MORSEL_CACHE_DIR": other})
    t.check(os.path.isdir(other) and not os.path.exists(t.cache), "MORSEL_CACHE_DIR")
    t.morsel("ls", "--cache-dir", t.cache, f"oci:{lay.path}", env={"MORSEL_CACHE_DIR": t.path("unused")})
    t.check(os.path.isdir(t.cache) and not os.path.exists(t.path("unused")), "--cache-dir wins")
    t.check(t.morsel("ls", f"oci:{lay.path}", env={"MORSEL_FORMAT": "json"}).json(), "MORSEL_FORMAT")
    t.refused(2, "ls", f"oci:{lay.path}", env={"MORSEL_PULL": "sometimes"}, says="MORSEL_PULL: ")
    t.refused(2, "ls", "--pull=rarely", f"oci:{lay.path}", env={"MORSEL_PULL": "never"}, says="--pull: ")


def case_cache_places(t):
    """Without a flag: $XDG_CACHE_HOME/morsel for a user; for root the system's cache, which a test leaves alone."""
    if not os.geteuid():
        t.skip("as root it is /var/cache/morsel")
    lay = samples.hello(t)
    t.morsel("ls", f"oci:{lay.path}", env={"MORSEL_CACHE_DIR": None, "XDG_CACHE_HOME": t.path("xdg")})
    t.check(os.path.isdir(t.path("xdg/morsel")), "XDG_CACHE_HOME")


def case_no_progress_without_a_terminal(t):
    lay = Layout(t.path("img"))
    lay.image([layer(samples.files_tar(samples.big_files(2, 8, 1_000_000)))])
    t.equal(t.morsel("ls", f"oci:{lay.path}").err, b"", "stderr")


def case_names_cannot_draw_on_a_terminal(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file(b"evil\x1b[2J", b""))])
    t.check(b"\x1b" not in t.morsel("ls", f"oci:{lay.path}").out, "an escape sequence came through")
    t.check(b"\x1b" not in t.morsel("ls", f"oci:{lay.path}", b"/x\x1b[2J", rc=3).err, "in an error")
