/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include "base/buf.h"
#include "image/manifest.h"

#define H0 "sha256:0000000000000000000000000000000000000000000000000000000000000000"
#define H1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define H2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define H3 "sha256:3333333333333333333333333333333333333333333333333333333333333333"
#define OCI "application/vnd.oci.image."
#define DOCKER "application/vnd.docker."
#define OCI_CONFIG "{\"mediaType\":\"" OCI "config.v1+json\",\"digest\":\"" H0 "\",\"size\":7}"
#define MANIFEST(layers)                                                                           \
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI "manifest.v1+json\",\"config\":" OCI_CONFIG    \
	",\"layers\":[" layers "]}"
#define ENTRY(os, arch, variant, digest, more)                                                     \
	"{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" digest                          \
	"\",\"size\":1,\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch                   \
	"\",\"variant\":\"" variant "\"}" more "}"
#define INDEX(entries)                                                                             \
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI "index.v1+json\",\"manifests\":[" entries "]}"

static void digest_is(const struct digest *d, const char *want)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(d, text);
	assert_string_equal(text, want);
}

static void platform_texts(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: -EINVAL */
	} cases[] = {
		{"linux/amd64", "linux/amd64"},
		{"Linux/x86_64", "linux/amd64"},
		{"linux/amd64/v1", "linux/amd64"},
		{"linux/amd64/v3", "linux/amd64/v3"},
		{"amd64", "linux/amd64"},
		{"aarch64", "linux/arm64"},
		{"linux/arm64/v8", "linux/arm64"},
		{"linux/arm64/8", "linux/arm64"},
		{"linux/arm64/v8.0", "linux/arm64"},
		{"linux/arm64/v8.2", "linux/arm64/v8.2"},
		{"linux/arm64/9.0", "linux/arm64/v9"},
		{"linux/arm64/v9", "linux/arm64/v9"},
		{"arm", "linux/arm/v7"},
		{"linux/arm/7", "linux/arm/v7"},
		{"linux/arm/v6", "linux/arm/v6"},
		{"linux/arm/5", "linux/arm/v5"},
		{"armhf", "linux/arm/v7"},
		{"armel", "linux/arm/v6"},
		{"i386", "linux/386"},
		{"macos/arm64", "darwin/arm64"},
		{"s390x", "linux/s390x"},
		{"plan9/mips", "plan9/mips"},
		{"linux/arm64/abcdefghijklmnopqrstuvwxyz1234",
		 "linux/arm64/abcdefghijklmnopqrstuvwxyz1234"},
		{"linux/arm64/123456789012345678901234567890",
		 "linux/arm64/v123456789012345678901234567890"},
		{"", NULL},
		{"linux", NULL},
		{"/", NULL},
		{"linux/", NULL},
		{"/amd64", NULL},
		{"linux//v7", NULL},
		{"linux/arm/", NULL},
		{"linux/arm/v7/x", NULL},
		{"linux/am d64", NULL},
		{"linux/amd64\n", NULL},
		{"linux/abcdefghijklmnopqrstuvwxyz12345", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct platform p;
		char text[100];
		int r = platform_parse(cases[i].text, &p, &err);

		if (r != (cases[i].want ? 0 : -EINVAL))
			fail_msg("%s: %d", cases[i].text, r);
		if (r < 0)
			continue;
		platform_format(&p, text);
		assert_string_equal(text, cases[i].want);
	}
}

static void platform_host_is_a_platform(void **state)
{
	struct platform p, q;
	char text[100];

	platform_host(&p);
	platform_format(&p, text);
	assert_int_equal(platform_parse(text, &q, NULL), 0);
	assert_true(platform_rank(&p, &q) == 1000);
}

