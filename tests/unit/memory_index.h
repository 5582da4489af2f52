/* SPDX-License-Identifier: MIT */
/* Blobs made and indexed in memory, for tests: tar headers, gzip members, a device that is an
 * array. */
#ifndef MORSEL_TESTS_MEMORY_INDEX_H
#define MORSEL_TESTS_MEMORY_INDEX_H

#include <errno.h>
#include <stdio.h>
#include <zlib.h>

#include "image/layer_format.h"

#define MEMORY_MUST(x)                                                                             \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* A file of a tar archive, padded. */
static inline void tar_file_put(struct buf *tar, const char *name, const void *data, size_t n)
{
	static const uint8_t zeros[512];
	char h[512] = {0};
	unsigned sum = 0;

	snprintf(h, 100, "%s", name);
	strcpy(h + 100, "0000644");
	snprintf(h + 124, 13, "%011zo", n);
	h[156] = '0';
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += (uint8_t)h[i];
	snprintf(h + 148, 8, "%06o", sum);
	MEMORY_MUST(buf_append(tar, h, sizeof(h)) >= 0);
	MEMORY_MUST(buf_append(tar, data, n) >= 0);
	MEMORY_MUST(buf_append(tar, zeros, -n & 511) >= 0);
}

static inline void tar_end_put(struct buf *tar)
{
	static const uint8_t zeros[1024];

	MEMORY_MUST(buf_append(tar, zeros, sizeof(zeros)) >= 0);
}

/* One gzip member; name: its FNAME and an FEXTRA with it, or NULL for a bare header. */
static inline void gzip_put(struct buf *blob, const void *data, size_t n, int level,
			    const char *name)
{
	uint8_t extra[] = {'X', 'Y', 2, 0, 0, 1};
	gz_header header = {
		.name = (Bytef *)name, .extra = extra, .extra_len = sizeof(extra), .hcrc = 1};
	z_stream z = {.next_in = (uint8_t *)data, .avail_in = (uInt)n};
	size_t bound;

	MEMORY_MUST(deflateInit2(&z, level, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
	if (name)
		MEMORY_MUST(deflateSetHeader(&z, &header) == Z_OK);
	bound = deflateBound(&z, n);
	MEMORY_MUST(buf_reserve(blob, bound) >= 0);
	z.next_out = blob->data + blob->len;
	z.avail_out = (uInt)bound;
	MEMORY_MUST(deflate(&z, Z_FINISH) == Z_STREAM_END);
	blob->len += z.total_out;
	deflateEnd(&z);
}

struct memory_index {
	struct layer_index ix; /* of the bytes in tables */
	struct buf tables, device;
	struct error err;
};

struct memory_source {
	const uint8_t *data;
	size_t left, piece; /* of one read at most */
};

static inline ssize_t memory_read(void *userdata, void *buf, size_t n)
{
	struct memory_source *s = userdata;
	size_t take = min_u64(min_u64(n, s->left), s->piece);

	if (take)
		memcpy(buf, s->data, take);
	s->data += take;
	s->left -= take;
	return (ssize_t)take;
}

static inline int memory_write(void *userdata, uint64_t off, const void *data, size_t n)
{
	struct buf *device = userdata;
	uint64_t end = off + n;

	if (end > device->len) {
		int r = buf_reserve(device, end - device->len);

		if (r < 0)
			return r;
		memset(device->data + device->len, 0, end - device->len);
		device->len = end;
	}
	memcpy(device->data + off, data, n);
	return 0;
}

/* What the format's indexer and the validator say. */
static inline int memory_index_make(struct memory_index *m, const struct layer_format *format,
				    const void *data, size_t n, size_t piece)
{
	struct memory_source s = {data, n, piece};
	const struct index_source in = {.read = memory_read,
					.userdata = &s,
					.blob_bytes = n,
					.data_end = n,
					.max_entries = 1000};
	const struct index_sink out = {.write = memory_write, .userdata = &m->device};
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	int r;

	*m = (struct memory_index){0};
	MEMORY_MUST(layer_builder_new(format->id, 1000, &b) >= 0);
	r = format->index(&in, &out, b, &m->err);
	if (r < 0)
		return r;
	MEMORY_MUST(layer_builder_write_buf(b, &m->tables) >= 0);
	return layer_index_validate(m->tables.data, m->tables.len, 1000, &m->ix, &m->err);
}

static inline void memory_index_fini(struct memory_index *m)
{
	buf_fini(&m->tables);
	buf_fini(&m->device);
}

#endif
