"""morsel completion: what is offered, and that bash, zsh and fish put it on their command lines."""
import contextlib
import os
import pty
import re
import select
import time

from faults import FaultRegistry
from images import Layout, layer
from morseltest import TOOLS, Failure, need
from registries import Registry
from tarball import Tar


def image(t):
    lay = Layout(t.path("img"))
    lay.image([layer(Tar().file("etc/greeting", b"hi\n").file("etc/two words", b"2\n").dir("empty"))])
    return lay


def offered(t, *words):
    """(candidates, what is said to the shell)"""
    lines = [line.split("\t")[0] for line in t.morsel("completion", "words", "--", *words).text.splitlines()]
    return [c for c in lines if c[0] != ":"], {c for c in lines if c[0] == ":"}


def case_words(t):
    """Verbs, options, their values, arguments by what the verb's usage calls them."""
    verbs = re.findall(r"(?m)^  ([a-z]+) ", t.morsel("help").text)
    t.equal(offered(t, ""), (verbs, set()), "verbs")
    t.equal(offered(t, "help", ""), (verbs, set()), "help")
    for verb in verbs:
        options = ["--" + o for o in re.findall(r"(?m)^  (?:-.,|   ) --(\S+?)(?:=|\s)", t.morsel("help", verb).text)]
        t.equal([o.rstrip("=") for o in offered(t, verb, "--")[0]], options, f"options of {verb}")
        t.equal([o.rstrip("=") for o in offered(t, verb, "-")[0]], options, f"options of {verb}, one dash")
    t.equal(offered(t, "mount", "--pul"), (["--pull="], {":nospace"}), "an option with a value")
    t.equal(offered(t, "mount", "--off"), (["--offline"], set()), "a flag")
    t.equal(offered(t, "mount", "--pull=n"), (["--pull=newer", "--pull=never"], set()), "--pull=")
    t.equal(offered(t, "mount", "--pull", "n"), (["newer", "never"], set()), "--pull")
    t.equal(offered(t, "ls", "--platform", "linux/arm")[0], ["linux/arm64", "linux/arm/v7"], "--platform")
    t.equal(offered(t, "ls", "--format=")[0], ["--format=table", "--format=json"], "--format")
    t.check("list=" in offered(t, "mount", "--prefetch", "")[0], "--prefetch")
    t.equal(offered(t, "ls", "--authfile", ""), ([], {":files"}), "a file")
    t.equal(offered(t, "ls", "--cache-dir", ""), ([], {":dirs"}), "a directory")
    t.equal(offered(t, "mount", "--pull", "never", "some/image", ""), ([], {":dirs"}), "a mount point")
    t.equal((offered(t, "profile", ""), offered(t, "profile", "report", "")), ((["report"], set()), ([], {":files"})), "profile")
    t.equal(offered(t, "cache", ""), (["info", "ls", "verify", "clear", "prune"], set()), "cache")
    for words in (["frobnicate", ""], ["ls", "a", "b", "c"], ["mount", "--no-such", "x", ""], ["cat", "UPPER/Case", "x"]):
        t.equal(offered(t, *words)[0], [], f"{words}")
    for words in (["completion"], ["completion", "tcsh"], ["completion", "words"], ["completion", "bash", "more"]):
        t.refused(2, *words)


def case_files_and_paths(t):
    lay = image(t)
    ref = f"oci:{lay.path}"
    t.equal(offered(t, "ls", ref[:-1]), ([ref + "/"], {":nospace"}), "a layout")
    t.equal(offered(t, "ls", f"--authfile={lay.path}/ind")[0], [f"--authfile={lay.path}/index.json"], "a file")
    t.equal(offered(t, "cat", ref, ""), (["empty/", "etc/"], {":nospace"}), "the root")
    t.equal(offered(t, "cat", ref, "/e")[0], ["/empty/", "/etc/"], "with a slash")
    t.equal(offered(t, "cat", ref, "etc/greeting", "etc/"), (["etc/greeting", "etc/two words"], set()), "a second path")
    t.equal(offered(t, "ls", ref, "none/")[0], [], "a directory that is not there")
    t.equal(offered(t, "ls", "oci:/no/such", "x")[0], [], "an image that is not there")
    with t.mounted(ref) as m:
        t.equal(offered(t, "umount", t.dir)[0], [m.path], "mounts")


