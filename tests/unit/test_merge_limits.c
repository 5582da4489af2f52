/* SPDX-License-Identifier: MIT */
/* The merge at its limits, against those who want it slow, and against the reference model. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <time.h>

#include "layer_text.h"
#include "merge_model.h"

static void entries_limit(void **state)
{
	_cleanup_(layers_fini) struct layers l;
	struct error err = ERROR_INIT;
	struct tree *t = NULL;

	/* 4 names in the end, of 5 entries */
	layers_from_text((const char *const[]){"f a/b\nf a/c\nf d", "w d\nf e", NULL}, &l);
	assert_int_equal(tree_merge(l.index, l.n, 3, &t, &err), -E2BIG);
	assert_non_null(strstr(err.text, "4 files, the limit is 3"));
	err = ERROR_INIT;
	assert_int_equal(tree_merge(l.index, l.n, 4, &t, &err), 0);
	tree_free(t);
	assert_int_equal(tree_merge(l.index, l.n, UINT64_MAX, &t, &err), 0);
	tree_free(t);
}

/* Implied directories count, before they fill the memory. */
static void implied_limit(void **state)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	_cleanup_(buf_fini) struct buf bytes = BUF_INIT;
	struct error err = ERROR_INIT;
	struct layer_index ix;
	struct tree *t = NULL;
	char path[2047];

	assert_int_equal(layer_builder_new(LAYER_GZIP, 1000, &b), 0);
	memset(path, '/', sizeof(path));
	for (size_t i = 0; i < sizeof(path); i += 2)
		path[i] = 'x';
	for (int i = 0; i < 100; i++) {
		path[0] = (char)('0' + i);
		layer_add(b, (struct layer_entry){.mode = S_IFIFO}, path, sizeof(path), NULL, 0,
			  NULL);
	}
	layer_done(b, &bytes, &ix);
	assert_int_equal(tree_merge(&ix, 1, 102399, &t, &err), -E2BIG);
	assert_int_equal(tree_merge(&ix, 1, 102400, &t, &err), 0);
	assert_int_equal(t->n_nodes, 102401);
	tree_free(t);
	err = ERROR_INIT;
	assert_int_equal(tree_merge(&ix, 1, 1000, &t, &err), -E2BIG);
	assert_non_null(strstr(err.text, "too many files up to here"));
}

