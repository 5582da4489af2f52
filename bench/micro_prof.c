/* SPDX-License-Identifier: MIT */
/*
 * What the profilers cost where they are in the way all the time: a pair of malloc and free, an
 * operation's labels, a trace event, a counter. Each beside the same loop without it, best of
 * several rounds. ninja -C build bench/micro_prof && build/bench/micro_prof
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "prof/access.h"
#include "prof/heap.h"
#include "prof/op.h"
#include "prof/session.h"
#include "prof/trace.h"

#define TIMES 500000
#define ROUNDS 7

void *__libc_malloc(size_t n);
void __libc_free(void *p);

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void keep(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

static size_t size_of(size_t i)
{
	return 16 + (i * 7919 & 1023);
}

static void nothing(size_t i)
{
	keep(&i);
}

static void pair_of_libc(size_t i)
{
	void *p = __libc_malloc(size_of(i));

	keep(p);
	__libc_free(p);
}

static void pair(size_t i)
{
	void *p = malloc(size_of(i));

	keep(p);
	free(p);
}

static void operation(size_t i)
{
	struct prof_scope scope;

	prof_op_begin(
		&scope,
		&(struct prof_op){.name = "read", .image = "image", .layer = "layer", .pid = 1});
	keep(&scope);
	prof_op_end(&scope);
}

static void event(size_t i)
{
	uint64_t start = trace_begin();

	trace_span(TRACE_CACHE, start);
	keep(&start);
}

static _Atomic uint64_t counter;

static void count(size_t i)
{
	access_add(&counter, i);
}

/* ns of one call, best round. */
static double time_of(void (*f)(size_t i))
{
	double best = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double start = now_ns();

		for (size_t i = 0; i < TIMES; i++)
			f(i);
		start = (now_ns() - start) / TIMES;
		best = start < best ? start : best;
	}
	return best;
}

static void row(const char *what, void (*f)(size_t i), double base, const char *target)
{
	printf("%-48s %6.1f ns   %s\n", what, time_of(f) - base, target);
}

int main(void)
{
	double call = time_of(nothing), libc = time_of(pair_of_libc);
	struct prof_session *s;
	struct prof_profiles out;
	struct trace_log log;
	struct error err = ERROR_INIT;

	printf("%-48s %6.1f ns\n", "malloc and free, glibc's own", libc - call);
	heap_set_period(0);
	row("... the sampler in between, off", pair, libc, "more; <= 5 ns");
	heap_set_period(HEAP_PERIOD_DEFAULT);
	row("... on, 512 KiB", pair, libc, "more; <= 5 ns");
	row("an operation's labels, nobody listens", operation, call, "<= 1 ns");
	if (prof_session_start(&(struct prof_session_options){.kinds = PROF_FGPROF}, &s, &err) <
	    0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	row("an operation's labels, fgprof on", operation, call, "<= 40 ns");
	prof_session_stop(s, &out, &err);
	prof_profiles_fini(&out);
	row("a trace event, off", event, call, "<= 1 ns");
	if (trace_start((size_t)1 << 30) < 0)
		return 1;
	trace_task.id = trace_new_id();
	row("a trace event, on", event, call, "<= 40 ns");
	trace_stop(&log);
	trace_log_fini(&log);
	row("an access counter", count, call, "<= 40 ns");
	return 0;
}
