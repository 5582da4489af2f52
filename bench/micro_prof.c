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
#include "prof/processes.h"
#include "prof/session.h"
#include "prof/trace.h"

#define TIMES 300000
#define ROUNDS 20

void *__libc_malloc(size_t n);
void __libc_free(void *p);

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others run here too */
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void keep(void *p)
{
	__asm__ volatile("" : : "r"(p) : "memory");
}

static size_t size_of(size_t i)
{
	return 16 + (i * 7919 & 255);
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

/* What a wait or the like is: one look at the clock; a span takes two. */
static void moment(size_t i)
{
	struct trace_event e = {.id = i + 1, .kind = TRACE_WAIT};

	e.start = e.end = trace_ticks();
	trace_emit(&e);
}

static struct access *files;
static pid_t tid;

/* All that is done for a read that nobody records: who it is, which entry, two counters. */
static void charge(size_t i)
{
	struct access_entry *e = access_of(files, 1 + i * 7 % 1024, process_of(tid));

	access_add(&e->reads, 1);
	access_add(&e->bytes, i);
}

static double round_ns(void (*f)(size_t i))
{
	double start = now_ns();

	for (size_t i = 0; i < TIMES; i++)
		f(i);
	return (now_ns() - start) / TIMES;
}

/* What a call of f takes longer than one of base, in ns: best rounds of both, taken in turn. */
static void row(const char *what, void (*f)(size_t i), void (*base)(size_t i), const char *target)
{
	double with = 1e9, without = 1e9;

	for (int round = 0; round < ROUNDS; round++) {
		double a = round_ns(base), b = round_ns(f);

		without = a < without ? a : without;
		with = b < with ? b : with;
	}
	printf("%-48s %6.1f ns   %s\n", what, with - without, target);
}

static int traced(const char *what, void (*f)(size_t i), const char *target)
{
	struct trace_log log;

	if (trace_start((size_t)1 << 30) < 0)
		return -1;
	trace_task.id = trace_new_id();
	row(what, f, nothing, target);
	trace_stop(&log);
	trace_log_fini(&log);
	return 0;
}

int main(void)
{
	struct prof_session *s;
	struct prof_profiles out;
	struct error err = ERROR_INIT;

	row("malloc and free, glibc's own", pair_of_libc, nothing, "");
	heap_set_period(0);
	row("... the sampler in between, off", pair, pair_of_libc, "more; <= 5 ns");
	heap_set_period(HEAP_PERIOD_DEFAULT);
	row("... on, 512 KiB", pair, pair_of_libc, "more; <= 5 ns");
	row("an operation's labels, nobody listens", operation, nothing, "<= 1 ns");
	if (prof_session_start(&(struct prof_session_options){.kinds = PROF_FGPROF}, &s, &err) <
	    0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	row("an operation's labels, fgprof on", operation, nothing, "<= 40 ns");
	prof_session_stop(s, &out, &err);
	prof_profiles_fini(&out);
	row("a trace event, off", event, nothing, "<= 1 ns");
	if (traced("a trace event, on", moment, "<= 40 ns") < 0 ||
	    traced("a span: where something began and ended, on", event, "<= 80 ns") < 0)
		return 1;
	tid = gettid();
	if (access_new(&files) < 0)
		return 1;
	row("a read charged to its file and process", charge, nothing, "<= 40 ns");
	access_free(files);
	return 0;
}
