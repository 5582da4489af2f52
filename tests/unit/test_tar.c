/* SPDX-License-Identifier: MIT */
/* The tar walk on archives built header by header; what real tools write is in tests/cases/tree.py.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "image/tar.h"

/* ---- making archives ---- */

struct archive {
	struct buf bytes;
	struct buf records; /* of the 'x' header that goes before the next entry */
};

static void pax(struct archive *a, const void *records, size_t n);

static void seal(uint8_t *h)
{
	unsigned sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
}

static uint8_t *header(struct archive *a, const char *name, char type, uint64_t size)
{
	uint8_t *h;

	if (type != 'x' && a->records.len) {
		pax(a, a->records.data, a->records.len);
		a->records.len = 0;
	}
	assert_int_equal(buf_reserve(&a->bytes, 512), 0);
	h = a->bytes.data + a->bytes.len;
	a->bytes.len += 512;
	memset(h, 0, 512);
	strncpy((char *)h, name, 100);
	snprintf((char *)h + 100, 8, "0000644");
	snprintf((char *)h + 108, 8, "0000001");
	snprintf((char *)h + 116, 8, "0000002");
	snprintf((char *)h + 124, 13, "%011llo", (unsigned long long)size);
	snprintf((char *)h + 136, 12, "%011o", 1600000000);
	h[156] = (uint8_t)type;
	memcpy(h + 257,
	       "ustar\0"
	       "00",
	       8);
	seal(h);
	return h;
}

static void payload(struct archive *a, const void *data, size_t n)
{
	static const uint8_t zeros[512];

	assert_int_equal(buf_append(&a->bytes, data, n), 0);
	assert_int_equal(buf_append(&a->bytes, zeros, -n & 511), 0);
}

static void pax(struct archive *a, const void *records, size_t n)
{
	header(a, "pax", 'x', n);
	payload(a, records, n);
}

static void pax_record(struct archive *a, const char *key, const char *value)
{
	char text[8192];
	size_t body = strlen(key) + strlen(value) + 3, len = body;

	while (len != body + (size_t)snprintf(text, sizeof(text), "%zu", len))
		len++;
	snprintf(text, sizeof(text), "%zu %s=%s\n", len, key, value);
	assert_int_equal(buf_append(&a->records, text, len), 0);
}

/* ---- walking them ---- */

struct seen {
	struct layer_entry meta; /* of the last entry, as path and link */
	char path[PATH_LEN_MAX + 1], link[PATH_LEN_MAX + 1];
	uint8_t data[4096];
	uint64_t data_bytes;
	unsigned entries;
	size_t xattr_len;
};

static int on_entry(void *userdata, const struct tar_entry *e)
{
	struct seen *s = userdata;

	s->meta = e->meta;
	memcpy(s->path, e->path, e->path_len + 1);
	memcpy(s->link, e->link ? e->link : "", e->link_len);
	s->link[e->link_len] = 0;
	s->xattr_len = e->xattr_len;
	s->entries++;
	memset(s->data, 0, sizeof(s->data));
	s->data_bytes = 0;
	return 0;
}

static int on_data(void *userdata, uint64_t off, const void *data, size_t n, uint64_t stream_off)
{
	struct seen *s = userdata;

	if (off + n <= sizeof(s->data))
		memcpy(s->data + off, data, n);
	s->data_bytes += n;
	return 0;
}

static int on_end(void *userdata)
{
	return 0;
}

static int walk_pieces(const struct archive *a, size_t piece, struct seen *s, struct error *err)
{
	struct tar_callbacks cb = {
		.entry = on_entry, .data = on_data, .end_entry = on_end, .userdata = s};
	_cleanup_(tar_walk_freep) struct tar_walk *w = NULL;
	int r = tar_walk_new(&cb, &w);

	*s = (struct seen){0};
	for (size_t at = 0; at < a->bytes.len && r >= 0; at += piece)
		r = tar_walk_feed(w, a->bytes.data + at, min_u64(piece, a->bytes.len - at), err);
	return r < 0 ? r : tar_walk_finish(w, err);
}

/* In one piece and byte by byte: the verdict and the last entry are the same. Frees a. */
static int walk(struct archive *a, struct seen *s)
{
	struct seen *bytewise = calloc(1, sizeof(*bytewise));
	struct error err = ERROR_INIT;
	int r = walk_pieces(a, a->bytes.len + 1, s, &err);

	assert_non_null(bytewise);
	assert_true(r >= 0 || err.code);
	assert_int_equal(walk_pieces(a, 1, bytewise, NULL), r);
	if (r >= 0)
		assert_memory_equal(bytewise, s, sizeof(*s));
	free(bytewise);
	buf_fini(&a->bytes);
	buf_fini(&a->records);
	*a = (struct archive){0};
	return r;
}