/* Each list from best to worst; what is behind the '|' does not match. */
static void platform_preferences(void **state)
{
	static const char *const lists[][12] = {
		{"linux/amd64", "linux/amd64", "linux/386", "|", "linux/amd64/v2", "linux/arm64",
		 "windows/amd64"},
		{"linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386",
		 "|", "linux/amd64/v4"},
		{"linux/arm64", "linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6",
		 "linux/arm/v5", "|", "linux/arm64/v9", "linux/arm64/v8.1", "linux/amd64",
		 "linux/arm/v9"},
		{"linux/arm64/v8.2", "linux/arm64/v8.2", "linux/arm64/v8.1", "linux/arm64",
		 "linux/arm/v7", "|", "linux/arm64/v8.3", "linux/arm64/v9"},
		{"linux/arm64/v9.1", "linux/arm64/v9.1", "linux/arm64/v9", "linux/arm64/v8.6",
		 "linux/arm64", "linux/arm/v8", "|", "linux/arm64/v9.2", "linux/arm64/v8.7"},
		{"linux/arm/v7", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5", "|",
		 "linux/arm/v8", "linux/arm64"},
		{"linux/386", "linux/386", "|", "linux/amd64"},
		{"linux/ppc64le/power9", "linux/ppc64le/power9", "linux/ppc64le", "|",
		 "linux/ppc64le/power10"},
		{"linux/s390x", "linux/s390x", "|", "linux/s390x/z15"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		unsigned last = UINT32_MAX;
		bool matches = true;
		struct platform want;

		assert_int_equal(platform_parse(lists[i][0], &want, NULL), 0);
		for (size_t j = 1; j < 12 && lists[i][j]; j++) {
			struct platform have;
			unsigned rank;

			if (*lists[i][j] == '|') {
				matches = false;
				continue;
			}
			assert_int_equal(platform_parse(lists[i][j], &have, NULL), 0);
			rank = platform_rank(&want, &have);
			if (matches ? rank == 0 || rank >= last : rank != 0)
				fail_msg("%s has rank %u for %s", lists[i][j], rank, lists[i][0]);
			last = matches ? rank : last;
		}
	}
}

#define ATTESTATION                                                                                \
	ENTRY("unknown", "unknown", "", H3,                                                        \
	      ",\"annotations\":{\"vnd.docker.reference.type\":\"attestation-manifest\","          \
	      "\"vnd.docker.reference.digest\":\"" H1 "\"}")
#define SOCI                                                                                       \
	ENTRY("linux", "amd64", "", H3,                                                            \
	      ",\"artifactType\":\"application/vnd.amazon.soci.index.v2+json\"")
#define NO_PLATFORM(type, digest)                                                                  \
	"{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":1}"

