/* SPDX-License-Identifier: MIT */
/*
 * The reader's inside. Three kinds of things, all under one lock, which is never held over I/O:
 *
 *   parked   a request that could not be answered at once. It waits on flights; when the last of
 *            them is over it is looked at again: answered, or parked on new flights.
 *   flight   work that makes chunks ready: FETCH (spans from the blob) or VERIFY (chunks that the
 *            cache claims to have). No two flights of a layer overlap; that is the single flight.
 *   wait     a parked request's place in a flight. A fetch hands chunks out as they arrive, so a
 *            wait ends when its last chunk is there and not when the whole flight is over.
 *
 * A request is answered exactly once, by whoever takes it off the reader's list: the thread that
 * ends its last flight, or the timer thread (deadlines, cancellations). While a thread fills a
 * request's buffer the request is busy and nobody else answers it.
 */
#ifndef MORSEL_CACHE_READER_IMPL_H
#define MORSEL_CACHE_READER_IMPL_H

#include <pthread.h>
#include "cache/follow.h"
#include "cache/layer_impl.h"
#include "cache/order.h"
#include "cache/planner.h"
#include "cache/prefetch.h"
#include "cache/reader.h"
#include "prof/op.h"
#include "prof/trace.h"

#define FETCH_BYTES_MAX (UINT64_C(8) << 20) /* compressed, one request; more only when needed */
#define SPANS_BYTES_MAX                                                                            \
	(UINT64_C(128) << 20)	      /* compressed, what one chunk may need: else refused */
#define VERIFY_BYTES_MAX (512u << 10) /* one job's share: two cores share a big read */
#define VERIFY_AHEAD_BYTES (4u << 20)
#define VERIFY_INLINE_MAX (256u << 10)	    /* verified by the thread that asked, if in memory */
#define AHEAD_BYTES_MAX (UINT64_C(4) << 20) /* compressed, of a request nobody waits for */
#define AHEAD_WITH_DEMAND_MAX (UINT64_C(2) << 20) /* the same, behind what somebody waits for */
#define AHEAD_FLIGHTS_OLD_MAX 3	   /* for streams that are not young: connections stay warm */
#define AHEAD_FLIGHTS_MAX 8	   /* at once: demand finds a thread and a connection */
#define RETRY_NS (500 * NS_PER_MS) /* between two tries for a span that failed */
#define N_FAILURES 16

enum flight_kind { FLIGHT_FETCH, FLIGHT_VERIFY };
enum flight_why { WHY_DEMAND, WHY_AHEAD, WHY_REST, WHY_PREFETCH };

struct flight;
struct parked;

struct wait {
	struct wait *next;
	struct parked *p;
	uint64_t first, last; /* chunks */
};

struct chunk_range {
	uint64_t first, last;
	bool any;
};

struct flight {
	struct flight *next; /* in the layer's list; when delayed also in the reader's */
	struct flight *next_delayed;
	struct reader *r;
	struct layer_state *ls;
	enum flight_kind kind;
	uint64_t chunk_first, chunk_last; /* VERIFY */
	uint64_t first, last;		  /* FETCH: spans */
	uint64_t need_first, need_last;	  /* FETCH: what lies around is read ahead */
	uint64_t made_ns;		  /* FETCH */
	enum flight_why why;		  /* FETCH */
	uint64_t start_ns;		  /* while it is delayed: not before */
	struct wait *waits;
	struct chunk_range bad; /* chunks that don't match their digests */
	struct trace_task task; /* who caused it */
	uint64_t trace_start, trace_run;
};

struct failure {
	uint64_t first, last; /* spans */
	uint64_t until_ns;
};