def case_known_images(t):
    """References and paths come from the cache: nobody is asked for them."""
    lay = image(t)
    reg = Registry(t)
    reg.push(lay, "team/image", tag="v1")
    ref = reg.ref("team/image", "v1")
    host = ref.rsplit("/team", 1)[0]
    t.equal(offered(t, "ls", host)[0], [], "before")
    t.equal(offered(t, "ls", ref, "")[0], [], "paths of an image that the cache does not know")
    t.morsel("ls", ref)
    reg.stop()
    t.equal(offered(t, "ls", host)[0], [ref], "references")
    t.equal(offered(t, "ls", ref, "etc/g")[0], ["etc/greeting"], "paths")


def case_tags(t):
    """Behind a repository's ":" the registry is asked too; cached ones are there once, and offline alone."""
    lay = image(t)
    reg = Registry(t)
    for tag in ("v1", "v2", "w"):
        reg.push(lay, "team/image", tag=tag)
    ref = reg.ref("team/image", "v1")
    repo = ref[:-3]
    t.equal(sorted(offered(t, "ls", repo + ":")[0]), [repo + ":v1", repo + ":v2", repo + ":w"], "all")
    t.equal(sorted(offered(t, "mount", repo + ":v")[0]), [repo + ":v1", repo + ":v2"], "some")
    t.equal(offered(t, "mount", "docker://" + repo + ":w")[0], ["docker://" + repo + ":w"], "with docker://")
    t.equal(offered(t, "push", ".", repo + ":v2")[0], [repo + ":v2"], "where a directory may stand, too")
    t.morsel("ls", ref)
    t.equal(sorted(offered(t, "cat", repo + ":")[0]), [repo + ":v1", repo + ":v2", repo + ":w"], "one is known")
    t.equal(offered(t, "tags", repo[:-3])[0], [repo], "a repository")
    t.equal(offered(t, "ls", "--offline", repo + ":")[0], [ref], "--offline")
    t.equal(offered(t, "ls", "--pull=never", repo + ":")[0], [ref], "--pull=never")
    r = t.morsel("completion", "words", "--", "ls", repo + ":", env={"MORSEL_OFFLINE": "1"})
    t.equal(r.text.split(), [ref], "MORSEL_OFFLINE")
    t.equal(offered(t, "ls", f"{repo}-missing:"), ([], set()), "a repository that is not there")
    t.equal(offered(t, "ls", "localhost:5")[0], [], "a host with half a port")
    local = f"oci:{lay.path}:"
    t.equal(offered(t, "ls", local), ([local + "latest"], {":nospace"}), "names in a layout")


def case_repositories(t):
    """What tags takes is offered as any reference is, but what the cache knows without its tags."""
    lay = image(t)
    reg = Registry(t)
    reg.push(lay, "team/image", tag="v1")
    ref = reg.ref("team/image", "v1")
    t.morsel("ls", ref)
    t.run("tar", "-C", lay.path, "-cf", t.path("img.tar"), ".")
    t.equal(offered(t, "tags", ref[:3]), ([ref[:-3]], set()), "of the cache")
    t.equal(offered(t, "tags", "o"), (["oci:", "oci-archive:"], {":nospace"}), "schemes")
    t.equal(offered(t, "tags", f"oci:{lay.path[:-1]}"), ([f"oci:{lay.path}/"], {":nospace"}), "a layout")
    for local in (f"oci:{lay.path}:", f"oci-archive:{t.path('img.tar')}:"):
        for verb in ("tags", "ls"):
            t.equal(offered(t, verb, local + "l"), ([local + "latest"], {":nospace"}), f"{verb} {local}")
    t.equal(offered(t, "tags", ref[:-1])[0], [ref], "with a tag")


