/* SPDX-License-Identifier: MIT */
/*
 * The memory of a trace is one mapping, cut into blocks; threads take blocks by counting up. A
 * block says how many of its events are complete. The end of a trace must not take the mapping from
 * under a thread that writes: a thread says that it is busy before it looks whether the trace runs
 * (both with sequential consistency), and the end waits until nobody is.
 */
#include "prof/trace.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <time.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

#include "base/seam.h"

#define BLOCK_BYTES ((size_t)64 << 10)
#define BLOCK_EVENTS (BLOCK_BYTES / sizeof(struct trace_event) - 1)
#define TEXT_MAX 256
#define HOLD_MS 500
#define READY_BYTES ((size_t)32 << 20) /* half a million events that meet no fresh page */

struct block { /* the first cache line; events follow */
	_Atomic uint64_t n;
	uint64_t pad[7];
	struct trace_event events[];
};

struct thread {
	struct thread *next;
	_Atomic bool busy, held;
	uint64_t trace; /* which one its block belongs to */
	struct block *block;
	uint64_t next_id, last_id;
};

struct clocks {
	uint64_t ticks, ns;
};

_Atomic bool trace_running;
static _Atomic bool accepting; /* events of what was begun while it ran */
_Thread_local struct trace_task trace_task __attribute__((tls_model("initial-exec")));

static _Thread_local struct thread *self __attribute__((tls_model("initial-exec")));
static _Atomic uint64_t ids;
static _Atomic bool ticks_are_tsc;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of these */
static struct thread *threads;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_exit;
static bool taken;
static struct clocks began;

/* Set before trace_running, changed after all threads have seen it go. */
static uint8_t *memory;
static size_t memory_blocks;
static uint64_t trace_number;
static _Atomic uint64_t next_block, lost;

const char *trace_phase_name(enum trace_phase p)
{
	static const char *const names[TRACE_PHASES] = {[TRACE_QUEUE] = "queue",
							[TRACE_CONNECT] = "connect",
							[TRACE_FIRST_BYTE] = "first_byte",
							[TRACE_TRANSFER] = "transfer",
							[TRACE_DECOMPRESS] = "decompress",
							[TRACE_VERIFY] = "verify",
							[TRACE_CACHE] = "cache"};

	return names[p];
}

const char *trace_fuse_name(uint16_t opcode)
{
	static const char *const names[] = {
		[1] = "lookup",	    [2] = "forget",	[3] = "getattr",       [5] = "readlink",
		[14] = "open",	    [15] = "read",	[17] = "statfs",       [18] = "release",
		[22] = "getxattr",  [23] = "listxattr", [25] = "flush",	       [26] = "init",
		[27] = "opendir",   [28] = "readdir",	[29] = "releasedir",   [34] = "access",
		[36] = "interrupt", [38] = "destroy",	[42] = "batch_forget", [44] = "readdirplus",
		[46] = "lseek",	    [52] = "statx"};

	return opcode < ARRAY_SIZE(names) && names[opcode] ? names[opcode] : "request";
}

/* ---- time ---- */

static uint64_t clock_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Runs at one rate on all processors, whatever they do. */
static bool tsc_is_invariant(void)
{
#if defined(__x86_64__)
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) && d & (1u << 8);
#else
	return false;
#endif
}

uint64_t trace_ticks(void)
{
#if defined(__x86_64__)
	if (atomic_load_explicit(&ticks_are_tsc, memory_order_relaxed))
		return __rdtsc();
#endif
	return clock_ns(CLOCK_MONOTONIC);
}

/* Of several tries the one that was disturbed least. */
static struct clocks clocks_read(void)
{
	struct clocks best = {0};
	uint64_t least = UINT64_MAX;

	for (int i = 0; i < 5; i++) {
		uint64_t before = trace_ticks(), ns = clock_ns(CLOCK_MONOTONIC),
			 after = trace_ticks();

		if (after - before < least) {
			least = after - before;
			best = (struct clocks){before + least / 2, ns};
		}
	}
	return best;
}

