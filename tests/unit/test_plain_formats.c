/* SPDX-License-Identifier: MIT */
/* Plain zstd and plain tar layers: indexed in memory, and every span decoded again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <zstd.h>
#include "memory_index.h"

#define BIG_BYTES (5u << 20)

/* The same for the same n: half of its bits are worth something. */
static void tar_text_put(struct buf *tar, const char *name, size_t n)
{
	uint32_t seed = (uint32_t)n;
	uint8_t *p = malloc(n + 1);

	assert_non_null(p);
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)("etaoin shrdlu,.\n"[seed >> 28]);
	}
	tar_file_put(tar, name, p, n);
	free(p);
}

struct frame_options {
	bool checksum, no_size;
};

static void frame_put(struct buf *blob, const void *data, size_t n, const struct frame_options *o)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();
	size_t bound = ZSTD_compressBound(n), got;

	assert_non_null(z);
	assert_int_equal(buf_reserve(blob, bound), 0);
	ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, 1);
	if (o && o->checksum)
		ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
	if (o && o->no_size)
		ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, 0);
	got = ZSTD_compress2(z, blob->data + blob->len, bound, data, n);
	assert_false(ZSTD_isError(got));
	blob->len += got;
	ZSTD_freeCCtx(z);
}

static void skippable_put(struct buf *blob, uint32_t n)
{
	uint8_t head[8] = {0x5e, 0x2a, 0x4d, 0x18};

	le32_put(head + 4, n);
	assert_int_equal(buf_append(blob, head, sizeof(head)), 0);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(buf_append(blob, "s", 1), 0);
}

struct taken {
	const struct memory_index *m;
	uint64_t next;
};

static int chunk_take(void *userdata, uint64_t i, const void *data, size_t len)
{
	struct taken *t = userdata;
	const struct layer_chunk *c = &t->m->ix.chunks[i];
	struct digest d;

	assert_int_equal(i, t->next++);
	assert_int_equal(len, c->len);
	assert_memory_equal(data, t->m->device.data + c->dev_off, len);
	digest_of(DIGEST_SHA256, data, len, &d);
	assert_memory_equal(d.bytes, c->digest, 32);
	return 0;
}

/* In one piece and, where the format can, in pieces of so many bytes. */
static void decodes(const struct layer_format *f, const struct memory_index *m,
		    const struct buf *blob, uint64_t first, uint64_t last, size_t piece)
{
	struct taken t = {m, first};
	const struct chunk_sink sink = {.chunk = chunk_take, .userdata = &t};
	uint64_t a = m->ix.chunks[first].span, b = m->ix.chunks[last].span_last;
	size_t n = m->ix.spans[b].in_end - m->ix.spans[a].in_off;
	uint8_t *in = malloc(n); /* exact, so that an over-read is seen */
	struct chunk_stream *s;
	int r = 0;

	assert_non_null(in);
	memcpy(in, blob->data + m->ix.spans[a].in_off, n);
	assert_int_equal(f->decode(&m->ix, a, b, in, n, first, last, &sink), 0);
	assert_int_equal(t.next, last + 1);
	if (f->stream_new) {
		t.next = first;
		assert_int_equal(f->stream_new(&m->ix, a, first, last, &sink, &s), 0);
		for (size_t at = 0; at < n && r == 0; at += piece)
			r = f->stream_feed(s, in + at, min_u64(piece, n - at));
		assert_int_equal(r, CHUNKS_COMPLETE);
		assert_int_equal(t.next, last + 1);
		f->stream_free(s);
	}
	free(in);
}

static void every_span_decodes(const struct layer_format *f, const struct memory_index *m,
			       const struct buf *blob)
{
	uint64_t n = m->ix.header.n_chunks;

	for (uint64_t i = 0; i < n; i++)
		assert_int_equal(m->ix.chunks[i].span, m->ix.chunks[i].span_last);
	/* All of a span before a chunk is decoded for it: not every one. */
	for (uint64_t i = 0; i < n; i += f == &format_tar ? 1 : 31)
		decodes(f, m, blob, i, i, 100000);
	for (uint64_t i = 0; i + 1 < n; i += 41)
		decodes(f, m, blob, i, i + 1, 4096);
	decodes(f, m, blob, 0, n - 1, SIZE_MAX);
}

static void index_good(struct memory_index *m, const struct layer_format *f, const struct buf *blob,
		       const struct buf *tar, size_t piece)
{
	struct digest d;

	if (memory_index_make(m, f, blob->data, blob->len, piece) < 0)
		fail_msg("%s", m->err.text);
	digest_of(DIGEST_SHA256, tar->data, tar->len, &d);
	assert_memory_equal(m->ix.header.diff_id, d.bytes, 32);
	assert_int_equal(m->ix.header.blob_bytes, blob->len);
}

