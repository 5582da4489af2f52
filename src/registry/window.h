/* SPDX-License-Identifier: MIT */
/*
 * The latest bytes of a stream, by their offsets in it: what may have to be sent again is still
 * there for a while. Pure; no locks.
 */
#ifndef MORSEL_REGISTRY_WINDOW_H
#define MORSEL_REGISTRY_WINDOW_H

#include "base/util.h"

struct window {
	uint8_t *data;
	size_t cap;
	uint64_t start, end; /* offsets of what is kept; end - start <= cap */
};

int window_init(struct window *w, size_t cap); /* -ENOMEM */
void window_fini(struct window *w);
/* Keeps what is there. A smaller cap changes nothing. */
int window_grow(struct window *w, size_t cap);
/* Empty, and the next byte is the one at off. */
void window_reset(struct window *w, uint64_t off);
/* At most cap bytes; the oldest make room. */
void window_append(struct window *w, const void *data, size_t n);
/* [off, off + n) is within [start, end). */
void window_copy(const struct window *w, uint64_t off, void *buf, size_t n);

#endif
