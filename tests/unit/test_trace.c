/* SPDX-License-Identifier: MIT */
/* The trace's memory, who asks, and what is charged to whom. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/syscall.h>
#include <time.h>

#include <cmocka.h>

#include "base/seam.h"
#include "prof/access.h"
#include "prof/processes.h"
#include "prof/trace.h"

#define THREADS 8
#define EACH 5000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static void event(uint64_t id, uint16_t code)
{
	trace_emit(&(struct trace_event){.start = trace_ticks(),
					 .end = trace_ticks(),
					 .id = id,
					 .kind = TRACE_HTTP,
					 .code = code});
}

static void nothing_while_off(void **state)
{
	struct trace_log log;

	assert_int_equal(trace_begin(), 0);
	event(1, 1);
	trace_span(TRACE_VERIFY, trace_begin());
	trace_text(1, "abc", 3);
	assert_int_equal(trace_start(0), 0);
	trace_stop(&log);
	assert_int_equal(log.n, 0);
	assert_int_equal(log.lost, 0);
	trace_log_fini(&log);
	trace_stop(&log);
	assert_null(log.memory);
}

static void one_at_a_time(void **state)
{
	struct trace_log log;

	assert_int_equal(trace_start(0), 0);
	assert_int_equal(trace_start(0), -EBUSY);
	trace_stop(&log);
	trace_log_fini(&log);
	assert_int_equal(trace_start(0), 0);
	trace_stop(&log);
	trace_log_fini(&log);
}

static void times_are_nanoseconds(void **state)
{
	uint64_t before, middle, after, start;
	struct trace_log log;

	assert_int_equal(trace_start(0), 0);
	before = now_ns();
	trace_task_set((struct trace_task){.id = 7});
	start = trace_begin();
	nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
	middle = now_ns();
	trace_span(TRACE_DECOMPRESS, start);
	after = now_ns();
	trace_task_set((struct trace_task){0});
	trace_span(TRACE_DECOMPRESS, start); /* of nobody */
	trace_stop(&log);
	assert_int_equal(log.n, 1);
	assert_int_equal(log.events[0].kind, TRACE_SPAN);
	assert_int_equal(log.events[0].id, 7);
	assert_int_equal(log.events[0].code, TRACE_DECOMPRESS);
	/* 50 us for what two clocks can differ by */
	assert_in_range(log.events[0].start, before - 50000, middle - 20 * 1000 * 1000 + 50000);
	assert_in_range(log.events[0].end, middle - 50000, after + 50000);
	assert_true(log.begin_ns <= before + 50000 && log.end_ns + 50000 >= after);
	trace_log_fini(&log);
}

static void *emit_many(void *arg)
{
	uint16_t me = (uint16_t)(uintptr_t)arg;

	for (uint32_t i = 0; i < EACH; i++)
		event(i + 1, me);
	return NULL;
}

static void threads_run(void)
{
	pthread_t t[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, emit_many, (void *)i), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
}

/* Each thread's events are all there, in its order. */
static void nothing_is_lost(void **state)
{
	uint64_t last[THREADS] = {0};
	struct trace_log log;

	assert_int_equal(trace_start(0), 0);
	threads_run();
	trace_stop(&log);
	assert_int_equal(log.n, THREADS * EACH);
	assert_int_equal(log.lost, 0);
	for (size_t i = 0; i < log.n; i++) {
		uint16_t who = log.events[i].code;

		assert_in_range(who, 0, THREADS - 1);
		assert_int_equal(log.events[i].id, ++last[who]);
	}
	trace_log_fini(&log);
}

static void losses_are_counted(void **state)
{
	struct trace_log log;

	assert_int_equal(trace_start(256 << 10), 0); /* four blocks for eight threads */
	threads_run();
	trace_stop(&log);
	assert_true(log.n > 0 && log.n <= (256 << 10) / sizeof(struct trace_event));
	assert_true(log.lost > 0);
	assert_int_equal(log.n + log.lost, THREADS * EACH);
	trace_log_fini(&log);
}

