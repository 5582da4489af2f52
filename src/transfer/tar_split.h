/* SPDX-License-Identifier: MIT */
/*
 * tar-split data: what is needed, besides the contents of the files, to make the archive again byte
 * for byte. Lines of JSON: segments of the archive, and files by size and CRC-64. Does not put
 * archives together again.
 */
#ifndef MORSEL_TRANSFER_TAR_SPLIT_H
#define MORSEL_TRANSFER_TAR_SPLIT_H

#include "transfer/packed_text.h"

struct tar_split {
	struct packed_text text;
	struct buf segment, line;
	uint64_t position;
};

int tar_split_init(struct tar_split *s);
/* Bytes of the archive that are not contents. */
int tar_split_bytes(struct tar_split *s, const void *data, size_t n);
/* An entry whose header has just ended, or whose contents, if it has any: its CRC-64 (ISO). */
int tar_split_entry(struct tar_split *s, const void *name, size_t name_len, uint64_t size,
		    uint64_t crc);
int tar_split_finish(struct tar_split *s);
void tar_split_fini(struct tar_split *s);

#endif
