/* SPDX-License-Identifier: MIT */
/*
 * What is to come first in a layer: a list of paths, one a line, or what a profile of accesses saw,
 * as the trace (access_*.jsonl, in the order of the reads) or as the profile (access_*.pprof, in
 * the order of its rows). Each path counts once, where it stands first. Does not know what is in
 * the layer: a path that is not is the writer's to ignore.
 */
#ifndef MORSEL_TRANSFER_LAYER_ORDER_H
#define MORSEL_TRANSFER_LAYER_ORDER_H

#include "base/error.h"
#include "transfer/names.h"

#define ORDER_PATHS_MAX 1000000u

struct layer_order {
	char **paths; /* owned, as are they */
	size_t n, cap;
	uint64_t named; /* paths in the files, each as often as it stands there */
	struct names seen;
};
#define LAYER_ORDER_INIT ((struct layer_order){0})

/* Appends what the file says; which of the three it is, its bytes tell. -EINVAL: it can't be read;
 * -ENOENT, -EACCES; -EBADMSG: damaged, with the line, or something else, without a path in it;
 * -E2BIG: more than ORDER_PATHS_MAX paths. */
int layer_order_read(struct layer_order *o, const char *file, struct error *err);
/* One line of a list or of a trace, without its end. what: names the file; line: its number. */
int layer_order_line(struct layer_order *o, const char *text, size_t n, const char *what,
		     uint64_t line, struct error *err);
void layer_order_fini(struct layer_order *o);

#endif
