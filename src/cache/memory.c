/* SPDX-License-Identifier: MIT */
#include "cache/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

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

static void evict_oldest(struct memory *m)
{
	struct memory_entry *e = &m->ring[m->head];
	const struct layer_chunk *c;

	m->head = (m->head + 1) % m->cap;
	m->count--;
	if (!e->layer)
		return;
	c = &e->layer->index.chunks[e->chunk];
	layer_mine_set(e->layer, e->chunk, 0);
	seam_real()->punch(seam_real(), e->layer->mem_fd, c->dev_off, c->len);
	m->bytes -= c->len;
}

static int file_make(struct layer *l)
{
	int fd, r;

	if (l->mem_fd >= 0)
		return 0;
	fd = memfd_create("morsel-chunks", MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)l->index.header.device_bytes) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	l->mem_fd = fd;
	return 0;
}

int memory_store(struct memory *m, struct layer *l, uint64_t i, const void *data)
{
	const struct layer_chunk *c = &l->index.chunks[i];
	int r;

	pthread_mutex_lock(&m->lock);
	r = file_make(l);
	if (r >= 0)
		r = ring_grow(m);
	while (r >= 0 && m->count && m->bytes + c->len > m->max_bytes)
		evict_oldest(m);
	if (r >= 0)
		r = seam_pwrite_full(seam_real(), l->mem_fd, data, c->len, c->dev_off);
	if (r >= 0) {
		m->ring[(m->head + m->count++) % m->cap] = (struct memory_entry){l, i};
		m->bytes += c->len;
		l->mem_epoch = (uint8_t)(l->mem_epoch % MINE_MEMORY_MAX + 1);
		layer_mine_set(l, i, l->mem_epoch);
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
		m->bytes -= l->index.chunks[e->chunk].len;
		e->layer = NULL;
	}
	pthread_mutex_unlock(&m->lock);
	closep(&l->mem_fd);
	l->mem_fd = -1;
}