static atomic_bool emitting_ends;

static void *emit_on(void *arg)
{
	while (!atomic_load(&emitting_ends))
		event(1, 0);
	return NULL;
}

/* Traces begin and end under the writers' hands: nobody writes into memory that is gone. */
static void ends_while_written(void **state)
{
	pthread_t t[4];

	atomic_store(&emitting_ends, false);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		assert_int_equal(pthread_create(&t[i], NULL, emit_on, NULL), 0);
	for (int i = 0; i < 50; i++) {
		struct trace_log log;

		assert_int_equal(trace_start(1 << 20), 0);
		nanosleep(&(struct timespec){.tv_nsec = 200 * 1000}, NULL);
		trace_stop(&log);
		for (size_t k = 0; k < log.n; k++)
			assert_int_equal(log.events[k].kind, TRACE_HTTP);
		trace_log_fini(&log);
	}
	atomic_store(&emitting_ends, true);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++)
		pthread_join(t[i], NULL);
}

static void *take_ids(void *arg)
{
	uint64_t *ids = arg;

	for (size_t i = 0; i < EACH; i++)
		ids[i] = trace_new_id();
	return NULL;
}

static int compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void ids_are_unique(void **state)
{
	static uint64_t ids[THREADS][EACH];
	pthread_t t[THREADS];
	uint64_t *all = &ids[0][0];

	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, take_ids, ids[i]), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	qsort(all, THREADS * EACH, sizeof(*all), compare_u64);
	assert_true(all[0] > 0);
	for (size_t i = 1; i < THREADS * EACH; i++)
		assert_true(all[i] != all[i - 1]);
}

static void long_texts_come_in_pieces(void **state)
{
	char text[300], got[300] = "";
	struct trace_log log;
	size_t total = 0;

	memset(text, 'x', sizeof(text));
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	assert_int_equal(trace_start(0), 0);
	trace_text(9, text, sizeof(text));
	trace_text(10, "", 0);
	trace_stop(&log);
	for (size_t i = 0; i < log.n; i++) {
		assert_int_equal(log.events[i].id, 9);
		memcpy(got + log.events[i].code, log.events[i].text, log.events[i].flags);
		total += log.events[i].flags;
	}
	assert_int_equal(total, 256);
	assert_memory_equal(got, text, 256);
	trace_log_fini(&log);
}

/* ---- processes ---- */

static void own_process_is_known(void **state)
{
	pid_t tid = (pid_t)syscall(SYS_gettid);
	uint32_t number = process_of(tid);
	struct process p;

	assert_true(number > 0);
	assert_int_equal(process_of(tid), number);
	process_get(number, &p);
	assert_int_equal(p.pid, getpid());
	assert_string_equal(p.command, "test_trace");
	assert_int_equal(process_of(0), 0);
	process_get(0, &p);
	assert_int_equal(p.pid, 0);
	process_get(PROCESSES_MAX, &p);
	assert_int_equal(p.pid, 0);
}

static void *own_number(void *arg)
{
	*(uint32_t *)arg = process_of((pid_t)syscall(SYS_gettid));
	return NULL;
}

static void threads_belong_to_their_process(void **state)
{
	uint32_t number = 0;
	pthread_t t;

	assert_int_equal(pthread_create(&t, NULL, own_number, &number), 0);
	pthread_join(t, NULL);
	assert_int_equal(number, process_of(getpid()));
}

static void status_is_parsed(void **state)
{
	struct process p;

	assert_true(process_status_parse(
		"Name:\tpython3\nUmask:\t0022\nState:\tR\nTgid:\t42\nNgid:\t0\n", &p));
	assert_int_equal(p.pid, 42);
	assert_string_equal(p.command, "python3");
	assert_true(process_status_parse("Name:\t0123456789abcdefgh\nTgid:\t1\n", &p));
	assert_string_equal(p.command, "0123456789abcde");
	assert_false(process_status_parse("", &p));
	assert_false(process_status_parse("Name:\tx\n", &p));
	assert_false(process_status_parse("Name:\tx\nTgid:\t0\n", &p));
	assert_false(process_status_parse("State:\tx\nTgid:\t5\n", &p));
}

