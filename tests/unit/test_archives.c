/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include "base/buf.h"
#include "registry/archive_index.h"
#include "registry/docker_manifest.h"

static int read_buf(void *userdata, uint64_t off, void *buf, size_t n)
{
	const struct buf *b = userdata;

	assert_true(off <= b->len && n <= b->len - off);
	memcpy(buf, b->data + off, n);
	return 0;
}

/* A header whose size field holds exactly this text, and data behind it. */
static void member(struct buf *b, const char *name, char type, const char *size, const char *link,
		   const char *data)
{
	static const uint8_t zeros[512];
	uint8_t h[512] = {0};
	unsigned sum = 0;

	memcpy(h, name, strlen(name));
	memcpy(h + 124, size, strlen(size));
	h[156] = (uint8_t)type;
	memcpy(h + 157, link, strlen(link));
	memcpy(h + 257, "ustar\00000", 8);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < sizeof(h); i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
	buf_append(b, h, sizeof(h));
	buf_append_str(b, data);
	buf_append(b, zeros, (512 - strlen(data) % 512) % 512);
}

static int index_of(struct buf *b, struct archive_index *ix)
{
	struct archive_input in = {.read = read_buf, .userdata = b, .size = b->len};
	struct error err = ERROR_INIT;
	int r = archive_index_read(&in, ix, &err);

	assert_int_equal(r < 0, err.code != 0);
	return r;
}

static void places(void **state)
{
	struct buf b = BUF_INIT;
	struct archive_index ix = {0};
	const struct archive_member *m;

	member(&b, "./a//b", '0', "5", "", "first");
	member(&b, "x/../c", 0, "3", "", "old");
	member(&b, "c", '0', "6", "", "newest");
	member(&b, "d/l", '2', "", "../c", "");
	member(&b, "h", '1', "7", "d/l", "");
	member(&b, "e", '5', "", "", "");
	assert_int_equal(index_of(&b, &ix), 0);
	assert_int_equal(ix.n, 6);
	assert_int_equal(archive_index_find(&ix, "a/b", &m), 0);
	assert_memory_equal(b.data + m->off, "first", m->size);
	for (const char *const *name = (const char *const[]){"c", "d/l", "h", "./d/.././c", NULL};
	     *name; name++) {
		assert_int_equal(archive_index_find(&ix, *name, &m), 0);
		assert_int_equal(m->size, 6);
		assert_memory_equal(b.data + m->off, "newest", 6);
	}
	assert_int_equal(archive_index_find(&ix, "e", &m), -EINVAL);
	assert_int_equal(archive_index_find(&ix, "none", &m), -ENOENT);
	assert_int_equal(archive_index_find(&ix, "../c", &m), -EINVAL);
	archive_index_fini(&ix);
	buf_fini(&b);
}

static void links(void **state)
{
	struct buf b = BUF_INIT;
	struct archive_index ix = {0};
	const struct archive_member *m;
	char name[16], target[16];

	member(&b, "self", '2', "", "self", "");
	member(&b, "out", '2', "", "../x", "");
	member(&b, "abs", '2', "", "/x", "");
	member(&b, "n0", '0', "1", "", "!");
	for (int i = 1; i <= 11; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		snprintf(target, sizeof(target), "n%d", i - 1);
		member(&b, name, '2', "", target, "");
	}
	assert_int_equal(index_of(&b, &ix), 0);
	assert_int_equal(archive_index_find(&ix, "self", &m), -ELOOP);
	assert_int_equal(archive_index_find(&ix, "out", &m), -EINVAL);
	assert_int_equal(archive_index_find(&ix, "abs", &m), -EINVAL);
	assert_int_equal(archive_index_find(&ix, "n10", &m), 0); /* ten links: the limit */
	assert_int_equal(archive_index_find(&ix, "n11", &m), -ELOOP);
	archive_index_fini(&ix);
	buf_fini(&b);
}