def case_tags_of_a_registry_that_is_slow(t):
    """It is given a second and a half, whatever it does, and what the cache knows is offered all the same."""
    lay = image(t)
    r = FaultRegistry(t, lay)
    t.morsel("ls", "--insecure", r.ref())
    repo = r.ref().rpartition(":")[0]
    for rule in ({"stall": 30, "at": 0}, {"status": 500}, {"status": 429, "headers": {"Retry-After": "20"}}, {"status": 401}):
        r.heal()
        r.rule(path="/tags/list", **rule)
        start = time.monotonic()
        got = offered(t, "ls", "--insecure", repo + ":")
        t.equal(got, ([r.ref()], set()), f"offered with {rule}")
        t.check(time.monotonic() - start < 1.7 + t.slow, f"{time.monotonic() - start:.1f} s with {rule}")


def case_tags_of_a_host_that_no_name_server_tells(t):
    """In a network whose name server says nothing, where the C library waits for ten seconds."""
    t.need_root("makes a network namespace")
    need("unshare", "ip")
    r = t.run("python3", f"{TOOLS}/silentdns.py", t.work, t.binary, "completion", "words", "--", "ls", "slow.example/x/y:")
    t.equal(r.text, "asked\n", "what was said")
    t.check(r.seconds < 2.5 + t.slow, f"{r.seconds:.1f} s")


def case_tags_behind_a_password(t):
    """Credentials are found as always; a helper that asks a human finds neither terminal nor display, and is not waited for."""
    lay = image(t)
    reg = Registry(t, auth="htpasswd")
    reg.push(lay, "team/image", tag="v1")
    repo = reg.ref("team/image", "v1")[:-3]
    t.equal(offered(t, "ls", repo + ":")[0], [], "without credentials")
    t.equal(offered(t, "ls", "--authfile", reg.authfile(), repo + ":")[0], [repo + ":v1"], "with an authfile")
    os.makedirs(t.path("bin"))
    with open(t.path("bin/docker-credential-human"), "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\necho $$ ${{DISPLAY-none}} ${{GPG_TTY-none}} >{t.path('asked')}\n(: </dev/tty) 2>/dev/null && "
                f"echo terminal >>{t.path('asked')}\nexec sleep 60\n")
    os.chmod(t.path("bin/docker-credential-human"), 0o755)
    with open(t.path("config.json"), "w", encoding="ascii") as f:
        f.write('{"credHelpers": {"%s": "human"}}' % reg.host)
    start = time.monotonic()
    got = typed(t, ["bash", "--norc", "--noprofile", "-i"],
                f"PATH={t.path('bin')}:$PATH; export DISPLAY=:0 GPG_TTY=$(tty); source <(morsel completion bash); "
                "bind 'set bell-style none'", [f"morsel ls --authfile {t.path('config.json')} {repo}:"])
    t.equal(got, [f"morsel ls --authfile {t.path('config.json')} {repo}:"], "the line")
    with open(t.path("asked"), encoding="ascii") as f:
        pid, *seen = f.read().split()
    t.equal(seen, ["none", "none"], "what the helper found")
    t.check(not os.path.exists(f"/proc/{pid}"), "the helper is still there")
    t.check(time.monotonic() - start < 15, "it took long")


# -- in shells

