/* SPDX-License-Identifier: MIT */
/* Footers, the dialects' tables and frames by themselves; whole images are in
 * tests/cases/zstdchunked.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <zstd.h>
#include "image/layer_format.h"
#include "image/toc_unwrap.h"
#include "image/zstd_chunked_footer.h"

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

#define BLOB 100000u

/* Offset 0x1000, 200 bytes, 900 unpacked. Returns the frame's length. */
static size_t footer_make(uint8_t out[72], unsigned kind)
{
	memset(out, 0, 72);
	memcpy(out, "\x50\x2a\x4d\x18", 4);
	out[4] = (uint8_t)kind;
	put64(out + 8, 0x1000);
	put64(out + 16, 200);
	put64(out + 24, 900);
	put64(out + 32, 1);
	if (kind == 64) {
		put64(out + 40, 0x1000 + 200 + 8);
		put64(out + 48, 50);
	}
	memcpy(out + 8 + (kind == 64 ? 56 : 32), kind == 64 ? "GNUlInUx" : "GnUlInUx", 8);
	return kind + 8;
}

static void footers(void **state)
{
	static const unsigned kinds[] = {40, 56, 64};
	uint8_t b[72];

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct zstd_chunked_position p;
		size_t n = footer_make(b, kinds[k]);

		assert_int_equal(zstd_chunked_footer_parse(b, n, BLOB, &p), 0);
		assert_int_equal(p.off, 0x1000);
		assert_int_equal(p.len, 200);
		assert_int_equal(p.raw_len, 900);
		for (size_t i = 0; i < n; i++)
			assert_int_equal(zstd_chunked_footer_parse(b + n - i, i, BLOB, &p),
					 ZSTD_CHUNKED_NO_FOOTER);
		for (size_t i = 0; i < 8; i++) {
			footer_make(b, kinds[k]);
			b[i] ^= 0x80;
			assert_int_equal(zstd_chunked_footer_parse(b, n, BLOB, &p),
					 ZSTD_CHUNKED_NO_FOOTER);
		}
	}
}

static int footer_with(unsigned kind, size_t field, uint64_t value, uint64_t blob)
{
	struct zstd_chunked_position p;
	uint8_t b[72];
	size_t n = footer_make(b, kind);

	put64(b + 8 + 8 * field, value);
	return zstd_chunked_footer_parse(b, n, blob, &p);
}

