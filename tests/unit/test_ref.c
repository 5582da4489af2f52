/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include "registry/ref.h"

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SHA "sha256:" HEX
#define A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A128 A50 A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define A240 A50 A50 A50 A50 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void good(void **state)
{
	static const struct {
		const char *text, *host, *api_host, *path, *tag, *normal;
	} cases[] = {
		{"alpine", "docker.io", "registry-1.docker.io", "library/alpine", "latest",
		 "docker.io/library/alpine:latest"},
		{"alpine:3.20", "docker.io", "registry-1.docker.io", "library/alpine", "3.20",
		 "docker.io/library/alpine:3.20"},
		{"docker://alpine", "docker.io", "registry-1.docker.io", "library/alpine", "latest",
		 "docker.io/library/alpine:latest"},
		{"team/app", "docker.io", "registry-1.docker.io", "team/app", "latest",
		 "docker.io/team/app:latest"},
		{"docker.io/alpine", "docker.io", "registry-1.docker.io", "library/alpine",
		 "latest", "docker.io/library/alpine:latest"},
		{"index.docker.io/team/app", "docker.io", "registry-1.docker.io", "team/app",
		 "latest", "docker.io/team/app:latest"},
		{"localhost/a", "localhost", "localhost", "a", "latest", "localhost/a:latest"},
		{"localhost:5000/a/b:t", "localhost:5000", "localhost:5000", "a/b", "t",
		 "localhost:5000/a/b:t"},
		{"localhost:5000", "docker.io", "registry-1.docker.io", "library/localhost", "5000",
		 "docker.io/library/localhost:5000"},
		{"[::1]:5000/a", "[::1]:5000", "[::1]:5000", "a", "latest", "[::1]:5000/a:latest"},
		{"[fe80::1]/a", "[fe80::1]", "[fe80::1]", "a", "latest", "[fe80::1]/a:latest"},
		{"127.0.0.1:1/a", "127.0.0.1:1", "127.0.0.1:1", "a", "latest",
		 "127.0.0.1:1/a:latest"},
		{"ghcr.io/x/y@" SHA, "ghcr.io", "ghcr.io", "x/y", NULL, "ghcr.io/x/y@" SHA},
		{"ghcr.io/x/y:z@" SHA, "ghcr.io", "ghcr.io", "x/y", "z", "ghcr.io/x/y:z@" SHA},
		{"MyHost/a", "MyHost", "MyHost", "a", "latest", "MyHost/a:latest"},
		{"a.b-c.example:65535/a", "a.b-c.example:65535", "a.b-c.example:65535", "a",
		 "latest", "a.b-c.example:65535/a:latest"},
		{"q.io/a__b/c-d/e--f/g.h/i_j", "q.io", "q.io", "a__b/c-d/e--f/g.h/i_j", "latest",
		 "q.io/a__b/c-d/e--f/g.h/i_j:latest"},
		{"a:_tag.With-All_9", "docker.io", "registry-1.docker.io", "library/a",
		 "_tag.With-All_9", "docker.io/library/a:_tag.With-All_9"},
		{"a:" A128, "docker.io", "registry-1.docker.io", "library/a", A128,
		 "docker.io/library/a:" A128},
		{HEX "/a", "docker.io", "registry-1.docker.io", HEX "/a", "latest",
		 "docker.io/" HEX "/a:latest"},
		/* 255 bytes of host/path: "q.io/" and 250 */
		{"q.io/" A240 "/bbbbbbbbb", "q.io", "q.io", A240 "/bbbbbbbbb", "latest",
		 "q.io/" A240 "/bbbbbbbbb:latest"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(ref_freep) struct ref *ref = NULL;
		struct error err = ERROR_INIT;
		struct buf b = BUF_INIT;

		if (ref_parse(cases[i].text, &ref, &err) < 0)
			fail_msg("%s", err.text);
		assert_int_equal(ref->kind, REF_REGISTRY);
		assert_string_equal(ref->text, cases[i].text);
		assert_string_equal(ref->host, cases[i].host);
		assert_string_equal(ref->api_host, cases[i].api_host);
		assert_string_equal(ref->path, cases[i].path);
		assert_int_equal(!ref->tag, !cases[i].tag);
		if (ref->tag)
			assert_string_equal(ref->tag, cases[i].tag);
		assert_int_equal(ref->has_digest, strchr(cases[i].text, '@') != NULL);
		assert_int_equal(ref_format(ref, &b), 0);
		assert_string_equal(buf_str(&b), cases[i].normal);
		buf_fini(&b);
	}
}

static void bad(void **state)
{
	static const char *const cases[] = {
		"",
		":",
		"/",
		"@",
		":tag",
		"@" SHA,
		"a/",
		"/a",
		"a//b",
		"a:",
		"a:@" SHA,
		"a@",
		"a@sha256",
		"a@sha256:00",
		"a@" SHA "0",
		"a@md5:d41d8cd98f00b204e9800998ecf8427e",
		"a@" SHA "@" SHA,
		"a@SHA256:" HEX,
		"A",
		"a/B",
		"docker.io/A",
		"a:b:c",
		"a:-x",
		"a:.x",
		"a:" A128 "a",
		"a b",
		"a\nb",
		"a\x7f",
		"a:\xc3\xa4",
		"\xc3\xa4",
		"-a",
		"a-",
		"a._b",
		"a..b",
		"a___b",
		".a",
		"a/.b",
		"a.",
		"_a",
		"q.io/",
		"q.io/:t",
		"q.io:/a",
		"q.io:0/a",
		"q.io:65536/a",
		"q.io:99999999999/a",
		"q.io:5x/a",
		"-q.io/a",
		"q-.io/a",
		"q..io/a",
		".q.io/a",
		"q.io./a",
		"q_q.io/a",
		"[::1/a",
		"[::1]x/a",
		"[::1]:/a",
		"[zz]/a",
		"[]/a",
		"[fe80::1%eth0]/a",
		"::1/a",
		HEX,
		HEX ":t",
		"http://q.io/a",
		"https://q.io/a",
		"docker://",
		"docker://docker://a",
		"q.io/" A240 "/bbbbbbbbbb",
		"user@q.io/a",
		"q.io/a?x",
		"q.io/a#x",
		"q.io/../a",
		"q.io/a/./b",
		"oci:",
		"oci-archive:",
		"docker-archive::x",
		"docker-archive:x:",
		"oci::name",
		"oci:dir:",
		"oci:@" SHA,
		"oci:a\tb",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct ref *ref = NULL;

		if (ref_parse(cases[i], &ref, &err) != -EINVAL)
			fail_msg("accepted, or another error: \"%s\"", cases[i]);
		assert_null(ref);
		assert_true(strlen(err.text) > 20);
		assert_null(strpbrk(err.text, "\n\t\x7f"));
	}
}

static void foreign(void **state)
{
	static const char *const cases[] = {"dir:/tmp/x", "docker-daemon:a:t", "ostree:a@/x",
					    "containers-storage:[overlay@/x]a:t"};
	struct ref *ref = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;

		assert_int_equal(ref_parse(cases[i], &ref, &err), -ENOTSUP);
		assert_null(ref);
		assert_non_null(strstr(err.text, "skopeo"));
	}
	assert_int_equal(ref_parse("docker://dir:x", &ref, NULL), 0);
	assert_string_equal(ref->path, "library/dir");
	ref_free(ref);
}

