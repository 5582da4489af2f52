/* SPDX-License-Identifier: MIT */
/* A table of contents to layer tables, by the grammar of either format: what is not refused must
 * pass the validator. */
#include <errno.h>

#include "image/layer_format.h"

struct input {
	const uint8_t *data;
	size_t left;
};

static ssize_t source_read(void *userdata, void *buf, size_t n)
{
	struct input *in = userdata;
	size_t take = min_u64(min_u64(n, in->left), 100);

	memcpy(buf, in->data, take);
	in->data += take;
	in->left -= take;
	return (ssize_t)take;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void index_as(const struct layer_format *format, const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct index_source source = {.read = source_read,
				      .userdata = &in,
				      .blob_bytes = 1 << 20,
				      .data_end = 1 << 20,
				      .max_entries = 1000};
	struct buf tables = BUF_INIT;
	struct error err = ERROR_INIT;
	struct layer_builder *b;
	struct layer_index ix;
	int r;

	if (layer_builder_new(format->id, 1000, &b) < 0)
		return;
	r = format->index(&source, NULL, b, &err);
	if (r < 0 && !err.code && r != -ENOMEM)
		__builtin_trap();
	if (r >= 0 && layer_builder_write_buf(b, &tables) >= 0 &&
	    layer_index_validate(tables.data, tables.len, 1000, &ix, &err) < 0)
		__builtin_trap();
	buf_fini(&tables);
	layer_builder_free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	index_as(&format_estargz, data, size);
	index_as(&format_zstd_chunked, data, size);
	return 0;
}
