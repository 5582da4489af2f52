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
#define LAYER(type, digest, more)                                                                  \
	"{\"mediaType\":\"" type "\",\"digest\":\"" digest "\",\"size\":10" more "}"
#define MANIFEST(layers)                                                                           \
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI "manifest.v1+json\",\"config\":" OCI_CONFIG    \
	",\"layers\":[" layers "]}"
#define GZIP OCI "layer.v1.tar+gzip"
#define INDEX(entries)                                                                             \
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI "index.v1+json\",\"manifests\":[" entries "]}"

static void digest_is(const struct digest *d, const char *want)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(d, text);
	assert_string_equal(text, want);
}

/* ---- kinds ---- */

static void kinds(void **state)
{
	static const struct {
		const char *json, *type;
		int want; /* enum manifest_kind or < 0 */
	} cases[] = {
		{MANIFEST(""), NULL, MANIFEST_IMAGE},
		{MANIFEST(""), OCI "manifest.v1+json", MANIFEST_IMAGE},
		{MANIFEST(""), "application/json", MANIFEST_IMAGE},
		{MANIFEST(""), DOCKER "distribution.manifest.v2+json", -EBADMSG},
		{MANIFEST(""), OCI "index.v1+json", -EBADMSG},
		{MANIFEST(""), "text/html", -EBADMSG},
		{INDEX(""), OCI "index.v1+json", MANIFEST_INDEX},
		{"{\"schemaVersion\":2,\"manifests\":[]}", NULL, MANIFEST_INDEX},
		{"{\"schemaVersion\":2,\"manifests\":[]}",
		 DOCKER "distribution.manifest.list.v2+json", MANIFEST_INDEX},
		{"{\"schemaVersion\":2,\"manifests\":[]}", OCI "manifest.v1+json", -EBADMSG},
		{"{\"schemaVersion\":2,\"layers\":[]}", NULL, MANIFEST_IMAGE},
		{"{\"layers\":[],\"mediaType\":null}", NULL, MANIFEST_IMAGE},
		{"{\"schemaVersion\":2,\"layers\":[],\"manifests\":[]}", NULL, -EBADMSG},
		{"{\"schemaVersion\":2,\"config\":{},\"manifests\":[]}", NULL, -EBADMSG},
		{"{\"mediaType\":\"" OCI "index.v1+json\",\"layers\":[],\"manifests\":[]}", NULL,
		 -EBADMSG},
		{"{\"mediaType\":\"" OCI "index.v1+json\",\"layers\":[]}", NULL, -EBADMSG},
		{"{\"mediaType\":\"" OCI "manifest.v1+json\",\"manifests\":[]}", NULL, -EBADMSG},
		{"{\"schemaVersion\":1,\"fsLayers\":[]}", NULL, -ENOTSUP},
		{"{\"fsLayers\":[]}", NULL, -ENOTSUP},
		{"{\"schemaVersion\":1}", DOCKER "distribution.manifest.v1+prettyjws", -ENOTSUP},
		{"{\"fsLayers\":[]}", DOCKER "distribution.manifest.v1+json", -ENOTSUP},
		{"{\"schemaVersion\":3,\"layers\":[]}", NULL, -ENOTSUP},
		{"{\"schemaVersion\":\"2\",\"layers\":[]}", NULL, -EBADMSG},
		{"{\"mediaType\":\"application/vnd.x\",\"layers\":[]}", NULL, -ENOTSUP},
		{"{\"layers\":[]}", "text/html", -ENOTSUP},
		{"{\"mediaType\":7,\"layers\":[]}", NULL, -EBADMSG},
		{"{}", NULL, -EBADMSG},
		{"[]", NULL, -EBADMSG},
		{"", NULL, -EBADMSG},
		{"<html>", "text/html", -EBADMSG},
		{"{\"layers\":[],\"layers\":[]}", NULL, -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		enum manifest_kind kind = 0;
		int r = manifest_kind_of(cases[i].json, strlen(cases[i].json), cases[i].type, &kind,
					 &err);

		if ((r < 0 ? r : (int)kind) != cases[i].want)
			fail_msg("%s as %s: %d %d %s", cases[i].json,
				 cases[i].type ? cases[i].type : "-", r, kind, err.text);
	}
}

/* ---- manifests ---- */

static int parse(const char *json, struct manifest **m, struct error *err)
{
	return manifest_parse(json, strlen(json), m, err);
}

static void oci_manifest(void **state)
{
	static const char json[] = MANIFEST(LAYER(
		GZIP, H1,
		",\"annotations\":{\"containerd.io/snapshot/stargz/toc.digest\":\"" H3
		"\",\"io.containers.estargz.uncompressed-size\":\"9007199254740992\",\"x\":\"y\"},"
		"\"urls\":[\"http://evil\"],\"data\":\"!!\"") "," LAYER(OCI "layer.v1.tar+zstd", H2,
									",\"annotations\":{\"io."
									"github.containers.zstd-"
									"chunked.manifest-"
									"checksum\":\"" H1
									"\",\"io.github.containers."
									"zstd-chunked.manifest-"
									"position\":\"100:20:300:"
									"1\"}") "," LAYER(OCI
											  "layer."
											  "v1.tar",
											  H3,
											  ",\"annot"
											  "ations\""
											  ":null") "," LAYER(OCI
													     "layer.nondistributable.v1.tar+gzip",
													     H3,
													     ""));
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	assert_int_equal(parse(json, &m, NULL), 0);
	assert_string_equal(m->media_type, OCI "manifest.v1+json");
	digest_is(&m->config.digest, H0);
	assert_int_equal(m->config.size, 7);
	assert_int_equal(m->n_layers, 4);
	digest_is(&m->layers[0].desc.digest, H1);
	assert_string_equal(m->layers[0].desc.media_type, GZIP);
	assert_int_equal(m->layers[0].desc.size, 10);
	assert_true(m->layers[0].has_toc);
	digest_is(&m->layers[0].toc_digest, H3);
	assert_int_equal(m->layers[0].uncompressed_size, INT64_C(1) << 53);
	assert_false(m->layers[0].has_zstd_chunked);
	assert_int_equal(m->layers[0].zstd_off, -1);
	assert_int_equal(m->layers[0].diff_id.algo, 0);
	assert_true(m->layers[1].has_zstd_chunked);
	assert_false(m->layers[1].has_toc);
	digest_is(&m->layers[1].zstd_checksum, H1);
	assert_int_equal(m->layers[1].zstd_off, 100);
	assert_int_equal(m->layers[1].zstd_len, 20);
	assert_int_equal(m->layers[1].zstd_raw_len, 300);
	assert_int_equal(m->layers[1].zstd_type, 1);
	assert_int_equal(m->layers[1].uncompressed_size, -1);
	assert_false(m->layers[2].has_toc || m->layers[2].has_zstd_chunked);
}

static void docker_manifest(void **state)
{
	/* annotations are no part of schema 2, but are put there; the older key of zstd:chunked */
	static const char json[] =
		"{\"schemaVersion\":2,\"mediaType\":\"" DOCKER "distribution.manifest.v2+json\","
		"\"config\":{\"mediaType\":\"" DOCKER "container.image.v1+json\",\"digest\":\"" H0
		"\",\"size\":7},\"layers\":[" LAYER(
			DOCKER "image.rootfs.diff.tar.gzip", H1,
			",\"annotations\":{\"containerd.io/snapshot/stargz/toc.digest\":\"" H2
			"\"}") "," LAYER(DOCKER "image.rootfs.foreign.diff.tar.gzip", H2,
					 "") "," LAYER(DOCKER "image.rootfs.diff.tar.zstd", H3,
						       ",\"annotations\":{\"io.containers.zstd-"
						       "chunked.manifest-checksum\":\"" H1
						       "\",\"io.containers.zstd-chunked.manifest-"
						       "position\":\"1:2:3:1\","
						       "\"containerd.io/snapshot/stargz/"
						       "toc.digest\":\"" H0
						       "\"}") "," LAYER(DOCKER
									"image.rootfs.diff.tar",
									H3, "") "]}";
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	assert_int_equal(parse(json, &m, NULL), 0);
	assert_int_equal(m->n_layers, 4);
	assert_true(m->layers[0].has_toc);
	assert_true(m->layers[2].has_toc && m->layers[2].has_zstd_chunked);
	assert_int_equal(m->layers[2].zstd_raw_len, 3);
}

static void old_oci_manifest_without_types(void **state)
{
	static const char json[] =
		"{\"config\":" OCI_CONFIG ",\"layers\":[],\"annotations\":{\"a\":\"b\"}}";
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	assert_int_equal(parse(json, &m, NULL), 0);
	assert_string_equal(m->media_type, OCI "manifest.v1+json");
	assert_int_equal(m->n_layers, 0);
}

#define ANNOTATED(key, value) MANIFEST(LAYER(GZIP, H1, ",\"annotations\":{\"" key "\":" value "}"))

static void bad_manifests(void **state)
{
	static const struct {
		const char *json;
		int code;
		const char *says;
	} cases[] = {
		{INDEX(""), -EBADMSG, "index"},
		{MANIFEST(LAYER("application/vnd.x", H1, "")), -ENOTSUP,
		 "layer 1: media type \"application/vnd.x\""},
		{MANIFEST(LAYER(GZIP, H1, "") "," LAYER(GZIP "+encrypted", H1, "")), -ENOTSUP,
		 "layer 2: media type \"" GZIP "+encrypted\""},
		{MANIFEST(LAYER("application/vnd.in-toto+json", H1, "")), -ENOTSUP, "in-toto"},
		{MANIFEST(LAYER(OCI "layer.v1.tar+xz", H1, "")), -ENOTSUP, "+xz"},
		{MANIFEST(LAYER(OCI "config.v1+json", H1, "")), -ENOTSUP, "config"},
		{"{\"config\":{\"mediaType\":\"application/"
		 "vnd.cncf.helm.config.v1+json\",\"digest\":\"" H0 "\",\"size\":7},\"layers\":[]}",
		 -ENOTSUP, "artifact of type \"application/vnd.cncf.helm.config.v1+json\""},
		{"{\"artifactType\":\"application/vnd.y\",\"config\":{\"mediaType\":"
		 "\"application/vnd.oci.empty.v1+json\",\"digest\":\"" H0
		 "\",\"size\":2},\"layers\":[]}",
		 -ENOTSUP, "artifact of type \"application/vnd.y\""},
		{"{\"config\":{\"mediaType\":\"" DOCKER "plugin.v1+json\",\"digest\":\"" H0
		 "\",\"size\":7},\"layers\":[]}",
		 -ENOTSUP, "plugin"},
		{"{\"layers\":[]}", -EBADMSG, "config"},
		{"{\"config\":" OCI_CONFIG "}", -EBADMSG, "layers"},
		{"{\"config\":[],\"layers\":[]}", -EBADMSG, "config"},
		{"{\"config\":" OCI_CONFIG ",\"layers\":{}}", -EBADMSG, "layers"},
		{MANIFEST("1"), -EBADMSG, "layer 1"},
		{MANIFEST("{}"), -EBADMSG, "layer 1"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"" H1 "\"}"), -EBADMSG,
		 "layer 1"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"size\":1}"), -EBADMSG, "layer 1"},
		{MANIFEST("{\"digest\":\"" H1 "\",\"size\":1}"), -EBADMSG, "layer 1"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"" H1 "\",\"size\":-1}"),
		 -EBADMSG, "size -1"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"" H1
			  "\",\"size\":9007199254740993}"),
		 -EBADMSG, "size"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"" H1
			  "\",\"size\":9223372036854775807}"),
		 -EBADMSG, "size"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"" H1
			  "\",\"size\":9223372036854775808}"),
		 -EBADMSG, "JSON"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"" H1 "\",\"size\":1.5}"),
		 -EBADMSG, "size"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"sha256:ABC\",\"size\":1}"),
		 -EBADMSG, "digest"},
		{MANIFEST("{\"mediaType\":\"" GZIP "\",\"digest\":\"../../etc\",\"size\":1}"),
		 -EBADMSG, "digest"},
		{MANIFEST("{\"mediaType\":\"" GZIP
			  "\",\"digest\":\"md5:d41d8cd98f00b204e9800998ecf8427e\",\"size\":1}"),
		 -ENOTSUP, "md5"},
		{MANIFEST("{\"mediaType\":\"a\\u0000b\",\"digest\":\"" H1 "\",\"size\":1}"),
		 -EBADMSG, "JSON"},
		{MANIFEST(LAYER(GZIP, H1, ",\"annotations\":[]")), -EBADMSG, "annotations"},
		{ANNOTATED("containerd.io/snapshot/stargz/toc.digest", "\"x\""), -EBADMSG,
		 "digest"},
		{ANNOTATED("containerd.io/snapshot/stargz/toc.digest", "1"), -EBADMSG,
		 "toc.digest"},
		{ANNOTATED("io.containers.estargz.uncompressed-size", "\"-1\""), -EBADMSG,
		 "uncompressed-size"},
		{ANNOTATED("io.containers.estargz.uncompressed-size", "\"\""), -EBADMSG,
		 "uncompressed-size"},
		{ANNOTATED("io.containers.estargz.uncompressed-size", "\"9007199254740993\""),
		 -EBADMSG, "uncompressed-size"},
		{ANNOTATED("io.containers.estargz.uncompressed-size", "\"99999999999999999999\""),
		 -EBADMSG, "uncompressed-size"},
		{ANNOTATED("io.github.containers.zstd-chunked.manifest-checksum", "\"x\""),
		 -EBADMSG, "digest"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct manifest *m = NULL;
		int r = parse(cases[i].json, &m, &err);

		if (r != cases[i].code || !strstr(err.text, cases[i].says))
			fail_msg("%s: %d \"%s\"", cases[i].json, r, err.text);
		assert_null(m);
	}
}

