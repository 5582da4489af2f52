"""What the profiler is linked with."""
import subprocess

from morseltest import need


def case_no_second_unwinder(t):
    """Neither gperftools nor libunwind is linked in: they would take over SIGPROF, and libgcc's unwinder, in every process."""
    need("ldd")
    linked = subprocess.run(["ldd", t.binary], capture_output=True, text=True, check=True).stdout
    t.check("libc.so" in linked, "ldd says something")
    for name in ("libprofiler", "libtcmalloc", "libunwind"):
        t.check(name not in linked, f"{name} is not linked in")