def typed(t, shell, setup, lines):
    """What becomes of each line when the tab key is pressed at its end."""
    pid, fd = pty.fork()
    if pid == 0:
        os.environ.clear()
        os.environ.update(t.environ({"PATH": f"{os.path.dirname(t.binary)}:/usr/bin:/bin", "PS1": "", "HISTFILE": "/dev/null"}))
        os.chdir(t.work)
        os.execvp(shell[0], shell)
    seen = b""

    def wait_for(pattern):
        nonlocal seen
        end = time.monotonic() + 30
        while not (m := re.search(pattern, seen)):
            if time.monotonic() > end:
                raise Failure(f"{shell[0]} did not say {pattern!r}: {seen!r}")
            if select.select([fd], [], [], 0.2)[0]:
                seen += os.read(fd, 65536)
        seen = seen[m.end():]
        return m

    got = []
    try:
        os.write(fd, setup.encode() + b"; echo rea''dy\n")
        wait_for(rb"ready\r?\n")
        for i, line in enumerate(lines):
            os.write(fd, line.encode() + b"\t\x01echo '<%d:'\x05'>'\n" % i)
            got.append(wait_for(rb"\n<%d: ?([^\r\n]*?) ?>" % i).group(1).decode())
    finally:
        t.log(f"{shell[0]}: {seen!r}")
        with contextlib.suppress(OSError):
            os.close(fd)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    return got


def wanted_lines(t):
    """(line, what it becomes)"""
    lay = image(t)
    d, ref = t.work, f"oci:{lay.path}"
    reg = Registry(t)
    reg.push(lay, "team/image", tag="v1")
    reg.push(lay, "team/image", tag="w-never-pulled")
    known = reg.ref("team/image", "v1")
    t.morsel("ls", known)
    for line, want in (("morsel insp", "morsel inspect"), ("morsel mount --offl", "morsel mount --offline"),
                       ("morsel mount --pull=mis", "morsel mount --pull=missing"),
                       ("morsel mount --pull mis", "morsel mount --pull missing"),
                       ("morsel ls --platf", "morsel ls --platform="),
                       (f"morsel ls oci:{d}/im", f"morsel ls oci:{d}/img/"),
                       (f"morsel mount {known[:-2]}w", f"morsel mount {known[:-2]}w-never-pulled"),
                       (f"morsel cp {known} etc/gr", f"morsel cp {known} etc/greeting"),
                       (f"morsel ls {known} em", f"morsel ls {known} empty/"),
                       (f"morsel cat {ref} etc/gr", f"morsel cat {ref} etc/greeting"),
                       (f"morsel cat {ref} et", f"morsel cat {ref} etc/"),
                       (f"morsel cat {ref} etc/two", f"morsel cat {ref} etc/two words"),
                       (f"morsel mount {ref} {d}/ho", f"morsel mount {ref} {d}/home/")):
        yield line, want


def case_bash(t):
    need("bash")
    wanted = list(wanted_lines(t))
    got = typed(t, ["bash", "--norc", "--noprofile", "-i"],
                "source <(morsel completion bash); bind 'set bell-style none'", [line for line, _ in wanted])
    t.equal(got, [want for _, want in wanted], "lines")


def case_zsh(t):
    need("zsh")
    wanted = list(wanted_lines(t))
    got = typed(t, ["zsh", "-f", "-i"], "unsetopt zle_bracketed_paste; PROMPT= ; autoload -Uz compinit; compinit -u -D; "
                "source <(morsel completion zsh)", [line for line, _ in wanted])
    # zsh takes the slash behind a directory of its own away when something else than a name follows
    t.equal([line.rstrip("/") for line in got], [want.rstrip("/") for _, want in wanted], "lines")


def case_fish(t):
    """fish tells by itself what it would offer."""
    need("fish")
    path = f"{os.path.dirname(t.binary)}:/usr/bin:/bin"
    for line, want in wanted_lines(t):
        r = t.run("fish", "--no-config", "-c", f'morsel completion fish | source; complete -C "{line}"', env={"PATH": path},
                  cwd=t.work)
        shown = [c.split("\t")[0].replace("\\ ", " ") for c in r.text.splitlines()]
        t.check(len(shown) == 1 and want.endswith(shown[0]) and shown[0] != "", f"{line}: {shown}")
