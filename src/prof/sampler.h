/* SPDX-License-Identifier: MIT */
/*
 * The sampling profilers: a thread that looks at all others, on the CPU and off. It keeps what it
 * saw as stacks; making profiles of them is the session's business (session.h). One at a time in a
 * process.
 */
#ifndef MORSEL_PROF_SAMPLER_H
#define MORSEL_PROF_SAMPLER_H

#include "prof/stacks.h"

struct sampler_options {
	bool cpu, wall;
	uint64_t cpu_period_ns; /* of CPU time; also when only wall is wanted */
	uint64_t wall_period_ns;
	bool no_signals; /* never ask a blocked thread with one, see sampler.c */
};

struct sampler;

/* -EBUSY: there is one. */
int sampler_start(const struct sampler_options *o, struct sampler **ret);

struct sampler_result {
	struct stacks cpu, wall;
	uint64_t elapsed_ns;
	uint64_t cpu_ns;  /* what all threads used meanwhile, by the process's own clock */
	uint64_t lost_ns; /* CPU time whose samples found no room */
};

/* Ends it, within a second or so whatever other threads do. The result is to be freed. */
void sampler_stop(struct sampler *s, struct sampler_result *ret);
void sampler_result_fini(struct sampler_result *r);

#endif