static void depth_limit(void **state)
{
	char at[2048 + 32], over[2048 + 32], *p = at;

	/* 1024 deep is the tables' limit; a symlink would lead further */
	p += sprintf(p, "d ");
	for (int i = 0; i < 1024; i++)
		p += sprintf(p, "%sx", i ? "/" : "");
	{
		_cleanup_(layers_fini) struct layers l;
		_cleanup_(tree_freep) struct tree *t = NULL;
		struct error err = ERROR_INIT;

		layers_from_text((const char *const[]){at, NULL}, &l);
		assert_int_equal(tree_merge(l.index, l.n, 2000, &t, &err), 0);
		assert_int_equal(t->n_nodes, 1025);
	}
	p = over + sprintf(over, "l s ");
	for (int i = 0; i < 1020; i++)
		p += sprintf(p, "%sx", i ? "/" : "");
	sprintf(p, "\nf s/1/2/3/4/5");
	{
		_cleanup_(layers_fini) struct layers l;
		struct error err = ERROR_INIT;
		struct tree *t = NULL;

		layers_from_text((const char *const[]){over, NULL}, &l);
		assert_int_equal(tree_merge(l.index, l.n, 2000, &t, &err), -E2BIG);
		assert_non_null(strstr(err.text, "\"s/1/2/3/4/5\": deeper than 1024"));
	}
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What would take hours if anything were quadratic; generous, for sanitizers and slow machines. */
static void hostile_shapes(void **state)
{
	const int n = 200000;
	double start = seconds();

	for (int shape = 0; shape < 5; shape++) {
		_cleanup_(layer_builder_freep) struct layer_builder *b = NULL, *lower = NULL;
		struct buf bytes[2] = {BUF_INIT, BUF_INIT};
		struct error err = ERROR_INIT;
		struct layer_index ix[2];
		struct tree *t = NULL;
		char path[64], link[64];

		assert_int_equal(layer_builder_new(LAYER_GZIP, UINT32_MAX, &b), 0);
		assert_int_equal(layer_builder_new(LAYER_GZIP, UINT32_MAX, &lower), 0);
		for (int i = 0; i < n; i++) {
			int len = sprintf(path, "d/%d", i), link_len = sprintf(link, "d/%d", i + 1);
			struct layer_entry e = {.flags = ENTRY_HARDLINK};

			if (shape == 0) /* opaque again and again */
				layer_add(b, (struct layer_entry){.flags = ENTRY_OPAQUE_MARK}, "d",
					  1, "", 0, NULL);
			if (shape == 1) /* each link to the next: one chain */
				layer_add(b, e, path, (size_t)len, link, (size_t)link_len, NULL);
			if (shape == 2) /* one name again and again */
				layer_add(b,
					  (struct layer_entry){.mode = i % 2 ? S_IFIFO : S_IFDIR},
					  "d", 1, "", 0, NULL);
			if (shape == 3) /* deleted one by one, all twice */
				layer_add(b, (struct layer_entry){.flags = ENTRY_WHITEOUT},
					  i % 2 ? path : link,
					  i % 2 ? (size_t)len : (size_t)link_len, "", 0, NULL);
			if (shape == 4) /* plumbing */
				layer_add(b,
					  (struct layer_entry){.mode = S_IFIFO,
							       .flags = ENTRY_HIDDEN},
					  path, (size_t)len, "", 0, NULL);
			layer_add(lower, (struct layer_entry){.mode = S_IFIFO}, path, (size_t)len,
				  "", 0, NULL);
		}
		if (shape == 1)
			layer_add(b, (struct layer_entry){.mode = S_IFIFO}, link, strlen(link), "",
				  0, NULL);
		layer_done(lower, &bytes[0], &ix[0]);
		layer_done(b, &bytes[1], &ix[1]);
		assert_int_equal(tree_merge(ix, 2, 10000000, &t, &err), 0);
		tree_free(t);
		buf_fini(&bytes[0]);
		buf_fini(&bytes[1]);
	}
	if (seconds() - start > 60)
		fail_msg("took %.0f s of CPU", seconds() - start);
}

/* 40 links of 4 KiB on the way of every name: refused in good time, not walked for hours. */
static void hostile_symlinks(void **state)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	_cleanup_(buf_fini) struct buf bytes = BUF_INIT;
	struct error err = ERROR_INIT;
	struct layer_index ix;
	char path[64], link[4095];
	struct tree *t = NULL;

	assert_int_equal(layer_builder_new(LAYER_GZIP, UINT32_MAX, &b), 0);
	for (int i = 0; i < 39; i++) {
		memset(link, '/', sizeof(link));
		for (size_t j = 0; j + 8 < sizeof(link); j += 2)
			link[j] = '.';
		sprintf(link + sizeof(link) - 8, "///l%02d", i + 1);
		link[sizeof(link) - 2] = (char)('0' + (i + 1) % 10);
		sprintf(path, "l%02d", i);
		layer_add(b, (struct layer_entry){.mode = S_IFLNK | 0777}, path, 3, link,
			  sizeof(link) - 1, NULL);
	}
	for (int i = 0; i < 20000; i++) {
		int len = sprintf(path, "l00/%d/x", i);

		layer_add(b, (struct layer_entry){.mode = S_IFIFO}, path, (size_t)len, "", 0, NULL);
	}
	layer_done(b, &bytes, &ix);
	assert_int_equal(tree_merge(&ix, 1, 1000000, &t, &err), -E2BIG);
	assert_non_null(strstr(err.text, "too many symlinks"));
}

