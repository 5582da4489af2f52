"""The library as others get it: what it exports, what is installed where, and programs built against that."""
import glob
import os
import re
import shutil

import samples
from morseltest import ROOT, need


def build_dir(t):
    return os.path.dirname(t.binary)


def install(t):
    """meson install below a directory of the case; its path and the prefix in it."""
    need("meson", "ninja")
    dest = t.path("dest")
    t.run("meson", "install", "-C", build_dir(t), "--no-rebuild", "--destdir", dest, timeout=120)
    prefix = t.run("meson", "introspect", "--buildoptions", build_dir(t)).json()
    prefix = next(o["value"] for o in prefix if o["name"] == "prefix")
    return dest, dest + prefix


def pkg_config(t, dest, prefix, *args):
    dirs = glob.glob(f"{prefix}/lib/*/pkgconfig") + glob.glob(f"{prefix}/lib/pkgconfig")
    t.equal(len(dirs), 1, "directories with .pc files")
    return t.run("pkg-config", *args, "morsel",
                 env={"PKG_CONFIG_LIBDIR": dirs[0], "PKG_CONFIG_SYSROOT_DIR": dest}).text.split()


def compiled(t, source, *compiler):
    """A program built against the installed library; the environment that it needs to run."""
    need("pkg-config", compiler[0])
    dest, prefix = install(t)
    flags = pkg_config(t, dest, prefix, "--cflags", "--libs")
    out = t.path("program")
    t.run(*compiler, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", source, *flags, "-pthread", "-o", out)
    lib = os.path.dirname(glob.glob(f"{prefix}/lib/**/libmorsel.so", recursive=True)[0])
    return out, {"LD_LIBRARY_PATH": lib}


def case_exports(t):
    """What morsel.h declares is exported, and nothing else."""
    # not: asan tsan
    need("objdump")
    with open(f"{ROOT}/include/morsel.h", encoding="utf-8") as f:
        declared = set(re.findall(r"MORSEL_API[^;(]*?\b(morsel_\w+)\(", f.read()))
    t.check(len(declared) > 20, f"only {declared}")
    lines = t.run("objdump", "-T", f"{build_dir(t)}/libmorsel.so").text.splitlines()
    exported = {line.split()[-1] for line in lines if re.match(r"[0-9a-f]{8,} [gwui]", line) and "*UND*" not in line}
    t.equal(sorted(exported), sorted(declared), "exported symbols")
    soname = t.run("objdump", "-p", f"{build_dir(t)}/libmorsel.so").text
    t.contains(soname, "SONAME               libmorsel.so.0")


def case_example(t):
    """The example, built with pkg-config against an installed copy, finds the helper that was installed with it."""
    # not: asan tsan
    program, env = compiled(t, f"{ROOT}/contrib/examples/peek.c", "gcc", "-std=c11")
    lay = samples.hello(t)
    t.equal(t.run(program, f"oci:{lay.path}", "greeting", env=env).text, "hello, world\n", "a file")
    t.equal(t.run(program, f"oci:{lay.path}", "/", env=env).text.split()[1::2], ["etc", "greeting"], "a directory")
    r = t.run(program, f"oci:{lay.path}", "missing", env=env, rc=3)
    t.contains(r.err_text, "missing: no such file")
    t.run("sh", "-c", 'exec "$@" >/dev/full', "sh", program, f"oci:{lay.path}", "greeting", env=env, rc=1)
    with open(f"{ROOT}/contrib/examples/peek.c", encoding="ascii") as f:
        t.check(len(f.readlines()) <= 40, "an example of more than 40 lines")


def case_cplusplus(t):
    # not: asan tsan
    program, env = compiled(t, f"{ROOT}/contrib/examples/peek.c", "g++", "-x", "c++", "-std=c++17")
    t.equal(t.run(program, f"oci:{samples.hello(t).path}", "etc/greeting", env=env).text, "hello, world\n", "a file")


def case_hosted(t):
    """In a program that lives on: opening is given up, a mount ends by another thread's umount, and by cancelling."""
    # not: asan tsan
    t.need_fuse()
    program, env = compiled(t, f"{ROOT}/tests/tools/hosted.c", "gcc", "-std=gnu11")
    t.run(program, f"oci:{samples.hello(t).path}", t.mnt, "etc/greeting", env=env)


def case_helper_of_others(t):
    """Beside a program in a directory of everybody's, a helper that somebody else put there is not run."""
    # not: asan tsan
    t.need_root("changes owners")
    shared, ref = t.path("shared"), f"oci:{samples.hello(t).path}"
    os.mkdir(shared)
    os.chmod(shared, 0o1777)
    own, helper, mark = f"{shared}/morsel", f"{shared}/morsel-indexer", f"{shared}/mark"
    shutil.copy(t.binary, own)
    shutil.copy(f"{build_dir(t)}/morsel-indexer", helper)
    t.run(own, "ls", ref)
    with open(helper, "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\ntouch {mark}\n")
    for uid, mode in ((1234, 0o755), (0, 0o777)):
        os.chown(helper, uid, 0)
        os.chmod(helper, mode)
        t.run(own, "ls", ref, rc=None, env={"MORSEL_CACHE_DIR": t.new_path("cache")})
        t.check(not os.path.exists(mark), f"a helper of user {uid} with mode {mode:o} was run")


def case_installed_files(t):
    """meson install puts this there, and nothing else."""
    dest, prefix = install(t)
    want = {
        "bin/morsel", "sbin/mount.morsel", "sbin/mount.fuse.morsel", "include/morsel.h", "libexec/morsel/morsel-indexer",
        "lib/@/libmorsel.so", "lib/@/libmorsel.so.0", "lib/@/libmorsel.so.0.1.0", "lib/@/pkgconfig/morsel.pc",
        "share/bash-completion/completions/morsel", "share/zsh/vendor-completions/_morsel",
        "share/fish/vendor_completions.d/morsel.fish",
    } | {f"share/man/man{p[-1]}/{os.path.basename(p)}" for p in glob.glob(f"{ROOT}/man/*.[1-8]")}
    have = {os.path.relpath(os.path.join(d, f), prefix) for d, _, files in os.walk(dest) for f in files}
    multiarch = t.run("gcc", "-print-multiarch").text.strip()
    t.equal(sorted(have), sorted(p.replace("@", multiarch) for p in want), "installed files")
