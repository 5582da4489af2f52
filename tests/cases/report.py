"""morsel profile report: the page in headless Chromium, its numbers against the trace, and the same as tables."""
import glob
import html
import json
import os
import re

from browser import browser
from gotools import go, totals
from morseltest import need
from registries import Registry
import samples


def record(t):
    """A cold and a warm run of one load: their traces, and a profile of the first."""
    for i in range(12):
        path = t.path(f"payload/d{i % 3}/f{i}.bin")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(samples.noise(i, 30_000 * (i + 1)))
    r = Registry(t)
    t.morsel("push", t.path("payload"), r.ref())
    for label in ("cold", "warm"):
        t.morsel("profile", "-lazy", "-ref", r.ref(), "-label", label, "-profile", "cpu", "-out", t.path("out"), "--", "sh", "-c",
                 "cat $MORSEL_MOUNT/d0/* $MORSEL_MOUNT/d1/f4.bin > all; head -c 5000 $MORSEL_MOUNT/d2/f11.bin > part", cwd=t.work)
    return [glob.glob(t.path(f"out/{kind}"))[0] for kind in ("access_*cold*.jsonl", "access_*warm*.jsonl", "cpu_*cold*.pprof")]


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def figures(access):
    """What the page's summary must say of a trace."""
    reads, fetches = lines(access), lines(access.replace("access_", "fetches_"))
    waited = [x for x in reads if "flight" in x]
    return {"reads": len(reads), "bytes": sum(x["length"] for x in reads), "fetches": len(fetches),
            "fetched": sum(x["bytes"] for x in fetches), "waits": len(waited), "files": len({x["path"] for x in reads}),
            "processes": len({x["pid"] for x in reads}), "wait": sum(x["wait_ns"] for x in waited) / 1000}


def show_time(ns):
    return f"{ns / 1e9:.2f} s" if ns >= 1e9 else f"{ns / 1e6:.1f} ms"


def covered(ranges):
    """Bytes in any of them."""
    total, end = 0, 0
    for at, length in sorted(ranges):
        total += max(0, at + length - max(end, at))
        end = max(end, at + length)
    return total