struct layer_state {
	struct reader *r;
	struct reader_layer conf;
	const struct layer_index *index;
	struct counters *counters; /* of this layer, or NULL */
	const char *label;	   /* its digest, for profiles */
	/* under the reader's lock, all of these */
	struct planner planner;
	struct flight *flights;
	struct failure failures[N_FAILURES];
	unsigned next_failure;
	uint64_t verify_next; /* the chunk after those that were verified, or are being */
	/* not under it: where a reader who gets there at once has more verified ahead of him */
	_Atomic uint64_t ahead_at;
};

struct prof_wait;
struct parked {
	struct parked *prev,
		*next; /* the reader's list: by deadline, since all wait equally long */
	struct reader *r;
	struct reader_request *rq; /* NULL: answered */
	struct layer_state *ls;
	uint64_t start_ns, deadline_ns;
	unsigned waits, refs, rounds;
	bool busy, cancelled;
	int result; /* of what it waited for */
	struct trace_task task;
	struct prof_wait *wait; /* NULL: not in a profile */
};

struct reader {
	const struct seam *seam;
	const struct log *log;
	struct counters *counters;
	struct access *access;
	const char *label; /* of the image, for profiles */
	struct work_pool *pool;
	uint64_t deadline_ns;
	atomic_bool cancel; /* ends fetches: interrupted, or being freed */
	bool stopping;	    /* under lock, as all below */
	pthread_mutex_t lock;
	pthread_cond_t changed; /* for the timer thread and reader_free() */
	pthread_t timer;
	bool timer_runs;
	unsigned jobs; /* queued or running */
	struct link_model link;
	struct planner_budget budget;
	unsigned transfers;   /* on the link now */
	unsigned ahead, rest; /* FETCH flights nobody asked for yet, by why */
	struct order order;   /* in which spans were touched */
	struct follow follow; /* the order that is known */
	const struct layer_index **follow_indexes;
	struct prefetch_gate gate;
	pthread_cond_t prefetch_news; /* for who prefetches: somebody waits for it, or it is over */
	atomic_bool prefetch_ends;    /* not under lock, as those below */
	_Atomic unsigned demand;      /* transfers for readers, now */
	_Atomic uint64_t arrived;     /* bytes, by all transfers */
	struct parked *head, *tail;
	bool some_cancelled;
	struct flight *delayed;
	char last_error[512];
	int last_code;	  /* and its class */
	atomic_bool mute; /* readers get bare errnos: the log has to say why */
	struct log_limit error_log, digest_log;
	uint32_t n_layers;
	struct layer_state layers[];
};

#define COUNT(r, ls, name, n)                                                                      \
	do {                                                                                       \
		counter_add(&(r)->counters->name, n);                                              \
		if ((ls)->counters)                                                                \
			counter_add(&(ls)->counters->name, n);                                     \
	} while (0)

/* The same for the file and process that caused it: NULL when nobody knows. */
#define CHARGE(r, who, name, n)                                                                    \
	do {                                                                                       \
		if ((r)->access)                                                                   \
			access_add(&((who) ? (who) : access_other((r)->access))->name, n);         \
	} while (0)

static inline uint64_t reader_now(const struct reader *r)
{
	return r->seam->monotonic_ns(r->seam);
}

/* ---- parked.c ---- */

/* Takes the request over. 0, or -errno: it is still the caller's. */
int reader_park(struct reader *r, struct reader_request *rq);
/* One of its waits is over: it goes on when that was the last, or when it failed. may_block: this
 * thread may wait for the disk and call done(); else a job does. */
void parked_wait_over(struct reader *r, struct parked *p, bool may_block);
/* The thread that answers what has waited long enough, or was cancelled. */
void *reader_timer(void *arg);

/* ---- flight.c ---- */

/* Under the lock. Puts p into the flights that bring what it lacks, making new ones, which are
 * added to the list at *ret_new (by next_delayed) and must be started, without the lock, whatever
 * is returned. -ENOTCONN: offline. -EIO: it failed a moment ago. -ENOMEM. */
