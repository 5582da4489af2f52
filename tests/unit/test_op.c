/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <sys/wait.h>
#include "prof/threads.h"

static const struct prof_op read_op = {
	.name = "read", .image = "i", .layer = "l", .command = "c", .pid = 7};
static const struct prof_op get_op = {.name = "http.range_get"};

static void nested(void **state)
{
	struct prof_scope outer, inner;
	struct prof_op op;

	prof_op_begin(&outer, &read_op); /* nobody listens */
	prof_op_current(&op);
	assert_null(op.name);
	atomic_store(&prof_listeners, PROF_SAMPLERS);
	prof_op_end(&outer); /* was not begun: ends nothing */

	prof_op_begin(&outer, &read_op);
	prof_op_begin(&inner, &get_op);
	prof_op_current(&op);
	assert_string_equal(op.name, "http.range_get");
	assert_null(op.layer);
	atomic_store(&prof_listeners, 0); /* what was begun ends all the same */
	prof_op_end(&inner);
	prof_op_current(&op);
	assert_memory_equal(&op, &read_op, sizeof(op));
	prof_op_end(&outer);
	prof_op_current(&op);
	assert_null(op.name);
}

struct twins {
	_Atomic bool end;
	_Atomic(struct prof_thread *) thread;
};

/* Two operations whose members all differ. */
static void *changing(void *arg)
{
	static const struct prof_op other = {
		.name = "R", .image = "I", .layer = "L", .command = "C", .pid = 9};
	struct twins *t = arg;
	struct prof_scope scope;

	prof_thread_register("changing");
	atomic_store(&t->thread, prof_thread_self());
	for (bool odd = false; !atomic_load(&t->end); odd = !odd) {
		prof_op_begin(&scope, odd ? &other : &read_op);
		prof_op_end(&scope);
	}
	return NULL;
}

static void seen_whole(void **state)
{
	struct twins t = {0};
	struct prof_op op;
	size_t seen[2] = {0};
	pthread_t thread;

	atomic_store(&prof_listeners, PROF_SAMPLERS);
	assert_int_equal(pthread_create(&thread, NULL, changing, &t), 0);
	while (!atomic_load(&t.thread))
		;
	assert_string_equal(atomic_load(&t.thread->name), "changing");
	assert_true(atomic_load(&t.thread->worker));
	while (seen[0] < 1000 || seen[1] < 1000) {
		bool lower;

		if (!prof_thread_op(t.thread, &op))
			continue;
		lower = op.name[0] == 'r';
		assert_int_equal(op.image[0], lower ? 'i' : 'I');
		assert_int_equal(op.layer[0], lower ? 'l' : 'L');
		assert_int_equal(op.command[0], lower ? 'c' : 'C');
		assert_int_equal(op.pid, lower ? 7 : 9);
		seen[lower]++;
	}
	atomic_store(&t.end, true);
	pthread_join(thread, NULL);
	assert_int_equal(atomic_load(&t.thread->tid), 0);
	atomic_store(&prof_listeners, 0);
}

static void *registers(void *arg)
{
	prof_thread_register("short");
	return NULL;
}

static void records_are_used_again(void **state)
{
	size_t n = 0;

	for (int i = 0; i < 200; i++) {
		pthread_t thread;

		assert_int_equal(pthread_create(&thread, NULL, registers, NULL), 0);
		pthread_join(thread, NULL);
	}
	for (struct prof_thread *t = prof_threads(); t; t = t->next)
		n++;
	assert_true(n <= 3);
}

static void child_of_a_fork(void **state)
{
	int status;
	pid_t pid;

	prof_thread_register("parent");
	pid = fork();
	if (!pid)
		_exit(atomic_load(&prof_thread_self()->tid) == getpid() ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(atomic_load(&prof_thread_self()->tid), getpid());
}

static void strings_for_ever(void **state)
{
	char text[] = "sha256:01";
	const char *kept = prof_intern(text);

	text[8] = '2';
	assert_string_equal(kept, "sha256:01");
	assert_ptr_equal(prof_intern("sha256:01"), kept);
	assert_ptr_not_equal(prof_intern(text), kept);
	assert_null(prof_intern(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nested),
		cmocka_unit_test(seen_whole),
		cmocka_unit_test(records_are_used_again),
		cmocka_unit_test(child_of_a_fork),
		cmocka_unit_test(strings_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