static void layouts(void **state)
{
	static const struct {
		const char *text, *dir, *name;
		bool digest;
		enum ref_kind kind;
	} cases[] = {
		{"oci-archive:a.tar", "a.tar", NULL, false, REF_OCI_ARCHIVE},
		{"oci-archive:a.tar:n@" SHA, "a.tar", "n", true, REF_OCI_ARCHIVE},
		{"docker-archive:/x/a.tar:q.io:5000/a:t", "/x/a.tar", "q.io:5000/a:t", false,
		 REF_DOCKER_ARCHIVE},
		{"oci:dir", "dir", NULL, false},
		{"oci:/a b/c", "/a b/c", NULL, false},
		{"oci:dir:name", "dir", "name", false},
		{"oci:dir:q.io:5000/a:t", "dir", "q.io:5000/a:t", false},
		{"oci:dir@" SHA, "dir", NULL, true},
		{"oci:dir:name@" SHA, "dir", "name", true},
		{"oci:d@dir:n@me", "d@dir", "n@me", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(ref_freep) struct ref *ref = NULL;
		struct buf b = BUF_INIT;

		assert_int_equal(ref_parse(cases[i].text, &ref, NULL), 0);
		assert_int_equal(ref->kind, cases[i].kind ? cases[i].kind : REF_LAYOUT);
		assert_string_equal(ref->path, cases[i].dir);
		assert_int_equal(!ref->tag, !cases[i].name);
		if (ref->tag)
			assert_string_equal(ref->tag, cases[i].name);
		assert_int_equal(ref->has_digest, cases[i].digest);
		assert_int_equal(ref_format(ref, &b), 0);
		assert_string_equal(buf_str(&b), cases[i].text);
		buf_fini(&b);
	}
}

/* Neither a huge text nor one of one byte more than the limit costs more than its own size. */
static void length_limit(void **state)
{
	enum { LIMIT = 8192 };
	char text[LIMIT + 2] = "oci:";
	struct ref *ref = NULL;

	memset(text + 4, 'd', LIMIT - 4);
	assert_int_equal(ref_parse(text, &ref, NULL), 0);
	ref_free(ref);
	text[LIMIT] = 'd';
	assert_int_equal(ref_parse(text, &ref, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good),		cmocka_unit_test(bad),
		cmocka_unit_test(foreign),	cmocka_unit_test(layouts),
		cmocka_unit_test(length_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
