/* SPDX-License-Identifier: MIT */
/*
 * Profiles of this process, from start to stop, as finished .pprof files in memory. Where they are
 * written to, and under what name, is others' business; so are access profiles and traces.
 *
 *   cpu     samples, cpu time       where all threads' CPU time went
 *   fgprof  samples, time           where all threads' time went, waiting included
 *   heap    objects and bytes, allocated and in use; what is in use shown first
 *   allocs  the same, what was allocated shown first
 *
 * Labels: op image layer command pid (op.h), thread, state (running runnable waiting parked idle
 * blocked), wchan. In a build without the profiler, starting says -ENOTSUP.
 */
#ifndef MORSEL_PROF_SESSION_H
#define MORSEL_PROF_SESSION_H

#include "base/buf.h"

enum prof_kind { PROF_CPU = 1, PROF_FGPROF = 2, PROF_HEAP = 4, PROF_ALLOCS = 8 };
#define PROF_KINDS 4

enum prof_cpu_engine {
	PROF_ENGINE_TIMERS, /* a timer per thread, weighted */
	PROF_ENGINE_GPERFTOOLS,
};

struct prof_session_options {
	unsigned kinds; /* bits of enum prof_kind; 0 is fine, and gives nothing */
	enum prof_cpu_engine cpu_engine;
	unsigned cpu_hz;     /* 0 = 100; <= 1000. Samples per second of CPU time */
	unsigned fgprof_hz;  /* 0 = 99; <= 1000 */
	bool no_signals;     /* sampler.h */
	bool no_symbols;     /* bare addresses, for viewers that look them up */
	const char *comment; /* goes into each profile; NULL = none. Copied */
};

struct prof_session;

/* -ENOTSUP; -EBUSY: one is running in this process; -EINVAL: a rate; -ENOMEM. */
int prof_session_start(const struct prof_session_options *o, struct prof_session **ret,
		       struct error *err);

/* The finished files: profile[i] of kind 1 << i, empty when it was not wanted. */
struct prof_profiles {
	struct buf profile[PROF_KINDS];
};

/* Ends and frees the session, whatever it returns; ret is the caller's then, also what was made
 * before an error. Takes a few seconds at most, most of it to look up symbols. */
int prof_session_stop(struct prof_session *s, struct prof_profiles *ret, struct error *err);
void prof_profiles_fini(struct prof_profiles *p);

/* "cpu", "fgprof", "heap", "allocs" */
const char *prof_kind_name(enum prof_kind kind);

#endif
