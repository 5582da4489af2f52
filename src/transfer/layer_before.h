/* SPDX-License-Identifier: MIT */
/* What is found out about a source before its layer is begun. Reads no contents but those of an
 * ignore file. */
#ifndef MORSEL_TRANSFER_LAYER_BEFORE_H
#define MORSEL_TRANSFER_LAYER_BEFORE_H

#include "image/path.h"
#include "transfer/ignore.h"
#include "transfer/layer_write.h"

/* -EINVAL: no place inside an image. */
int layer_source_prefix(const struct layer_source *s, char out[static PATH_LEN_MAX + 1],
			struct error *err);
/* The ignore file and the patterns. */
int layer_source_ignore(const struct layer_source *s, struct ignore_list **ret, struct error *err);
/* Makes a format with a table the plain one where the tree has names that no table can hold. */
int layer_table_or_not(struct layer_params *p, const struct layer_source *source,
		       const char *prefix, const struct ignore_list *ignore, struct error *err);

#endif