static struct seen seen;

static void plain_entries(void **state)
{
	struct archive a = {0};
	uint8_t *h;

	header(&a, "dir/file", '0', 5);
	payload(&a, "hello", 5);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "dir/file");
	assert_int_equal(seen.meta.mode, S_IFREG | 0644);
	assert_int_equal(seen.meta.uid, 1);
	assert_int_equal(seen.meta.mtime_s, 1600000000);
	assert_memory_equal(seen.data, "hello", 5);

	h = header(&a, "name", '0', 0); /* the ustar prefix stands before the name */
	strcpy((char *)h + 345, "pre/fix");
	seal(h);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "pre/fix/name");

	h = header(&a, "old/", 0, 0); /* V7: a name that ends in '/' is a directory */
	memset(h + 257, 0, 8);
	seal(h);
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(seen.meta.mode & S_IFMT, S_IFDIR);

	h = header(&a, "hard", '1', 1234); /* no payload, whatever the size says */
	strcpy((char *)h + 157, "./a/../target");
	seal(h);
	assert_int_equal(walk(&a, &seen), 0);
	assert_true(seen.meta.flags & ENTRY_HARDLINK);
	assert_string_equal(seen.link, "target");
}

/* Old writers summed signed bytes. */
static void signed_checksums(void **state)
{
	for (int off = 0; off <= 1; off++) {
		struct archive a = {0};
		uint8_t *h = header(&a, "\xff\xfe", '0', 0);
		int sum = 0;

		memset(h + 148, ' ', 8);
		for (int i = 0; i < 512; i++)
			sum += (int8_t)h[i];
		snprintf((char *)h + 148, 8, "%06o", (unsigned)(sum + off));
		assert_int_equal(walk(&a, &seen), off ? -EBADMSG : 0);
	}
}

static void numbers(void **state)
{
	static const uint8_t big[12] = {0x80, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0};
	static const uint8_t minus_two[12] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
					      0xff, 0xff, 0xff, 0xff, 0xff, 0xfe};
	static const uint8_t too_big[12] = {0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
	int64_t v;

	assert_int_equal(tar_number((const uint8_t *)"0000644", 8, &v), 0);
	assert_int_equal(v, 0644);
	assert_int_equal(tar_number((const uint8_t *)" 12 \0\0\0", 8, &v), 0);
	assert_int_equal(v, 10);
	assert_int_equal(tar_number((const uint8_t *)"12x4567", 8, &v), -EBADMSG);
	assert_int_equal(tar_number(big, 12, &v), 0);
	assert_int_equal(v, INT64_C(1) << 33);
	assert_int_equal(tar_number(minus_two, 12, &v), 0);
	assert_int_equal(v, -2);
	assert_int_equal(tar_number(too_big, 12, &v), -EBADMSG);
}

static void pax_overrides(void **state)
{
	struct archive a = {0};

	pax_record(&a, "path", "long/name");
	pax_record(&a, "mtime", "-1.5");
	pax_record(&a, "uid", "4294967294");
	pax_record(&a, "size", "3");
	header(&a, "short", '0', 700); /* the pax size wins, also for skipping */
	payload(&a, "abc", 3);
	header(&a, "next", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(seen.entries, 2);
	assert_string_equal(seen.path, "next"); /* nothing sticks to the next entry */
	assert_int_equal(seen.meta.uid, 1);

	pax_record(&a, "path", "pax"); /* pax over GNU, whichever stands first */
	header(&a, "long", 'L', 3);
	payload(&a, "gnu", 3);
	header(&a, "x", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "pax");

	pax_record(&a, "path", "p");
	pax_record(&a, "mtime", "-1.5");
	pax_record(&a, "uid", "4294967294");
	header(&a, "x", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "p");
	assert_int_equal(seen.meta.mtime_s, -2);
	assert_int_equal(seen.meta.mtime_ns, 500000000);
	assert_int_equal(seen.meta.uid, 4294967294u);
}

static void pax_that_is_refused(void **state)
{
	static const struct {
		const char *text;
		size_t n;
	} bad[] = {
		{"11 path=a\0b\n", 12},
		{"9999 path=a\n", 12},
		{"12path=abcd\n", 12},
		{"11 pathabcd\n", 12},
		{"12 path=abcdx", 13},
		{"0 path=abcd\n", 12},
		{"13 size=-100\n", 13},
		{"12 uid=4294\n", 12},
		{"22 uid=99999999999999\n", 22},
		{"12 mtime=x1\n", 12},
		{"36 size=99999999999999999999999999\n", 35},
	};
	struct archive a = {0};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (i == 7) /* the control: this one is good */
			continue;
		pax(&a, bad[i].text, bad[i].n);
		header(&a, "f", '0', 0);
		if (walk(&a, &seen) != -EBADMSG)
			fail_msg("record %zu was accepted", i);
	}
	pax(&a, bad[7].text, bad[7].n);
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
}

