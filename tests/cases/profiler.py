"""What the profiler is linked with, and what a stripped program keeps."""
import subprocess

from morseltest import need


def case_no_second_unwinder(t):
    """Neither gperftools nor libunwind is linked in: they would take over SIGPROF, and libgcc's unwinder, in every process."""
    # not: asan tsan
    need("ldd")
    linked = subprocess.run(["ldd", t.binary], capture_output=True, text=True, check=True).stdout
    t.check("libc.so" in linked, "ldd says something")
    for name in ("libprofiler", "libtcmalloc", "libunwind"):
        t.check(name not in linked, f"{name} is not linked in")


def case_stripped_keeps_lines(t):
    """A stripped program still has its debug information, in a section of its own, for the profiles it makes of itself."""
    # not: asan tsan
    need("strip", "readelf")
    stripped = t.path("stripped")
    subprocess.run(["strip", "-o", stripped, t.binary], check=True)
    sections = subprocess.run(["readelf", "-SW", stripped], capture_output=True, text=True, check=True).stdout
    t.check(".debug_info" not in sections, "strip strips")
    t.check(".morsel_debug" in sections, "the program's own copy is left")
    debug = t.path("debug")
    subprocess.run(["objcopy", "--dump-section", f".morsel_debug={debug}", stripped, t.path("copy")], check=True)
    inside = subprocess.run(["readelf", "-SW", debug], capture_output=True, text=True).stdout
    for name in (".debug_info", ".debug_line"):
        t.check(name in inside, f"{name} is in it")
