/* SPDX-License-Identifier: MIT */
/*
 * Frames that a profile itself wants left out ("malloc|calloc"): with what they called. Pure.
 *
 * The format has a regular expression there; only a plain list of names is understood, which is
 * what profilers write. Anything else drops nothing: whoever wrote the file is a stranger.
 */
#ifndef MORSEL_PROF_PPROF_DROP_H
#define MORSEL_PROF_PPROF_DROP_H

#include "base/util.h"

struct pprof_drop {
	const char *names; /* "a|b", borrowed; NULL: none */
	uint8_t *known;	   /* by number of a name: 0 not looked at, 1 stays, 2 goes */
	size_t n;
};

/* For names of numbers below n. -ENOMEM. */
int pprof_drop_init(struct pprof_drop *d, const char *names, size_t n);
/* Of a stack, leaf first: how many frames at its beginning go. Its root stays. */
size_t pprof_drop_count(struct pprof_drop *d, const char *const *names, const uint32_t *frames,
			size_t n);
void pprof_drop_fini(struct pprof_drop *d);

#endif