/* A table ends before its footer, starts behind data, and the tar-split does not overlap it. */
static void footers_that_can_not_be(void **state)
{
	const uint64_t end = BLOB - 48;

	assert_int_equal(footer_with(40, 1, end - 0x1000, BLOB), 0);
	assert_int_equal(footer_with(40, 1, end - 0x1000 + 1, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(40, 1, 0, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(40, 1, UINT64_MAX, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(40, 0, UINT64_C(1) << 63, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(40, 0, 8, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(40, 0, 9, BLOB), 0);
	assert_int_equal(footer_with(40, 2, 0, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(40, 3, 2, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(40, 0, 0x1000, 40), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(64, 4, 0x1000 + 200 + 7, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(64, 5, UINT64_MAX, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(64, 4, UINT64_MAX, BLOB), ZSTD_CHUNKED_NO_FOOTER);
	assert_int_equal(footer_with(64, 5, 0, BLOB), 0);
}

/* ---- tables ---- */

struct text {
	const char *at;
};

static ssize_t text_read(void *userdata, void *buf, size_t n)
{
	struct text *t = userdata;
	size_t take = min_u64(strlen(t->at), n);

	memcpy(buf, t->at, take);
	t->at += take;
	return (ssize_t)take;
}

static int index_toc(const char *entries, struct buf *tables, struct layer_index *ix)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	char json[4096];
	struct text t = {json};
	struct index_source in = {.read = text_read,
				  .userdata = &t,
				  .blob_bytes = 10000,
				  .data_end = 9000,
				  .max_entries = 10};
	struct error err = ERROR_INIT;
	int r;

	snprintf(json, sizeof(json), "{\"version\":1,\"entries\":[%s]}", entries);
	assert_int_equal(layer_builder_new(LAYER_ZSTD_CHUNKED, 10, &b), 0);
	r = format_zstd_chunked.index(&in, NULL, b, &err);
	assert_true(r >= 0 || err.code);
	if (r < 0 || !tables)
		return r;
	assert_int_equal(layer_builder_write_buf(b, tables), 0);
	return layer_index_validate(tables->data, tables->len, 10, ix, NULL);
}

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"

#define LANDMARK "sha256:dc0e9c3658a1a3ed1ec94274d8b19925c93e1abb7ddba294923ad9bde30f8cb8"

/* Names that only stargz knows: what a user's file of such a name holds is shown. */
static void only_landmarks_are_hidden(void **state)
{
	struct buf tables = BUF_INIT;
	struct layer_index ix;

	assert_int_equal(
		index_toc("{\"name\":\"first\",\"type\":\"reg\",\"size\":5,\"offset\":50,"
			  "\"digest\":\"" D1 "\"},"
			  "{\"name\":\".prefetch.landmark\",\"type\":\"reg\",\"size\":1,"
			  "\"offset\":300,\"digest\":\"" LANDMARK "\"},"
			  "{\"name\":\".no.prefetch.landmark\",\"type\":\"reg\",\"size\":1,"
			  "\"offset\":400,\"chunkDigest\":\"" LANDMARK "\"}",
			  &tables, &ix),
		0);
	assert_int_equal(ix.header.n_entries, 1);
	assert_int_equal(ix.header.prefetch_end, 300);
	tables.len = 0;
	assert_int_equal(index_toc("{\"name\":\".prefetch.landmark\",\"type\":\"reg\",\"size\":1,"
				   "\"offset\":300,\"digest\":\"" D1 "\"},"
				   "{\"name\":\".no.prefetch.landmark\",\"type\":\"dir\"},"
				   "{\"name\":\"stargz.index.json\",\"type\":\"reg\",\"size\":9,"
				   "\"offset\":400,\"digest\":\"" D2 "\"}",
				   &tables, &ix),
			 0);
	assert_int_equal(ix.header.n_entries, 3);
	assert_int_equal(ix.header.prefetch_end, 0);
	buf_fini(&tables);
}

/* containers/storage: chunks end where the next one starts, or the file; zeros are holes. */
static void spans_end_where_the_table_says(void **state)
{
	struct buf tables = BUF_INIT;
	struct layer_index ix;

	assert_int_equal(
		index_toc("{\"name\":\"a\",\"type\":\"reg\",\"size\":100000000,\"offset\":50,"
			  "\"endOffset\":200,\"digest\":\"" D2
			  "\",\"chunkSize\":100,\"chunkDigest\":\"" D1 "\"},"
			  "{\"name\":\"a\",\"type\":\"chunk\",\"offset\":90,\"chunkOffset\":100,"
			  "\"chunkSize\":99999800,\"chunkType\":\"zeros\",\"chunkDigest\":\"" D1
			  "\"},"
			  "{\"name\":\"a\",\"type\":\"chunk\",\"offset\":110,\"chunkOffset\":"
			  "99999900,\"chunkSize\":100,\"chunkDigest\":\"" D2 "\"},"
			  "{\"name\":\"b\",\"type\":\"reg\",\"size\":7,\"offset\":250,"
			  "\"endOffset\":300,\"digest\":\"" D2 "\"}",
			  &tables, &ix),
		0);
	assert_int_equal(ix.header.n_chunks, 3);
	assert_int_equal(ix.header.n_spans, 3);
	assert_int_equal(ix.spans[0].in_off, 50);
	assert_int_equal(ix.spans[0].in_end, 90);
	assert_int_equal(ix.spans[1].in_off, 110);
	assert_int_equal(ix.spans[1].in_end, 200);
	assert_int_equal(ix.spans[2].in_off, 250);
	assert_int_equal(ix.spans[2].in_end, 300);
	assert_int_equal(ix.chunks[1].dev_off, 99999900);
	assert_int_equal(ix.chunks[2].digest[0], 0x22);
	buf_fini(&tables);
}

/* stargz-snapshotter: they end where the next one starts, of whatever file, or with the data. */
static void spans_end_where_the_next_starts(void **state)
{
	struct buf tables = BUF_INIT;
	struct layer_index ix;

	assert_int_equal(index_toc("{\"name\":\"a\",\"type\":\"reg\",\"size\":10,\"offset\":50,"
				   "\"digest\":\"" D1 "\"},"
				   "{\"name\":\"b\",\"type\":\"reg\",\"size\":7,\"offset\":250,"
				   "\"chunkDigest\":\"" D2 "\",\"chunkType\":\"zeros\"}",
				   &tables, &ix),
			 0);
	assert_int_equal(ix.header.n_chunks, 2);
	assert_int_equal(ix.spans[0].in_end, 250);
	assert_int_equal(ix.spans[1].in_end, 9000);
	buf_fini(&tables);
}

static void a_file_of_zeros_has_no_chunks(void **state)
{
	struct buf tables = BUF_INIT;
	struct layer_index ix;

	assert_int_equal(index_toc("{\"name\":\"z\",\"type\":\"reg\",\"size\":5000000000,"
				   "\"offset\":50,\"endOffset\":90,\"chunkType\":\"zeros\"},"
				   "{\"name\":\"a\",\"type\":\"reg\",\"size\":10,\"offset\":100,"
				   "\"endOffset\":120,\"digest\":\"" D1 "\"}",
				   &tables, &ix),
			 0);
	assert_int_equal(ix.header.n_chunks, 1);
	assert_int_equal(ix.entries[0].data_off, 4096);
	assert_true(ix.header.device_bytes >= 4096 + UINT64_C(5000000000));
	buf_fini(&tables);
}

#define FILE_A "{\"name\":\"a\",\"type\":\"reg\",\"size\":10,\"digest\":\"" D1 "\","

static void tables_that_are_refused(void **state)
{
	static const struct {
		const char *entries;
		int code;
	} bad[] = {
		{FILE_A "\"offset\":50,\"endOffset\":50}", -EBADMSG},
		{FILE_A "\"offset\":50,\"endOffset\":9001}", -EBADMSG},
		{FILE_A "\"offset\":9000,\"endOffset\":9001}", -EBADMSG},
		{FILE_A "\"offset\":50,\"endOffset\":90,\"chunkType\":\"ones\"}", -ENOTSUP},
		{FILE_A "\"offset\":50,\"endOffset\":90,\"chunkType\":1}", -EBADMSG},
		{FILE_A "\"offset\":50,\"endOffset\":90},{\"name\":\"b\",\"type\":\"reg\","
			"\"size\":9,\"digest\":\"" D1 "\",\"offset\":89,\"endOffset\":99}",
		 -EBADMSG},
		{FILE_A "\"offset\":50,\"endOffset\":90},{\"name\":\"b\",\"type\":\"reg\","
			"\"size\":9,\"digest\":\"" D1 "\",\"offset\":50,\"endOffset\":99}",
		 -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":8388609,\"offset\":1,\"endOffset\":9,"
		 "\"digest\":\"" D1 "\"}",
		 -EILSEQ},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (index_toc(bad[i].entries, NULL, NULL) != bad[i].code)
			fail_msg("%s", bad[i].entries);
	assert_int_equal(index_toc(FILE_A "\"offset\":50,\"endOffset\":9000}", NULL, NULL), 0);
	assert_int_equal(index_toc("{\"name\":\"a\",\"type\":\"reg\",\"size\":8388608,\"offset\":1,"
				   "\"endOffset\":9,\"digest\":\"" D1 "\"}",
				   NULL, NULL),
			 0);
}

/* ---- frames ---- */

#define DATA 300000u

static void data_make(uint8_t *data)
{
	uint32_t x = 1;

	for (size_t i = 0; i < DATA; i++) {
		x = x * 1103515245 + 12345;
		data[i] = (uint8_t)(x >> 16 & 15);
	}
}

/* Streamed, so that the frame says which window it wants and not how long it is. */
static size_t frame_make(const uint8_t *data, size_t n, int window_log, uint8_t *out, size_t cap)
{
	ZSTD_CCtx *z = ZSTD_createCCtx();
	ZSTD_inBuffer in = {.src = data, .size = n};
	ZSTD_outBuffer o = {.dst = out, .size = cap};

	assert_non_null(z);
	ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, 1);
	ZSTD_CCtx_setParameter(z, ZSTD_c_windowLog, window_log);
	assert_false(ZSTD_isError(ZSTD_compressStream2(z, &o, &in, ZSTD_e_flush)));
	assert_int_equal(ZSTD_compressStream2(z, &o, &in, ZSTD_e_end), 0);
	ZSTD_freeCCtx(z);
	return o.pos;
}

static int chunk_take(void *userdata, uint64_t i, const void *data, size_t len)
{
	assert_int_equal(len, DATA);
	assert_memory_equal(data, userdata, len);
	return 0;
}

static int decode(const uint8_t *blob, size_t n, uint8_t *data)
{
	const struct layer_chunk chunk = {.len = DATA};
	const struct layer_span span = {.in_end = n};
	const struct layer_index ix = {
		.header = {.n_chunks = 1, .n_spans = 1}, .chunks = &chunk, .spans = &span};
	const struct chunk_sink sink = {.chunk = chunk_take, .userdata = data};

	return format_zstd_chunked.decode(&ix, 0, 0, blob, n, 0, 0, &sink);
}

static void windows_and_what_follows(void **state)
{
	uint8_t *data = malloc(DATA), *blob = malloc(2 * DATA);
	size_t n;

	assert_true(data && blob);
	data_make(data);
	n = frame_make(data, DATA, 25, blob, 2 * DATA); /* as podman's compressor asks for */
	assert_int_equal(decode(blob, n, data), 0);
	assert_int_equal(decode(blob, n - 1000, data), -EBADMSG);
	n += frame_make(data, 1000, 20, blob + n, 2 * DATA - n); /* headers of the next file */
	assert_int_equal(decode(blob, n, data), 0);
	n = frame_make(data, DATA / 2, 20, blob, 2 * DATA);
	assert_int_equal(decode(blob, n, data), -EBADMSG);
	n += frame_make(data + DATA / 2, DATA / 2, 20, blob + n, 2 * DATA - n);
	assert_int_equal(decode(blob, n, data), 0);
	n = frame_make(data, DATA, 26, blob, 2 * DATA);
	assert_int_equal(decode(blob, n, data), -EBADMSG);
	free(data);
	free(blob);
}

static int count_json(void *userdata, const void *data, size_t n)
{
	*(uint64_t *)userdata += n;
	return 0;
}

static int unwrap(const uint8_t *frame, size_t n, uint64_t raw_len, struct error *err)
{
	_cleanup_(toc_unwrap_freep) struct toc_unwrap *u = NULL;
	uint64_t bytes = 0;
	int r = toc_unwrap_new_zstd(raw_len, count_json, &bytes, &u);

	if (r >= 0)
		r = toc_unwrap_feed(u, frame, n, err);
	if (r >= 0)
		r = toc_unwrap_finish(u, err);
	assert_true(r < 0 || bytes == raw_len);
	return r;
}

static void tables_have_the_size_they_should(void **state)
{
	uint8_t *data = malloc(DATA), *frame = malloc(DATA);
	struct error err = ERROR_INIT;
	size_t n;

	assert_true(data && frame);
	data_make(data);
	n = frame_make(data, DATA, 20, frame, DATA);
	assert_int_equal(unwrap(frame, n, DATA, &err), 0);
	assert_int_equal(unwrap(frame, n, DATA - 1, &err), -EBADMSG);
	assert_int_equal(unwrap(frame, n, DATA + 1, &err), -EBADMSG);
	assert_int_equal(unwrap(frame, n - 1, DATA, &err), -EBADMSG);
	assert_int_equal(unwrap(frame, n, TOC_RAW_MAX + 1, &err), -E2BIG);
	assert_int_equal(unwrap(frame, n, UINT64_MAX, &err), -E2BIG);
	free(data);
	free(frame);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(footers),
		cmocka_unit_test(only_landmarks_are_hidden),
		cmocka_unit_test(footers_that_can_not_be),
		cmocka_unit_test(spans_end_where_the_table_says),
		cmocka_unit_test(spans_end_where_the_next_starts),
		cmocka_unit_test(a_file_of_zeros_has_no_chunks),
		cmocka_unit_test(tables_that_are_refused),
		cmocka_unit_test(windows_and_what_follows),
		cmocka_unit_test(tables_have_the_size_they_should),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