/* ---- threads ---- */

static void thread_gone(void *data)
{
	struct thread *t = data;

	self = NULL;
	pthread_mutex_lock(&lock);
	for (struct thread **at = &threads; *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			break;
		}
	pthread_mutex_unlock(&lock);
	free(t);
}

static void key_make(void)
{
	if (pthread_key_create(&at_exit, thread_gone))
		abort();
}

static struct thread *thread_get(void)
{
	struct thread *t = self;

	if (t)
		return t;
	pthread_once(&once, key_make);
	t = calloc(1, sizeof(*t));
	if (!t || pthread_setspecific(at_exit, t)) {
		free(t);
		return NULL;
	}
	pthread_mutex_lock(&lock);
	t->next = threads;
	threads = t;
	pthread_mutex_unlock(&lock);
	self = t;
	return t;
}

/* ---- recording ---- */

/* False: all is used. */
static bool block_take(struct thread *t)
{
	uint64_t i = atomic_load_explicit(&next_block, memory_order_relaxed);

	t->block = NULL;
	do
		if (i >= memory_blocks)
			return false;
	while (!atomic_compare_exchange_weak(&next_block, &i, i + 1));
	t->block = (struct block *)(memory + i * BLOCK_BYTES);
	t->trace = trace_number;
	return true;
}

static void event_write(struct thread *t, const struct trace_event *e)
{
	uint64_t n;

	if (!t->block || t->trace != trace_number ||
	    atomic_load_explicit(&t->block->n, memory_order_relaxed) == BLOCK_EVENTS)
		if (!block_take(t)) {
			atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
			return;
		}
	n = atomic_load_explicit(&t->block->n, memory_order_relaxed);
	t->block->events[n] = *e;
	atomic_store_explicit(&t->block->n, n + 1, memory_order_release);
}

void trace_emit(const struct trace_event *e)
{
	struct thread *t;

	if (!atomic_load_explicit(&accepting, memory_order_relaxed))
		return;
	t = thread_get();
	if (!t) {
		atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
		return;
	}
	atomic_exchange(&t->busy, true);
	if (atomic_load(&accepting))
		event_write(t, e);
	atomic_store_explicit(&t->busy, false, memory_order_release);
}

uint64_t trace_new_id(void)
{
	struct thread *t = thread_get();

	if (!t)
		return atomic_fetch_add_explicit(&ids, 1, memory_order_relaxed) + 1;
	if (t->next_id == t->last_id) { /* by the thousand: the counter is everybody's */
		t->next_id = atomic_fetch_add_explicit(&ids, 1000, memory_order_relaxed);
		t->last_id = t->next_id + 1000;
	}
	return ++t->next_id;
}

void trace_text(uint64_t id, const char *text, size_t len)
{
	struct trace_event e = {.id = id, .kind = TRACE_TEXT};

	len = min_u64(len, TEXT_MAX);
	for (size_t at = 0; at < len && trace_on(); at += e.flags) {
		e.flags = (uint8_t)min_u64(len - at, sizeof(e.text));
		e.code = (uint16_t)at;
		e.start = e.end = trace_ticks();
		memcpy(e.text, text + at, e.flags);
		trace_emit(&e);
	}
}

void trace_span_emit(enum trace_phase p, uint64_t start)
{
	struct trace_event e = {.start = start,
				.end = trace_ticks(),
				.id = trace_task.id,
				.kind = TRACE_SPAN,
				.code = (uint16_t)p};

	if (e.id)
		trace_emit(&e);
}

/* ---- the trace ---- */

static int memory_take(size_t max_bytes)
{
	memory_blocks = max_u64(max_bytes / BLOCK_BYTES, 1);
	memory = mmap(NULL, memory_blocks * BLOCK_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		memory = NULL;
		return -ENOMEM;
	}
	/* A page that is touched for the first time costs more than all the events in it. */
	madvise(memory, memory_blocks * BLOCK_BYTES, MADV_HUGEPAGE);
	madvise(memory, min_u64(memory_blocks * BLOCK_BYTES, READY_BYTES), MADV_POPULATE_WRITE);
	return 0;
}

