/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "registry/window.h"

static uint8_t byte_at(uint64_t off)
{
	return (uint8_t)(off * 31 + (off >> 8));
}

static void append(struct window *w, size_t n)
{
	uint8_t bytes[64];

	for (size_t i = 0; i < n; i++)
		bytes[i] = byte_at(w->end + i);
	window_append(w, bytes, n);
}

static void check(const struct window *w)
{
	uint8_t bytes[256];

	assert_true(w->end - w->start <= w->cap);
	window_copy(w, w->start, bytes, w->end - w->start);
	for (uint64_t off = w->start; off < w->end; off++)
		assert_int_equal(bytes[off - w->start], byte_at(off));
}

/* Whatever is done, what is kept is what was appended there. */
static void keeps_the_latest(void **state)
{
	struct window w;

	assert_int_equal(window_init(&w, 64), 0);
	srand(1);
	for (unsigned i = 0; i < 2000; i++) {
		append(&w, (size_t)(rand() % 65));
		assert_true(w.start == 0 || w.end - w.start == w.cap);
		check(&w);
	}
	window_reset(&w, 1000);
	assert_true(w.start == 1000 && w.end == 1000);
	append(&w, 10);
	check(&w);
	window_fini(&w);
}

static void grows_with_what_it_has(void **state)
{
	struct window w;

	assert_int_equal(window_init(&w, 64), 0);
	for (unsigned i = 0; i < 5; i++)
		append(&w, 50);
	assert_int_equal(window_grow(&w, 200), 0);
	assert_true(w.cap == 200 && w.start == 250 - 64 && w.end == 250);
	check(&w);
	assert_int_equal(window_grow(&w, 100), 0);
	assert_int_equal(w.cap, 200);
	append(&w, 60);
	check(&w);
	assert_int_equal(w.start, 250 - 64);
	window_fini(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_latest),
		cmocka_unit_test(grows_with_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
