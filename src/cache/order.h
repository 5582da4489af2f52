/* SPDX-License-Identifier: MIT */
/*
 * The order in which the spans of an image were first touched: collected while a mount works, kept
 * with the image, fetched ahead in that order by later mounts. A hint, never a fact: what is wrong
 * in it costs bytes and nothing else. Pure: who keeps it does the I/O.
 */
#ifndef MORSEL_CACHE_ORDER_H
#define MORSEL_CACHE_ORDER_H

#include "base/buf.h"

#define ORDER_RUNS_MAX 65536u
#define ORDER_AGE_MAX 3 /* mounts that did not touch a run before it is forgotten */
#define ORDER_KEY_BYTES 32
#define ORDER_BYTES_MAX (64 + (size_t)16 * ORDER_RUNS_MAX)

/* 16 bytes, as on disk. */
struct order_run {
	uint32_t layer;
	uint32_t first, n; /* spans; n >= 1 */
	uint32_t age;	   /* mounts since it was touched last */
};
static_assert(sizeof(struct order_run) == 16, "on-disk record");

struct order {
	struct order_run *runs;
	size_t n, room;
};
#define ORDER_INIT ((struct order){0})
void order_fini(struct order *o);
DEFINE_CLEANUP(struct order *, order_fini)

/* Appends a run, joining it to the one before when it follows that. More than ORDER_RUNS_MAX are
 * left out. -ENOMEM. */
int order_add(struct order *o, uint32_t layer, uint64_t first, uint64_t n);
/* Appends what `before` has and o has not, a mount older. -ENOMEM. */
int order_merge(struct order *o, const struct order *before);

/* key: of the image. */
int order_encode(const struct order *o, const uint8_t key[static ORDER_KEY_BYTES], struct buf *ret);
/* n_spans[i]: how many layer i has. -EBADMSG: not whole, of another image, or out of bounds. */
int order_decode(const void *data, size_t len, const uint8_t key[static ORDER_KEY_BYTES],
		 const uint64_t *n_spans, uint32_t n_layers, struct order *ret);

#endif
