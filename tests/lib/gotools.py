"""Go's own readers of profiles and traces."""
from morseltest import need

GO = "/usr/lib/go-1.19/bin/go"


def go(t, *args, **kw):
    need(GO)
    return t.run(GO, *args, env={"HOME": t.work, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"}, **kw)


def totals(t, profile, index="bytes"):
    """{sample type: sum} by go tool pprof."""
    raw = go(t, "tool", "pprof", "-raw", f"-sample_index={index}", profile).text
    lines = raw.split("Samples:\n")[1].split("Locations\n")[0].splitlines()
    types = [x.split("/")[0] for x in lines[0].replace("[dflt]", "").split()]
    values = [v for v in (line.split(":")[0].split() for line in lines[1:]) if len(v) == len(types) and all(map(str.isdigit, v))]
    return {kind: sum(int(v[i]) for v in values) for i, kind in enumerate(types)}
