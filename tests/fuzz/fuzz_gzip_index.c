/* SPDX-License-Identifier: MIT */
/* Gzip bytes to layer tables and a device in memory; then every span decodes to what was stored. */
#include <errno.h>

#include "image/layer_format.h"

#define DEVICE_BYTES (4u << 20)

struct input {
	const uint8_t *data;
	size_t left;
};

static ssize_t source_read(void *userdata, void *buf, size_t n)
{
	struct input *in = userdata;
	size_t take = min_u64(n, in->left);

	memcpy(buf, in->data, take);
	in->data += take;
	in->left -= take;
	return (ssize_t)take;
}

static int device_write(void *userdata, uint64_t dev_off, const void *data, size_t n)
{
	if (dev_off > DEVICE_BYTES || n > DEVICE_BYTES - dev_off)
		return -ENOSPC;
	memcpy((uint8_t *)userdata + dev_off, data, n);
	return 0;
}

struct check {
	const struct layer_index *ix;
	const uint8_t *device;
};

static int chunk_check(void *userdata, uint64_t i, const void *data, size_t len)
{
	const struct check *c = userdata;

	if (memcmp(c->device + c->ix->chunks[i].dev_off, data, len))
		__builtin_trap();
	return 0;
}

static void decode_all(const struct layer_index *ix, const uint8_t *blob, const uint8_t *device)
{
	struct check c = {ix, device};
	const struct chunk_sink sink = {.chunk = chunk_check, .userdata = &c};

	for (uint64_t i = 0; i < ix->header.n_chunks; i++) {
		const struct layer_chunk *k = &ix->chunks[i];
		uint64_t off = ix->spans[k->span].in_off;

		if (format_gzip.decode(ix, k->span, k->span_last, blob + off,
				       ix->spans[k->span_last].in_end - off, i, i, &sink) < 0)
			__builtin_trap();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct index_source source = {.read = source_read,
				      .userdata = &in,
				      .blob_bytes = size,
				      .data_end = size,
				      .max_entries = 100};
	uint8_t *device = calloc(1, DEVICE_BYTES);
	const struct index_sink out = {.write = device_write, .userdata = device};
	struct buf tables = BUF_INIT;
	struct error err = ERROR_INIT;
	struct layer_builder *b;
	struct layer_index ix;

	if (!device || layer_builder_new(LAYER_GZIP, 100, &b) < 0)
		return 0;
	if (format_gzip.index(&source, &out, b, &err) >= 0 &&
	    layer_builder_write_buf(b, &tables) >= 0) {
		if (layer_index_validate(tables.data, tables.len, 100, &ix, &err) < 0)
			__builtin_trap();
		decode_all(&ix, data, device);
	}
	buf_fini(&tables);
	layer_builder_free(b);
	free(device);
	return 0;
}
