/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "registry/headers.h"

static void content_range_good(void **state)
{
	static const struct {
		const char *text;
		struct content_range want;
	} cases[] = {
		{"bytes 0-0/1", {false, true, 0, 0, 1}},
		{"bytes 0-99/1234", {false, true, 0, 99, 1234}},
		{"0-99/1234", {false, true, 0, 99, 1234}},
		{"BYTES  5-9/10 ", {false, true, 5, 9, 10}},
		{"bytes 0-99/*", {false, false, 0, 99, 0}},
		{"bytes */1234", {true, true, 0, 0, 1234}},
		{"bytes */0", {true, true, 0, 0, 0}},
		{"bytes 9223372036854775805-9223372036854775806/9223372036854775807",
		 {false, true, INT64_MAX - 2, INT64_MAX - 1, INT64_MAX}},
		{"bytes 2147483647-4294967296/4294967297",
		 {false, true, INT32_MAX, 1ull << 32, (1ull << 32) + 1}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct content_range r;

		if (content_range_parse(cases[i].text, &r) < 0)
			fail_msg("%s", cases[i].text);
		assert_int_equal(r.unsatisfied, cases[i].want.unsatisfied);
		assert_int_equal(r.has_total, cases[i].want.has_total);
		assert_int_equal(r.first, cases[i].want.first);
		assert_int_equal(r.last, cases[i].want.last);
		assert_int_equal(r.total, cases[i].want.total);
	}
}

static void content_range_bad(void **state)
{
	static const char *const cases[] = {
		"",
		"bytes",
		"bytes ",
		"bytes=0-1/2",
		"bytes0-1/2",
		"bits 0-1/2",
		"bytes 0-1",
		"bytes 0-1/",
		"bytes 0-/2",
		"bytes -1/2",
		"bytes --1/2",
		"bytes 1-0/2",
		"bytes 0-2/2",
		"bytes 0-1/1",
		"bytes */*",
		"bytes */",
		"bytes 0-1/2x",
		"bytes 0-1/2, 3-4/5",
		"bytes +0-1/2",
		"bytes 0x0-1/2",
		"bytes 0 -1/2",
		"bytes 0-1/-2",
		"bytes 0-9223372036854775808/*",
		"bytes 18446744073709551616-18446744073709551617/*",
		"bytes 0-99999999999999999999999/*",
		"bytes 0-1/9223372036854775808",
		"bytes 1.0-2/3",
	};
	struct content_range r;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (content_range_parse(cases[i], &r) != -EPROTO)
			fail_msg("accepted: %s", cases[i]);
}

static void content_length(void **state)
{
	static const char *const bad[] = {"",
					  "-1",
					  "+1",
					  "1x",
					  "1 2",
					  "1,1",
					  "0x1",
					  "1.0",
					  "1e3",
					  "9223372036854775808",
					  "18446744073709551616"};
	uint64_t v;

	assert_int_equal(content_length_parse("0", &v), 0);
	assert_int_equal(v, 0);
	assert_int_equal(content_length_parse(" 9223372036854775807 ", &v), 0);
	assert_int_equal(v, INT64_MAX);
	assert_int_equal(content_length_parse("007", &v), 0);
	assert_int_equal(v, 7);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(content_length_parse(bad[i], &v), -EPROTO);
}

static void retry_after(void **state)
{
	enum { NOW = 784111777 }; /* Sun, 06 Nov 1994 08:49:37 GMT */
	static const struct {
		const char *text;
		uint64_t want;
	} good[] = {
		{"0", 0},
		{"120", 120},
		{" 5 ", 5},
		{"2147483647", INT32_MAX},
		{"2147483648", INT32_MAX},
		{"18446744073709551615", INT32_MAX},
		{"18446744073709551616", INT32_MAX},
		{"Sun, 06 Nov 1994 08:49:37 GMT", 0},
		{"Sun, 06 Nov 1994 08:50:37 GMT", 60},
		{"Sunday, 06-Nov-94 08:50:37 GMT", 60},
		{"Sun Nov  6 08:50:37 1994", 60},
		{"Sat, 05 Nov 1994 08:49:37 GMT", 0},
	};
	static const char *const bad[] = {
		"",    "-1", "1.5", "5s", "soon", "tomorrow at noon", "Sun, 99 Foo 1994",
		"GMT", "1,2"};
	uint64_t v;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		if (retry_after_parse(good[i].text, NOW, &v) < 0)
			fail_msg("%s", good[i].text);
		assert_int_equal(v, good[i].want);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (retry_after_parse(bad[i], NOW, &v) != -EPROTO)
			fail_msg("accepted: %s", bad[i]);
	assert_int_equal(retry_after_parse("Sun, 06 Nov 1994 08:50:37 GMT", INT64_MIN, &v), 0);
	assert_int_equal(v, 0);
}

static void content_type(void **state)
{
	static const struct {
		const char *text, *want;
	} good[] = {
		{"application/json", "application/json"},
		{" Application/JSON ; charset=utf-8", "application/json"},
		{"application/vnd.oci.image.index.v1+json;x",
		 "application/vnd.oci.image.index.v1+json"},
		{"text/plain;", "text/plain"},
	};
	static const char *const bad[] = {"",	     "json",  "a/",   "/b",   "a/b c",
					  "a/b,c/d", "a b/c", "a//b", "a/b\n"};
	char *type;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(content_type_parse(good[i].text, &type), 0);
		assert_string_equal(type, good[i].want);
		free(type);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (content_type_parse(bad[i], &type) != -EPROTO)
			fail_msg("accepted: %s", bad[i]);
}

static void link_next(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: absent */
	} good[] = {
		{"</v2/a/tags/list?n=2&last=b>; rel=\"next\"", "/v2/a/tags/list?n=2&last=b"},
		{"<https://a/x>;rel=next", "https://a/x"},
		{"<x>; rel=prev, <y,z>; title=\"a, b; rel=next\"; rel=\"last NEXT\"", "y,z"},
		{"<x>; REL = next; title=q", "x"},
		{"<x>; rel=\"nextfoo\", <y>", NULL},
		{"<x>; rel=prev; rel=next", NULL},
		{"<x>", NULL},
		{"", NULL},
		{",,", NULL},
		{"<x>; foo; rel=next", "x"},
	};
	static const char *const bad[] = {
		"x; rel=next",	   "<x; rel=next", "<>; rel=next",     "<x> rel=next",
		"<x>; rel=\"next", "<x>; rel=",	   "<x>; rel=next <y>"};
	char *target;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int r = link_next_parse(good[i].text, &target);

		if (r != (good[i].want ? 0 : HEADER_ABSENT))
			fail_msg("%s: %d", good[i].text, r);
		if (r)
			continue;
		assert_string_equal(target, good[i].want);
		free(target);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (link_next_parse(bad[i], &target) != -EPROTO)
			fail_msg("accepted: %s", bad[i]);
}

static void upload_range(void **state)
{
	static const char *const bad[] = {"",
					  "0",
					  "0-",
					  "-1",
					  "1-2",
					  "0-1/2",
					  "0-x",
					  "bytes 0",
					  "0-9223372036854775807",
					  "0-18446744073709551616"};
	uint64_t next;

	assert_int_equal(upload_range_parse("0-99", &next), 0);
	assert_int_equal(next, 100);
	assert_int_equal(upload_range_parse(" bytes=0-1 ", &next), 0);
	assert_int_equal(next, 2);
	assert_int_equal(upload_range_parse("0-0", &next), 0);
	assert_int_equal(next, 0);
	assert_int_equal(upload_range_parse("0-9223372036854775806", &next), 0);
	assert_int_equal(next, INT64_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (upload_range_parse(bad[i], &next) != -EPROTO)
			fail_msg("%s", bad[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_range_good), cmocka_unit_test(content_range_bad),
		cmocka_unit_test(content_length),     cmocka_unit_test(retry_after),
		cmocka_unit_test(upload_range),	      cmocka_unit_test(content_type),
		cmocka_unit_test(link_next),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