def case_page(t):
    # not: asan tsan
    need("chromium", "chromedriver")
    files = record(t)
    page = t.path("report.html")
    t.morsel("profile", "report", *files, "-o", page)
    with open(page, encoding="utf-8") as f:
        text = f.read()
    bare = re.sub(r'(?s)(<script type="application/json" id="data">).*?</script>|<pre>.*?</pre>', "", text)
    t.check(len(bare) < 300_000, f"{len(bare)} bytes without data")
    t.contains(text, "Content-Security-Policy", "default-src 'none'")
    t.equal(re.findall(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", bare), [], "what is loaded from elsewhere")
    tables = t.morsel("profile", "report", "--text", *files).text
    t.equal(html.unescape(re.search("(?s)<noscript>.*<pre>(.*?)</pre>", text)[1]).strip(), tables.strip(), "the page without scripts, and --text")
    with browser(t) as b:
        b.open(f"file://{page}")
        t.contains(b.run("return document.title"), "morsel")
        for number, access in enumerate(files[:2]):
            want = figures(access)
            got = b.run("return Object.fromEntries([...document.querySelectorAll('#summary tr[data-figure]')].map("
                        "r => [r.dataset.figure, +r.querySelector(`td[data-trace=\"${arguments[0]}\"]`).dataset.value]))", number)
            for name, value in want.items():
                t.check(abs(got[name] - value) <= (1e-6 * value if name == "wait" else 0), f"{name} of trace {number}: {got[name]}, not {value}")
            maps = b.run("const t = traces[arguments[0]]; return t.layers.filter(l => l.size > 0).map(l => heat(t, l, 512))"
                         ".map(m => [sum(m.used), sum(m.fetched)])", number)
            reads, fetches = lines(access), lines(access.replace("access_", "fetches_"))
            for got, rows in ((sum(m[0] for m in maps), reads), (sum(m[1] for m in maps), fetches)):
                t.check(abs(got - covered((x["device"], x["length"]) for x in rows)) < 1, f"{got} bytes in the pictures of layers")
        tabs = b.run("return [...document.querySelectorAll('#tabs button')].map(b => b.textContent)")
        t.equal(tabs, ["Summary", "Waterfall", "Flame graph", "Layers", "Over time", "Files", "Functions"], "tabs")
        for i, name in enumerate(tabs):
            b.click(f"#tabs button:nth-child({i + 1})")
            t.check(b.run("return document.getElementById('view').textContent.length") > 20, f"nothing in {name}")
            blank = b.run("return [...document.querySelectorAll('#view canvas')].filter(c => { const d = c.getContext('2d')"
                          ".getImageData(0, 0, c.width, c.height).data; return d.every(v => v === d[0]); }).length")
            t.equal(blank, 0, f"pictures without anything in {name}")
            for k in range(b.run("return document.querySelectorAll('#view .pick button').length")):
                b.run("document.querySelectorAll('#view .pick button')[arguments[0]].click()", k)
        b.click(f"#tabs button:nth-child({tabs.index('Files') + 1})")
        rows = b.run("return [...document.querySelectorAll('#files tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
        reads = lines(files[0])
        t.equal(sorted((r[0], r[3]) for r in rows),
                sorted((p, str(sum(x["path"] == p for x in reads))) for p in {x["path"] for x in reads}), "files and reads in the table")
        t.equal(b.errors(), [], "errors on the console")


def case_text(t):
    """Tables that say what the trace says; one line for what is no trace."""
    files = record(t)
    r = t.morsel("profile", "report", "--text", files[0])
    want = figures(files[0])
    t.contains(r.text, f"reads {want['reads']}", f"fetches {want['fetches']}", f"{want['files']} files", "/d2/f11.bin", "network")
    sums = totals(t, files[0].replace(".jsonl", ".pprof"))
    t.equal((sums["wait"], sums["reads"]), (sum(x.get("wait_ns", 0) for x in lines(files[0])), want["reads"]), "the access profile's wait and the trace's")
    t.contains(r.text, f"{want['waits']} waited, {show_time(sums['wait'])} in all")
    t.equal(t.morsel("profile", "report", files[0], "-text", "-o", "-").text, r.text, "-o -")
    t.contains(t.morsel("profile", "report", *files, cwd=t.work).text, "report.html")
    t.check(os.path.getsize(t.path("report.html")) > 10_000, "the page is where it is said to be")
    with open(t.path("bad"), "w", encoding="ascii") as f:
        f.write('{"time":1,"pid":1}\n')
    t.refused(6, "profile", "report", "--text", t.path("bad"), says=["bad", "line 1"])
    t.refused(3, "profile", "report", t.path("none"), says="none")
    t.refused(2, "profile", "report")


def case_other_viewers_traces(t):
    """Traces for Go's viewer and Perfetto: a line each when all files of a run are given, alone they are unsupported."""
    os.mkdir(t.path("one"))
    with open(t.path("one/file"), "wb") as f:
        f.write(samples.noise(1, 50_000))
    for fmt in ("go", "chrome"):
        t.morsel("profile", "-ref", f"oci:{t.path('image')}:{fmt}", "-mode", "push", "-payload", t.path("one"), "-profile", "trace",
                 "-trace-format", fmt, "-label", fmt, "-out", t.path("out"))
    traces = sorted(glob.glob(t.path("out/trace_*")))
    t.equal([x.rsplit(".", 1)[1] for x in traces], ["json", "out"], "traces")
    for trace, viewer in zip(traces, ("Perfetto", "go tool trace")):
        t.refused(8, "profile", "report", "--text", trace, says=[trace, viewer, "access_*.jsonl"])
    r = t.morsel("profile", "report", "--text", *sorted(glob.glob(t.path("out/*"))))
    t.contains(r.text, "== heap_push_go", "== heap_push_chrome", "== allocs_push_go")
    t.equal(len(r.err_text.splitlines()), 2, f"lines on stderr: {r.err_text}")
    t.contains(r.err_text, *traces)


def case_functions(t):
    """The table of a profile names what go tool pprof names: libraries in brackets, no frames of the allocator, no addresses."""
    # not: asan tsan
    os.mkdir(t.path("one"))
    with open(t.path("one/file"), "wb") as f:
        f.write(samples.noise(1, 3_000_000))
    r = Registry(t)
    t.morsel("profile", "-ref", r.ref(), "-mode", "both", "-payload", t.path("one"), "-profile", "fgprof", "-out", t.path("out"))
    for kind, index in (("heap", "inuse_space"), ("allocs", "alloc_space"), ("fgprof", "time")):
        profile = glob.glob(t.path(f"out/{kind}_*"))[0]
        rows = t.morsel("profile", "report", "--text", profile).text.split("FUNCTION\n")[1].splitlines()
        ours = [row.split("  ")[-1] for row in rows]
        top = go(t, "tool", "pprof", "-top", "-nodecount=100000", "-nodefraction=0", f"-sample_index={index}", profile).text.split("cum%\n")[1]
        theirs = {line.split(None, 5)[5].removesuffix(" (inline)").removesuffix(" (partial-inline)") for line in top.splitlines()}
        t.check(len(ours) > 3 or kind != "fgprof", f"{kind}: {rows}")  # allocations may have escaped the sampling
        t.equal([name for name in ours if name not in theirs], [], f"names in the table of {kind} that go tool pprof does not show")
