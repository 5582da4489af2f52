/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include "registry/token_reply.h"

static int parse(const char *json, struct token_reply *t, struct error *err)
{
	return token_reply_parse(json, strlen(json), "auth.example", t, err);
}

static void good(void **state)
{
	static const struct {
		const char *json, *token, *refresh;
		uint64_t life, renew;
	} cases[] = {
		{"{\"token\":\"T\"}", "T", NULL, 60, 48},
		{"{\"token\":\"T\",\"expires_in\":300}", "T", NULL, 300, 240},
		{"{\"access_token\":\"A\",\"expires_in\":3600,\"refresh_token\":\"R\"}", "A", "R",
		 3600, 2880},
		{"{\"token\":\"T\",\"access_token\":\"A\"}", "T", NULL, 60, 48},
		{"{\"token\":\"\",\"access_token\":\"A\"}", "A", NULL, 60, 48},
		{"{\"token\":null,\"access_token\":\"A\",\"refresh_token\":null}", "A", NULL, 60,
		 48},
		{"{\"token\":\"T\",\"expires_in\":0}", "T", NULL, 60, 48},
		{"{\"token\":\"T\",\"expires_in\":-1}", "T", NULL, 60, 48},
		{"{\"token\":\"T\",\"expires_in\":59}", "T", NULL, 60, 48},
		{"{\"token\":\"T\",\"expires_in\":61}", "T", NULL, 61, 48},
		{"{\"token\":\"T\",\"expires_in\":86400}", "T", NULL, 86400, 69120},
		{"{\"token\":\"T\",\"expires_in\":86401}", "T", NULL, 86400, 69120},
		{"{\"token\":\"T\",\"expires_in\":9223372036854775807}", "T", NULL, 86400, 69120},
		{"{\"token\":\"T\",\"expires_in\":-9223372036854775808}", "T", NULL, 60, 48},
		{"{\"token\":\"T\",\"expires_in\":\"300\"}", "T", NULL, 60, 48},
		{"{\"token\":\"T\",\"expires_in\":null,\"issued_at\":7}", "T", NULL, 60, 48},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct token_reply t;

		if (parse(cases[i].json, &t, &err) < 0)
			fail_msg("%s: %s", cases[i].json, err.text);
		assert_string_equal(t.token, cases[i].token);
		assert_int_equal(!t.refresh_token, !cases[i].refresh);
		if (t.refresh_token)
			assert_string_equal(t.refresh_token, cases[i].refresh);
		assert_int_equal(t.life_s, cases[i].life);
		assert_int_equal(t.renew_s, cases[i].renew);
		token_reply_fini(&t);
	}
}

static void bad(void **state)
{
	static const char *const cases[] = {
		"",
		"null",
		"[]",
		"\"T\"",
		"{}",
		"{\"token\":1}",
		"{\"token\":\"\"}",
		"{\"token\":[\"SECRET\"]}",
		"{\"token\":\"SECRET\\r\\nX: y\"}",
		"{\"token\":\"SECRET x\"}",
		"{\"token\":\"SECRET\\u0000\"}",
		"{\"token\":\"SECRET\\u00e4\"}",
		"{\"token\":\"SECRET\",\"token\":\"SECRET\"}",
		"{\"token\":\"SECRET\",\"refresh_token\":\"a\\nb\"}",
		"{\"token\":\"SECRET\",\"refresh_token\":1}",
		"{\"token\":\"SECRET\"",
		"{\"token\":\"SECRET\"}x",
		"{\"token\":SECRET}",
		"<html>SECRET</html>",
		"{\"token\":\"SECRET\",\"expires_in\":9223372036854775808}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct token_reply t = {0};

		if (parse(cases[i], &t, &err) != -EPROTO)
			fail_msg("%s", cases[i]);
		assert_null(t.token);
		assert_non_null(strstr(err.text, "auth.example"));
		assert_null(strstr(err.text, "SECRET"));
	}
}

static void size_limit(void **state)
{
	static char json[TOKEN_REPLY_MAX + 2];
	struct token_reply t;

	memset(json, ' ', TOKEN_REPLY_MAX);
	memcpy(json, "{\"token\":\"T\"}", 13);
	assert_int_equal(parse(json, &t, NULL), 0);
	token_reply_fini(&t);
	json[TOKEN_REPLY_MAX] = ' ';
	assert_int_equal(parse(json, &t, NULL), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad),
		cmocka_unit_test(size_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
