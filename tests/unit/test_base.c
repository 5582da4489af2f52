/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "base/buf.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/userns.h"
#include "base/utf8.h"
#include "base/work.h"

static void error_first_writer_wins(void **state)
{
	struct error err = ERROR_INIT;

	assert_int_equal(error_set(&err, -ENOENT, "a %s\n", "name"), -ENOENT);
	assert_int_equal(error_set(&err, -EIO, "later"), -EIO);
	assert_int_equal(err.code, -ENOENT);
	assert_string_equal(err.text, "a name?");
	assert_int_equal(error_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void error_exit_codes(void **state)
{
	assert_int_equal(error_exit_code(0), 0);
	assert_int_equal(error_exit_code(-EIO), 1);
	assert_int_equal(error_exit_code(-ENOENT), 3);
	assert_int_equal(error_exit_code(-EBADMSG), 6);
	assert_int_equal(error_exit_code(-ENOTSUP), 8);
}

static void buf_stops_at_its_cap(void **state)
{
	struct buf b = BUF_INIT_MAX(5);

	assert_int_equal(buf_append(&b, "abcde", 5), 0);
	assert_int_equal(buf_append(&b, "f", 1), -E2BIG);
	assert_int_equal(b.len, 5);
	assert_string_equal(buf_str(&b), "abcde");
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -E2BIG);
	buf_fini(&b);
}

static void digest_grammar(void **state)
{
	static const char empty[] =
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	static const char *const bad[] = {
		"",
		":",
		"sha256",
		"sha256:",
		"sha256:00",
		"../x:y",
		"SHA256:00",
		"sha256:E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
		"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8550"};
	char text[DIGEST_TEXT_MAX];
	struct digest d, e;

	digest_of(DIGEST_SHA256, "", 0, &d);
	digest_format(&d, text);
	assert_string_equal(text, empty);
	assert_int_equal(digest_parse(empty, &e, NULL), 0);
	assert_true(digest_equal(&d, &e));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(digest_parse(bad[i], &e, NULL), -EBADMSG);
	assert_int_equal(digest_parse("md5:d41d8cd98f00b204e9800998ecf8427e", &e, NULL), -ENOTSUP);
}

static void hasher_equals_one_shot(void **state)
{
	_cleanup_(hasher_freep) struct hasher *h = NULL;
	struct digest a, b;

	assert_int_equal(hasher_new(DIGEST_SHA512, &h), 0);
	for (int round = 0; round < 2; round++) {
		hasher_update(h, "ab", 2);
		hasher_update(h, "c", 1);
		hasher_final(h, &a);
		digest_of(DIGEST_SHA512, "abc", 3, &b);
		assert_true(digest_equal(&a, &b));
	}
}

static void json_limits(void **state)
{
	struct error err = ERROR_INIT;
	char deep[2 * JSON_DEPTH_MAX + 4];
	const char *s;
	json_t *root;
	int64_t n;

	memset(deep, '[', sizeof(deep));
	for (int depth = JSON_DEPTH_MAX; depth <= JSON_DEPTH_MAX + 1; depth++) {
		memset(deep + depth, ']', (size_t)depth);
		assert_int_equal(json_parse(deep, 2 * (size_t)depth, 4096, "t", &root, NULL),
				 depth > JSON_DEPTH_MAX ? -E2BIG : 0);
		if (depth <= JSON_DEPTH_MAX)
			json_decref(root);
		memset(deep, '[', sizeof(deep));
	}
	assert_int_equal(json_parse("{}", 2, 1, "t", &root, NULL), -E2BIG);
	assert_int_equal(json_parse("{\"a\":1,\"a\":2}", 13, 99, "t", &root, NULL), -EBADMSG);
	assert_int_equal(json_parse("{\"a\":\"x\",\"b\":null}", 18, 99, "t", &root, NULL), 0);
	assert_int_equal(json_get_string(root, "a", "t", &s, &err), 0);
	assert_string_equal(s, "x");
	assert_int_equal(json_get_string(root, "b", "t", &s, &err), JSON_ABSENT);
	assert_int_equal(json_get_int(root, "a", "t", &n, &err), -EBADMSG);
	assert_string_equal(err.text, "t: member \"a\" is not an integer");
	json_decref(root);
}

static void add_one(void *arg)
{
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_SEQ_CST);
}

