/* SPDX-License-Identifier: MIT */
/* What .dockerignore patterns match: the tables of Docker's documentation and of moby's own tests
 * of the odd ones, by result. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "transfer/ignore.h"

static bool ignored(const char *text, const char *path)
{
	_cleanup_(ignore_freep) struct ignore_list *l = NULL;
	struct error err = ERROR_INIT;

	assert_int_equal(ignore_new(&l), 0);
	assert_int_equal(ignore_add_text(l, text, strlen(text), "file", &err), 0);
	return ignore_matches(l, path);
}

static void test_patterns(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} cases[] = {
		{"a", "a", true},
		{"a", "a/b/c", true},
		{"a", "ab", false},
		{"a", "b/a", false},
		{"/a/", "a", true},
		{"./a//b/../c", "a/c", true},
		{"*.o", "x.o", true},
		{"*.o", "d/x.o", false},
		{"*/*.o", "d/x.o", true},
		{"*/temp*", "d/temporary.txt", true},
		{"*/temp*", "d/e/temporary.txt", false},
		{"temp?", "tempa", true},
		{"temp?", "temp", false},
		{"temp?", "temp/", false},
		{"**/*.go", "x.go", true},
		{"**/*.go", "a/b/x.go", true},
		{"**/*.go", "a/b/x.god", false},
		{"**", "a/b", true},
		{"**/", "a", true},
		{"a/**", "a/b/c", true},
		{"a/**", "a", false},
		{"a/**/b", "a/b", true},
		{"a/**/b", "a/x/y/b", true},
		{"a/**/b", "a/xb", false},
		{"a**b", "ab", true},
		{"a**b", "axx/b", true},
		{"a**b", "axxb", false},
		{"**a**/b**", "xx/a/b", true},
		{"[a-c]x", "bx", true},
		{"[^a-c]x", "bx", false},
		{"[^a-c]x", "dx", true},
		{"[]]x", "]x", true},
		{"[\\]]x", "]x", true},
		{"\\*", "*", true},
		{"\\*", "x", false},
		{"\\#x", "#x", true},
		{"a.b", "axb", false},
		{"a+b$", "a+b$", true},
		{"  x  ", "x", true},
		{"x\r", "x", true},
		{"\xff*", "\xff\xfe", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (ignored(cases[i].pattern, cases[i].path) != cases[i].matches)
			fail_msg("\"%s\" and \"%s\": not %d", cases[i].pattern, cases[i].path,
				 cases[i].matches);
}

static void test_order(void **state)
{
	assert_true(ignored("*.md\n!README.md\n", "x.md"));
	assert_false(ignored("*.md\n!README.md\n", "README.md"));
	assert_true(ignored("!README.md\n*.md\n", "README.md"));
	assert_true(ignored("*.md\n!README*.md\nREADME-secret.md", "README-secret.md"));
	assert_false(ignored("d\n!d/keep\n", "d/keep/x"));
	assert_true(ignored("d\n!d/keep\n", "d/other"));
	assert_false(ignored("# d\n\n   \n", "d"));
	assert_true(ignored("\xef\xbb\xbf"
			    "d\n",
			    "d"));
	assert_false(ignored("d\n! d\n", "d"));
}

static void test_taken_back(void **state)
{
	static const char text[] = "d\n!d/keep/x\n!*/y";
	_cleanup_(ignore_freep) struct ignore_list *l = NULL;

	assert_int_equal(ignore_new(&l), 0);
	assert_false(ignore_may_take_back(l, "d"));
	assert_int_equal(ignore_add_text(l, text, sizeof(text) - 1, "file", NULL), 0);
	assert_true(ignore_may_take_back(l, "d"));
	assert_true(ignore_may_take_back(l, "d/keep"));
	assert_true(ignore_may_take_back(l, "other")); /* by the pattern that begins with a star */
}

static void test_refused(void **state)
{
	static const char *const bad[] = {"[", "[a", "[]", "x\\", "[b-a]", "[a\\", "!"};
	static const char long_pattern[5000] = {[0 ... 4998] = 'a'};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		_cleanup_(ignore_freep) struct ignore_list *l = NULL;
		struct error err = ERROR_INIT;

		assert_int_equal(ignore_new(&l), 0);
		if (ignore_add_pattern(l, bad[i], strlen(bad[i]), "--exclude", &err) != -EINVAL)
			fail_msg("\"%s\" is taken", bad[i]);
		assert_non_null(strstr(err.text, "pattern"));
		assert_int_equal(ignore_add_pattern(l, long_pattern, 4999, "--exclude", NULL),
				 -E2BIG);
	}
}

/* As a regular expression this takes longer than the universe. */
static void test_stars(void **state)
{
	static char path[4001];
	_cleanup_(ignore_freep) struct ignore_list *l = NULL;

	memset(path, 'a', 4000);
	assert_int_equal(ignore_new(&l), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(
			ignore_add_pattern(l, "a*a*a*a*a*a*a*a*a*a*a*a*b", 25, "--exclude", NULL),
			0);
	assert_false(ignore_matches(l, path));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns),   cmocka_unit_test(test_order),
		cmocka_unit_test(test_taken_back), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_stars),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
