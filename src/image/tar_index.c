/* SPDX-License-Identifier: MIT */
#include "image/tar_index.h"

#include <errno.h>
#include <sys/stat.h>

#include "image/tar_opinion.h"

#define WRITE_BYTES (1u << 20)

struct tar_index {
	struct layer_builder *b;
	struct index_sink sink;
	struct tar_walk *walk;
	struct tar_opinion *opinion;
	const uint8_t *shown; /* of what is being fed: up to here it knows */
	struct hasher *hash;
	struct error *err; /* during a feed */
	uint64_t device;   /* next free byte, DEVICE_BLOCK aligned */
	uint64_t data_off; /* of the file under way */
	/* the chunk under way: len 0 = none */
	struct layer_chunk chunk;
	/* bytes on their way to the sink, contiguous on the device */
	uint8_t *out;
	uint64_t out_off;
	size_t out_len;
};

static int out_flush(struct tar_index *ix)
{
	int r = 0;

	if (ix->out_len)
		r = ix->sink.write(ix->sink.userdata, ix->out_off, ix->out, ix->out_len);
	ix->out_len = 0;
	if (r < 0)
		return error_set_errno(ix->err, r, "can't write file contents to the cache");
	return 0;
}

/* Gaps up to a file's start are small and zero: filling them in keeps writes large. */
static int out_write(struct tar_index *ix, uint64_t off, const uint8_t *p, size_t n)
{
	uint64_t end = ix->out_off + ix->out_len;
	int r = 0;

	if (ix->out_len && off - end < DEVICE_BLOCK && off - end + n <= WRITE_BYTES - ix->out_len) {
		memset(ix->out + ix->out_len, 0, off - end);
		ix->out_len += off - end;
	} else if (ix->out_len && off != end)
		r = out_flush(ix);
	while (n && r >= 0) {
		size_t take = min_u64(n, WRITE_BYTES - ix->out_len);

		if (!ix->out_len)
			ix->out_off = off;
		memcpy(ix->out + ix->out_len, p, take);
		ix->out_len += take;
		off += take;
		p += take;
		n -= take;
		if (ix->out_len == WRITE_BYTES)
			r = out_flush(ix);
	}
	return r;
}

static int chunk_end(struct tar_index *ix)
{
	struct digest d;
	int r;

	if (!ix->chunk.len)
		return 0;
	hasher_final(ix->hash, &d);
	memcpy(ix->chunk.digest, d.bytes, sizeof(ix->chunk.digest));
	r = layer_builder_add_chunk(ix->b, &ix->chunk);
	ix->chunk.len = 0;
	return r;
}

/* Until tar_index_finish() a chunk's span_off is its place in the decompressed stream. */
static int on_data(void *userdata, uint64_t file_off, const void *data, size_t n,
		   uint64_t stream_off)
{
	struct tar_index *ix = userdata;
	const uint8_t *p = data;
	int r = tar_opinion_meta(ix->opinion, ix->shown, (size_t)(p - ix->shown), ix->err);

	if (r >= 0)
		r = tar_opinion_contents(ix->opinion, n);
	ix->shown = p + n;
	while (n && r >= 0) {
		uint64_t off = ix->data_off + file_off;
		size_t take = min_u64(n, CHUNK_OWN - file_off % CHUNK_OWN);

		if (ix->chunk.len && off != ix->chunk.dev_off + ix->chunk.len)
			r = chunk_end(ix);
		if (r < 0)
			return r;
		if (!ix->chunk.len)
			ix->chunk = (struct layer_chunk){.dev_off = off, .span_off = stream_off};
		hasher_update(ix->hash, p, take);
		ix->chunk.len += (uint32_t)take;
		r = out_write(ix, off, p, take);
		file_off += take;
		stream_off += take;
		p += take;
		n -= take;
		if (r >= 0 && file_off % CHUNK_OWN == 0)
			r = chunk_end(ix);
	}
	return r;
}

