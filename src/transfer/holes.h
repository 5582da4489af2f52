/* SPDX-License-Identifier: MIT */
/*
 * Where a file has holes, asked of its file system while it is read from front to back. A file
 * system that doesn't know says that all is data. What changes meanwhile is the caller's to see.
 */
#ifndef MORSEL_TRANSFER_HOLES_H
#define MORSEL_TRANSFER_HOLES_H

#include "base/util.h"

struct holes {
	int fd;
	uint64_t data, end; /* the next bytes of data, or those that were met last */
};

/* size: bytes; files that are too small for holes to matter are all data. */
void holes_begin(struct holes *h, int fd, uint64_t size);
/* How many of the n bytes from off on are of one kind, at least 1; *ret_hole: they are zeros that
 * need not be read. off never goes back. */
uint64_t holes_next(struct holes *h, uint64_t off, uint64_t n, bool *ret_hole);

#endif
