/* SPDX-License-Identifier: MIT */
/* Plain gzip layers: indexed in memory, and every span decoded again, alone and with others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "memory_index.h"

#define BIG_BYTES (7u << 20)

/* Text that compresses to about a half, the same for the same seed. */
static uint8_t *text(size_t n, uint32_t seed)
{
	uint8_t *p = malloc(n);

	assert_non_null(p);
	for (size_t i = 0; i < n; i++) {
		seed = seed * 1664525 + 1013904223;
		p[i] = (uint8_t)("etaoin shrdlu,.\n"[seed >> 28]);
	}
	return p;
}

static void tar_text_put(struct buf *tar, const char *name, size_t n)
{
	uint8_t *p = text(n, (uint32_t)n);

	tar_file_put(tar, name, p, n);
	free(p);
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

/* Decodes the chunks [first, last] from an exact copy of the bytes that their spans say. */
static int decode(const struct memory_index *m, const struct buf *blob, uint64_t first,
		  uint64_t last)
{
	struct taken t = {m, first};
	const struct chunk_sink sink = {.chunk = chunk_take, .userdata = &t};
	uint64_t a = m->ix.chunks[first].span, b = m->ix.chunks[last].span_last;
	size_t n = m->ix.spans[b].in_end - m->ix.spans[a].in_off;
	uint8_t *in = malloc(n);
	int r;

	assert_non_null(in);
	memcpy(in, blob->data + m->ix.spans[a].in_off, n);
	r = format_gzip.decode(&m->ix, a, b, in, n, first, last, &sink);
	assert_int_equal(t.next, last + 1);
	free(in);
	return r;
}

static int chunk_ignore(void *userdata, uint64_t i, const void *data, size_t len)
{
	return 0;
}

static void every_span_decodes(const struct memory_index *m, const struct buf *blob)
{
	uint64_t n = m->ix.header.n_chunks;

	for (uint64_t i = 0; i < n; i++) {
		assert_int_equal(m->ix.chunks[i].span, m->ix.chunks[i].span_last);
		assert_int_equal(decode(m, blob, i, i), 0);
	}
	for (uint64_t i = 0; i + 1 < n; i += 3)
		assert_int_equal(decode(m, blob, i, i + 1), 0);
	assert_int_equal(decode(m, blob, 0, n - 1), 0);
}

static void index_good(struct memory_index *m, const struct buf *blob, const struct buf *tar)
{
	struct digest d;

	if (memory_index_make(m, &format_gzip, blob->data, blob->len, SIZE_MAX) < 0)
		fail_msg("%s", m->err.text);
	digest_of(DIGEST_SHA256, tar->data, tar->len, &d);
	assert_memory_equal(m->ix.header.diff_id, d.bytes, 32);
	assert_int_equal(m->ix.header.blob_bytes, blob->len);
	if (m->ix.header.n_spans)
		assert_int_equal(m->ix.spans[m->ix.header.n_spans - 1].in_end, blob->len);
}

/* The contents at data_off are the file's; n is what tar_text_put() made. */
static void file_is(const struct memory_index *m, uint64_t entry, size_t n)
{
	const struct layer_entry *e = &m->ix.entries[entry];
	uint8_t *want = text(n, (uint32_t)n);

	assert_int_equal(e->size, n);
	assert_memory_equal(m->device.data + e->data_off, want, n);
	free(want);
}

static void one_member(void **state)
{
	static const int levels[] = {0, 1, 6, 9};
	struct buf tar = BUF_INIT;

	tar_text_put(&tar, "small", 100);
	tar_text_put(&tar, "big", BIG_BYTES);
	tar_text_put(&tar, "border", 4096);
	tar_text_put(&tar, "empty", 0);
	tar_text_put(&tar, "last", 300000);
	tar_end_put(&tar);
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		struct buf blob = BUF_INIT;
		struct memory_index m;
		unsigned with_bits = 0;

		gzip_put(&blob, tar.data, tar.len, levels[i], NULL);
		index_good(&m, &blob, &tar);
		assert_int_equal(m.ix.header.n_entries, 5);
		assert_true(m.ix.header.n_spans >= 3 && m.ix.header.n_spans <= 4);
		file_is(&m, 1, BIG_BYTES);
		file_is(&m, 2, 4096);
		file_is(&m, 4, 300000);
		for (uint64_t s = 1; s < m.ix.header.n_spans; s++) {
			/* a byte that two spans share is in both */
			assert_int_equal(m.ix.spans[s - 1].in_end,
					 m.ix.spans[s].in_off + (m.ix.spans[s].bits != 0));
			assert_true(m.ix.spans[s].window_len > 0);
			with_bits += m.ix.spans[s].bits != 0;
		}
		assert_true(levels[i] == 0 || with_bits); /* stored blocks start on bytes */
		every_span_decodes(&m, &blob);
		memory_index_fini(&m);
		buf_fini(&blob);
	}
	buf_fini(&tar);
}

