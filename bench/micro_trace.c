/* SPDX-License-Identifier: MIT */
/*
 * What measuring costs: an event while nothing traces and while something does, and charging a read
 * to its file and process. In nanoseconds, best of several runs. Not built by default:
 *   cc -O2 -D_GNU_SOURCE -Isrc bench/micro_trace.c build/src/prof/libprof.a
 * build/src/base/libbase.a \ -lz -ldw -lelf -lm -lcrypto -ljansson -lpthread -o /tmp/micro_trace &&
 * /tmp/micro_trace
 */
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>

#include "prof/access.h"
#include "prof/processes.h"
#include "prof/trace.h"

#define TIMES 2000000
#define RUNS 7
#define FILES 4096

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static struct access *files;
static pid_t tid;

static void nothing(uint64_t i)
{
	__asm__ volatile("" : : "r"(i));
}

static void event(uint64_t i)
{
	trace_span(TRACE_VERIFY, trace_begin());
}

static void charge(uint64_t i)
{
	struct access_entry *e = access_of(files, 1 + i * 7 % FILES, process_of(tid));

	access_add(&e->reads, 1);
	access_add(&e->bytes, 4096);
}

static double best(void (*fn)(uint64_t i))
{
	double least = 1e9;

	for (int run = 0; run < RUNS; run++) {
		double start = now_ns(), took;

		for (uint64_t i = 0; i < TIMES; i++)
			fn(i);
		took = (now_ns() - start) / TIMES;
		least = took < least ? took : least;
	}
	return least;
}

int main(void)
{
	struct trace_log log;
	double loop = best(nothing), on;

	tid = (pid_t)syscall(SYS_gettid);
	trace_task_set((struct trace_task){.id = trace_new_id()});
	if (access_new(&files) < 0)
		return 1;
	printf("event, off    %6.2f ns\n", best(event) - loop);
	if (trace_start((size_t)RUNS * TIMES * 80) < 0)
		return 1;
	on = best(event) - loop;
	trace_stop(&log);
	printf("event, on     %6.2f ns, with the two looks at the clock that a span takes (%llu "
	       "lost)\n",
	       on, (unsigned long long)log.lost);
	trace_log_fini(&log);
	printf("access        %6.2f ns a read, of %d files\n", best(charge) - loop, FILES);
	access_free(files);
	return 0;
}