/* ---- access ---- */

struct chargers {
	struct access *a;
	_Atomic uint64_t bytes;
};

static void *charge(void *arg)
{
	struct chargers *c = arg;

	for (uint64_t i = 0; i < EACH; i++) {
		struct access_entry *e = access_of(c->a, 1 + i % 97, (uint32_t)(i % 3));

		access_add(&e->reads, 1);
		access_add(&e->bytes, i);
		atomic_fetch_add(&c->bytes, i);
	}
	return NULL;
}

static void charges_add_up(void **state)
{
	struct access_row *rows, *later;
	struct chargers c = {0};
	uint64_t reads = 0, bytes = 0, opens = 0;
	pthread_t t[THREADS];
	size_t n, n_later;

	assert_int_equal(access_new(&c.a), 0);
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, charge, &c), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	access_add(&access_prefetch(c.a)->fetched_bytes, 5);
	assert_int_equal(access_rows(c.a, NULL, 0, &rows, &n), 0);
	for (size_t i = 0; i < n; i++) {
		reads += rows[i].reads;
		bytes += rows[i].bytes;
		opens += rows[i].opens;
		assert_true(!i || rows[i - 1].ino <= rows[i].ino);
	}
	assert_int_equal(n, 97 * 3 + 1);
	assert_int_equal(reads, THREADS * EACH);
	assert_int_equal(bytes, atomic_load(&c.bytes));
	assert_int_equal(opens, 97 * 3);
	assert_int_equal(access_opens(c.a), 97 * 3);
	assert_true(rows[0].prefetch && rows[0].fetched_bytes == 5);

	access_add(&access_of(c.a, 5, 1)->wait_ns, 11);
	access_of(c.a, 500, 1);
	assert_int_equal(access_rows(c.a, rows, n, &later, &n_later), 0);
	assert_int_equal(n_later, 2);
	assert_int_equal(later[0].ino, 5);
	assert_int_equal(later[0].wait_ns, 11);
	assert_int_equal(later[0].reads, 0);
	assert_int_equal(later[1].opens, 1);
	free(rows);
	free(later);
	access_free(c.a);
}

static void too_many_are_others(void **state)
{
	uint64_t opens = 0, reads = 0, total = ACCESS_ENTRIES_MAX + 1000;
	struct access_row *rows;
	struct access *a;
	size_t n;

	assert_int_equal(access_new(&a), 0);
	for (uint64_t i = 0; i < total; i++)
		access_add(&access_of(a, i + 1, 1)->reads, 1);
	assert_int_equal(access_rows(a, NULL, 0, &rows, &n), 0);
	assert_int_equal(n, ACCESS_ENTRIES_MAX + 1);
	for (size_t i = 0; i < n; i++) {
		reads += rows[i].reads;
		opens += rows[i].opens;
	}
	assert_int_equal(reads, total);
	assert_int_equal(opens, access_opens(a));
	assert_int_equal(rows[0].ino, 0);
	assert_int_equal(rows[0].reads, 1000);
	free(rows);
	access_free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_while_off),
		cmocka_unit_test(one_at_a_time),
		cmocka_unit_test(times_are_nanoseconds),
		cmocka_unit_test(nothing_is_lost),
		cmocka_unit_test(losses_are_counted),
		cmocka_unit_test(ends_while_written),
		cmocka_unit_test(ids_are_unique),
		cmocka_unit_test(long_texts_come_in_pieces),
		cmocka_unit_test(own_process_is_known),
		cmocka_unit_test(threads_belong_to_their_process),
		cmocka_unit_test(status_is_parsed),
		cmocka_unit_test(charges_add_up),
		cmocka_unit_test(too_many_are_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
