/* SPDX-License-Identifier: MIT */
#include "transfer/tar_split.h"

#include "base/base64.h"
#include "transfer/entry_text.h"

int tar_split_init(struct tar_split *s)
{
	return packed_text_init(&s->text, PACK_ZSTD);
}

int tar_split_bytes(struct tar_split *s, const void *data, size_t n)
{
	return n ? buf_append(&s->segment, data, n) : 0;
}

static int line_end(struct tar_split *s)
{
	int r = buf_printf(&s->line, ",\"position\":%llu}\n", (unsigned long long)s->position++);

	if (r >= 0)
		r = packed_text_append(&s->text, s->line.data, s->line.len);
	s->line.len = 0;
	return r;
}

static int segment_flush(struct tar_split *s)
{
	int r;

	if (!s->segment.len)
		return 0;
	r = buf_append_str(&s->line, "{\"type\":2,\"payload\":\"");
	if (r >= 0)
		r = base64_encode(s->segment.data, s->segment.len, &s->line);
	if (r >= 0)
		r = buf_append_str(&s->line, "\"");
	s->segment.len = 0;
	return r < 0 ? r : line_end(s);
}

static int name_put(struct tar_split *s, const void *name, size_t n)
{
	size_t start = s->line.len;
	bool lossy = false;
	int r = buf_append_str(&s->line, "\"name\":");

	if (r >= 0)
		r = json_text_string(&s->line, name, n, &lossy);
	if (r < 0 || !lossy)
		return r;
	s->line.len = start;
	r = buf_append_str(&s->line, "\"name_raw\":\"");
	if (r >= 0)
		r = base64_encode(name, n, &s->line);
	return r < 0 ? r : buf_append_str(&s->line, "\"");
}

static int crc_put(struct tar_split *s, uint64_t crc)
{
	uint64_t big_endian = __builtin_bswap64(crc);
	int r = buf_append_str(&s->line, "\"");

	if (r >= 0)
		r = base64_encode(&big_endian, sizeof(big_endian), &s->line);
	return r < 0 ? r : buf_append_str(&s->line, "\"");
}

int tar_split_entry(struct tar_split *s, const void *name, size_t name_len, uint64_t size,
		    uint64_t crc)
{
	int r = segment_flush(s);

	if (r >= 0)
		r = buf_append_str(&s->line, "{\"type\":1,");
	if (r >= 0)
		r = name_put(s, name, name_len);
	if (r >= 0 && size)
		r = buf_printf(&s->line, ",\"size\":%llu", (unsigned long long)size);
	if (r >= 0)
		r = buf_append_str(&s->line, ",\"payload\":");
	if (r >= 0)
		r = size ? crc_put(s, crc) : buf_append_str(&s->line, "null");
	return r < 0 ? r : line_end(s);
}

int tar_split_finish(struct tar_split *s)
{
	int r = segment_flush(s);

	return r < 0 ? r : packed_text_finish(&s->text);
}

void tar_split_fini(struct tar_split *s)
{
	packed_text_fini(&s->text);
	buf_fini(&s->segment);
	buf_fini(&s->line);
}
