"""Go's own readers of profiles and traces."""
import glob
import os
import shutil
import subprocess

from morseltest import need

GO = "/usr/lib/go-1.19/bin/go"
ENV = {"GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}


def go(t, *args, **kw):
    need(GO)
    return t.run(GO, *args, env=ENV | {"HOME": t.work}, **kw)


def trace_viewers():
    """go tool trace, of Go 1.19 and of what else there is of Go: another reader from 1.22 on, which is built when first used."""
    found = {}
    for path in [GO, shutil.which("go"), "/usr/local/go/bin/go", *sorted(glob.glob("/usr/lib/go-*/bin/go"))]:
        if path and os.path.exists(path):
            says = [subprocess.run([path, *args], env=os.environ | ENV, capture_output=True, text=True, check=True, timeout=300).stdout
                    for args in (("version",), ("tool", "-n", "trace"))]
            found.setdefault(says[0], says[1].strip())
    return list(found.values())


def totals(t, profile, index="bytes"):
    """{sample type: sum} by go tool pprof."""
    raw = go(t, "tool", "pprof", "-raw", f"-sample_index={index}", profile).text
    lines = raw.split("Samples:\n")[1].split("Locations\n")[0].splitlines()
    types = [x.split("/")[0] for x in lines[0].replace("[dflt]", "").split()]
    values = [v for v in (line.split(":")[0].split() for line in lines[1:]) if len(v) == len(types) and all(map(str.isdigit, v))]
    return {kind: sum(int(v[i]) for v in values) for i, kind in enumerate(types)}