static void index_choices(void **state)
{
	static const struct {
		const char *want, *json;
		int code;
		const char *result; /* digest, or a part of the error */
	} cases[] = {
		{"amd64",
		 INDEX(ENTRY("linux", "arm64", "v8", H0, "") "," ENTRY("linux", "amd64", "", H1,
								       "")),
		 0, H1},
		{"arm64",
		 INDEX(ENTRY("linux", "arm64", "v8", H0, "") "," ENTRY("linux", "amd64", "", H1,
								       "")),
		 0, H0},
		/* the first of equals */
		{"amd64",
		 INDEX(ENTRY("linux", "amd64", "", H1, "") "," ENTRY("linux", "x86_64", "v1", H2,
								     "")),
		 0, H1},
		{"arm",
		 INDEX(ENTRY("linux", "arm", "v5", H0, "") "," ENTRY("linux", "arm", "v7", H1, "")),
		 0, H1},
		{"arm",
		 INDEX(ENTRY("linux", "arm", "v5", H0, "") "," ENTRY("linux", "arm", "v8", H1, "")),
		 0, H0},
		/* BuildKit's attestations, SOCI's indexes, also when they come first */
		{"amd64", INDEX(ATTESTATION "," ENTRY("linux", "amd64", "", H1, "")), 0, H1},
		{"amd64", INDEX(SOCI "," ENTRY("linux", "amd64", "", H1, "")), 0, H1},
		{"amd64",
		 INDEX(ENTRY("linux", "amd64", "", H3,
			     ",\"annotations\":{\"vnd.docker.reference.type\":\"attestation-"
			     "manifest\"}") "," ENTRY("linux", "amd64", "", H1, "")),
		 0, H1},
		{"amd64", INDEX(ENTRY("unknown", "unknown", "", H3, "")), -ENOTSUP, "no image"},
		{"amd64", INDEX(ENTRY("linux", "unknown", "", H3, "")), -ENOTSUP, "no image"},
		{"amd64", INDEX(SOCI), -ENOTSUP, "no image"},
		{"amd64", INDEX(""), -ENOTSUP, "no image"},
		/* an artifactType that is an image's own is no obstacle */
		{"amd64",
		 INDEX(ENTRY("linux", "amd64", "", H1,
			     ",\"artifactType\":\"" OCI "config.v1+json\"")),
		 0, H1},
		/* features that we lack */
		{"amd64",
		 INDEX("{\"mediaType\":\"" OCI "manifest.v1+json\",\"digest\":\"" H3
		       "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\","
		       "\"os.features\":[\"nydus.remoteimage.v1\"]}}," ENTRY("linux", "amd64", "",
									     H1, "")),
		 0, H1},
		/* types that are none of ours */
		{"amd64",
		 INDEX("{\"mediaType\":\"application/vnd.x\",\"digest\":\"" H3
		       "\",\"size\":1,\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}"
		       "," ENTRY("linux", "amd64", "", H1, "")),
		 0, H1},
		/* no platform: the only one */
		{"amd64", INDEX(NO_PLATFORM(OCI "manifest.v1+json", H1)), 0, H1},
		{"amd64", INDEX(NO_PLATFORM(OCI "index.v1+json", H1)), 0, H1},
		{"amd64",
		 INDEX(NO_PLATFORM(OCI "manifest.v1+json", H2) "," ENTRY("linux", "amd64", "", H1,
									 "")),
		 0, H1},
		{"amd64",
		 INDEX(NO_PLATFORM(OCI "manifest.v1+json",
				   H2) "," NO_PLATFORM(OCI "manifest.v1+json", H3)),
		 -ENOTSUP, "2 images"},
		{"s390x",
		 INDEX(ENTRY("linux", "arm64", "v8", H0, "") "," ENTRY("linux", "amd64", "", H1,
								       "") "," ATTESTATION),
		 -ENOTSUP, "no image for linux/s390x; there is: linux/arm64, linux/amd64"},
		{"amd64",
		 "{\"schemaVersion\":2,\"mediaType\":\"" DOCKER
		 "distribution.manifest.list.v2+json\",\"manifests\":[{\"mediaType\":\"" DOCKER
		 "distribution.manifest.v2+json\",\"digest\":\"" H1
		 "\",\"size\":528,\"platform\":{\"architecture\":\"amd64\",\"os\":\"linux\"}}]}",
		 0, H1},
		{"amd64", INDEX("1"), -EBADMSG, "entry"},
		{"amd64", MANIFEST(""), -EBADMSG, "manifest"},
		{"amd64", INDEX("{\"mediaType\":\"" OCI "manifest.v1+json\",\"platform\":7}"),
		 -EBADMSG, "platform"},
		{"amd64",
		 INDEX("{\"mediaType\":\"" OCI "manifest.v1+json\",\"platform\":{\"os\":7}}"),
		 -EBADMSG, "os"},
		{"amd64",
		 INDEX("{\"mediaType\":\"" OCI
		       "manifest.v1+json\",\"digest\":\"x\",\"size\":1,\"platform\":"
		       "{\"os\":\"linux\",\"architecture\":\"amd64\"}}"),
		 -EBADMSG, "digest"},
		{"amd64", "{\"manifests\":{}}", -EBADMSG, "neither"},
		/* a name too long to be one is nobody's */
		{"amd64",
		 INDEX(ENTRY("linuxlinuxlinuxlinuxlinuxlinuxlinux", "amd64", "", H0,
			     "") "," ENTRY("linux", "amd64", "", H1, "")),
		 0, H1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct descriptor d = {0};
		struct platform want;
		int r;

		assert_int_equal(platform_parse(cases[i].want, &want, NULL), 0);
		r = index_choose(cases[i].json, strlen(cases[i].json), &want, &d, &err);
		if (r != cases[i].code || (r < 0 && !strstr(err.text, cases[i].result)))
			fail_msg("case %zu: %d \"%s\"", i, r, err.text);
		if (!r)
			digest_is(&d.digest, cases[i].result);
		descriptor_fini(&d);
	}
}

/* Thousands of platforms neither overflow the message nor hide its start. */
static void index_with_many_platforms(void **state)
{
	struct platform want = {.os = "linux", .arch = "amd64"};
	struct error err = ERROR_INIT;
	struct buf b = BUF_INIT;
	struct descriptor d;

	buf_append_str(&b, "{\"manifests\":[");
	for (int i = 0; i < 5000; i++)
		buf_printf(&b, "%s" ENTRY("os%d", "x", "", H1, ""), i ? "," : "", i);
	buf_append_str(&b, "]}");
	assert_int_equal(index_choose(b.data, b.len, &want, &d, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "linux/amd64; there is: os0/x, os1/x"));
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(platform_texts),
		cmocka_unit_test(platform_host_is_a_platform),
		cmocka_unit_test(platform_preferences),
		cmocka_unit_test(index_choices),
		cmocka_unit_test(index_with_many_platforms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
