/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "prof/pprof.h"
#include "prof/pprof_read.h"

static const struct pprof_type types[] = {{"samples", "count"}, {"time", "nanoseconds"}};

static void write_sample(struct buf *out)
{
	const struct pprof_line inlined[] = {{.function = "inner", .file = "a.c", .line = 3},
					     {.function = "outer", .file = "a.c", .line = 9}};
	const struct pprof_line outer[] = {{.function = "main", .file = "a.c", .line = 20}};
	struct pprof_options o = {
		.types = types, .n_types = 2, .default_type = "samples", .time_ns = 12345};
	const int64_t one[] = {1, 10}, three[] = {3, -1};
	struct pprof *p;
	uint64_t at[2];

	assert_int_equal(pprof_new(&o, &p), 0);
	pprof_mapping(p, &(struct pprof_mapping){.id = 7, .start = 0x1000, .limit = 0x9000});
	at[0] = pprof_location(p, 7, 0x1234, inlined, 2);
	at[1] = pprof_location(p, 7, 0x2000, outer, 1);
	pprof_sample(p, at, 2, one, NULL, 0);
	at[0] = pprof_location(p, 7, 0x3abc, NULL, 0);
	pprof_sample(p, at, 2, three, NULL, 0);
	pprof_sample(p, at, 1, three, NULL, 0);
	pprof_mapping(p, &(struct pprof_mapping){.id = 8,
						 .start = 0x9000,
						 .limit = 0xf000,
						 .file = "/usr/lib/libx.so.1"});
	at[0] = pprof_location(p, 8, 0x9100, NULL, 0);
	at[1] = pprof_location(p, 8, 0x9200, NULL, 0);
	pprof_sample(p, at, 2, three, NULL, 0);
	assert_int_equal(pprof_finish(p, out), 0);
	pprof_free(p);
}

static const char *name_at(const struct profile *p, size_t stack, size_t i)
{
	assert_true(stack < p->n_stacks && i < p->stacks[stack].n);
	return p->names[p->frames[p->stacks[stack].first + i]];
}

static void what_the_writer_wrote(void **state)
{
	_cleanup_(buf_fini) struct buf b = BUF_INIT;
	struct error err = ERROR_INIT;
	struct profile p;

	write_sample(&b);
	assert_int_equal(profile_read(b.data, b.len, "x", &p, &err), 0);
	assert_int_equal(p.n_types, 2);
	assert_int_equal(p.default_type, 0);
	assert_string_equal(p.types[1].type, "time");
	assert_string_equal(p.types[1].unit, "nanoseconds");
	assert_int_equal(p.time_ns, 12345);
	assert_int_equal(p.n_stacks, 4);
	assert_int_equal(p.stacks[0].n, 3);
	assert_string_equal(name_at(&p, 0, 0), "inner");
	assert_string_equal(name_at(&p, 0, 1), "outer");
	assert_string_equal(name_at(&p, 0, 2), "main");
	assert_int_equal(p.stacks[0].values[1], 10);
	assert_string_equal(name_at(&p, 1, 0), "0x3abc");
	assert_string_equal(name_at(&p, 2, 0), "0x3abc");
	assert_string_equal(name_at(&p, 3, 0), "[libx.so.1]");
	assert_ptr_equal(name_at(&p, 3, 0), name_at(&p, 3, 1)); /* one row of a table */
	assert_int_equal(p.stacks[1].values[0], 3);
	assert_int_equal(p.stacks[1].values[1], -1);
	profile_fini(&p);
}

/* Of a list of names; a leaf may go with them, a root never does. */
static void frames_are_dropped(void **state)
{
	static const char *const stacks[][4] = {{"heap_add", "malloc", "work", "main"},
						{"malloc", "calloc", "main"},
						{"work", "malloc"},
						{"mallocs", "main"}};
	static const char *const leaves[] = {"work", "main", "work", "mallocs"};
	static const char *const wanted[] = {"calloc|malloc", "(calloc)|malloc"};

	for (size_t k = 0; k < ARRAY_SIZE(wanted); k++) {
		struct pprof_options o = {.types = types, .n_types = 2, .drop_frames = wanted[k]};
		_cleanup_(buf_fini) struct buf b = BUF_INIT;
		_cleanup_(pprof_freep) struct pprof *w = NULL;
		struct profile p;

		assert_int_equal(pprof_new(&o, &w), 0);
		for (size_t i = 0; i < ARRAY_SIZE(stacks); i++) {
			uint64_t at[4];
			size_t n = 0;

			for (; n < 4 && stacks[i][n]; n++)
				at[n] = pprof_frame(w, 0, stacks[i][n], stacks[i][n], NULL);
			pprof_sample(w, at, n, (const int64_t[]){1, (int64_t)i}, NULL, 0);
		}
		assert_int_equal(pprof_finish(w, &b), 0);
		assert_int_equal(profile_read(b.data, b.len, "x", &p, NULL), 0);
		for (size_t i = 0; i < p.n_stacks; i++) {
			size_t which = (size_t)p.stacks[i].values[1];

			assert_string_equal(name_at(&p, i, 0),
					    k ? stacks[which][0] : leaves[which]);
		}
		assert_int_equal(p.n_stacks, ARRAY_SIZE(stacks));
		profile_fini(&p);
	}
}

static void no_profile(void **state)
{
	static const char *const bad[] = {"", "hello", "\x1f\x8b\x08", "\x0a\x02\x08\x01"};
	struct error err = ERROR_INIT;
	struct profile p;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		err = ERROR_INIT;
		assert_int_equal(profile_read(bad[i], strlen(bad[i]), "x", &p, &err), -EBADMSG);
		assert_non_null(strstr(err.text, "x is no profile"));
		profile_fini(&p);
	}
}

/* However it is cut or changed: an answer, and nothing out of bounds (the sanitizers look). */
static void damaged(void **state)
{
	_cleanup_(buf_fini) struct buf b = BUF_INIT;
	struct profile p;

	write_sample(&b);
	for (size_t n = 0; n < b.len; n++) {
		assert_int_equal(profile_read(b.data, n, "x", &p, NULL), -EBADMSG);
		profile_fini(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_writer_wrote),
		cmocka_unit_test(frames_are_dropped),
		cmocka_unit_test(no_profile),
		cmocka_unit_test(damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