static void long_names_are_bounded(void **state)
{
	struct archive a = {0};
	static char text[TAR_HEADERS_MAX + 1];

	memset(text, 'a', sizeof(text));
	header(&a, "long", 'L', 200);
	payload(&a, text, 200);
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(strlen(seen.path), 200);
	header(&a, "long", 'L', TAR_HEADERS_MAX + 1);
	assert_int_equal(walk(&a, &seen), -E2BIG);
}

static void sparse_1_0(void **state)
{
	struct archive a = {0};
	uint8_t body[512 + 4] = "2\n100\n3\n2000\n1\n";

	memcpy(body + 512, "abcd", 4);
	pax_record(&a, "GNU.sparse.major", "1");
	pax_record(&a, "GNU.sparse.minor", "0");
	pax_record(&a, "GNU.sparse.realsize", "3000");
	pax_record(&a, "GNU.sparse.name", "real");
	header(&a, "GNUSparseFile.1/real", '0', sizeof(body));
	payload(&a, body, sizeof(body));
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "real");
	assert_int_equal(seen.meta.size, 3000);
	assert_int_equal(seen.data_bytes, 4);
	assert_memory_equal(seen.data + 100, "abc", 3);
	assert_memory_equal(seen.data + 2000, "d", 1);
}

static void sparse_maps_that_lie(void **state)
{
	static const char *const maps[] = {"0,5,3,2", "0,9",	 "2999,5",
					   "0,1,1,2", "5,1,0,4", "0,18446744073709551615",
					   "x,1",     "1"};
	struct archive a = {0};

	for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
		pax_record(&a, "GNU.sparse.size", "3000");
		pax_record(&a, "GNU.sparse.map", maps[i]);
		header(&a, "f", '0', 5);
		payload(&a, "abcde", 5);
		if (walk(&a, &seen) != -EBADMSG)
			fail_msg("map %s was accepted", maps[i]);
	}
}

static void what_is_refused(void **state)
{
	struct archive a = {0};
	uint8_t *h;

	h = header(&a, "f", '0', 0);
	h[0] = 'g'; /* the checksum is of another name */
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	header(&a, "f", '0', 600); /* cut off in the contents */
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	header(&a, "f", '0', 0);
	a.bytes.len -= 100; /* cut off in a header */
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	header(&a, "f", '8', 0);
	assert_int_equal(walk(&a, &seen), -ENOTSUP);
	header(&a, "../f", '0', 0);
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	header(&a, "./", '0', 0);
	assert_int_equal(walk(&a, &seen), 0); /* "./" names a directory */
	header(&a, ".", '0', 0);
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	header(&a, "c", '3', 0); /* 0:0 */
	assert_int_equal(walk(&a, &seen), -EPERM);
	h = header(&a, "s", '2', 0); /* no text */
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	h = header(&a, "b", '4', 0);
	snprintf((char *)h + 329, 8, "0010000");
	seal(h);
	assert_int_equal(walk(&a, &seen), -EBADMSG); /* major 4096 */
}

static void the_end(void **state)
{
	struct archive a = {0};
	uint8_t zeros[1024] = {0};

	header(&a, "f", '0', 0);
	payload(&a, zeros, 1024);
	payload(&a, "garbage behind the end is the diffID's", 38);
	assert_int_equal(walk(&a, &seen), 0);
	header(&a, "f", '0', 0);
	payload(&a, zeros, 512);
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(walk(&a, &seen), 0); /* no bytes at all */
	assert_int_equal(seen.entries, 0);
	header(&a, "g", 'g', 0);
	header(&a, "v", 'V', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(seen.entries, 0);
}

static void xattrs(void **state)
{
	struct archive a = {0};
	static char big[XATTR_INODE_MAX + 64];
	int n;

	pax_record(&a, "SCHILY.xattr.user.a", "1");
	pax_record(&a, "SCHILY.xattr.trusted.overlay.opaque", "y");
	pax_record(&a, "SCHILY.xattr.foreign.x", "y");
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(seen.meta.xattr_count, 1);
	assert_int_equal(seen.xattr_len, 8 + 6 + 1);
	n = snprintf(big, 64, "%u SCHILY.xattr.user.a=", XATTR_INODE_MAX + 40);
	memset(big + n, 'v', XATTR_INODE_MAX + 40 - (size_t)n);
	big[XATTR_INODE_MAX + 39] = '\n';
	pax(&a, big, XATTR_INODE_MAX + 40);
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), -E2BIG);
}

