/* SPDX-License-Identifier: MIT */
/*
 * Reads profile.proto, compressed or not: what it takes to draw one, which is the types of its
 * values and, for each stack, the names of its functions. Whoever wrote the file is a stranger:
 * sizes, numbers and references are checked, memory is bounded. Pure.
 *
 * It knows nothing of labels and lines. An address without a name has that of the file it is in, in
 * brackets, or is shown in hex. The format: github.com/google/pprof, proto/profile.proto.
 */
#ifndef MORSEL_PROF_PPROF_READ_H
#define MORSEL_PROF_PPROF_READ_H

#include "base/buf.h"

#define PROFILE_BYTES_MAX ((size_t)64 << 20) /* decompressed */
#define PROFILE_TYPES_MAX 16u
#define PROFILE_FRAMES_MAX ((size_t)16 << 20) /* of all stacks */

struct profile_stack {
	size_t first, n; /* in frames[], leaf first */
	int64_t values[PROFILE_TYPES_MAX];
};

struct profile {
	struct {
		const char *type, *unit;
	} types[PROFILE_TYPES_MAX];
	size_t n_types, default_type;
	int64_t time_ns, duration_ns;
	const char **names;	  /* by number; NUL-terminated, any bytes */
	size_t n_names, n_shared; /* those below n_shared lie in text, others are their own */
	uint32_t *frames;	  /* numbers of names */
	size_t n_frames;
	struct profile_stack *stacks;
	size_t n_stacks;
	char *text;
};

/* what names the file in errors. ret must be given to profile_fini() in any case. -EBADMSG: it is
 * no such file, or damaged; -E2BIG, -ENOMEM. */
int profile_read(const void *data, size_t len, const char *what, struct profile *ret,
		 struct error *err);
void profile_fini(struct profile *p);

#endif
