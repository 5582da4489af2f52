/* SPDX-License-Identifier: MIT */
/* What reader.c (requests) and fetch.c (flights) share. */
#ifndef MORSEL_CACHE_READER_IMPL_H
#define MORSEL_CACHE_READER_IMPL_H

#include <pthread.h>
#include "cache/cache_impl.h"
#include "cache/planner.h"
#include "cache/reader.h"

#define FETCH_BYTES_MAX (8u << 20) /* compressed, one request; more only when one read needs it */

/* A fetch under way: spans [first, last] of a layer, and who waits for it. */
struct flight {
	struct flight *next;
	struct reader *reader;
	struct reader_layer_state *layer;
	uint64_t first, last;
	struct reader_request *waiters;
};

struct reader_layer_state {
	struct reader_layer conf;
	const struct layer_index *index;
	struct counters *counters;  /* of this layer; NULL = not wanted */
	_Atomic uint64_t *verified; /* one bit a chunk: by this process, this generation */
	_Atomic uint64_t verified_generation;
	struct link_model link; /* under the reader's lock, as planner */
	struct planner planner;
	struct flight *flights; /* under the reader's lock */
};

struct reader {
	struct reader_options o;
	uint64_t deadline_ns;
	pthread_mutex_t lock;
	pthread_cond_t idle;
	unsigned busy;	       /* jobs that are queued or run; under lock */
	atomic_bool cancelled; /* reader_free() was called */
	char last_error[512];  /* under lock */
	struct log_limit error_log;
	uint32_t n_layers;
	struct reader_layer_state layers[];
};

enum request_state { RQ_FREE, RQ_ATTACHED, RQ_RUNNING };

void reader_count(struct reader *r, struct reader_layer_state *l, size_t counter_offset,
		  uint64_t n);
#define COUNT(r, l, name, n) reader_count(r, l, offsetof(struct counters, name), n)

/* Attaches rq to the flight that brings its first missing chunk, starting one when there is none.
 * 0: attached. -errno: nothing could be started, rq is the caller's still. */
int flight_join(struct reader *r, struct reader_request *rq);
/* Takes rq off its flight; false when it is being answered already. */
bool flight_leave(struct reader *r, struct reader_request *rq);
/* Tries again to answer a request whose flight ended; answers or re-attaches it. */
void request_resume(struct reader *r, struct reader_request *rq, int flight_result);

/* A job that keeps the reader alive until job_end(). */
int job_begin(struct reader *r, void (*fn)(void *arg), void *arg);
void job_end(struct reader *r);
void reader_error_set(struct reader *r, const char *text);

#endif