static void archive_put(struct buf *tar)
{
	char name[32];

	tar_text_put(tar, "big", BIG_BYTES);
	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "small%u", i);
		tar_text_put(tar, name, 37 * i);
	}
	tar_text_put(tar, "border", 4096);
	tar_text_put(tar, "last", 300000);
	tar_end_put(tar);
}

/* The archive in frames of these sizes, repeated; between them skippable ones, or none. */
static void frames_put(struct buf *blob, const struct buf *tar, const size_t *sizes, size_t n,
		       const struct frame_options *o, bool skippable)
{
	for (size_t at = 0, i = 0; at < tar->len; i++) {
		size_t take = min_u64(sizes[i % n], tar->len - at);

		if (skippable)
			skippable_put(blob, (uint32_t)(i * 7));
		frame_put(blob, tar->data + at, take, o);
		at += take;
	}
	if (skippable)
		skippable_put(blob, 300000);
}

static void tar_spans(void **state)
{
	struct buf tar = BUF_INIT;
	struct memory_index m, bytewise;

	archive_put(&tar);
	index_good(&m, &format_tar, &tar, &tar, SIZE_MAX);
	every_span_decodes(&format_tar, &m, &tar);
	/* a chunk of the big file is a range of its own, small files share some */
	assert_int_equal(m.ix.spans[0].in_end - m.ix.spans[0].in_off, CHUNK_OWN);
	assert_true(m.ix.header.n_spans > BIG_BYTES / CHUNK_OWN);
	assert_true(m.ix.header.n_spans < BIG_BYTES / CHUNK_OWN + 30);
	index_good(&bytewise, &format_tar, &tar, &tar, 777);
	assert_int_equal(m.tables.len, bytewise.tables.len);
	assert_memory_equal(m.tables.data, bytewise.tables.data, m.tables.len);
	memory_index_fini(&m);
	memory_index_fini(&bytewise);
	buf_fini(&tar);
}

static void zstd_frames(void **state)
{
	static const size_t one[] = {SIZE_MAX}, small[] = {1000, 0, 1, 40000},
			    large[] = {3u << 20, 100, 700000}, mixed[] = {5u << 20, 512, 0, 100000};
	static const struct {
		const size_t *sizes;
		size_t n;
		uint64_t min_spans, max_spans;
	} cuts[] = {{one, 1, 1, 1}, {small, 4, 5, 60}, {large, 3, 3, 9}, {mixed, 4, 2, 12}};
	static const struct frame_options options[] = {{0}, {.checksum = true, .no_size = true}};
	struct buf tar = BUF_INIT;

	archive_put(&tar);
	for (size_t i = 0; i < ARRAY_SIZE(cuts) * 4; i++) {
		size_t c = i / 4;
		struct buf blob = BUF_INIT;
		struct memory_index m;

		frames_put(&blob, &tar, cuts[c].sizes, cuts[c].n, &options[i & 1], i & 2);
		index_good(&m, &format_zstd, &blob, &tar, i & 1 ? SIZE_MAX : 999);
		assert_true(m.ix.header.n_spans >= cuts[c].min_spans);
		assert_true(m.ix.header.n_spans <= cuts[c].max_spans);
		if (i & 2) /* nobody fetches what nobody needs */
			assert_true(m.ix.spans[m.ix.header.n_spans - 1].in_end <=
				    blob.len - 300000);
		every_span_decodes(&format_zstd, &m, &blob);
		memory_index_fini(&m);
		buf_fini(&blob);
	}
	buf_fini(&tar);
}

static void verdict(const struct layer_format *f, const struct buf *blob, size_t n, int want,
		    const char *says)
{
	struct memory_index m;
	int r = memory_index_make(&m, f, blob->data, n, SIZE_MAX);

	if (r != want || (r < 0 && !strstr(m.err.text, says)))
		fail_msg("%zu bytes: %d \"%s\", wanted %d \"%s\"", n, r, m.err.text, want, says);
	memory_index_fini(&m);
}