/* The archive cut into members of these sizes, repeated. */
static void members_put(struct buf *blob, const struct buf *tar, const size_t *sizes, size_t n,
			const char *name)
{
	for (size_t at = 0, i = 0; at < tar->len; i++) {
		size_t take = min_u64(sizes[i % n], tar->len - at);

		gzip_put(blob, tar->data + at, take, 1, i % 2 ? name : NULL);
		at += take;
	}
}

static void many_members(void **state)
{
	static const size_t small[] = {1000, 0, 1, 40000}, large[] = {3u << 20, 100, 700000},
			    mixed[] = {5u << 20, 512, 0, 0, 100000};
	static const struct {
		const size_t *sizes;
		size_t n;
	} cuts[] = {{small, 4}, {large, 3}, {mixed, 5}};
	struct buf tar = BUF_INIT;

	tar_text_put(&tar, "a", BIG_BYTES);
	tar_text_put(&tar, "b", 5000);
	tar_end_put(&tar);
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct buf blob = BUF_INIT;
		struct memory_index m;

		members_put(&blob, &tar, cuts[i].sizes, cuts[i].n, "layer.tar");
		index_good(&m, &blob, &tar);
		file_is(&m, 0, BIG_BYTES);
		assert_true(m.ix.header.n_spans < 40); /* small members share a span */
		every_span_decodes(&m, &blob);
		memory_index_fini(&m);
		buf_fini(&blob);
	}
	buf_fini(&tar);
}

/* A span that starts in one member and runs on into the next: zlib does not see the first one's
 * trailer, and it may be cut off. */
static void from_one_member_into_the_next(void **state)
{
	const struct chunk_sink sink = {.chunk = chunk_ignore};
	const size_t first = (2u << 20) + 200000;
	struct buf tar = BUF_INIT, blob = BUF_INIT;
	struct memory_index m;
	size_t at, border;

	tar_text_put(&tar, "a", first + 10000);
	tar_end_put(&tar);
	gzip_put(&blob, tar.data, first, 1, NULL);
	border = blob.len;
	gzip_put(&blob, tar.data + first, tar.len - first, 1, NULL);
	index_good(&m, &blob, &tar);
	assert_int_equal(m.ix.header.n_spans, 2);
	every_span_decodes(&m, &blob);
	at = m.ix.spans[1].in_off;
	for (size_t n = border - at - 12; n <= border - at; n++) {
		uint8_t *in = malloc(n);

		assert_non_null(in);
		memcpy(in, blob.data + at, n);
		assert_int_equal(format_gzip.decode(&m.ix, 1, 1, in, n, m.ix.header.n_chunks - 1,
						    m.ix.header.n_chunks - 1, &sink),
				 -EBADMSG);
		free(in);
	}
	memory_index_fini(&m);
	buf_fini(&tar);
	buf_fini(&blob);
}

static void slicing_does_not_matter(void **state)
{
	struct buf tar = BUF_INIT, blob = BUF_INIT;
	struct memory_index whole, bytewise;

	tar_text_put(&tar, "a", 3u << 20);
	tar_text_put(&tar, "b", 77);
	tar_end_put(&tar);
	members_put(&blob, &tar, (const size_t[]){2500000}, 1, "name");
	index_good(&whole, &blob, &tar);
	assert_int_equal(memory_index_make(&bytewise, &format_gzip, blob.data, blob.len, 1), 0);
	assert_int_equal(whole.tables.len, bytewise.tables.len);
	assert_memory_equal(whole.tables.data, bytewise.tables.data, whole.tables.len);
	assert_int_equal(whole.device.len, bytewise.device.len);
	assert_memory_equal(whole.device.data, bytewise.device.data, whole.device.len);
	memory_index_fini(&whole);
	memory_index_fini(&bytewise);
	buf_fini(&tar);
	buf_fini(&blob);
}

static int verdict(const struct buf *blob, size_t n, const char *says)
{
	struct memory_index m;
	int r = memory_index_make(&m, &format_gzip, blob->data, n, SIZE_MAX);

	if (r < 0)
		assert_true(m.err.code == r && *m.err.text);
	if (r < 0 && says && !strstr(m.err.text, says))
		fail_msg("\"%s\" does not say \"%s\"", m.err.text, says);
	memory_index_fini(&m);
	return r;
}

static void what_may_follow(void **state)
{
	static const uint8_t zeros[70000], garbage[] = {0, 0, 7};
	struct buf tar = BUF_INIT, blob = BUF_INIT;
	size_t n;

	tar_text_put(&tar, "a", 1000);
	tar_end_put(&tar);
	gzip_put(&blob, tar.data, tar.len, 6, NULL);
	n = blob.len;
	assert_int_equal(buf_append(&blob, zeros, sizeof(zeros)), 0);
	assert_int_equal(verdict(&blob, n + 1, NULL), 0);
	assert_int_equal(verdict(&blob, blob.len, NULL), 0);
	assert_int_equal(buf_append(&blob, garbage, sizeof(garbage)), 0);
	assert_int_equal(verdict(&blob, blob.len, "garbage"), -EBADMSG);
	blob.len = n;
	assert_int_equal(buf_append(&blob, garbage + 2, 1), 0);
	assert_int_equal(verdict(&blob, blob.len, NULL), -EBADMSG);
	buf_fini(&tar);
	buf_fini(&blob);
}