/* ---- against the model ---- */

static uint32_t rng(uint64_t *s)
{
	*s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*s >> 33);
}

static const char *random_path(uint64_t *s, char *out)
{
	static const char *const names[] = {"a", "b", "c", "ab", "d"};
	int n = 1 + (int)(rng(s) % 3);
	char *p = out;

	if (rng(s) % 40 == 0)
		p += sprintf(p, ".wh..wh.plnk/");
	for (int i = 0; i < n; i++)
		p += sprintf(p, "%s%s", i ? "/" : "", names[rng(s) % ARRAY_SIZE(names)]);
	return out;
}

/* last: the last file added, which makes a good target. */
static void random_entry(uint64_t *s, struct layer_builder *b, int64_t stamp, char last[static 128])
{
	static const char *const links[] = {"a", "b",  "/c", "../b",   "a/b",
					    ".", "..", "/",  "d/../c", "ab//./"};
	static const char types[] = "fffffffddddddllhhwwopb";
	struct layer_entry e = {.mtime_s = stamp};
	const char *link = "";
	char path[128], target[128];

	layer_text_type(&e, types[rng(s) % (sizeof(types) - 1)]);
	random_path(s, path);
	if (rng(s) % 50 == 0 && (S_ISDIR(e.mode) || e.flags == ENTRY_OPAQUE_MARK))
		path[0] = 0;
	if (strstr(path, ".wh..wh.") && !(e.flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK)))
		e.flags |= ENTRY_HIDDEN;
	if (S_ISLNK(e.mode))
		link = links[rng(s) % ARRAY_SIZE(links)];
	if (e.flags & ENTRY_HARDLINK)
		link = *last && rng(s) % 8 ? last : random_path(s, target);
	if (S_ISDIR(e.mode) && rng(s) % 8 == 0 && !(e.flags & ENTRY_HIDDEN))
		e.flags |= ENTRY_OPAQUE;
	layer_add(b, e, path, strlen(path), link, strlen(link), NULL);
	if (S_ISREG(e.mode))
		strcpy(last, path);
}

/* Returns whether the image was refused. */
static bool random_case(uint64_t seed)
{
	_cleanup_(layers_fini) struct layers l = {0};
	_cleanup_(tree_freep) struct tree *t = NULL;
	_cleanup_(model_fini) struct model m = {0};
	struct error err = ERROR_INIT;
	uint64_t s = seed;
	int r, want;

	for (uint32_t n = 1 + rng(&s) % LAYERS_MOST; l.n < n; l.n++) {
		_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
		char last[128] = "";

		MUST(layer_builder_new(LAYER_GZIP, 100, &b) >= 0);
		for (uint32_t i = 0, count = rng(&s) % 14; i < count; i++)
			random_entry(&s, b, l.n * 100 + i, last);
		layer_done(b, &l.bytes[l.n], &l.index[l.n]);
	}
	want = model_merge(&m, l.index, l.n);
	r = tree_merge(l.index, l.n, 10000, &t, &err);
	if ((r < 0) != (want < 0)) /* of several reasons the model may meet another one first */
		fail_msg("seed %llu: %d (%s), the model says %d", (unsigned long long)seed, r,
			 err.text, want);
	if (r >= 0)
		model_compare(&m, t);
	return r < 0;
}

static void against_the_model(void **state)
{
	unsigned refusals = 0, n = 30000;

	for (uint64_t seed = 1; seed <= n; seed++)
		refusals += random_case(seed);
	/* else it compares nothing of worth */
	assert_in_range(refusals, n / 20, n / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entries_limit),    cmocka_unit_test(implied_limit),
		cmocka_unit_test(depth_limit),	    cmocka_unit_test(hostile_shapes),
		cmocka_unit_test(hostile_symlinks), cmocka_unit_test(against_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