int trace_start(size_t max_bytes)
{
	int r = 0;

	pthread_mutex_lock(&lock);
	if (taken)
		r = -EBUSY;
	else
		r = memory_take(max_bytes ? max_bytes : TRACE_BYTES_DEFAULT);
	if (r >= 0) {
		taken = true;
		atomic_store(&ticks_are_tsc, tsc_is_invariant());
		atomic_store(&next_block, 0);
		atomic_store(&lost, 0);
		trace_number++;
		began = clocks_read();
		atomic_store(&accepting, true);
		atomic_store(&trace_running, true);
	}
	pthread_mutex_unlock(&lock);
	return r;
}

void trace_hold(bool on)
{
	struct thread *t = thread_get();

	if (t)
		atomic_store_explicit(&t->held, on, memory_order_release);
}

/* Under the lock. Who got an answer may expect to find it in the trace. */
static void holders_wait(void)
{
	for (struct thread *t = threads; t; t = t->next)
		for (int i = 0; i < HOLD_MS && atomic_load(&t->held); i++)
			nanosleep(&(struct timespec){.tv_nsec = 1000 * 1000}, NULL);
}

/* Under the lock, after nothing is accepted any more. */
static void writers_wait(void)
{
	for (struct thread *t = threads; t; t = t->next)
		while (atomic_load(&t->busy))
			nanosleep(&(struct timespec){.tv_nsec = 10 * 1000}, NULL);
}

static uint64_t ticks_to_ns(uint64_t ticks, const struct clocks *a, const struct clocks *b)
{
	double rate =
		b->ticks > a->ticks ? (double)(b->ns - a->ns) / (double)(b->ticks - a->ticks) : 1;

	return a->ns + (uint64_t)(int64_t)((double)(int64_t)(ticks - a->ticks) * rate);
}

static bool has_run(const struct trace_event *e)
{
	return e->kind == TRACE_FLIGHT && e->flight.run;
}

static void log_take(struct trace_log *ret)
{
	struct clocks end = clocks_read();
	size_t used = atomic_load(&next_block), n = 0;

	*ret = (struct trace_log){.events = (struct trace_event *)memory,
				  .lost = atomic_load(&lost),
				  .begin_ns = began.ns,
				  .end_ns = end.ns,
				  .memory = memory,
				  .memory_bytes = memory_blocks * BLOCK_BYTES};
	for (size_t i = 0; i < used; i++) {
		const struct block *b = (const struct block *)(memory + i * BLOCK_BYTES);
		size_t m = atomic_load_explicit((_Atomic uint64_t *)&b->n, memory_order_acquire);

		memmove(ret->events + n, b->events, m * sizeof(ret->events[0]));
		n += m;
	}
	for (size_t i = 0; i < n; i++) {
		struct trace_event *e = &ret->events[i];

		e->start = ticks_to_ns(e->start, &began, &end);
		e->end = max_u64(ticks_to_ns(e->end, &began, &end), e->start);
		if (has_run(e))
			e->flight.run = ticks_to_ns(e->flight.run, &began, &end);
	}
	ret->n = n;
	ret->realtime_ns = (int64_t)clock_ns(CLOCK_REALTIME) - (int64_t)clock_ns(CLOCK_MONOTONIC);
}

void trace_stop(struct trace_log *ret)
{
	*ret = (struct trace_log){0};
	pthread_mutex_lock(&lock);
	if (taken && atomic_exchange(&trace_running, false)) {
		holders_wait();
		atomic_store(&accepting, false);
		writers_wait();
		log_take(ret);
		memory = NULL;
		taken = false;
	}
	pthread_mutex_unlock(&lock);
}

void trace_log_fini(struct trace_log *t)
{
	if (t->memory)
		munmap(t->memory, t->memory_bytes);
	*t = (struct trace_log){0};
}
