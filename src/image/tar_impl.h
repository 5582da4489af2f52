/* SPDX-License-Identifier: MIT */
/* The tar reader's state: shared by tar_walk.c (blocks and payloads) and tar_entry.c (what a header
 * says) only. */
#ifndef MORSEL_IMAGE_TAR_IMPL_H
#define MORSEL_IMAGE_TAR_IMPL_H

#include "image/tar.h"

#define TAR_BLOCK 512u

enum state { ST_HEADER, ST_META, ST_GNU_MAP, ST_MAP, ST_DATA, ST_SKIP, ST_PAD, ST_END };

struct tar_walk {
	struct tar_callbacks cb;
	enum state state;
	uint8_t block[TAR_BLOCK];
	size_t block_len;
	uint64_t pos;  /* bytes of the stream consumed */
	uint64_t left; /* of the payload, or of META */
	uint64_t pad;
	char meta_type;
	struct buf meta;
	struct tar_overrides o;
	bool zero_seen, seen_entry;
	/* the entry under way */
	uint8_t header[TAR_BLOCK];
	uint64_t stored; /* payload bytes, without a 1.0 map */
	struct tar_extent whole;
	const struct tar_extent *extents;
	size_t n_extents, extent;
	uint64_t extent_done;
	uint64_t map_count,
		map_off; /* sparse 1.0: numbers read; the offset waiting for its length */
	uint64_t map_total;
	uint64_t dropped;
	char path[PATH_LEN_MAX + 1], link[PATH_LEN_MAX + 1];
};

/* Header, overrides and sparse map are complete: calls out what comes. */
int tar_entry_begin(struct tar_walk *w, struct error *err);

#endif
