/* SPDX-License-Identifier: MIT */
/* Footers, times and tables of contents by themselves; whole images are in tests/cases/estargz.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include "image/estargz_footer.h"
#include "image/layer_format.h"
#include "image/rfc3339.h"

static size_t from_hex(const char *hex, uint8_t *out)
{
	size_t n = strlen(hex) / 2;

	for (size_t i = 0; i < n; i++) {
		unsigned byte;

		sscanf(hex + 2 * i, "%2x", &byte);
		out[i] = (uint8_t)byte;
	}
	return n;
}

/* The vector for offset 0x1234abcd that the format's description gives. */
#define FOOTER                                                                                     \
	"1f8b08040000000000ff1a00534716003030303030303030313233346162636453544152475a010000ffff"   \
	"0000000000000000"

static void footer_vector(void **state)
{
	struct estargz_footer f;
	uint8_t b[64];
	size_t n = from_hex(FOOTER, b);

	assert_int_equal(n, 51);
	assert_int_equal(estargz_footer_parse(b, n, 0x20000000, &f), 0);
	assert_int_equal(f.kind, ESTARGZ_FOOTER);
	assert_int_equal(f.footer_bytes, 51);
	assert_true(f.toc_off == 0x1234abcd);
	/* The offset must lie before the footer, and not at the start. */
	assert_int_equal(estargz_footer_parse(b, n, 0x1234abcd + 51, &f), ESTARGZ_NO_FOOTER);
	assert_int_equal(estargz_footer_parse(b, n, 0x1234abcd + 52, &f), 0);
	assert_int_equal(estargz_footer_parse(b, n, 10, &f), ESTARGZ_NO_FOOTER);
}

static void footer_bytes_matter(void **state)
{
	static const size_t free_bytes[] = {4, 5, 6,
					    7, 8, 9}; /* time, flags, system: the writer's */
	struct estargz_footer f;
	uint8_t b[64];
	size_t n = from_hex(FOOTER, b);

	for (size_t i = 0; i < n; i++) {
		bool is_free = false;

		for (size_t k = 0; k < ARRAY_SIZE(free_bytes); k++)
			is_free = is_free || free_bytes[k] == i;
		if (i >= 16 && i < 32) /* a digit of the offset: '-' is none */
			b[i] ^= '-' ^ '0';
		else
			b[i] ^= 0x80;
		if (is_free != !estargz_footer_parse(b, n, 0x20000000, &f))
			fail_msg("byte %zu", i);
		from_hex(FOOTER, b);
	}
	for (size_t i = 0; i < n; i++)
		assert_int_equal(estargz_footer_parse(b + n - i, i, 0x20000000, &f),
				 ESTARGZ_NO_FOOTER);
}

static void times(void **state)
{
	static const struct {
		const char *text;
		int64_t s;
		uint32_t ns;
	} good[] = {{"1970-01-01T00:00:00Z", 0, 0},
		    {"2020-09-13T12:26:40Z", 1600000000, 0},
		    {"2020-09-13T14:26:40+02:00", 1600000000, 0},
		    {"2020-09-13T12:26:40.123456789Z", 1600000000, 123456789},
		    {"1969-12-31T23:59:58.5Z", -2, 500000000},
		    {"2000-02-29T00:00:00Z", 951782400, 0},
		    {"2120-01-01T00:00:00Z", 4733510400, 0},
		    {"0001-01-01T00:00:00Z", -62135596800, 0}};
	static const char *const bad[] = {"",
					  "2020",
					  "2020-09-13",
					  "2020-09-13T12:26:40",
					  "2020-13-01T00:00:00Z",
					  "2020-09-13T25:00:00Z",
					  "2020-09-13T12:26:40Zx",
					  "2020-09-13T12:26:40+2:00"};
	uint32_t ns;
	int64_t s;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(rfc3339_parse(good[i].text, strlen(good[i].text), &s, &ns), 0);
		assert_true(s == good[i].s && ns == good[i].ns);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(rfc3339_parse(bad[i], strlen(bad[i]), &s, &ns), -EBADMSG);
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

static int index_json(const char *json, struct buf *tables, struct layer_index *ix)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	struct text t = {json};
	struct index_source in = {.read = text_read,
				  .userdata = &t,
				  .blob_bytes = 10000,
				  .data_end = 9000,
				  .max_entries = 10};
	struct error err = ERROR_INIT;
	int r;

	assert_int_equal(layer_builder_new(LAYER_ESTARGZ, 10, &b), 0);
	r = format_estargz.index(&in, NULL, b, &err);
	assert_true(r >= 0 || err.code);
	if (r < 0 || !tables)
		return r;
	assert_int_equal(layer_builder_write_buf(b, tables), 0);
	return layer_index_validate(tables->data, tables->len, 10, ix, NULL);
}

static int index_toc(const char *entries, struct buf *tables, struct layer_index *ix)
{
	char json[4096];

	snprintf(json, sizeof(json), "{\"version\":1,\"entries\":[%s]}", entries);
	return index_json(json, tables, ix);
}

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"

