/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include "image/children.h"
#include "transfer/image_doc.h"
#include "transfer/words.h"

static char *words_of(const char *text)
{
	json_t *words;
	char *out;

	if (words_parse(text, "--cmd", &words, NULL) < 0)
		return NULL;
	out = json_dumps(words, JSON_COMPACT);
	json_decref(words);
	return out;
}

static void words(void **state)
{
	static const struct {
		const char *text, *want;
	} cases[] = {
		{"", "[]"},
		{"  ", "[]"},
		{"/bin/sh", "[\"/bin/sh\"]"},
		{" a  b\tc ", "[\"a\",\"b\",\"c\"]"},
		{"sh -c 'echo $HOME \"x\"'", "[\"sh\",\"-c\",\"echo $HOME \\\"x\\\"\"]"},
		{"a\"b c\"d \"\" e\\ f", "[\"ab cd\",\"\",\"e f\"]"},
		{"[\"a b\", \"c\"]", "[\"a b\",\"c\"]"},
		{"[]", "[]"},
		{"[1]", NULL},
		{"[\"a\"", NULL},
		{"'a", NULL},
		{"\xff", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *got = words_of(cases[i].text);

		if (!got != !cases[i].want || (got && strcmp(got, cases[i].want) != 0))
			fail_msg("%s: %s", cases[i].text, got);
		free(got);
	}
}

static const struct platform amd64 = {.os = "linux", .arch = "amd64"};

static struct image_doc_layer some_layer(void)
{
	static const struct image_doc_annotation note = {"k", "v"};
	struct image_doc_layer l = {.media_type = "application/vnd.oci.image.layer.v1.tar+gzip",
				    .size = 10,
				    .annotations = &note,
				    .n_annotations = 1,
				    .created_by = "morsel push"};

	digest_of(DIGEST_SHA256, "a", 1, &l.digest);
	digest_of(DIGEST_SHA256, "b", 1, &l.diff_id);
	return l;
}

static json_t *config_of(const struct image_wish *w, const char *base)
{
	struct image_doc_layer l = some_layer();
	struct buf text = BUF_INIT, b = BUF_INIT;
	struct error err = ERROR_INIT;
	json_t *o;

	if (base)
		buf_append_str(&b, base);
	if (image_config_make(w, &amd64, base ? &b : NULL, &l, 1, &text, &err) < 0)
		fail_msg("%s", err.text);
	o = json_loadb((char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(o);
	buf_fini(&text);
	buf_fini(&b);
	return o;
}

static void is(json_t *root, const char *path, const char *want)
{
	char copy[100], *save = NULL, *got;
	json_t *o = root;

	strcpy(copy, path);
	for (char *p = strtok_r(copy, ".", &save); p; p = strtok_r(NULL, ".", &save))
		o = json_object_get(o, p);
	got = o ? json_dumps(o, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	if (!got != !want || (got && strcmp(got, want) != 0))
		fail_msg("%s: %s, expected %s", path, got, want);
	free(got);
}

static void config_alone(void **state)
{
	static const char *const env[] = {"A=1", "B=", "A=2", NULL};
	static const char *const labels[] = {"x=y=z", "bare", NULL};
	struct image_wish w = {.entrypoint = "/run it",
			       .env = env,
			       .labels = labels,
			       .workdir = "/srv",
			       .user = "7:8",
			       .author = "me",
			       .created_s = 86400};
	json_t *o = config_of(&w, NULL);

	is(o, "created", "\"1970-01-02T00:00:00Z\"");
	is(o, "os", "\"linux\"");
	is(o, "variant", NULL);
	is(o, "author", "\"me\"");
	is(o, "config.Entrypoint", "[\"/run\",\"it\"]");
	is(o, "config.Cmd", NULL);
	is(o, "config.Env", "[\"A=2\",\"B=\"]");
	is(o, "config.Labels", "{\"x\":\"y=z\",\"bare\":\"\"}");
	is(o, "config.WorkingDir", "\"/srv\"");
	is(o, "config.User", "\"7:8\"");
	is(o, "rootfs.type", "\"layers\"");
	assert_int_equal(json_array_size(json_object_get(json_object_get(o, "rootfs"), "diff_ids")),
			 1);
	assert_int_equal(json_array_size(json_object_get(o, "history")), 1);
	json_decref(o);
}

static void config_on_a_base(void **state)
{
	static const char base[] =
		"{\"architecture\":\"arm64\",\"os\":\"linux\",\"config\":{\"Env\":[\"PATH=/bin\","
		"\"A=0\"],\"Entrypoint\":[\"e\"],\"Cmd\":[\"c\"],\"Labels\":{\"old\":\"1\"},"
		"\"StopSignal\":\"9\"},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:x\","
		"\"sha256:y\"]},\"history\":[{\"created_by\":\"one\"},{\"empty_layer\":true}],"
		"\"new\":{\"kept\":1}}";
	static const char *const env[] = {"A=1", NULL};
	static const char *const labels[] = {"new=2", NULL};
	struct image_wish w = {.env = env, .labels = labels};
	json_t *o = config_of(&w, base), *line;
	size_t i, with_layer = 0;

	is(o, "architecture", "\"arm64\"");
	is(o, "config.Env", "[\"PATH=/bin\",\"A=1\"]");
	is(o, "config.Entrypoint", "[\"e\"]");
	is(o, "config.Cmd", "[\"c\"]");
	is(o, "config.Labels", "{\"old\":\"1\",\"new\":\"2\"}");
	is(o, "config.StopSignal", "\"9\"");
	is(o, "new.kept", "1");
	assert_int_equal(json_array_size(json_object_get(json_object_get(o, "rootfs"), "diff_ids")),
			 3);
	json_array_foreach (json_object_get(o, "history"), i, line)
		with_layer += !json_object_get(line, "empty_layer");
	assert_int_equal(with_layer, 3);
	json_decref(o);
	w = (struct image_wish){.entrypoint = "x"};
	o = config_of(&w, base);
	is(o, "config.Cmd", NULL);
	json_decref(o);
	w = (struct image_wish){.entrypoint = "", .cmd = "y"};
	o = config_of(&w, base);
	is(o, "config.Entrypoint", "[]");
	is(o, "config.Cmd", "[\"y\"]");
	json_decref(o);
}

static void manifests(void **state)
{
	static const char *const notes[] = {"org.x=1", NULL};
	static const char base[] =
		"{\"schemaVersion\":2,\"layers\":[{\"mediaType\":\"application/"
		"vnd.docker.image.rootfs."
		"diff.tar.gzip\",\"size\":5,\"digest\":\"sha256:"
		"3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d\","
		"\"annotations\":{\"toc\":\"t\"}}]}";
	struct image_wish w = {.annotations = notes};
	struct image_doc_layer l = some_layer();
	struct buf text = BUF_INIT, b = BUF_INIT;
	struct children ch;
	struct digest d;
	json_t *o;

	digest_of(DIGEST_SHA256, "c", 1, &d);
	buf_append_str(&b, base);
	assert_int_equal(image_manifest_make(&w, &d, 3, &b, &l, 1, &text, NULL), 0);
	assert_int_equal(children_parse(text.data, text.len, TYPE_MANIFEST, &ch, NULL), 0);
	assert_int_equal(ch.n, 3);
	assert_string_equal(ch.list[1].media_type, "application/vnd.oci.image.layer.v1.tar+gzip");
	assert_int_equal(ch.list[1].size, 5);
	children_fini(&ch);
	o = json_loadb((char *)text.data, text.len, 0, NULL);
	is(o, "annotations", "{\"org.x\":\"1\"}");
	is(json_array_get(json_object_get(o, "layers"), 0), "annotations", "{\"toc\":\"t\"}");
	is(json_array_get(json_object_get(o, "layers"), 1), "annotations", "{\"k\":\"v\"}");
	json_decref(o);
	buf_fini(&text);
	w.artifact_type = "application/x.thing";
	assert_int_equal(image_manifest_make(&w, &d, 3, NULL, &l, 1, &text, NULL), 0);
	o = json_loadb((char *)text.data, text.len, 0, NULL);
	is(o, "artifactType", "\"application/x.thing\"");
	is(o, "config.digest",
	   "\"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\"");
	is(o, "config.size", "2");
	is(o, "config.data", "\"e30=\"");
	json_decref(o);
	buf_fini(&text);
	buf_fini(&b);
}

static void wishes(void **state)
{
	static const char *const bad_env[] = {"=x", NULL}, *const bare_env[] = {"A", NULL};
	static const char *const bad_note[] = {"key", NULL}, *const bad_label[] = {"=v", NULL};
	static const char *const not_text[] = {"a=\xff", NULL};
	const struct image_wish bad[] = {
		{.env = bad_env},	   {.env = bare_env},	  {.env = not_text},
		{.annotations = bad_note}, {.labels = bad_label}, {.labels = not_text},
		{.workdir = "srv"},	   {.user = "\xff"},	  {.author = "\xff"},
		{.entrypoint = "[1]"},	   {.cmd = "'"},	  {.artifact_type = "thing"},
	};

	assert_int_equal(image_wish_check(&(struct image_wish){0}, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (image_wish_check(&bad[i], NULL) != -EINVAL)
			fail_msg("%zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words),
		cmocka_unit_test(config_alone),
		cmocka_unit_test(config_on_a_base),
		cmocka_unit_test(manifests),
		cmocka_unit_test(wishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
