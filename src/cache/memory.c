/* SPDX-License-Identifier: MIT */
#include "cache/memory.h"

#include <errno.h>

#include "cache/layer_impl.h"

#define RING_FIRST 64

void memory_init(struct memory *m, uint64_t max_bytes)
{
	*m = (struct memory){.max_bytes = max_bytes};
	pthread_mutex_init(&m->lock, NULL);
}

void memory_fini(struct memory *m)
{
	pthread_mutex_destroy(&m->lock);
	free(m->ring);
}

static int ring_grow(struct memory *m)
{
	size_t cap = m->cap ? 2 * m->cap : RING_FIRST;
	struct memory_entry *ring;

	if (m->count < m->cap)
		return 0;
	ring = reallocarray(NULL, cap, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	for (size_t i = 0; i < m->count; i++)
		ring[i] = m->ring[(m->head + i) % m->cap];
	free(m->ring);
	m->ring = ring;
	m->cap = cap;
	m->head = 0;
	return 0;
}

static void chunk_drop(struct memory *m, struct layer *l, uint64_t i)
{
	free(l->mem[i]);
	l->mem[i] = NULL;
	m->bytes -= l->index.chunks[i].len;
}

static void evict_oldest(struct memory *m)
{
	struct memory_entry *e = &m->ring[m->head];

	m->head = (m->head + 1) % m->cap;
	m->count--;
	if (!e->layer)
		return;
	layer_mine_set(e->layer, e->chunk, 0);
	chunk_drop(m, e->layer, e->chunk);
}

static int chunk_keep(struct memory *m, struct layer *l, uint64_t i, const void *data)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	uint8_t *copy;
	int r;

	if (!l->mem)
		l->mem = calloc(l->index.header.n_chunks, sizeof(*l->mem));
	if (!l->mem)
		return -ENOMEM;
	if (l->mem[i])
		return 0;
	r = ring_grow(m);
	if (r < 0)
		return r;
	while (m->count && m->bytes + c->len > m->max_bytes)
		evict_oldest(m);
	copy = malloc(c->len);
	if (!copy)
		return -ENOMEM;
	l->mem[i] = memcpy(copy, data, c->len);
	m->bytes += c->len;
	m->ring[(m->head + m->count++) % m->cap] = (struct memory_entry){l, i};
	return 0;
}

int memory_store(struct memory *m, struct layer *l, uint64_t i, const void *data)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = chunk_keep(m, l, i, data);
	if (r >= 0) {
		l->mem_epoch = (uint8_t)(l->mem_epoch % MINE_MEMORY_MAX + 1);
		layer_mine_set(l, i, l->mem_epoch);
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

int memory_read(struct memory *m, struct layer *l, uint64_t i, uint32_t off, void *buf, size_t n)
{
	int r = LAYER_NOT_READY;

	pthread_mutex_lock(&m->lock);
	if (l->mem && l->mem[i]) {
		memcpy(buf, l->mem[i] + off, n);
		r = 0;
	}
	pthread_mutex_unlock(&m->lock);
	return r;
}

void memory_forget(struct memory *m, struct layer *l)
{
	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < m->count; i++) {
		struct memory_entry *e = &m->ring[(m->head + i) % m->cap];

		if (e->layer != l)
			continue;
		chunk_drop(m, l, e->chunk);
		e->layer = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	free(steal_ptr(l->mem));
}
