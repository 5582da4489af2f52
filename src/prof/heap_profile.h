/* SPDX-License-Identifier: MIT */
/* The heap sampler's table (heap.h) as a profile. Takes no samples itself. */
#ifndef MORSEL_PROF_HEAP_PROFILE_H
#define MORSEL_PROF_HEAP_PROFILE_H

#include "prof/pprof.h"
#include "prof/symbols.h"
#include "prof/backtrace.h"

/* What one place in the program allocated; estimates, for a sample stands for those that were none.
 */
struct heap_site {
	size_t n;
	uintptr_t pcs[PROF_DEPTH];
	double alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
};

/* All of them, as they are now; for free(3). -ENOMEM. */
int heap_sites(struct heap_site **ret, size_t *ret_n);

/* All but the mappings and the end. default_type: of the four. */
int heap_profile(const struct heap_site *sites, size_t n, const char *default_type, int64_t time_ns,
		 int64_t duration_ns, struct symbols *symbols, struct pprof **ret);

#endif