/* ---- what two readers could understand differently ---- */

static void empty_values_take_back(void **state)
{
	struct archive a = {0};

	pax_record(&a, "path", "other");
	pax_record(&a, "path", "");
	pax_record(&a, "size", "700");
	pax_record(&a, "size", "");
	pax_record(&a, "uid", "7");
	pax_record(&a, "uid", "");
	pax_record(&a, "gid", "7");
	pax_record(&a, "gid", "");
	pax_record(&a, "mtime", "7");
	pax_record(&a, "mtime", "");
	pax_record(&a, "SCHILY.xattr.user.a", "1");
	pax_record(&a, "SCHILY.xattr.user.b", "22");
	pax_record(&a, "SCHILY.xattr.user.a", "");
	header(&a, "f", '0', 3);
	payload(&a, "abc", 3);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "f");
	assert_int_equal(seen.meta.size, 3);
	assert_int_equal(seen.meta.uid, 1);
	assert_int_equal(seen.meta.gid, 2);
	assert_int_equal(seen.meta.mtime_s, 1600000000);
	assert_int_equal(seen.meta.xattr_count, 1);
	assert_int_equal(seen.xattr_len, 8 + 6 + 2);
}

static void the_last_of_several_counts(void **state)
{
	struct archive a = {0};

	pax_record(&a, "SCHILY.xattr.user.a", "1");
	pax_record(&a, "SCHILY.xattr.user.b", "2");
	pax_record(&a, "SCHILY.xattr.user.a", "three");
	pax_record(&a, "path", "first");
	pax_record(&a, "path", "second");
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "second");
	assert_int_equal(seen.meta.xattr_count, 2);
	assert_int_equal(seen.xattr_len, 2 * (8 + 6) + 1 + 5);

	pax(&a, "11 path=set\n12 uid=4294\n", 23); /* a later set is not added: it replaces */
	pax(&a, "12 gid=4294\n", 12);
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	pax(&a, "12 path=set\n12 uid=4294\n", 24);
	pax(&a, "12 gid=4294\n", 12);
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "f");
	assert_int_equal(seen.meta.uid, 1);
	assert_int_equal(seen.meta.gid, 4294);

	for (int i = 1; i <= 2; i++) {
		header(&a, "long", 'L', 4);
		payload(&a, i == 1 ? "one" : "two", 4);
		header(&a, "long", 'K', 4);
		payload(&a, i == 1 ? "uno" : "due", 4);
	}
	header(&a, "f", '2', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_string_equal(seen.path, "two");
	assert_string_equal(seen.link, "due");
}

static void pax_names_win_over_gnu(void **state)
{
	for (int i = 0; i < 4; i++) {
		struct archive a = {0};
		bool link = i & 1, pax_first = i & 2;
		uint8_t *h;

		if (pax_first)
			pax(&a, link ? "16 linkpath=pax\n" : "12 path=pax\n", link ? 16 : 12);
		header(&a, "long", link ? 'K' : 'L', 4);
		payload(&a, "gnu", 4);
		if (!pax_first)
			pax(&a, link ? "16 linkpath=pax\n" : "12 path=pax\n", link ? 16 : 12);
		h = header(&a, "f", '2', 0);
		strcpy((char *)h + 157, "text");
		seal(h);
		assert_int_equal(walk(&a, &seen), 0);
		assert_string_equal(seen.path, link ? "f" : "pax");
		assert_string_equal(seen.link, link ? "pax" : "text");
	}
}

static void a_global_header_in_between(void **state)
{
	struct archive a = {0};

	header(&a, "g", 'g', 12);
	payload(&a, "12 gid=4294\n", 12);
	pax_record(&a, "uid", "7");
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(seen.meta.uid, 7);
	assert_int_equal(seen.meta.gid, 2); /* global records are nobody's */

	pax_record(&a, "uid", "7");
	header(&a, "g", 'g', 12);
	payload(&a, "12 gid=4294\n", 12);
	header(&a, "f", '0', 0);
	assert_int_equal(walk(&a, &seen), -EBADMSG);
}