static void damage(void **state)
{
	static const struct {
		const char *name, *size, *data;
	} cases[] = {
		{"../a", "0", ""},					       /* climbs */
		{"a/../../b", "0", ""},					       /* climbs later */
		{"a", "9", ""},						       /* not there */
		{"a", "77777777777", ""},				       /* far from there */
		{"a", "8", ""},						       /* not octal */
		{"a", "1x", "1"},					       /* nor this */
		{"a", "-1", ""},					       /* nor that */
		{"a", "\xff\xff\xff\xff", ""},				       /* negative */
		{"a", "\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ""}, /* over 2^64 */
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf b = BUF_INIT;
		struct archive_index ix = {0};

		member(&b, "first", '0', "0", "", "");
		member(&b, cases[i].name, '0', cases[i].size, "", cases[i].data);
		if (index_of(&b, &ix) != -EBADMSG)
			fail_msg("case %zu", i);
		archive_index_fini(&ix);
		buf_fini(&b);
	}
}

/* A tar cut anywhere is whole members and an end, or refused. */
static void truncated(void **state)
{
	struct buf b = BUF_INIT;

	member(&b, "a", '0', "1000", "", "x");
	buf_reserve(&b, 512);
	memset(b.data + b.len, 0, 512);
	b.len += 512;
	for (size_t len = b.len; len > 0; len--) {
		struct buf part = {.data = b.data, .len = len};
		struct archive_index ix = {0};

		assert_int_equal(index_of(&part, &ix), len == b.len || len == 1024 ? 0 : -EBADMSG);
		archive_index_fini(&ix);
	}
	buf_fini(&b);
}

static void extended(void **state)
{
	static const struct {
		const char *body;
		int want;
	} cases[] = {
		{"8 path=q\n", -EBADMSG},
		{"9 path=q\n", 0},
		{"9 path=q", -EBADMSG},
		{"9path=q\n", -EBADMSG},
		{"9 pathqq\n", -EBADMSG},
		{"99 path=q\n", -EBADMSG},
		{"99999999999999999999 path=q\n", -EBADMSG},
		{"10 size=1\n9 path=q\n", 0},
		{"10 size=x\n", -EBADMSG},
		{"9 size=\n", -EBADMSG},
		{"10 size=2\n", -EBADMSG},
		{"11 path=..\n", -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf b = BUF_INIT;
		struct archive_index ix = {0};
		char size[12];
		int r;

		snprintf(size, sizeof(size), "%zo", strlen(cases[i].body));
		member(&b, "PaxHeaders", 'x', size, "", cases[i].body);
		member(&b, "a", '0', "1", "", "");
		b.len = 2048 + 1 - 512; /* header, records, header, one byte */
		r = index_of(&b, &ix);
		if (r != cases[i].want)
			fail_msg("case %zu: %d", i, r);
		if (!r)
			assert_string_equal(ix.members[0].name, "q");
		archive_index_fini(&ix);
		buf_fini(&b);
	}
}

static void choosing(void **state)
{
	static const char text[] =
		"[{\"Config\":\"a\",\"RepoTags\":[\"alpine:3\",\"x/y:z\"],\"Layers\":[]},"
		"{\"Config\":\"b\",\"RepoTags\":[\"docker.io/team/app:latest\"],\"Layers\":[]},"
		"{\"Config\":\"c\",\"Layers\":[]}]";
	static const char *const names[][2] = {{"alpine:3", "a"},
					       {"docker.io/library/alpine:3", "a"},
					       {"x/y:z", "a"},
					       {"team/app", "b"},
					       {"docker.io/team/app:latest", "b"}};
	struct docker_manifest m = {0};
	struct docker_image image;
	struct error err = ERROR_INIT;

	assert_int_equal(docker_manifest_parse(text, sizeof(text) - 1, &m, &err), 0);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_int_equal(docker_manifest_choose(&m, names[i][0], "f", &image, &err), 0);
		assert_string_equal(image.config, names[i][1]);
	}
	assert_int_equal(docker_manifest_choose(&m, "alpine", "f", &image, &err), -ENOENT);
	assert_non_null(strstr(err.text, "alpine:3, x/y:z"));
	err = ERROR_INIT;
	assert_int_equal(docker_manifest_choose(&m, NULL, "f", &image, &err), -EINVAL);
	assert_non_null(strstr(err.text, "3 images"));
	docker_manifest_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(places),    cmocka_unit_test(links),	 cmocka_unit_test(damage),
		cmocka_unit_test(truncated), cmocka_unit_test(extended), cmocka_unit_test(choosing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