static void zstd_positions(void **state)
{
	static const struct {
		const char *text;
		bool ok;
	} cases[] = {
		{"1:2:3:1", true},
		{"0:0:0:0", true},
		{"9007199254740992:1:1:1", true},
		{"9007199254740993:1:1:1", false},
		{"", false},
		{"1:2:3", false},
		{"1:2:3:", false},
		{"1:2:3:1:", false},
		{"1:2:3:1:5", false},
		{":2:3:1", false},
		{"-1:2:3:1", false},
		{"+1:2:3:1", false},
		{"1 :2:3:1", false},
		{"0x1:2:3:1", false},
		{"18446744073709551617:2:3:1", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		char json[1024];

		snprintf(json, sizeof(json),
			 MANIFEST(LAYER(GZIP, H1,
					",\"annotations\":{\"io.github.containers.zstd-chunked."
					"manifest-checksum\":\"" H1
					"\",\"io.github.containers.zstd-chunked.manifest-"
					"position\":\"%s\"}")),
			 cases[i].text);
		if (parse(json, &m, NULL) != (cases[i].ok ? 0 : -EBADMSG))
			fail_msg("%s", cases[i].text);
	}
}

static char *with_layers(unsigned n)
{
	struct buf b = BUF_INIT;

	buf_append_str(&b, "{\"config\":" OCI_CONFIG ",\"layers\":[");
	for (unsigned i = 0; i < n; i++)
		buf_printf(&b, "%s" LAYER(GZIP, H1, ""), i ? "," : "");
	buf_append_str(&b, "]}");
	assert_non_null(buf_str(&b));
	return (char *)b.data;
}

static void layer_limit(void **state)
{
	for (unsigned n = LAYERS_MAX; n <= LAYERS_MAX + 1; n++) {
		_cleanup_(manifest_freep) struct manifest *m = NULL;
		_cleanup_(freep) char *json = with_layers(n);

		assert_int_equal(parse(json, &m, NULL), n > LAYERS_MAX ? -E2BIG : 0);
	}
}

static void size_limit(void **state)
{
	enum { LIMIT = 4 << 20 };
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	_cleanup_(freep) char *json = malloc(LIMIT + 2);

	assert_non_null(json);
	memset(json, ' ', LIMIT + 1);
	memcpy(json, MANIFEST(""), strlen(MANIFEST("")));
	json[LIMIT + 1] = 0;
	assert_int_equal(manifest_parse(json, LIMIT, &m, NULL), 0);
	manifest_free(steal_ptr(m));
	assert_int_equal(manifest_parse(json, LIMIT + 1, &m, NULL), -E2BIG);
}

/* ---- configs ---- */

static void configs(void **state)
{
	static const struct {
		const char *json;
		int code;
	} cases[] = {
		{"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" H2 "\",\"" H3
		 "\"]},\"os\":\"Linux\","
		 "\"architecture\":\"aarch64\",\"variant\":\"v8\",\"created\":\"2024-01-01T00:00:"
		 "00Z\"}",
		 0},
		{"{\"rootfs\":{\"diff_ids\":[\"" H2 "\",\"" H3 "\"]},\"created\":null}", 0},
		{"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" H2 "\"]}}", -EBADMSG},
		{"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" H2 "\",\"" H2 "\",\"" H2
		 "\"]}}",
		 -EBADMSG},
		{"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" H2 "\",1]}}", -EBADMSG},
		{"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"" H2 "\",\"x\"]}}", -EBADMSG},
		{"{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":{}}}", -EBADMSG},
		{"{\"rootfs\":{\"type\":\"trees\",\"diff_ids\":[\"" H2 "\",\"" H3 "\"]}}",
		 -ENOTSUP},
		{"{\"rootfs\":{\"type\":\"layers\"}}", -EBADMSG},
		{"{\"rootfs\":[]}", -EBADMSG},
		{"{}", -EBADMSG},
		{"[]", -EBADMSG},
		{"", -EBADMSG},
		{"{\"rootfs\":{\"diff_ids\":[\"" H2 "\",\"" H3 "\"]},\"created\":1}", -EBADMSG},
		{"{\"rootfs\":{\"diff_ids\":[\"" H2 "\",\"" H3 "\"]},\"os\":1}", -EBADMSG},
		{"{\"rootfs\":{\"diff_ids\":[\"" H2 "\",\"" H3
		 "\"]},\"os\":\"linuxlinuxlinuxlinuxlinuxlinuxlinux\"}",
		 -EBADMSG},
	};
	_cleanup_(manifest_freep) struct manifest *m = NULL;

	assert_int_equal(parse(MANIFEST(LAYER(GZIP, H1, "") "," LAYER(GZIP, H2, "")), &m, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		int r = manifest_set_config(m, cases[i].json, strlen(cases[i].json), &err);

		if (r != cases[i].code)
			fail_msg("%s: %d %s", cases[i].json, r, err.text);
		digest_is(&m->layers[0].diff_id, H2);
		digest_is(&m->layers[1].diff_id, H3);
		if (i)
			continue;
		assert_string_equal(m->platform.os, "linux");
		assert_string_equal(m->platform.arch, "arm64");
		assert_string_equal(m->platform.variant, "");
		assert_string_equal(m->created, "2024-01-01T00:00:00Z");
	}
	assert_null(m->created); /* of the last good one */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds),	   cmocka_unit_test(oci_manifest),
		cmocka_unit_test(docker_manifest), cmocka_unit_test(old_oci_manifest_without_types),
		cmocka_unit_test(bad_manifests),   cmocka_unit_test(zstd_positions),
		cmocka_unit_test(layer_limit),	   cmocka_unit_test(size_limit),
		cmocka_unit_test(configs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
