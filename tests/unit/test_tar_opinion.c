/* SPDX-License-Identifier: MIT */
/* The hand-over between the walk's thread and libarchive's; archives are in
 * tests/cases/formats.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "image/tar_opinion.h"

#define BLOCK 512u
#define FILES 2000u /* several batches of headers */

static void header_make(uint8_t h[BLOCK], const char *name, uint64_t size)
{
	unsigned sum = 0;

	memset(h, 0, BLOCK);
	snprintf((char *)h, 100, "%s", name);
	memcpy(h + 100, "0000644\0000000000\0000000000", 24);
	snprintf((char *)h + 124, 12, "%011llo", (unsigned long long)size);
	snprintf((char *)h + 136, 12, "%011o", 0);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	memset(h + 148, ' ', 8);
	for (size_t i = 0; i < BLOCK; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
}

/* What the walk would say of one file, with a size that may be another than the header's. */
static int file_tell(struct tar_opinion *o, unsigned i, uint64_t size, uint64_t told, size_t piece,
		     struct error *err)
{
	struct tar_entry e = {.meta = {.mode = S_IFREG | 0644, .size = told}};
	static const uint8_t zeros[BLOCK];
	uint8_t h[BLOCK];
	char name[40];
	int r = 0;

	snprintf(name, sizeof(name), "dir/file%05u", i);
	header_make(h, name, size);
	e.path = name;
	e.path_len = strlen(name);
	for (size_t at = 0; at < BLOCK && r >= 0; at += piece) {
		if (at + piece >= BLOCK)
			r = tar_opinion_entry(o, &e);
		if (r >= 0)
			r = tar_opinion_meta(o, h + at, min_u64(piece, BLOCK - at), err);
	}
	if (r >= 0 && size)
		r = tar_opinion_contents(o, size);
	if (r >= 0)
		r = tar_opinion_meta(o, zeros, -size % BLOCK, err);
	return r;
}

static uint64_t size_of(unsigned i)
{
	return i % 7 ? i * 37 % 5000 : (uint64_t)i << 20;
}

static void agree(void **state)
{
	static const size_t pieces[] = {512, 100, 1};

	for (size_t p = 0; p < ARRAY_SIZE(pieces); p++) {
		struct tar_opinion *o;
		struct error err = ERROR_INIT;

		assert_int_equal(tar_opinion_new(&o), 0);
		for (unsigned i = 0; i < FILES; i++)
			assert_int_equal(file_tell(o, i, size_of(i), size_of(i), pieces[p], &err),
					 0);
		if (tar_opinion_finish(o, &err) < 0)
			fail_msg("%s", err.text);
		tar_opinion_free(o);
	}
}

static void nothing_at_all(void **state)
{
	struct tar_opinion *o;
	struct error err = ERROR_INIT;

	assert_int_equal(tar_opinion_new(&o), 0);
	assert_int_equal(tar_opinion_finish(o, &err), 0);
	tar_opinion_free(o);
	assert_int_equal(tar_opinion_new(&o), 0);
	tar_opinion_free(o);
}

/* Early, late, and in the middle; it is known at the end at the latest. */
static void disagree(void **state)
{
	static const unsigned where[] = {0, FILES / 2, FILES - 1};

	for (size_t k = 0; k < ARRAY_SIZE(where); k++) {
		struct tar_opinion *o;
		struct error err = ERROR_INIT;
		char name[40];
		int r = 0;

		assert_int_equal(tar_opinion_new(&o), 0);
		for (unsigned i = 0; i < FILES && r >= 0; i++)
			r = file_tell(o, i, 1000, i == where[k] ? 999 : 1000, BLOCK, &err);
		if (r >= 0)
			r = tar_opinion_finish(o, &err);
		assert_int_equal(r, -EBADMSG);
		snprintf(name, sizeof(name), "dir/file%05u", where[k]);
		assert_non_null(strstr(err.text, name));
		tar_opinion_free(o);
	}
}

static void an_entry_too_many_or_too_few(void **state)
{
	struct tar_entry e = {.meta = {.mode = S_IFREG}, .path = "more", .path_len = 4};
	struct tar_opinion *o;
	struct error err = ERROR_INIT;
	uint8_t h[BLOCK];

	assert_int_equal(tar_opinion_new(&o), 0);
	assert_int_equal(file_tell(o, 1, 10, 10, BLOCK, &err), 0);
	assert_int_equal(tar_opinion_entry(o, &e), 0);
	assert_int_equal(tar_opinion_finish(o, &err), -EBADMSG);
	tar_opinion_free(o);

	err = (struct error)ERROR_INIT;
	assert_int_equal(tar_opinion_new(&o), 0);
	header_make(h, "unheard-of", 0);
	assert_int_equal(tar_opinion_meta(o, h, BLOCK, &err), 0);
	assert_int_equal(tar_opinion_finish(o, &err), -EBADMSG);
	tar_opinion_free(o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agree),
		cmocka_unit_test(nothing_at_all),
		cmocka_unit_test(disagree),
		cmocka_unit_test(an_entry_too_many_or_too_few),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
