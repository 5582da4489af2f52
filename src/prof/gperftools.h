/* SPDX-License-Identifier: MIT */
/*
 * The second CPU profiler: Google's libprofiler, loaded when it is asked for and never linked (it
 * would put its handler for SIGPROF and its own unwinder into every process). One timer for the
 * whole process, unweighted ticks: at rates above the kernel's tick it finds too little. Its rate
 * is 100 a second, or CPUPROFILE_FREQUENCY in the environment when it is first loaded.
 */
#ifndef MORSEL_PROF_GPERFTOOLS_H
#define MORSEL_PROF_GPERFTOOLS_H

#include "prof/stacks.h"

struct gperftools;

/* -ENOTSUP: the library is not there, or does not work. */
int gperftools_start(struct gperftools **ret, struct error *err);
/* Ends it, and adds what it found to *ret. Frees g, whatever it returns. */
int gperftools_stop(struct gperftools *g, struct stacks *ret, uint64_t *ret_period_ns,
		    struct error *err);

/* Reads its file: counts and addresses in words of this machine. Pure. -EBADMSG. */
int gperftools_parse(const void *data, size_t n, struct stacks *ret, uint64_t *ret_period_ns,
		     struct error *err);

#endif
