/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "registry/challenge.h"

static void eq(const char *got, const char *want, const char *text)
{
	if (!got != !want || (got && strcmp(got, want) != 0))
		fail_msg("%s: \"%s\" instead of \"%s\"", text, got ? got : "(none)",
			 want ? want : "(none)");
}

static void good(void **state)
{
	static const struct {
		const char *text[3];
		enum challenge_scheme scheme;
		const char *realm, *service, *scope, *error;
	} cases[] = {
		{{"Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull,push\""},
		 CHALLENGE_BEARER,
		 "https://a/t",
		 "s",
		 "repository:x:pull,push",
		 NULL},
		{{"bEARER  REALM = \"https://a/t\" , Service=s"},
		 CHALLENGE_BEARER,
		 "https://a/t",
		 "s"},
		{{"Bearer realm=https://a/t?x=y,service=s"},
		 CHALLENGE_BEARER,
		 "https://a/t?x=y",
		 "s"},
		{{"Bearer realm=\"a\\\"b\\\\c\",error=\"invalid_token\""},
		 CHALLENGE_BEARER,
		 "a\"b\\c",
		 NULL,
		 NULL,
		 "invalid_token"},
		{{"Bearer realm=\"a\",unknown=\"x, Basic realm=y\",service=s"},
		 CHALLENGE_BEARER,
		 "a",
		 "s"},
		{{"Basic realm=\"Registry Realm\""}, CHALLENGE_BASIC, "Registry Realm"},
		{{"Basic"}, CHALLENGE_BASIC},
		{{"Basic,"}, CHALLENGE_BASIC},
		{{"Basic realm=\"\""}, CHALLENGE_BASIC, ""},
		{{"Basic realm=\"b\", Bearer realm=\"https://a/t\", service=s"},
		 CHALLENGE_BEARER,
		 "https://a/t",
		 "s"},
		{{"Bearer realm=\"https://a/t\", service=s, Basic realm=\"b\""},
		 CHALLENGE_BEARER,
		 "https://a/t",
		 "s"},
		{{"Bearer realm=one", "Bearer realm=two"}, CHALLENGE_BEARER, "one"},
		{{"Basic realm=b", "Negotiate", "Bearer realm=a"}, CHALLENGE_BEARER, "a"},
		{{"Negotiate abc/+==, Basic realm=b"}, CHALLENGE_BASIC, "b"},
		{{"Negotiate, Basic realm=b"}, CHALLENGE_BASIC, "b"},
		{{"Digest realm=\"x\", nonce=\"y\", qop=\"auth\", Basic realm=b"},
		 CHALLENGE_BASIC,
		 "b"},
		{{", ,, Bearer realm=a"}, CHALLENGE_BEARER, "a"},
		{{"Bearer realm=\"a\",,service=s,"}, CHALLENGE_BEARER, "a", "s"},
		/* a broken one beside a good one */
		{{"Bearer realm=\"open", "Basic realm=b"}, CHALLENGE_BASIC, "b"},
		{{"Bearer realm=a, realm=b", "Bearer realm=c"}, CHALLENGE_BEARER, "c"},
		{{"Bearer service=s", "Basic realm=b"}, CHALLENGE_BASIC, "b"},
		{{"Basic realm=b, Bearer realm=\"x"}, CHALLENGE_BASIC, "b"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct challenge c = {0};
		size_t n = 0;

		while (n < 3 && cases[i].text[n])
			n++;
		if (challenge_parse(cases[i].text, n, "a.example", &c, &err) != 0)
			fail_msg("%s: %s", cases[i].text[0], err.text);
		assert_int_equal(c.scheme, cases[i].scheme);
		eq(c.realm, cases[i].realm, cases[i].text[0]);
		eq(c.service, cases[i].service, cases[i].text[0]);
		eq(c.scope, cases[i].scope, cases[i].text[0]);
		eq(c.error, cases[i].error, cases[i].text[0]);
		challenge_fini(&c);
	}
}

static void bad(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {
		{"", CHALLENGE_NONE},
		{" , ,", CHALLENGE_NONE},
		{"Bearer", -EPROTO},
		{"Bearer service=s", -EPROTO},
		{"Bearer realm=\"", -EPROTO},
		{"Bearer realm=\"a", -EPROTO},
		{"Bearer realm=\"a\\", -EPROTO},
		{"Bearer realm=\"a\\\"", -EPROTO},
		{"Bearer realm=\"a\nb\"", -EPROTO},
		{"Bearer realm=\"a\\\rb\"", -EPROTO},
		{"Bearer realm=\"a\" x", -EPROTO},
		{"Bearer realm=\"a\"service=s", -EPROTO},
		{"Bearer realm=,service=s", -EPROTO},
		{"Bearer realm=a,realm=b", -EPROTO},
		{"Bearer realm=a,REALM=a", -EPROTO},
		{"Bearer/1 realm=a", -EPROTO},
		{"=", -EPROTO},
		{"\"Bearer\" realm=a", -EPROTO},
		{"realm=a", -EPROTO},
		{"Negotiate", -ENOTSUP},
		{"NTLM abc==", -ENOTSUP},
		{"Digest realm=\"a\", nonce=\"b\"", -ENOTSUP},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct challenge c = {0};
		int r = challenge_parse(&cases[i].text, 1, "a.example", &c, &err);

		if (r != cases[i].code)
			fail_msg("\"%s\": %d instead of %d", cases[i].text, r, cases[i].code);
		assert_null(c.realm);
		if (r < 0)
			assert_non_null(strstr(err.text, "a.example"));
	}
	assert_int_equal(challenge_parse(NULL, 0, "x", NULL, NULL), CHALLENGE_NONE);
}

static void other_schemes_are_named(void **state)
{
	const char *const values[] = {"Negotiate", "NTLM, Digest realm=a"};
	struct error err = ERROR_INIT;
	struct challenge c;

	assert_int_equal(challenge_parse(values, 2, "a.example", &c, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "Negotiate, NTLM, Digest;"));
}

static void length_limit(void **state)
{
	static char text[CHALLENGE_HEADER_MAX + 2];
	const char *values[] = {text};
	struct challenge c;

	memset(text, 'a', CHALLENGE_HEADER_MAX);
	memcpy(text, "Bearer realm=", 13);
	assert_int_equal(challenge_parse(values, 1, "x", &c, NULL), 0);
	assert_int_equal(strlen(c.realm), CHALLENGE_HEADER_MAX - 13);
	challenge_fini(&c);
	text[CHALLENGE_HEADER_MAX] = 'a';
	assert_int_equal(challenge_parse(values, 1, "x", &c, NULL), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),
		cmocka_unit_test(bad),
		cmocka_unit_test(other_schemes_are_named),
		cmocka_unit_test(length_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