static void sparse_records_are_a_whole(void **state)
{
	static const struct {
		const char *records[8];
		int code;
	} cases[] = {
		{{"map", "0,5", "size", "9"}, 0},
		{{"map", "0,5"}, -EBADMSG},
		{{"size", "9"}, -EBADMSG},
		{{"size", "5"}, 0}, /* as stored: not sparse to anybody */
		{{"name", "other"}, -EBADMSG},
		{{"name", "other", "size", "5"}, -EBADMSG},
		{{"name", "other", "map", "0,5", "size", "9"}, 0},
		{{"offset", "0", "numbytes", "5", "size", "9"}, 0},
		{{"offset", "0", "numbytes", "5", "offset", "7", "size", "9"}, -EBADMSG},
		{{"numbytes", "5", "size", "9"}, -EBADMSG},
		{{"major", "2", "minor", "0"}, -ENOTSUP},
		{{"major", "0", "minor", "2"}, -ENOTSUP},
		{{"major", "1", "minor", "1", "size", "9"}, -EBADMSG}, /* 5 bytes are no map */
		{{"map", "0,5", "size", "nine"}, -EBADMSG},
	};
	struct archive a = {0};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (size_t k = 0; k < 8 && cases[i].records[k]; k += 2) {
			char key[64];

			snprintf(key, sizeof(key), "GNU.sparse.%s", cases[i].records[k]);
			pax_record(&a, key, cases[i].records[k + 1]);
		}
		header(&a, "f", '0', 5);
		payload(&a, "abcde", 5);
		if (walk(&a, &seen) != cases[i].code)
			fail_msg("case %zu", i);
	}
}

static void sparse_1_0_maps_that_lie(void **state)
{
	static const struct {
		const char *major, *minor, *map;
		int code;
	} cases[] = {
		{"1", "0", "1\n0\n4\n", 0},
		{"1", "1", "1\n0\n4\n", -ENOTSUP},
		{"1", "0", "1\n\n4\n", -EBADMSG},
		{"1", "0", "1\n0\n-4\n", -EBADMSG},
		{"1", "0", "1\n0\n5\n", -EBADMSG},
		{"1", "0", "65537\n0\n", -E2BIG},
		{"1", "0", "2\n5\n2\n0\n2", -EBADMSG},
		{"1", "0", "1\n2997\n4\n", -EBADMSG},
		{"1", "0", "0000000000000000000000000000001\n", -EBADMSG},
	};
	struct archive a = {0};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint8_t body[512 + 4] = {0};

		memcpy(body, cases[i].map, strlen(cases[i].map));
		pax_record(&a, "GNU.sparse.major", cases[i].major);
		pax_record(&a, "GNU.sparse.minor", cases[i].minor);
		pax_record(&a, "GNU.sparse.realsize", "3000");
		header(&a, "f", '0', sizeof(body));
		payload(&a, body, sizeof(body));
		if (walk(&a, &seen) != cases[i].code)
			fail_msg("case %zu", i);
	}
}

static void a_directory_has_no_contents(void **state)
{
	struct archive a = {0};

	header(&a, "d/", '0', 5); /* to Go a file of this name */
	payload(&a, "abcde", 5);
	assert_int_equal(walk(&a, &seen), -EBADMSG);
	header(&a, "d/", '5', 5); /* to all of them none */
	assert_int_equal(walk(&a, &seen), 0);
	assert_int_equal(seen.data_bytes, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_entries),
		cmocka_unit_test(signed_checksums),
		cmocka_unit_test(numbers),
		cmocka_unit_test(pax_overrides),
		cmocka_unit_test(pax_that_is_refused),
		cmocka_unit_test(long_names_are_bounded),
		cmocka_unit_test(sparse_1_0),
		cmocka_unit_test(sparse_maps_that_lie),
		cmocka_unit_test(what_is_refused),
		cmocka_unit_test(the_end),
		cmocka_unit_test(xattrs),
		cmocka_unit_test(empty_values_take_back),
		cmocka_unit_test(the_last_of_several_counts),
		cmocka_unit_test(pax_names_win_over_gnu),
		cmocka_unit_test(a_global_header_in_between),
		cmocka_unit_test(sparse_records_are_a_whole),
		cmocka_unit_test(sparse_1_0_maps_that_lie),
		cmocka_unit_test(a_directory_has_no_contents),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
