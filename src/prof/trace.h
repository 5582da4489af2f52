/* SPDX-License-Identifier: MIT */
/*
 * The trace: what every thread did and when, as fixed events in memory, while somebody wants to
 * know.
 *
 * Each thread writes into a block of its own, without a lock; a full one is exchanged for the next
 * of the trace's memory, which is bounded. When that is used up, what comes later is counted as
 * lost and nothing else happens: nobody ever waits for the trace.
 *
 * Recording costs a load and a branch while nothing traces. Times are raw ticks until trace_stop()
 * makes nanoseconds of them. One trace a process at a time. What the events mean for each other is
 * trace_model.h's business.
 */
#ifndef MORSEL_PROF_TRACE_H
#define MORSEL_PROF_TRACE_H

#include <stdatomic.h>
#include "base/util.h"

/* Where the time of a request goes. The names, by trace_phase_name(), are part of the formats. */
enum trace_phase {
	TRACE_QUEUE,	  /* for a thread, a lock, a connection, another try */
	TRACE_CONNECT,	  /* name look-up, connect, TLS */
	TRACE_FIRST_BYTE, /* from sent to the first byte of the body */
	TRACE_TRANSFER,
	TRACE_DECOMPRESS,
	TRACE_VERIFY,
	TRACE_CACHE, /* the index, the cache's files, the answer: everything of our own */
	TRACE_PHASES,
};
const char *trace_phase_name(enum trace_phase p);
/* "read" for FUSE_READ's number; "request" for one that is not known. */
const char *trace_fuse_name(uint16_t opcode);

enum trace_kind {
	TRACE_FUSE,   /* a request of the kernel, from its arrival to the answer */
	TRACE_HTTP,   /* one HTTP request */
	TRACE_FLIGHT, /* chunks being made ready for whoever waits for them */
	TRACE_SPAN,   /* what task `id` was at, from start to end; code is the phase */
	TRACE_WAIT,   /* task `id` waits for flight `wait.flight`, or (0) is done with waiting */
	TRACE_TEXT,   /* a piece of the text of task `id`: a name, what was asked for */
};

enum trace_flight {
	TRACE_FETCH,	 /* somebody waits for it */
	TRACE_READAHEAD, /* and everything else that readers caused */
	TRACE_PREFETCH,
	TRACE_CHECK, /* the cache has it; it is verified */
};

#define TRACE_FUSE_READ 15 /* the kernel's number */

enum { TRACE_READ_HOLE = 1, TRACE_READ_MEMORY = 2, TRACE_READ_END = 4 }; /* of FUSE */

struct trace_event { /* 64 bytes: a cache line */
	uint64_t start, end;
	uint64_t id; /* of the task, never 0 */
	uint8_t kind;
	uint8_t flags;	/* TEXT: bytes used */
	uint16_t code;	/* FUSE: the opcode; HTTP: the status, 0 = no answer; FLIGHT: which; SPAN:
			   phase */
	uint32_t image; /* FUSE, FLIGHT: which of the process's images, as access_id() */
	union {
		struct {
			uint64_t ino, off;
			uint32_t size, delivered; /* bytes wanted, and given */
			uint32_t process;	  /* as processes.h numbers them */
			int32_t result;		  /* 0 or -errno */
		} fuse;
		struct {
			uint64_t flight; /* for which, or 0 */
			uint64_t connect_ns, first_byte_ns;
			uint32_t queue_us, body_kib;
		} http;
		struct {
			uint64_t dev_off, dev_end; /* of the layer's device */
			uint64_t run;		   /* when a thread took it */
			uint32_t layer;
			uint32_t bytes; /* compressed, wanted */
		} flight;
		struct {
			uint64_t flight;
			uint64_t ns; /* flight 0: for how long, as its access counters have it */
		} wait;
		char text[32];
	};
};
static_assert(sizeof(struct trace_event) == 64, "one cache line");

/* ---- recording ---- */

extern _Atomic bool trace_running;

static inline bool trace_on(void)
{
	return atomic_load_explicit(&trace_running, memory_order_relaxed);
}

/* Now, in ticks; never 0. */
uint64_t trace_ticks(void);
/* The same while something traces, else 0. */
static inline uint64_t trace_begin(void)
{
	return trace_on() ? trace_ticks() : 0;
}

/* A number no other task has. */
uint64_t trace_new_id(void);
void trace_emit(const struct trace_event *e);
/* Between an answer and its event: the end of the trace waits for this thread, a moment at least.
 */
void trace_hold(bool on);
/* In pieces; at most 256 bytes of it. */
void trace_text(uint64_t id, const char *text, size_t len);

/* What this thread works on: who causes what it makes others do, and whose time its spans are. */
struct access_entry;
struct trace_task {
	uint64_t id;		  /* 0: nothing that is traced */
	struct access_entry *who; /* NULL: nobody in particular */
	uint8_t flags;		  /* of the request's event */
};
extern _Thread_local struct trace_task trace_task __attribute__((tls_model("initial-exec")));

static inline struct trace_task trace_task_set(struct trace_task t)
{
	struct trace_task before = trace_task;

	trace_task = t;
	return before;
}

void trace_span_emit(enum trace_phase p, uint64_t start);
/* The thread's task was at p since start, from trace_begin(). */
static inline void trace_span(enum trace_phase p, uint64_t start)
{
	if (start)
		trace_span_emit(p, start);
}

/* ---- the trace ---- */

#define TRACE_BYTES_DEFAULT ((size_t)256 << 20)

struct trace_log {
	struct trace_event *events; /* in no order; times in ns of the monotonic clock */
	size_t n;
	uint64_t lost;		   /* events for which there was no memory */
	uint64_t begin_ns, end_ns; /* of the trace, monotonic clock */
	int64_t realtime_ns;	   /* what to add to be at nanoseconds since 1970 */
	void *memory;
	size_t memory_bytes;
};

/* -EBUSY: somebody traces. max_bytes: of events, 0 = TRACE_BYTES_DEFAULT; taken as they come. */
int trace_start(size_t max_bytes);
/* Ends it and hands over what was recorded. */
void trace_stop(struct trace_log *ret);
void trace_log_fini(struct trace_log *t);

#endif
