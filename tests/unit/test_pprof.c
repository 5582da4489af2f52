/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "pprof_raw.h"
#include "prof/intern.h"
#include "prof/pprof.h"

static const struct pprof_type access_types[] = {
	{"opens", "count"}, {"reads", "count"}, {"bytes", "bytes"}, {"wait", "nanoseconds"}};

static struct pprof *access_profile(void)
{
	struct pprof *p;

	assert_int_equal(pprof_new(&(struct pprof_options){.types = access_types,
							   .n_types = ARRAY_SIZE(access_types),
							   .default_type = "wait",
							   .period_type = {"wait", "nanoseconds"},
							   .period = 1,
							   .time_ns = INT64_C(1790000000000000000),
							   .duration_ns = 2500000000,
							   .drop_frames = "^noise$"},
				   &p),
			 0);
	pprof_mapping(p, &(struct pprof_mapping){
				 .id = 1, .file = "docker.io/library/x:1", .has_functions = true});
	return p;
}

static void finish(struct pprof *p, struct raw *ret)
{
	_cleanup_(buf_fini) struct buf out = BUF_INIT;

	assert_int_equal(pprof_finish(p, &out), 0);
	*ret = raw_read(&out);
}

static void names_as_frames(void **state)
{
	_cleanup_(pprof_freep) struct pprof *p = access_profile();
	_cleanup_(raw_free) struct raw r = {0};
	const struct pprof_label labels[] = {{.key = "op", .str = "read"},
					     {.key = "layer", .str = "sha256:00"},
					     {.key = "pid", .num = 17, .unit = "pid"}};
	uint64_t root = pprof_frame(p, 1, "/", "/", "/"),
		 usr = pprof_frame(p, 1, "usr/", "/usr", "/usr");
	uint64_t a = pprof_frame(p, 1, "init.py", "/init.py", "/init.py");
	uint64_t b = pprof_frame(p, 1, "init.py", "/usr/init.py", "/usr/init.py");

	assert_int_not_equal(a, b);
	assert_int_equal(pprof_frame(p, 1, "usr/", "/usr", "/usr"), usr);
	pprof_sample(p, (uint64_t[]){a, root}, 2, (int64_t[]){1, 2, 4096, 0}, labels, 3);
	pprof_sample(p, (uint64_t[]){b, usr, root}, 3, (int64_t[]){0, 1, INT64_MAX, 7000000000},
		     labels, 1);
	pprof_comment(p, "made by a test");
	finish(p, &r);
	assert_int_equal(r.n_samples, 2);
	assert_string_equal(r.samples[0].stack, "init.py\n/\n");
	assert_string_equal(r.samples[1].stack, "init.py\nusr/\n/\n");
	assert_string_equal(r.samples[0].labels, "layer:[sha256:00] op:[read] pid:[17 pid]");
	assert_int_equal(r.samples[0].values[2], 4096);
	assert_true(r.samples[1].values[2] == INT64_MAX);
	assert_int_equal(r.samples[1].values[3], 7000000000);
	assert_string_equal(r.types[0], "opens/count");
	assert_string_equal(r.types[3], "wait/nanoseconds[dflt]");
	assert_non_null(strstr(r.head, "Duration: 2.5"));
	assert_non_null(strstr(r.head, "Period: 1"));
	assert_non_null(strstr(r.head, "made by a test"));
	assert_non_null(strstr(r.tail, "docker.io/library/x:1"));
	assert_non_null(strstr(r.tail, "[FN]"));
	assert_int_equal(raw_sum(&r, 1, "usr/", NULL), 1);
	assert_int_equal(raw_sum(&r, 1, NULL, "layer:[sha256:00]"), 2);
}

/* Addresses with lines, an inlined function among them; and what pprof makes of drop_frames. */
static void addresses(void **state)
{
	_cleanup_(buf_fini) struct buf out = BUF_INIT;
	_cleanup_(pprof_freep) struct pprof *p = access_profile();
	_cleanup_(raw_free) struct raw r = {0};
	_cleanup_(freep) char *top = NULL;
	const struct pprof_line lines[] = {
		{.function = "inner", .file = "/src/a.h", .line = 3, .start_line = 1},
		{.function = "outer", .file = "/src/a.c", .line = 30, .start_line = 20}};
	const struct pprof_line noise = {.function = "noise", .file = "/src/n.c", .line = 1};
	uint64_t known, unknown, dropped;

	pprof_mapping(p, &(struct pprof_mapping){.id = 2,
						 .start = 0x1000,
						 .limit = 0x9000,
						 .offset = 0x400,
						 .file = "/usr/lib/libx.so",
						 .build_id = "00ff"});
	known = pprof_location(p, 2, 0x1234, lines, 2);
	unknown = pprof_location(p, 2, 0x4321, NULL, 0);
	dropped = pprof_location(p, 2, 0x5555, &noise, 1);
	pprof_sample(p, (uint64_t[]){dropped, known, unknown}, 3, (int64_t[]){1, 1, 1, 1000}, NULL,
		     0);
	assert_int_equal(pprof_finish(p, &out), 0);
	r = raw_read(&out);
	assert_string_equal(r.samples[0].stack, "inner\nouter\n0x4321\n");
	assert_non_null(strstr(r.tail, "0x1000/0x9000/0x400 /usr/lib/libx.so 00ff"));
	assert_non_null(strstr(r.tail, "a.h:3"));
	top = pprof_run("-symbolize=none -top", &out);
	assert_null(strstr(top, "noise"));
	assert_non_null(strstr(top, "inner (inline)"));
}

