"""A build without the profiler (meson -Dprofiler=false): all the rest is there, and what is not says so."""
import samples


def case_without_the_profiler(t):
    # only: noprof
    lay = samples.hello(t)
    ref = f"oci:{lay.path}"
    with t.mounted(ref) as m:
        t.equal(m.read("greeting"), b"hello, world\n", "in a mount")
        for kind in ("cpu", "fgprof", "cpu,trace"):
            r = t.morsel("profile", "-attach", m.path, "-profile", kind, "-duration", "1s", "-out", t.path("attached"), rc=8)
            t.contains(r.err_text, "built without its profiler", "-Dprofiler=false")
    for kind in ("cpu", "fgprof"):
        t.refused(8, "profile", "-mode", "pull", "-lazy", "-profile", kind, "-out", t.path("profiles"), "-ref", ref,
                  says=["built without its profiler", "-Dprofiler=false"])
    t.equal(t.run("ldd", t.binary).text.count("libdw"), 0, "elfutils linked")
    t.contains(t.morsel("version").text, "morsel")
