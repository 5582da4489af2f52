/* SPDX-License-Identifier: MIT */
/* What is found out about a source before its layer is begun. Reads no contents but those of an
 * ignore file. */
#ifndef MORSEL_TRANSFER_LAYER_BEFORE_H
#define MORSEL_TRANSFER_LAYER_BEFORE_H

#include "image/path.h"
#include "transfer/ignore.h"
#include "transfer/layer_write.h"
#include "transfer/tar_encode.h"

/* -EINVAL: no place inside an image. */
int layer_source_prefix(const struct layer_source *s, char out[static PATH_LEN_MAX + 1],
			struct error *err);
/* The ignore file and the patterns. */
int layer_source_ignore(const struct layer_source *s, struct ignore_list **ret, struct error *err);
/* A walk without contents: the entries as they will be written, but for extended attributes, and in
 * the order of the tree. */
int layer_walk_beforehand(const struct layer_source *source, const char *prefix,
			  const struct ignore_list *ignore, const _Atomic bool *cancel,
			  int (*entry)(void *userdata, const struct tar_header *h, int fd,
				       struct error *err),
			  void *userdata, struct error *err);
/* Its names are UTF-8. */
bool layer_header_is_text(const struct tar_header *h);
/* Makes a format with a table the plain one where the tree has names that no table can hold. */
int layer_table_or_not(struct layer_params *p, const struct layer_source *source,
		       const char *prefix, const struct ignore_list *ignore, struct error *err);

#endif