int flights_plan(struct parked *p, struct flight **ret_new);
/* Under the lock: verifies what follows chunk `from`, for a reader who runs on. */
void verify_ahead(struct reader *r, struct layer_state *ls, uint64_t from, struct flight **ret_new);
void flights_start(struct reader *r, struct flight *list);
/* Under the lock: a FETCH flight; it must be started. NULL: no memory. */
struct flight *flight_fetch_new(struct reader *r, struct layer_state *ls, uint64_t first,
				uint64_t last, enum flight_why why);
void flight_add(struct flight **list, struct flight *f);
/* Under the lock: a VERIFY flight over these chunks in the caller's memory, unless one of them is
 * in a flight. Ends by flight_end() and reader_job_end(). */
bool flight_claim_verify(struct reader *r, struct layer_state *ls, struct flight *f, uint64_t first,
			 uint64_t last);
/* Chunks below `progress` have been dealt with: requests that waited only for those go on. */
void flight_progress(struct flight *f, uint64_t progress, bool may_block);
/* Takes the flight off its list; every request still waiting goes on, or fails with result. */
void flight_end(struct flight *f, int result, bool may_block);
/* A flight that was never started. */
void flight_cancel(struct flight *f);
void reader_job_end(struct reader *r);

/* ---- ahead.c: what is fetched before it is asked for ---- */

/* Bytes that one request may bring: a small cache has no room for more. */
uint64_t fetch_bytes_max(const struct layer_state *ls);
/* What planners want to know. */
struct planner_link ahead_link(struct layer_state *ls);
/* A read that needs no fetch: tells the planner, who may want more ahead. */
void ahead_touch(struct reader *r, struct layer_state *ls, uint64_t dev_off, uint64_t len);
/* Under the lock: the same, for a read that is planned. NULL: nothing there that is fetched. */
struct planner_stream *ahead_touch_chunks(struct layer_state *ls, uint64_t from, uint64_t end);
/* Before anything is read: readers are expected to go by this order. It is copied. -ENOMEM. */
int reader_follow(struct reader *r, const struct order *o);
/* Under the lock: flights for what comes next in the order that is known. */
void ahead_follow(struct reader *r, struct flight **ret_new);
/* Under the lock: flights for what the stream (or NULL), and the rest of the layer, are to have. */
void ahead_plan(struct reader *r, struct layer_state *ls, struct planner_stream *s,
		struct flight **ret_new);

/* Under the lock, when a flight for the rest is over: the next ones. True: all of a layer that was
 * wanted is kept now. */
bool ahead_rest(struct reader *r, struct layer_state *ls, struct flight **ret_new);
/* A blob that came whole unasked: its layer is decoded and kept, then the blob can go. */
void ahead_all(struct reader *r, struct layer_state *ls);
/* Waits until that is over, or given up, for all layers. */
void ahead_all_wait(struct reader *r);

/* ---- fetch.c, verify.c: what a flight does ---- */

int fetch_run(struct flight *f);
int verify_run(struct flight *f, int flags);

/* ---- trace.c ---- */

/* Under the lock: a flight begins, and somebody waits for it. */
void flight_trace_begin(struct flight *f);
void flight_trace_wait(const struct flight *f, const struct parked *p);
void flight_trace_end(const struct flight *f);
/* Before it is answered. */
void parked_trace_end(const struct parked *p, uint64_t waited_ns);
/* A thread works on it, until flight_work_end(): what it does is the flight's, what it causes is of
 * who caused the flight. flight_trace_end() comes before flight_end(), this after. */
struct flight_work {
	struct trace_task before;
	struct prof_scope op;
};
void flight_work_begin(struct flight *f, struct flight_work *w);
void flight_work_end(struct flight_work *w);

/* Remembers why, and says it, at most once a second. */
void reader_failed(struct reader *r, int code, const char *text);
/* How loud to be about what a reader is told as well. */
static inline enum log_level reader_loudness(const struct reader *r)
{
	return atomic_load(&r->mute) ? LOG_WARN : LOG_INFO;
}

#endif
