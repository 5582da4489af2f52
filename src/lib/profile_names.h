/* SPDX-License-Identifier: MIT */
/*
 * What the numbers in a trace stand for: images, their files and layers. Looked up once,
 * afterwards. While something is recorded nothing is looked up.
 */
#ifndef MORSEL_LIB_PROFILE_NAMES_H
#define MORSEL_LIB_PROFILE_NAMES_H

#include "lib/image.h"
#include "prof/trace_write.h"

struct profile_names {
	struct trace_names names;
	struct named_image *images;
	size_t n;
};

/* Of the files in these rows and this log. The images must stay open as long as the names are used.
 */
int profile_names_init(struct profile_names *ret, struct morsel_image *const *images, size_t n,
		       const struct access_row *rows, size_t n_rows, const struct trace_log *log);
void profile_names_fini(struct profile_names *p);

#endif
