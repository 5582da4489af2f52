"""Runs of morsel profile, and the files that they leave."""
import glob
import json
import os
import re

from registries import Registry
import samples

STAMP = r"\d{8}T\d{6}Z"


def payload(t):
    """A directory with some files; {path: bytes}."""
    files = {f"lib/m{i}.py": samples.noise(i, 40_000) for i in range(5)}
    files["data/big"] = samples.noise(9, 1_500_000)
    files["zeros"] = bytes(200_000)
    for path, data in files.items():
        full = t.path(f"payload/{path}")
        os.makedirs(os.path.dirname(full), exist_ok=True)
        with open(full, "wb") as f:
            f.write(data)
    return files


def profile(t, *args, **kw):
    """Runs it in the case's directory; the names of the files that it left in profiles/."""
    r = t.morsel("profile", *args, cwd=t.work, **kw)
    r.files = sorted(os.listdir(t.path("profiles"))) if os.path.isdir(t.path("profiles")) else []
    return r


def kinds(names):
    return sorted(re.sub(rf"_{STAMP}", "", n) for n in names)


def the(t, pattern):
    found = glob.glob(t.path(f"profiles/{pattern}"))
    t.equal(len(found), 1, f"files like {pattern}")
    return found[0]


def reads(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def lazy(t, r, *args, **kw):
    return profile(t, "-ref", r.ref(), "-lazy", *args, **kw)


def pushed(t, **kw):
    files = payload(t)
    r = Registry(t, **kw)
    t.morsel("push", t.path("payload"), r.ref())
    return r, files
