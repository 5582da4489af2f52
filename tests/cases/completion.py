"""morsel completion: what is offered, and that bash, zsh and fish put it on their command lines."""
import contextlib
import os
import pty
import re
import select
import time

from images import Layout, layer
from morseltest import Failure, need
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
    """References and paths come from the cache: nobody is asked."""
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
    for line, want in (("morsel insp", "morsel inspect"), ("morsel mount --offl", "morsel mount --offline"),
                       ("morsel mount --pull=mis", "morsel mount --pull=missing"),
                       ("morsel mount --pull mis", "morsel mount --pull missing"),
                       ("morsel ls --platf", "morsel ls --platform="),
                       (f"morsel ls oci:{d}/im", f"morsel ls oci:{d}/img/"),
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