static void text_of_strangers(void **state)
{
	static const struct {
		const char *given, *want;
	} cases[] = {
		{"plain", "plain"},
		{"a\nb\x7f\x1b[1m", "a\\x0ab\\x7f\\x1b[1m"},
		{"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8d",
		 "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8d"},
		{"\xc3", "\\xc3"}, /* ends within a character */
		{"\xff\xfe", "\\xff\\xfe"},
		{"\xc0\xaf", "\\xc0\\xaf"}, /* too long a form of '/' */
		{"\xe0\x80\xaf", "\\xe0\\x80\\xaf"},
		{"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* a surrogate */
		{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
		{"\xc2\x9b", "\\xc2\\x9b"}, /* a control character of 8 bits */
	};
	_cleanup_(pprof_freep) struct pprof *p = access_profile();
	_cleanup_(raw_free) struct raw r = {0};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t at = pprof_frame(p, 1, cases[i].given, NULL, "f");

		pprof_sample(p, &at, 1, (int64_t[]){1, 1, 1, 1}, NULL, 0);
	}
	finish(p, &r);
	assert_int_equal(r.n_samples, ARRAY_SIZE(cases));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(strncmp(r.samples[i].stack, cases[i].want, strlen(cases[i].want)),
				 0);
		assert_string_equal(r.samples[i].stack + strlen(cases[i].want), "\n");
	}
}

/* Random profiles come out of pprof as they went in, whatever crosses the compressor's steps. (It
 * leaves out samples without a frame or without a value.) */
static void as_it_went_in(void **state)
{
	enum { SAMPLES = 3000, NAMES = 700, DEPTH = 70 };
	_cleanup_(pprof_freep) struct pprof *p = access_profile();
	_cleanup_(raw_free) struct raw r = {0};
	static int64_t values[SAMPLES][4];
	static char *stacks[SAMPLES];

	srandom(7);
	for (size_t i = 0; i < SAMPLES; i++) {
		struct pprof_label label = {.key = "n", .num = (int64_t)i + 1, .unit = "count"};
		uint64_t at[DEPTH];
		size_t depth = 1 + (size_t)random() % (DEPTH - 1);

		stacks[i] = strdup("");
		for (size_t d = 0; d < depth; d++) {
			char name[32];

			snprintf(name, sizeof(name), "f%ld", random() % NAMES);
			at[d] = pprof_frame(p, 1, name, NULL, "/file");
			stacks[i] = raw_join(stacks[i], name, "");
			stacks[i] = raw_join(stacks[i], "", "\n");
		}
		for (size_t v = 0; v < 4; v++)
			values[i][v] = !v || random() % 2 ? (1 + random()) << (random() % 32) : 0;
		pprof_sample(p, at, depth, values[i], &label, 1);
	}
	finish(p, &r);
	assert_int_equal(r.n_samples, SAMPLES);
	for (size_t i = 0; i < SAMPLES; i++) {
		assert_memory_equal(r.samples[i].values, values[i], sizeof(values[i]));
		assert_string_equal(r.samples[i].stack, stacks[i]);
		assert_int_equal(atoi(r.samples[i].labels + strlen("n:[")), i + 1);
		free(stacks[i]);
	}
}

static void nothing_recorded(void **state)
{
	_cleanup_(buf_fini) struct buf out = BUF_INIT;
	_cleanup_(pprof_freep) struct pprof *p = access_profile();
	_cleanup_(freep) char *top = NULL;

	assert_int_equal(pprof_finish(p, &out), 0);
	top = pprof_run("-symbolize=none -top", &out);
	assert_non_null(strstr(top, "Type: wait"));
}

static void numbers_for_bytes(void **state)
{
	_cleanup_(intern_fini) struct intern t = INTERN_INIT;
	size_t len;

	for (unsigned round = 0; round < 2; round++)
		for (uint32_t i = 0; i < 20000; i++)
			assert_int_equal(intern_id(&t, &i, i % 5),
					 i < 5 || i % 5 ? intern_id(&t, &i, i % 5) : 0);
	assert_true(intern_id(&t, "ab", 2) != intern_id(&t, "ab", 3));
	assert_memory_equal(intern_get(&t, (size_t)intern_id(&t, "same", 5), &len), "same", 5);
	assert_int_equal(len, 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_for_bytes), cmocka_unit_test(names_as_frames),
		cmocka_unit_test(addresses),	     cmocka_unit_test(text_of_strangers),
		cmocka_unit_test(as_it_went_in),     cmocka_unit_test(nothing_recorded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
