/* SPDX-License-Identifier: MIT */
/* An opened image: its index mapped, its layers readable. Knows nothing of mounts. */
#ifndef MORSEL_LIB_IMAGE_H
#define MORSEL_LIB_IMAGE_H

#include "cache/reader.h"
#include "image/erofs_read.h"
#include "lib/layers.h"

struct morsel_image {
	struct morsel *m;
	struct resolved rv;
	char digest[DIGEST_TEXT_MAX];
	struct image_layer *layers;
	struct index_progress index_cost;
	struct digest key; /* of the merged image */
	struct image_map map;
	struct erofs fs;
	struct counters counters;
	struct counters *per_layer;
	struct access *access;
	struct reader *reader;	/* NULL: closed, and only its names are wanted (image_keep()) */
	_Atomic unsigned users; /* who opened it, and who keeps it */
	uint64_t opened_ns;	/* how long opening took, */
	uint64_t resolved_ns, indexed_ns, merged_ns; /* and parts of it */
};

/* Its names, layers' digests and what it counted stay after it was closed, until image_drop(). It
 * must be open when it is kept. */
void image_keep(struct morsel_image *img);
void image_drop(struct morsel_image *img);
/* Symlinks are followed inside the image. 0, -ENOENT, -ENOTDIR, -ELOOP, -EBADMSG, -ENOMEM. */
int image_path_walk(const struct erofs *fs, const char *path, unsigned flags,
		    struct erofs_inode *ret);
/* An inode by a number that a caller gave. -EINVAL: there is no such file. */
int image_inode_get(struct morsel_image *img, uint64_t ino, struct erofs_inode *ret,
		    struct error *err);
/* "gzip", "estargz", ... */
const char *image_layer_format_name(const struct image_layer *l);

#endif
