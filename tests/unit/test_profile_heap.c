/* SPDX-License-Identifier: MIT */
/* The heap sampler against loads of known size; linked with the interposer as the program is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include "pprof_raw.h"
#include "prof/heap.h"
#include "prof/session.h"

enum { ALLOC_OBJECTS, ALLOC_SPACE, INUSE_OBJECTS, INUSE_SPACE };
enum { HEAP = 2, ALLOCS = 3 }; /* of prof_profiles */

#define KEPT 40000 /* objects of two threads each */
#define KEPT_BYTES ((size_t)1500)
#define CHURNED 60000
#define CHURNED_BYTES ((size_t)9000)

static void *kept[2][KEPT];

__attribute__((noinline, noclone)) static void *keep(void)
{
	return malloc(KEPT_BYTES);
}

__attribute__((noinline, noclone)) static void churn(void)
{
	void *p = calloc(CHURNED_BYTES / 2, 1);

	p = realloc(p, CHURNED_BYTES);
	free(p);
}

/* Whatever else frees and allocates: none of it may stay. */
__attribute__((noinline, noclone)) static void others(void)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, 4096, 70000), 0);
	assert_int_equal((uintptr_t)p % 4096, 0);
	free(p);
	p = aligned_alloc(64, 64000);
	assert_int_equal((uintptr_t)p % 64, 0);
	free(p);
	free(memalign(256, 100000));
	free(valloc(50000));
	free(strdup("some text"));
	free(reallocarray(NULL, 1000, 30));
}

static void *allocate(void *arg)
{
	void **mine = arg;

	for (size_t i = 0; i < KEPT; i++)
		mine[i] = keep();
	for (size_t i = 0; i < CHURNED; i++)
		churn();
	for (size_t i = 0; i < 500; i++)
		others();
	return NULL;
}

/* Sanitizers have the allocator for themselves. */
static void need_interposer(void)
{
	if (!heap_period())
		skip();
}

static void profiles(struct raw *ret_heap, struct raw *ret_allocs)
{
	_cleanup_(prof_profiles_fini) struct prof_profiles out = {0};
	struct prof_session *s;

	assert_int_equal(
		prof_session_start(&(struct prof_session_options){.kinds = PROF_HEAP | PROF_ALLOCS},
				   &s, NULL),
		0);
	assert_int_equal(prof_session_stop(s, &out, NULL), 0);
	*ret_heap = raw_read(&out.profile[HEAP]);
	if (ret_allocs)
		*ret_allocs = raw_read(&out.profile[ALLOCS]);
}

static void near(const char *what, int64_t got, double want, double tolerance)
{
	double off = (double)got / want - 1;

	if (off < -tolerance || off > tolerance)
		fail_msg("%s: %.0f in the profile, %.0f in truth", what, (double)got, want);
}

static void as_much_as_there_was(void **state)
{
	_cleanup_(raw_free) struct raw heap = {0}, allocs = {0}, after = {0};
	pthread_t threads[2];

	need_interposer();
	heap_set_period(64 * 1024);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, allocate, kept[i]), 0);
	for (size_t i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	profiles(&heap, &allocs);
	assert_string_equal(heap.types[INUSE_SPACE], "inuse_space/bytes[dflt]");
	assert_string_equal(allocs.types[ALLOC_SPACE], "alloc_space/bytes[dflt]");
	near("inuse_space", raw_sum(&heap, INUSE_SPACE, "keep", NULL), 2.0 * KEPT * KEPT_BYTES,
	     0.1);
	near("inuse_objects", raw_sum(&heap, INUSE_OBJECTS, "keep", NULL), 2.0 * KEPT, 0.1);
	near("alloc_space", raw_sum(&heap, ALLOC_SPACE, "keep", NULL), 2.0 * KEPT * KEPT_BYTES,
	     0.1);
	near("alloc_space", raw_sum(&allocs, ALLOC_SPACE, "churn", NULL),
	     3.0 * CHURNED * CHURNED_BYTES, 0.1);
	near("alloc_objects", raw_sum(&allocs, ALLOC_OBJECTS, "churn", NULL), 4.0 * CHURNED, 0.1);
	assert_int_equal(raw_sum(&heap, INUSE_SPACE, "churn", NULL), 0);
	assert_int_equal(raw_sum(&heap, INUSE_SPACE, "others", NULL), 0);
	assert_true(raw_sum(&allocs, ALLOC_SPACE, "others", NULL) > 100000000);
	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < KEPT; k++)
			free(kept[i][k]);
	profiles(&after, NULL);
	assert_int_equal(raw_sum(&after, INUSE_SPACE, "keep", NULL), 0);
	near("alloc_space", raw_sum(&after, ALLOC_SPACE, "keep", NULL), 2.0 * KEPT * KEPT_BYTES,
	     0.1);
}

static void at_the_usual_period(void **state)
{
	_cleanup_(raw_free) struct raw before = {0}, after = {0};

	need_interposer();
	heap_set_period(HEAP_PERIOD_DEFAULT);
	profiles(&before, NULL);
	for (size_t i = 0; i < 300000; i++)
		churn();
	profiles(&after, NULL);
	near("alloc_space",
	     raw_sum(&after, ALLOC_SPACE, "churn", NULL) -
		     raw_sum(&before, ALLOC_SPACE, "churn", NULL),
	     1.5 * 300000 * CHURNED_BYTES, 0.1);
	assert_non_null(strstr(after.head, "Period: 524288"));
}

/* Maps of memory that no malloc knows of are told by hand. */
__attribute__((noinline, noclone)) static void map_by_hand(void *p)
{
	heap_add(p, (size_t)1 << 30);
}

static void told_by_hand(void **state)
{
	static char somewhere;
	_cleanup_(raw_free) struct raw with = {0}, without = {0};

	need_interposer();
	heap_set_period(64 * 1024);
	heap_add(&somewhere, 1); /* looks at the period again */
	for (int i = 0; i < 100; i++)
		free(malloc(100000));
	map_by_hand(&somewhere);
	profiles(&with, NULL);
	near("inuse_space", raw_sum(&with, INUSE_SPACE, "map_by_hand", NULL), 1 << 30, 0.01);
	heap_remove(&somewhere);
	profiles(&without, NULL);
	assert_int_equal(raw_sum(&without, INUSE_SPACE, "map_by_hand", NULL), 0);
}

static void errors_of_the_allocator(void **state)
{
	size_t huge = SIZE_MAX / 2;
	void *p = NULL;

	need_interposer();
	__asm__("" : "+r"(huge)); /* the compiler knows what comes of it */
	errno = 0;
	assert_null(malloc(huge));
	assert_int_equal(errno, ENOMEM);
	assert_null(calloc(huge, 4));
	assert_null(reallocarray(NULL, huge, 8));
	assert_int_equal(posix_memalign(&p, 3, 10), EINVAL);
	assert_int_equal(posix_memalign(&p, 4096, huge), ENOMEM);
	assert_null(p);
	free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_of_the_allocator),
		cmocka_unit_test(as_much_as_there_was),
		cmocka_unit_test(told_by_hand),
		cmocka_unit_test(at_the_usual_period),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
