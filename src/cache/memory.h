/* SPDX-License-Identifier: MIT */
/*
 * Where verified chunks go when the disk can't take them: the heap, bounded over all layers of a
 * cache; the oldest chunk makes room for the newest. (Not a memory file: whatever limits the size
 * of files limits that too.)
 *
 * Decides nothing about which chunks are ready: that is struct layer's `mine` array, which is told
 * when a chunk has to go.
 */
#ifndef MORSEL_CACHE_MEMORY_H
#define MORSEL_CACHE_MEMORY_H

#include <pthread.h>
#include "base/util.h"

#define MEMORY_BYTES_MAX (UINT64_C(256) << 20)

struct layer;

struct memory_entry {
	struct layer *layer; /* NULL: closed meanwhile */
	uint64_t chunk;
};

struct memory { /* all under lock */
	pthread_mutex_t lock;
	uint64_t bytes, max_bytes;
	struct memory_entry *ring; /* oldest first from head */
	size_t head, count, cap;
};

void memory_init(struct memory *m, uint64_t max_bytes);
void memory_fini(struct memory *m);
/* Keeps chunk i of l, whose bytes were verified, and marks it ready. -ENOMEM. */
int memory_store(struct memory *m, struct layer *l, uint64_t i, const void *data);
/* n bytes of chunk i from off on, which must be in it. LAYER_NOT_READY: it is not here any more. */
int memory_read(struct memory *m, struct layer *l, uint64_t i, uint32_t off, void *buf, size_t n);
/* Forgets all of a layer that is being closed. */
void memory_forget(struct memory *m, struct layer *l);

#endif
