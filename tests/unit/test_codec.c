/* SPDX-License-Identifier: MIT */
/* What codecs make of noise, of text and of both; what they say of themselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <libdeflate.h>
#include <zlib.h>
#include "transfer/codec.h"

#define BYTES ((size_t)1 << 20)

static void noise_put(uint8_t *p, size_t n)
{
	uint64_t x = 88172645463325252u;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)(x >> 32);
	}
}

static void text_put(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t) "words, and the same words again; "[i * i / 7 % 33];
}

static struct buf gzipped(const uint8_t *in, size_t n, int level)
{
	_cleanup_(codec_freep) struct codec *c = NULL;
	struct buf out = BUF_INIT;
	uint8_t *back = malloc(n);
	z_stream z = {.next_out = back, .avail_out = (uInt)n};

	assert_int_equal(codec_new(CODEC_GZIP, level, &c), 0);
	assert_int_equal(codec_compress(c, in, n, &out), 0);
	z.next_in = out.data;
	z.avail_in = (uInt)out.len;
	assert_int_equal(inflateInit2(&z, 31), Z_OK);
	assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
	assert_int_equal(z.total_out, n);
	assert_memory_equal(back, in, n);
	inflateEnd(&z);
	free(back);
	return out;
}

/* libdeflate stores noise by itself, too, but elsewhere, and after a long search. */
static bool is_stored(const struct buf *gz, const uint8_t *in, size_t n)
{
	struct libdeflate_compressor *d = libdeflate_alloc_compressor(0);
	size_t cap = libdeflate_gzip_compress_bound(d, n);
	uint8_t *want = malloc(cap);
	size_t len = libdeflate_gzip_compress(d, in, n, want, cap);
	bool same = len == gz->len && !memcmp(want, gz->data, len);

	free(want);
	libdeflate_free_compressor(d);
	return same;
}

/* Large noise is stored, which is quick; small noise and what is only noise in part is tried. */
static void test_noise(void **state)
{
	uint8_t *in = malloc(BYTES);

	for (int level = 1; level <= 12; level += 11) {
		struct buf gz;

		noise_put(in, BYTES);
		gz = gzipped(in, BYTES, level);
		assert_true(is_stored(&gz, in, BYTES));
		assert_in_range(gz.len, BYTES, BYTES + BYTES / 1000);
		buf_fini(&gz);
		for (size_t part = 0; part < 4; part++) {
			noise_put(in, BYTES);
			text_put(in + part * BYTES / 4, BYTES / 4);
			gz = gzipped(in, BYTES, level);
			assert_in_range(gz.len, BYTES / 2, BYTES - BYTES / 8);
			buf_fini(&gz);
		}
		text_put(in, BYTES);
		gz = gzipped(in, BYTES, level);
		assert_false(is_stored(&gz, in, BYTES));
		assert_in_range(gz.len, 1, BYTES / 4);
		buf_fini(&gz);
		for (size_t n = 1; n < 1000000;
		     n = 3 * n + 1) { /* around the least that is large */
			noise_put(in, n);
			gz = gzipped(in, n, level);
			buf_fini(&gz);
		}
	}
	free(in);
}

/* All that output depends on is in the text: the cache goes by it. */
static void test_describe(void **state)
{
	char a[CODEC_TEXT_MAX], b[CODEC_TEXT_MAX];

	codec_describe(CODEC_GZIP, 2, a);
	assert_in_range(strlen(a), 10, CODEC_TEXT_MAX - 2);
	codec_describe(CODEC_GZIP, 3, b);
	assert_string_not_equal(a, b);
	codec_describe(CODEC_ZSTD, 2, a);
	assert_string_not_equal(a, b);
	codec_describe(CODEC_ZSTD, 3, b);
	assert_string_not_equal(a, b);
	assert_in_range(strlen(b), 10, CODEC_TEXT_MAX - 2);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_describe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
