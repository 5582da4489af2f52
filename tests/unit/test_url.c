/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <strings.h>
#include "registry/url.h"

static void url_good(void **state)
{
	static const struct {
		const char *text, *origin, *normal;
	} cases[] = {
		{"https://a.example", "https://a.example", "https://a.example/"},
		{"HTTPS://A.Example:443/X?y=Z", "https://a.example", "https://A.Example:443/X?y=Z"},
		{"http://a:80/", "http://a", "http://a:80/"},
		{"http://a:5000/b#frag", "http://a:5000", "http://a:5000/b"},
		{"https://a:80/", "https://a:80", "https://a:80/"},
		{"http://[::1]:5000/x", "http://[::1]:5000", "http://[::1]:5000/x"},
		{"http://127.1/", "http://127.0.0.1", "http://127.0.0.1/"},
		{"http://0x7f.0.0.1/", "http://127.0.0.1", "http://127.0.0.1/"},
		{"http://2130706433/", "http://127.0.0.1", "http://127.0.0.1/"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(url_fini) struct url u = {0};
		char text[ORIGIN_TEXT_MAX];

		assert_int_equal(url_parse(cases[i].text, &u, NULL), 0);
		origin_format(&u.origin, text);
		assert_string_equal(text, cases[i].origin);
		if (strcasecmp(u.text, cases[i].normal) != 0)
			fail_msg("%s became %s", cases[i].text, u.text);
	}
}

static void url_bad(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {
		{"", -EPROTO},
		{"a", -EPROTO},
		{"/x", -EPROTO},
		{"//a/x", -EPROTO},
		{"http:", -EPROTO},
		{"http:a", -EPROTO},
		{"http:/a", -EPROTO},
		{"https:///a", -EPROTO},
		{"http://", -EPROTO},
		{"http:///", -EPROTO},
		{"http://:80/", -EPROTO},
		{"http://a:0/", -EPROTO},
		{"http://a:65536/", -EPROTO},
		{"http://a:99999999999999999999/", -EPROTO},
		{"http://a:x/", -EPROTO},
		{"http://a b/", -EPROTO},
		{"http://a/\r\nX: y", -EPROTO},
		{"http://a/\xc3\xa4", -EPROTO},
		{"http://a\\@b/", -EPROTO},
		{"http://a./", -EPROTO},
		{"http://a%cc/", -EPROTO},
		{"http://a%2f/", -EPROTO},
		{"http://a%40b/", -EPROTO},
		{"http://a%00.b/", -EPROTO},
		{"http://21307064%33/", -EPROTO},
		{"http://[::1/", -EPROTO},
		{"http://[fe80::1%25eth0]/", -EPROTO},
		{"http://user@a/", -EPERM},
		{"http://user:secret@a/", -EPERM},
		{"http://@a/", -EPERM},
		{"ftp://a/", -EPERM},
		{"file:///etc/passwd", -EPERM},
		{"gopher://a/", -EPERM},
		{"javascript:alert(1)", -EPERM},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct url u = {0};
		int r = url_parse(cases[i].text, &u, &err);

		if (r != cases[i].code)
			fail_msg("\"%s\": %d instead of %d: %s", cases[i].text, r, cases[i].code,
				 err.text);
		assert_null(strstr(err.text, "secret"));
	}
}

static void url_length(void **state)
{
	static char text[URL_MAX + 2];
	struct url u = {0};

	memset(text, 'a', URL_MAX);
	memcpy(text, "http://a/", 9);
	assert_int_equal(url_parse(text, &u, NULL), 0);
	assert_int_equal(url_add_query(&u, "k", "v"), -E2BIG);
	url_fini(&u);
	text[URL_MAX] = 'a';
	assert_int_equal(url_parse(text, &u, NULL), -EPROTO);
}

static void url_relative(void **state)
{
	static const struct {
		const char *location, *want; /* NULL: -EPERM */
	} cases[] = {
		{"/c", "https://a.example:8443/c"},
		{"/c?x=1", "https://a.example:8443/c?x=1"},
		{"c", "https://a.example:8443/v2/c"},
		{"../c", "https://a.example:8443/c"},
		{"?q", "https://a.example:8443/v2/b?q"},
		{"//b.example/c", "https://b.example/c"},
		{"http://c.example/", "http://c.example/"},
		{"//user@b.example/", NULL},
		{"ftp://b.example/", NULL},
		{"file:/etc/passwd", NULL},
	};
	_cleanup_(url_fini) struct url base = {0};

	assert_int_equal(url_parse("https://a.example:8443/v2/b?old=1", &base, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(url_fini) struct url u = {0};
		int r = url_resolve(&base, cases[i].location, &u, NULL);

		if (!cases[i].want) {
			assert_int_equal(r, -EPERM);
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(u.text, cases[i].want);
	}
	assert_int_equal(url_resolve(&base, "", &base, NULL), -EPROTO);
	assert_int_equal(url_resolve(&base, "/a b", &base, NULL), -EPROTO);
	assert_int_equal(url_resolve(&base, "///a", &base, NULL), -EPROTO);
	assert_int_equal(url_resolve(&base, "//%31/a", &base, NULL), -EPROTO);
}

static void url_query(void **state)
{
	_cleanup_(url_fini) struct url u = {0};

	assert_int_equal(url_parse("https://a.example/token?x=1", &u, NULL), 0);
	assert_int_equal(url_add_query(&u, "scope", "repository:a/b:pull"), 0);
	assert_int_equal(url_add_query(&u, "service", "a&b=c#e"), 0);
	if (strcasecmp(u.text, "https://a.example/token?x=1&scope=repository%3Aa%2Fb%3Apull"
			       "&service=a%26b%3Dc%23e") != 0)
		fail_msg("%s", u.text);
}

static void url_redaction(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"https://a/b?sig=secret", "https://a/b"},
		{"https://a/b#secret", "https://a/b"},
		{"https://u:secret@a/b", "https://a/b"},
		{"https://u:se/cr@et@a/b?x", "https://a/b"},
		{"//u:secret@a", "//a"},
		{"u:secret@a/b", "a/b"},
		{"/b?secret=//x", "/b"},
		{"a\nb", "a?b"},
		{"", ""},
	};
	char out[64];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_string_equal(url_redact(cases[i].text, out, sizeof(out)), cases[i].want);
	assert_string_equal(url_redact("https://abcdef", out, 12), "https://abc");
	assert_string_equal(url_redact("https://a", out, 1), "");
}

static void host_to_origin(void **state)
{
	struct origin o;

	assert_int_equal(origin_of_host("Reg.example:5000", false, &o, NULL), 0);
	assert_string_equal(o.host, "reg.example");
	assert_int_equal(o.port, 5000);
	assert_int_equal(origin_of_host("[::1]", true, &o, NULL), 0);
	assert_string_equal(o.host, "[::1]");
	assert_int_equal(o.port, 443);
	assert_int_equal(origin_of_host("a/b", true, &o, NULL), -EINVAL);
	assert_int_equal(origin_of_host("u@a", true, &o, NULL), -EINVAL);
	assert_int_equal(origin_of_host("", true, &o, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(url_good),	  cmocka_unit_test(url_bad),
		cmocka_unit_test(url_length),	  cmocka_unit_test(url_relative),
		cmocka_unit_test(url_query),	  cmocka_unit_test(url_redaction),
		cmocka_unit_test(host_to_origin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