static void work_runs_everything(void **state)
{
	struct work_pool *pool;
	int count = 0;

	assert_int_equal(work_pool_new(3, "test", &pool), 0);
	for (int i = 0; i < 1000; i++)
		assert_int_equal(
			work_submit(pool, i % 2 ? WORK_IDLE : WORK_DEMAND, add_one, &count), 0);
	work_pool_free(pool);
	assert_int_equal(count, 1000);
}

static void userns_maps(void **state)
{
	bool initial;

	assert_int_equal(userns_map_uid("         0          0 4294967295\n", 7, &initial), 7);
	assert_true(initial);
	assert_int_equal(userns_map_uid("0 1000 1\n1 100000 65536\n", 0, &initial), 1000);
	assert_false(initial);
	assert_int_equal(userns_map_uid("0 1000 1\n1 100000 65536\n", 65536, &initial), 165535);
	assert_int_equal(userns_map_uid("0 1000 1\n1 100000 65536\n", 65537, &initial), 65537);
	assert_int_equal(userns_map_uid("0 0 1\n", 0, &initial), 0);
	assert_false(initial);
	assert_int_equal(userns_map_uid("", 5, &initial), 5);
	assert_false(initial);
}

static size_t utf8_encode(uint32_t c, char s[5])
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	memset(s, 0, 5);
	for (size_t i = n; i-- > 1; c >>= 6)
		s[i] = (char)(0x80 | (c & 0x3f));
	s[0] = (char)(n == 1 ? c : (0xf00u >> n & 0xff) | c);
	return n;
}

static void utf8_every_character(void **state)
{
	char s[5];

	for (uint32_t c = 0; c < 0x200000; c++) {
		size_t n = utf8_encode(c, s);

		if ((c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
			n = 0;
		if (utf8_length(s, SIZE_MAX) != n)
			fail_msg("U+%04x: %zu", c, utf8_length(s, SIZE_MAX));
		for (size_t cut = 1; cut < n; cut++)
			assert_int_equal(utf8_length(s, cut), 0);
	}
}

static void utf8_what_is_none(void **state)
{
	static const char *const bad[] = {
		"\x80",
		"\xbf",
		"\xc0\x80",
		"\xc1\xbf",
		"\xc3",
		"\xc3"
		"(",
		"\xe0\x9f\xbf",
		"\xe2\x82",
		"\xed\xa0\x80",
		"\xef\xbf",
		"\xf0\x8f\xbf\xbf",
		"\xf0\x9f\x98",
		"\xf4\x90\x80\x80",
		"\xf8\x88\x80\x80\x80",
		"\xfe",
		"\xff",
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(utf8_length(bad[i], SIZE_MAX), 0);
		assert_false(utf8_is_text(bad[i]));
	}
	assert_true(utf8_is_text(""));
	assert_true(utf8_is_text("a\n\x7f\u00e9\u20ac\U0001f600"));
	assert_false(utf8_is_text("a\u00e9\xe9"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(userns_maps),		cmocka_unit_test(error_first_writer_wins),
		cmocka_unit_test(error_exit_codes),	cmocka_unit_test(buf_stops_at_its_cap),
		cmocka_unit_test(digest_grammar),	cmocka_unit_test(hasher_equals_one_shot),
		cmocka_unit_test(utf8_every_character), cmocka_unit_test(utf8_what_is_none),
		cmocka_unit_test(json_limits),		cmocka_unit_test(work_runs_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
