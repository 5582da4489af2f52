/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "image/path.h"

static const char *clean(const char *name)
{
	static char out[PATH_LEN_MAX + 1];
	size_t n;

	return path_clean(name, strlen(name), out, &n, NULL) < 0 ? NULL : out;
}

static void names_are_cleaned(void **state)
{
	char out[PATH_LEN_MAX + 1];
	size_t n;

	assert_string_equal(clean("./a//b/./c/"), "a/b/c");
	assert_string_equal(clean("/etc/passwd"), "etc/passwd");
	assert_string_equal(clean("a/../b"), "b");
	assert_string_equal(clean("a/b/../../c"), "c");
	assert_string_equal(clean("./"), "");
	assert_string_equal(clean(""), "");
	assert_int_equal(path_clean(NULL, 0, out, &n, NULL), 0);
	assert_int_equal(n, 0);
	assert_string_equal(clean("..."), "...");
	assert_string_equal(clean("a/..b"), "a/..b");
	assert_string_equal(clean("\xff\xfe"), "\xff\xfe");
}

static void what_is_below_a_prefix(void **state)
{
	assert_string_equal(path_below("a/b", ""), "a/b");
	assert_string_equal(path_below("a/b/c", "a/b"), "c");
	assert_string_equal(path_below("a/b", "a/b"), "");
	assert_null(path_below("a/bc", "a/b"));
	assert_null(path_below("a", "a/b"));
	assert_null(path_below("", "a"));
}

static void climbing_is_refused(void **state)
{
	static const char *const bad[] = {"..", "../a", "/..", "a/../..", "a/../../b", "./../x"};
	struct error err = ERROR_INIT;
	char out[PATH_LEN_MAX + 1];
	size_t n;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(path_clean(bad[i], strlen(bad[i]), out, &n, NULL), -EBADMSG);
	assert_int_equal(path_clean("a\0b", 3, out, &n, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "NUL"));
}

/* A name of total bytes in components of so many letters. */
static int length_check(size_t component, size_t total)
{
	static char name[2 * PATH_LEN_MAX];
	char out[PATH_LEN_MAX + 1];
	size_t n;

	for (size_t i = 0; i < total; i++)
		name[i] = i % (component + 1) == component ? '/' : 'x';
	return path_clean(name, total, out, &n, NULL);
}

static void limits_at_their_edges(void **state)
{
	char out[PATH_LEN_MAX + 1], deep[2 * PATH_DEPTH_MAX + 4];
	size_t n;

	assert_int_equal(length_check(255, 255), 0);
	assert_int_equal(length_check(256, 256), -E2BIG);
	assert_int_equal(length_check(99, PATH_LEN_MAX), 0);
	assert_int_equal(length_check(99, PATH_LEN_MAX + 1), -E2BIG);
	for (size_t i = 0; i < sizeof(deep); i++)
		deep[i] = i % 2 ? '/' : 'd';
	assert_int_equal(path_clean(deep, 2 * PATH_DEPTH_MAX, out, &n, NULL), 0);
	assert_int_equal(path_clean(deep, 2 * PATH_DEPTH_MAX + 1, out, &n, NULL), -E2BIG);
}

static enum path_kind classify(const char *name, const char *want)
{
	enum path_kind kind = PATH_PLAIN;
	char path[PATH_LEN_MAX + 1];
	size_t n = strlen(name);

	strcpy(path, name);
	assert_int_equal(path_classify(path, &n, &kind, NULL), 0);
	assert_int_equal(strlen(path), n);
	assert_string_equal(path, want);
	return kind;
}

static void whiteouts_are_told_apart(void **state)
{
	static const char *const bad[] = {".wh.", ".wh..", ".wh...", "a/.wh.."};
	enum path_kind kind;
	char path[64];
	size_t n;

	assert_int_equal(classify("a/b", "a/b"), PATH_PLAIN);
	assert_int_equal(classify("a/.wh.b", "a/b"), PATH_WHITEOUT);
	assert_int_equal(classify(".wh.b", "b"), PATH_WHITEOUT);
	assert_int_equal(classify("a/.wh..wh..opq", "a"), PATH_OPAQUE);
	assert_int_equal(classify(".wh..wh..opq", ""), PATH_OPAQUE);
	assert_int_equal(classify(".wh..wh.plnk/1.2", ".wh..wh.plnk/1.2"), PATH_PLUMBING);
	assert_int_equal(classify(".wh..wh.aufs", ".wh..wh.aufs"), PATH_PLUMBING);
	assert_int_equal(classify(".wh..wh.", ".wh..wh."), PATH_PLUMBING);
	assert_int_equal(classify("a/.whb", "a/.whb"), PATH_PLAIN);
	assert_int_equal(classify("a/.wh.b/c", "a/.wh.b/c"), PATH_PLAIN);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		n = strlen(strcpy(path, bad[i]));
		assert_int_equal(path_classify(path, &n, &kind, NULL), -EBADMSG);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_cleaned),
		cmocka_unit_test(what_is_below_a_prefix),
		cmocka_unit_test(climbing_is_refused),
		cmocka_unit_test(limits_at_their_edges),
		cmocka_unit_test(whiteouts_are_told_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