static void what_is_refused(void **state)
{
	struct buf tar = BUF_INIT, blob = BUF_INIT;

	tar_text_put(&tar, "a", 1000);
	tar_end_put(&tar);
	gzip_put(&blob, tar.data, tar.len, 6, "name");
	for (size_t n = 1; n < blob.len; n++)
		assert_int_equal(verdict(&blob, n, "cut off"), -EBADMSG);
	for (size_t i = blob.len - 8; i < blob.len; i++) { /* CRC and length */
		blob.data[i] ^= 0x10;
		assert_int_equal(verdict(&blob, blob.len, "check"), -EBADMSG);
		blob.data[i] ^= 0x10;
	}
	for (size_t i = 0; i < 3; i++) {
		blob.data[i] ^= 0x10;
		assert_int_equal(verdict(&blob, blob.len, NULL), -EBADMSG);
		blob.data[i] ^= 0x10;
	}
	assert_int_equal(verdict(&blob, blob.len, NULL), 0);
	blob.len = 0; /* good gzip data of half an archive */
	gzip_put(&blob, tar.data, 900, 6, NULL);
	assert_int_equal(verdict(&blob, blob.len, "cut off"), -EBADMSG);
	buf_fini(&tar);
	buf_fini(&blob);
}

/* Layers without a file: no bytes at all, an empty archive, a megabyte of zeros. */
static void empty_layers(void **state)
{
	static const uint8_t zeros[1 << 20];
	static const size_t sizes[] = {0, 1024, sizeof(zeros)};
	struct buf blob = BUF_INIT;

	assert_int_equal(verdict(&blob, 0, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct buf tar = {.data = (uint8_t *)zeros, .len = sizes[i]};
		struct memory_index m;

		blob.len = 0;
		gzip_put(&blob, zeros, sizes[i], 6, NULL);
		index_good(&m, &blob, &tar);
		assert_int_equal(m.ix.header.n_entries, 0);
		assert_int_equal(m.ix.header.n_chunks, 0);
		assert_int_equal(m.ix.header.device_bytes, 0);
		memory_index_fini(&m);
	}
	buf_fini(&blob);
}

static int chunk_refuse(void *userdata, uint64_t i, const void *data, size_t len)
{
	return i ? -ECANCELED : 0;
}

static void damaged_spans(void **state)
{
	const struct chunk_sink sink = {.chunk = chunk_refuse};
	struct buf tar = BUF_INIT, blob = BUF_INIT;
	struct memory_index m;
	uint64_t n;

	tar_text_put(&tar, "a", BIG_BYTES);
	tar_end_put(&tar);
	gzip_put(&blob, tar.data, tar.len, 1, NULL);
	index_good(&m, &blob, &tar);
	n = m.ix.header.n_chunks;
	/* what the sink says stops it */
	assert_int_equal(format_gzip.decode(&m.ix, 0, m.ix.header.n_spans - 1, blob.data, blob.len,
					    0, n - 1, &sink),
			 -ECANCELED);
	/* the bytes end before the chunk does */
	assert_int_equal(format_gzip.decode(&m.ix, 0, 0, blob.data, 1000, 0, 0, &sink), -EBADMSG);
	assert_int_equal(format_gzip.decode(&m.ix, 0, 0, blob.data, 0, 0, 0, &sink), -EBADMSG);
	assert_int_equal(format_gzip.decode(&m.ix, 1, 1, blob.data + m.ix.spans[1].in_off, 0, n - 1,
					    n - 1, &sink),
			 -EBADMSG);
	memset(blob.data + 20, 0xff, 100);
	assert_int_equal(format_gzip.decode(&m.ix, 0, 0, blob.data, blob.len, 0, 0, &sink),
			 -EBADMSG);
	/* a window that zstd can't read */
	memset((uint8_t *)m.ix.windows, 0xff, m.ix.header.window_bytes);
	assert_int_equal(format_gzip.decode(&m.ix, 1, 1, blob.data + m.ix.spans[1].in_off,
					    m.ix.spans[1].in_end - m.ix.spans[1].in_off, n - 1,
					    n - 1, &sink),
			 -EBADMSG);
	memory_index_fini(&m);
	buf_fini(&tar);
	buf_fini(&blob);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_member),
		cmocka_unit_test(many_members),
		cmocka_unit_test(from_one_member_into_the_next),
		cmocka_unit_test(slicing_does_not_matter),
		cmocka_unit_test(what_may_follow),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(empty_layers),
		cmocka_unit_test(damaged_spans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