static void chunks_follow_the_blob(void **state)
{
	struct buf tables = BUF_INIT;
	struct layer_index ix;

	/* In the blob b stands before a, whose two chunks share a member with each other. */
	assert_int_equal(
		index_toc("{\"name\":\"a\",\"type\":\"reg\",\"size\":30,\"offset\":500,"
			  "\"innerOffset\":7,"
			  "\"chunkSize\":20,\"chunkDigest\":\"" D1 "\"},"
			  "{\"name\":\"a\",\"type\":\"chunk\",\"offset\":500,\"innerOffset\":27,"
			  "\"chunkOffset\":20,\"chunkSize\":10,\"chunkDigest\":\"" D1 "\"},"
			  "{\"name\":\"b\",\"type\":\"reg\",\"size\":5,\"offset\":100,\"digest\":"
			  "\"" D1 "\"}",
			  &tables, &ix),
		0);
	assert_int_equal(ix.header.n_spans, 2);
	assert_int_equal(ix.spans[0].in_off, 100);
	assert_int_equal(ix.spans[0].in_end, 500);
	assert_int_equal(ix.spans[1].in_end, 9000);
	assert_int_equal(ix.header.n_chunks, 3);
	assert_int_equal(ix.chunks[0].len, 5);
	assert_int_equal(ix.chunks[1].span_off, 7);
	assert_int_equal(ix.chunks[2].span_off, 27);
	assert_int_equal(ix.entries[1].data_off, 0);
	assert_int_equal(ix.entries[0].data_off, 4096);
	assert_int_equal(ix.header.device_bytes, 8192);
	buf_fini(&tables);
}

static void landmarks_are_hidden(void **state)
{
	struct buf tables = BUF_INIT;
	struct layer_index ix;

	assert_int_equal(index_toc("{\"name\":\".prefetch.landmark\",\"type\":\"reg\",\"size\":1,"
				   "\"offset\":300,"
				   "\"digest\":\"" D1
				   "\"},{\"name\":\"d/\",\"type\":\"dir\",\"mode\":16877}",
				   &tables, &ix),
			 0);
	assert_int_equal(ix.header.n_entries, 1);
	assert_int_equal(ix.header.prefetch_end, 300);
	assert_int_equal(ix.entries[0].mode & 07777, 0755);
	buf_fini(&tables);
}

static void tables_that_are_refused(void **state)
{
	static const struct {
		const char *entry;
		int code;
	} bad[] = {
		{"{\"name\":\"a\xef\xbf\xbd\",\"type\":\"dir\"}", -EILSEQ},
		{"{\"name\":\"a\",\"name\":\"b\",\"type\":\"dir\"}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"socket\"}", -ENOTSUP},
		{"{\"name\":\"../a\",\"type\":\"dir\"}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":9,\"offset\":1,\"digest\":\"" D1
		 "\",\"chunkSize\":10}",
		 -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":9,\"offset\":1}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":9,\"offset\":9000,\"digest\":\"" D1
		 "\"}",
		 -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":9007199254740993,\"offset\":1}",
		 -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":8388609,\"offset\":1,\"digest\":\"" D1
		 "\"}",
		 -EILSEQ},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":-1}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"reg\",\"size\":\"1\"}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"chunk\"}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"dir\",\"modtime\":\"yesterday\"}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"dir\",\"xattrs\":{\"user.a\":\"?\"}}", -EBADMSG},
		{"{\"name\":\"a\",\"type\":\"char\"}", -EPERM},
		{"{\"name\":\"a\",\"type\":\"char\",\"devMajor\":4096}", -EBADMSG},
		{"{\"name\":\"\",\"type\":\"reg\"}", -EBADMSG},
		{"{\"name\":[],\"type\":\"dir\"}", -EBADMSG},
		{"{\"name\":\"a\"", -EBADMSG},
	};
	static const char *const shapes[] = {
		"{}",
		"{\"entries\":{\"a\":{\"name\":\"a\",\"type\":\"dir\"}}}",
		"{\"entries\":[[{\"name\":\"a\",\"type\":\"dir\"}]]}",
		"{\"entries\":[],\"entries\":[]}",
		"{\"entries\":[]} {\"entries\":[]}",
	};
	char deep[400] = "{\"x\":";
	size_t n = strlen(deep);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (index_toc(bad[i].entry, NULL, NULL) != bad[i].code)
			fail_msg("%s", bad[i].entry);
	for (size_t i = 0; i < ARRAY_SIZE(shapes); i++)
		if (index_json(shapes[i], NULL, NULL) != -EBADMSG)
			fail_msg("%s", shapes[i]);
	memset(deep + n, '[', 40);
	memset(deep + n + 40, ']', 40);
	strcpy(deep + n + 80, "}");
	assert_int_equal(index_toc(deep, NULL, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(footer_vector),
		cmocka_unit_test(footer_bytes_matter),
		cmocka_unit_test(times),
		cmocka_unit_test(chunks_follow_the_blob),
		cmocka_unit_test(landmarks_are_hidden),
		cmocka_unit_test(tables_that_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