static int on_entry(void *userdata, const struct tar_entry *e)
{
	struct tar_index *ix = userdata;
	struct layer_entry m = e->meta;
	int r = tar_opinion_entry(ix->opinion, e);

	if (r < 0)
		return r;
	if (S_ISREG(m.mode) && m.size && !(m.flags & ENTRY_HARDLINK)) {
		if (m.size > DEVICE_MAX - ix->device)
			return error_set(
				ix->err, -E2BIG,
				"entry \"%.120s\": the layer's files have more than %llu bytes",
				e->path, (unsigned long long)DEVICE_MAX);
		m.data_off = ix->data_off = ix->device;
		ix->device = align_up(ix->device + m.size, DEVICE_BLOCK);
	}
	r = layer_builder_add_entry(ix->b, &m, e->path, e->path_len, e->link, e->link_len,
				    e->xattrs, e->xattr_len);
	if (r == -E2BIG)
		return error_set(
			ix->err, r,
			"the layer has more entries than the limit allows (--max-entries)");
	return r;
}

static int on_end(void *userdata)
{
	return chunk_end(userdata);
}

int tar_index_new(struct layer_builder *b, const struct index_sink *sink, struct tar_index **ret)
{
	_cleanup_(tar_index_freep) struct tar_index *ix = calloc(1, sizeof(*ix));
	struct tar_callbacks cb = {.entry = on_entry, .data = on_data, .end_entry = on_end};
	int r;

	if (!ix)
		return -ENOMEM;
	ix->b = b;
	ix->sink = *sink;
	cb.userdata = ix;
	ix->out = malloc(WRITE_BYTES);
	r = ix->out ? hasher_new(DIGEST_SHA256, &ix->hash) : -ENOMEM;
	if (r >= 0)
		r = tar_walk_new(&cb, &ix->walk);
	if (r >= 0)
		r = tar_opinion_new(&ix->opinion);
	if (r < 0)
		return r;
	*ret = steal_ptr(ix);
	return 0;
}

int tar_index_feed(struct tar_index *ix, const void *data, size_t n, struct error *err)
{
	int r;

	ix->err = err;
	ix->shown = data;
	r = tar_walk_feed(ix->walk, data, n, err);
	if (r < 0)
		return r;
	return tar_opinion_meta(ix->opinion, ix->shown,
				(size_t)((const uint8_t *)data + n - ix->shown), err);
}

int tar_index_cut(struct tar_index *ix)
{
	return chunk_end(ix);
}

/* Chunks and spans both ascend, so one pass over each suffices. */
static void chunks_resolve(struct tar_index *ix)
{
	const struct layer_index_header *h = layer_builder_header(ix->b);
	uint64_t s = 0;

	for (uint64_t i = 0; i < h->n_chunks; i++) {
		struct layer_chunk *c = layer_builder_chunk(ix->b, i);
		uint64_t at = c->span_off, last;

		while (s + 1 < h->n_spans && layer_builder_span(ix->b, s + 1)->out_off <= at)
			s++;
		c->span = (uint32_t)s;
		c->span_off = at - layer_builder_span(ix->b, s)->out_off;
		for (last = s; last + 1 < h->n_spans &&
			       layer_builder_span(ix->b, last + 1)->out_off < at + c->len;)
			last++;
		c->span_last = (uint32_t)last;
	}
}

int tar_index_finish(struct tar_index *ix, struct error *err)
{
	struct layer_index_header *h = layer_builder_header(ix->b);
	int r;

	ix->err = err;
	r = tar_walk_finish(ix->walk, err);
	if (r >= 0)
		r = tar_opinion_finish(ix->opinion, err);
	if (r >= 0)
		r = out_flush(ix);
	if (r < 0)
		return r;
	h->device_bytes = ix->device;
	h->dropped_xattrs += tar_walk_dropped_xattrs(ix->walk);
	chunks_resolve(ix);
	return 0;
}

void tar_index_free(struct tar_index *ix)
{
	if (!ix)
		return;
	tar_walk_free(ix->walk);
	tar_opinion_free(ix->opinion);
	hasher_free(ix->hash);
	free(ix->out);
	free(ix);
}
