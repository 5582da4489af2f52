/* SPDX-License-Identifier: MIT */
/*
 * Writes profile.proto, the format `go tool pprof`, speedscope and Pyroscope read: compressed as it
 * comes, every string, function and named frame once. A frame is either an address
 * (pprof_location(), its lines found by whoever symbolises) or a mere name (pprof_frame(): the
 * components of a path).
 *
 * Any bytes may be given as text: what is no UTF-8 or a control character is written as \xNN, so
 * that names from an image can't make an unreadable profile. NULL is the empty string.
 *
 * Calls never fail by themselves: the first error is kept, and pprof_finish() returns it. One
 * thread at a time. The writer does not merge samples, look up symbols, or do file I/O.
 */
#ifndef MORSEL_PROF_PPROF_H
#define MORSEL_PROF_PPROF_H

#include "base/buf.h"

struct pprof_type {
	const char *type; /* "time", "fetched_bytes" */
	const char *unit; /* "nanoseconds", "bytes", "count" */
};

struct pprof_options {
	const struct pprof_type *types; /* of a sample's values, n_types of them, >= 1 */
	size_t n_types;
	const char *default_type; /* which of them viewers show first; NULL = the last */
	struct pprof_type period_type;
	int64_t period;		 /* units of period_type between two samples */
	int64_t time_ns;	 /* when it was begun, since 1970; 0 = unknown */
	int64_t duration_ns;	 /* 0 = unknown */
	const char *drop_frames; /* regular expression: frames of these functions are left out */
};

struct pprof;

int pprof_new(const struct pprof_options *o, struct pprof **ret);
void pprof_free(struct pprof *p);
DEFINE_CLEANUP(struct pprof *, pprof_free)

void pprof_comment(struct pprof *p, const char *text);

/* A mapping says where addresses come from; the one written first is the program. Its flags say
 * what is known of *all* its locations: viewers look up the rest themselves, by build id and name.
 * Profiles of named frames want one mapping too, id 1 with has_functions, else viewers miss the
 * program. */
struct pprof_mapping {
	uint64_t id; /* > 0, chosen by the caller, who may name it before he writes it */
	uint64_t start, limit, offset;
	const char *file;
	const char *build_id; /* hex digits */
	bool has_functions, has_filenames, has_lines, has_inlines;
};
void pprof_mapping(struct pprof *p, const struct pprof_mapping *m);

struct pprof_line {
	const char *function;
	const char *system_name; /* NULL = function */
	const char *file;
	int64_t line;	    /* 0 = unknown */
	int64_t start_line; /* of the function */
};

/* A location of its own for each call, the caller remembers ids by address. Inlined functions come
 * first, the function they ended up in last. n = 0: an address nobody knows. */
uint64_t pprof_location(struct pprof *p, uint64_t mapping_id, uint64_t address,
			const struct pprof_line *lines, size_t n);
/* The one location of this named frame. system_name tells equal names apart (a full path). */
uint64_t pprof_frame(struct pprof *p, uint64_t mapping_id, const char *name,
		     const char *system_name, const char *file);

struct pprof_label {
	const char *key;
	const char *str; /* NULL: num is the value */
	int64_t num;
	const char *unit; /* of num; NULL = none */
};

/* locations: leaf first. values: n_types of them. */
void pprof_sample(struct pprof *p, const uint64_t *locations, size_t n, const int64_t *values,
		  const struct pprof_label *labels, size_t n_labels);

/* Appends the finished, compressed profile to out, and is the last call before pprof_free(). */
int pprof_finish(struct pprof *p, struct buf *out);

#endif
