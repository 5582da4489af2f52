/* SPDX-License-Identifier: MIT */
#include "transfer/toc_write.h"

#include <errno.h>

#include "transfer/entry_text.h"
#include "transfer/tar_split.h"

struct toc_chunk {
	uint64_t begin, end; /* in the blob */
	uint64_t off, size;  /* in the file */
	struct digest digest;
};

struct toc_write {
	bool chunked, any;
	struct packed_text json;
	struct tar_split split; /* zstd:chunked */
	/* The entry whose contents are coming: its text and name, and the chunks so far. */
	struct buf text, name, chunks;
	struct buf line;
};

int toc_write_new(bool chunked, struct toc_write **ret)
{
	_cleanup_(toc_write_freep) struct toc_write *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->chunked = chunked;
	r = packed_text_init(&t->json, chunked ? PACK_ZSTD : PACK_DEFLATE);
	if (r >= 0 && chunked)
		r = tar_split_init(&t->split);
	if (r >= 0)
		r = buf_append_str(&t->line, "{\"version\":1,\"entries\":[");
	if (r >= 0)
		*ret = steal_ptr(t);
	return r;
}

static int line_flush(struct toc_write *t)
{
	int r = packed_text_append(&t->json, t->line.data, t->line.len);

	t->line.len = 0;
	return r;
}

static int object_begin(struct toc_write *t)
{
	bool any = t->any;

	t->any = true;
	return buf_append_str(&t->line, any ? ",\n{" : "\n{");
}

static int number_put(struct toc_write *t, const char *key, uint64_t v)
{
	return buf_printf(&t->line, ",\"%s\":%llu", key, (unsigned long long)v);
}

static int digest_put(struct toc_write *t, const char *key, const struct digest *d)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(d, text);
	return buf_printf(&t->line, ",\"%s\":\"%s\"", key, text);
}

/* Where one chunk is. zstd:chunked has chunk members only in files of several chunks; eStargz
 * wants the digest of every chunk. */
static int place_put(struct toc_write *t, const struct toc_chunk *c, bool many)
{
	int r = number_put(t, "offset", c->begin);

	if (r >= 0 && many && c->off)
		r = number_put(t, "chunkOffset", c->off);
	if (r >= 0 && many)
		r = number_put(t, "chunkSize", c->size);
	return r < 0 || (!many && t->chunked) ? r : digest_put(t, "chunkDigest", &c->digest);
}

static int chunk_entry(struct toc_write *t, const struct toc_chunk *c)
{
	bool lossy;
	int r = object_begin(t);

	if (r >= 0)
		r = buf_append_str(&t->line, "\"name\":");
	if (r >= 0)
		r = json_text_string(&t->line, t->name.data, t->name.len, &lossy);
	if (r >= 0)
		r = buf_append_str(&t->line, ",\"type\":\"chunk\"");
	if (r >= 0)
		r = place_put(t, c, true);
	if (r >= 0)
		r = buf_append_str(&t->line, "}");
	return r < 0 ? r : line_flush(t);
}

static int file_entry(struct toc_write *t, const struct mark *m)
{
	const struct toc_chunk *chunks = (struct toc_chunk *)t->chunks.data;
	size_t n = t->chunks.len / sizeof(*chunks);
	int r = object_begin(t);

	assert(n);
	if (r >= 0)
		r = buf_append(&t->line, t->text.data, t->text.len);
	if (r >= 0)
		r = digest_put(t, "digest", m->many ? &m->digest : &chunks[0].digest);
	if (r >= 0)
		r = place_put(t, &chunks[0], m->many);
	if (r >= 0 && t->chunked)
		r = number_put(t, "endOffset", chunks[n - 1].end);
	if (r >= 0)
		r = buf_append_str(&t->line, "}");
	if (r >= 0)
		r = line_flush(t);
	for (size_t i = 1; i < n && r >= 0; i++)
		r = chunk_entry(t, &chunks[i]);
	if (r >= 0 && t->chunked)
		r = tar_split_entry(&t->split, t->name.data, t->name.len, m->size, m->crc);
	return r;
}

static int entry_begin(struct toc_write *t, const struct batch *b, const struct mark *m)
{
	int r;

	t->text.len = t->name.len = t->chunks.len = 0;
	r = buf_append(&t->text, b->texts.data + m->text_off, m->text_len);
	if (r >= 0)
		r = buf_append(&t->name, b->texts.data + m->name_off, m->name_len);
	if (r < 0 || m->size)
		return r;
	r = object_begin(t);
	if (r >= 0)
		r = buf_append(&t->line, t->text.data, t->text.len);
	if (r >= 0)
		r = buf_append_str(&t->line, "}");
	if (r >= 0)
		r = line_flush(t);
	return r < 0 || !t->chunked ? r
				    : tar_split_entry(&t->split, t->name.data, t->name.len, 0, 0);
}

static int chunk_begin(struct toc_write *t, const struct piece *p, const struct mark *m,
		       uint64_t out_off)
{
	struct toc_chunk c = {.begin = out_off + p->out_off,
			      .end = out_off + p->out_off + p->out_len,
			      .off = m->chunk_off,
			      .size = m->size,
			      .digest = p->digest};

	return buf_append(&t->chunks, &c, sizeof(c));
}

/* The bytes since the last mark, which are not contents. */
static int split_to(struct toc_write *t, const struct batch *b, size_t *at, size_t to)
{
	size_t from = *at;

	*at = to;
	return t->chunked ? tar_split_bytes(&t->split, b->raw.data + from, to - from) : 0;
}

int toc_write_batch(struct toc_write *t, const struct batch *b, uint64_t out_off)
{
	size_t n, n_pieces, at = 0;
	const struct mark *marks = batch_marks(b, &n);
	const struct piece *pieces = batch_pieces(b, &n_pieces);
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++) {
		const struct mark *m = &marks[i];

		r = split_to(t, b, &at, m->raw_off);
		if (r < 0)
			return r;
		switch (m->kind) {
		case MARK_ENTRY:
			r = entry_begin(t, b, m);
			break;
		case MARK_CHUNK:
			assert(m->piece < n_pieces);
			r = chunk_begin(t, &pieces[m->piece], m, out_off);
			at += m->size;
			break;
		case MARK_FILE_END:
			r = file_entry(t, m);
			break;
		}
	}
	return r < 0 ? r : split_to(t, b, &at, b->raw.len);
}

int toc_write_finish(struct toc_write *t, struct packed_text **ret_json,
		     struct packed_text **ret_split)
{
	char text[DIGEST_TEXT_MAX];
	struct digest d;
	int r = t->chunked ? tar_split_finish(&t->split) : 0;

	if (r < 0)
		return r;
	r = buf_append_str(&t->line, "\n]");
	if (r >= 0 && t->chunked) {
		digest_of(DIGEST_SHA256, t->split.text.bytes.data, t->split.text.bytes.len, &d);
		digest_format(&d, text);
		r = buf_printf(&t->line, ",\"tarSplitDigest\":\"%s\"", text);
	}
	if (r >= 0)
		r = buf_append_str(&t->line, "}");
	if (r >= 0)
		r = line_flush(t);
	if (r < 0)
		return r;
	packed_text_seal(&t->json);
	*ret_json = &t->json;
	*ret_split = t->chunked ? &t->split.text : NULL;
	return 0;
}

void toc_write_free(struct toc_write *t)
{
	packed_text_fini(&t->json);
	tar_split_fini(&t->split);
	buf_fini(&t->text);
	buf_fini(&t->name);
	buf_fini(&t->chunks);
	buf_fini(&t->line);
	free(t);
}