static void what_zstd_is_refused(void **state)
{
	struct buf tar = BUF_INIT, blob = BUF_INIT;
	const struct frame_options summed = {.checksum = true};
	size_t n;

	tar_text_put(&tar, "a", 1000);
	tar_end_put(&tar);
	frame_put(&blob, tar.data, tar.len, &summed);
	n = blob.len;
	for (size_t i = 4; i < n; i++)
		verdict(&format_zstd, &blob, i, -EBADMSG, "cut off");
	blob.data[n - 1] ^= 1;
	verdict(&format_zstd, &blob, n, -EBADMSG, "checksum");
	blob.data[n - 1] ^= 1;
	verdict(&format_zstd, &blob, n, 0, "");
	assert_int_equal(buf_append(&blob, "\0\0\0\0\0", 5), 0);
	for (size_t i = n + 1; i <= blob.len; i++)
		verdict(&format_zstd, &blob, i, -EBADMSG, "garbage after the end");
	blob.len = n;
	skippable_put(&blob, 100);
	verdict(&format_zstd, &blob, blob.len, 0, "");
	verdict(&format_zstd, &blob, blob.len - 1, -EBADMSG, "cut off");
	verdict(&format_zstd, &blob, blob.len - 105, -EBADMSG, "garbage");
	blob.len = n;
	blob.data[3] ^= 1;
	verdict(&format_zstd, &blob, n, -EBADMSG, "no zstd frame");
	blob.len = 0; /* half an archive */
	frame_put(&blob, tar.data, 900, NULL);
	verdict(&format_zstd, &blob, blob.len, -EBADMSG, "cut off");
	buf_fini(&tar);
	buf_fini(&blob);
}

/* By hand: magic, descriptor, window or dictionary, and a block that is never looked at. */
static void what_zstd_frames_may_need(void **state)
{
	static const uint8_t window_28[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x90, 1, 0, 0},
			     dictionary[] = {0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0},
			     window_27[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x88, 1, 0, 0};
	const struct buf w28 = {.data = (uint8_t *)window_28, .len = sizeof(window_28)},
			 w27 = {.data = (uint8_t *)window_27, .len = sizeof(window_27)},
			 d = {.data = (uint8_t *)dictionary, .len = sizeof(dictionary)};

	verdict(&format_zstd, &w27, w27.len, 0, "");
	verdict(&format_zstd, &w28, w28.len, -E2BIG, "window of more than 128 MiB");
	verdict(&format_zstd, &d, d.len, -ENOTSUP, "dictionary");
}

static int chunk_ignore(void *userdata, uint64_t i, const void *data, size_t len)
{
	return userdata ? -ECANCELED : 0;
}

static void damaged_spans(void **state)
{
	const struct chunk_sink sink = {.chunk = chunk_ignore},
				stops = {.chunk = chunk_ignore, .userdata = &(int){1}};
	struct buf tar = BUF_INIT, blob = BUF_INIT;
	struct chunk_stream *s;
	struct memory_index m;
	uint64_t n;

	archive_put(&tar);
	frame_put(&blob, tar.data, tar.len, NULL);
	index_good(&m, &format_zstd, &blob, &tar, SIZE_MAX);
	n = m.ix.header.n_chunks;
	assert_int_equal(format_zstd.decode(&m.ix, 0, 0, blob.data, blob.len, 0, n - 1, &stops),
			 -ECANCELED);
	assert_int_equal(format_zstd.decode(&m.ix, 0, 0, blob.data, 1000, 0, 0, &sink), -EBADMSG);
	assert_int_equal(format_zstd.decode(&m.ix, 0, 0, blob.data, 0, 0, 0, &sink), -EBADMSG);
	assert_int_equal(format_zstd.stream_new(&m.ix, 0, 0, n - 1, &sink, &s), 0);
	assert_int_equal(format_zstd.stream_feed(s, blob.data, blob.len / 2), 0);
	memset(blob.data + blob.len / 2, 0xff, blob.len - blob.len / 2);
	assert_int_equal(
		format_zstd.stream_feed(s, blob.data + blob.len / 2, blob.len - blob.len / 2),
		-EBADMSG);
	format_zstd.stream_free(s);
	format_zstd.stream_free(NULL);
	memory_index_fini(&m);
	index_good(&m, &format_tar, &tar, &tar, SIZE_MAX);
	assert_int_equal(format_tar.decode(&m.ix, 0, 0, tar.data + 512, CHUNK_OWN - 1, 0, 0, &sink),
			 -EBADMSG);
	memory_index_fini(&m);
	buf_fini(&tar);
	buf_fini(&blob);
}

static void what_tar_is_refused(void **state)
{
	struct buf tar = BUF_INIT;

	verdict(&format_tar, &tar, 0, 0, "");
	tar_text_put(&tar, "a", 1000);
	verdict(&format_tar, &tar, 900, -EBADMSG, "cut off");
	verdict(&format_tar, &tar, 100, -EBADMSG, "cut off");
	tar_end_put(&tar);
	verdict(&format_tar, &tar, tar.len, 0, "");
	tar.data[10] ^= 1;
	verdict(&format_tar, &tar, tar.len, -EBADMSG, "checksum");
	buf_fini(&tar);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tar_spans),
		cmocka_unit_test(what_tar_is_refused),
		cmocka_unit_test(zstd_frames),
		cmocka_unit_test(what_zstd_is_refused),
		cmocka_unit_test(what_zstd_frames_may_need),
		cmocka_unit_test(damaged_spans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
