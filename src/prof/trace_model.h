/* SPDX-License-Identifier: MIT */
/*
 * What a trace means: the requests of the kernel and the HTTP requests, each with the phases its
 * time went to, gap after gap, so that they add up to the whole by construction. Pure: events in,
 * requests out.
 *
 * A request that waited was at what the flight it waited for was at. At any moment the most
 * specific thing that is known counts: cache over verify over decompress over the transfer that
 * goes on meanwhile. What nothing is known of is the queue while something is still to come, and
 * "cache" after that: our own work. Requests that had not ended when the trace did are not in it.
 */
#ifndef MORSEL_PROF_TRACE_MODEL_H
#define MORSEL_PROF_TRACE_MODEL_H

#include "prof/processes.h"
#include "prof/trace.h"

/* Who knows what the numbers in a trace stand for: asked once the trace is over. */
struct trace_names {
	void *userdata;
	/* The reference of an image, as access_id() numbers them; NULL: none of ours. */
	const char *(*image)(void *userdata, uint32_t image);
	/* "/usr/bin/env"; never NULL. Valid as long as the names are. */
	const char *(*path)(void *userdata, uint32_t image, uint64_t ino);
	/* Where a file's byte is: false for holes, and what is no regular file. */
	bool (*where)(void *userdata, uint32_t image, uint64_t ino, uint64_t off,
		      uint32_t *ret_layer, uint64_t *ret_dev_off);
	/* "sha256:..."; "" when there is none of this number. */
	const char *(*layer)(void *userdata, uint32_t image, uint32_t layer);
	void (*process)(void *userdata, uint32_t process, struct process *ret);
};

struct trace_segment {
	uint64_t start, end;
	enum trace_phase phase;
};

/* Where the bytes of a read came from. */
enum trace_source {
	TRACE_FROM_CACHE,     /* they were there, or had only to be verified */
	TRACE_FROM_MEMORY,    /* the same, in memory because the disk refused them */
	TRACE_FROM_NETWORK,   /* it waited for them to be fetched */
	TRACE_FROM_READAHEAD, /* brought during this trace before they were asked for */
	TRACE_FROM_PREFETCH,
	TRACE_FROM_HOLE,
	TRACE_FROM_NOWHERE, /* it failed */
};
const char *trace_source_name(enum trace_source s);

struct trace_request {
	const struct trace_event *e;	      /* FUSE or HTTP */
	const struct trace_segment *segments; /* cover it without gaps; none when it took no time */
	size_t n_segments;
	const struct trace_event
		*flight;	  /* HTTP: for which; FUSE: waited for, the one that ended last */
	uint64_t wait_ns;	  /* FUSE: what the access counters count */
	const char *text;	  /* the name looked up, what HTTP asked for; "" = nothing */
	enum trace_source source; /* of reads */
	const char *layer;	  /* digest of the layer it is about; "" = none */
};

struct trace_model {
	const struct trace_log *log;
	struct trace_request *requests; /* by start */
	size_t n;
	struct trace_parts *parts; /* private */
};

/* Borrows the log. Only requests of the kernel for images that names knows, and HTTP. */
int trace_model_new(const struct trace_log *log, const struct trace_names *names,
		    struct trace_model **ret);
void trace_model_free(struct trace_model *m); /* accepts NULL */
DEFINE_CLEANUP(struct trace_model *, trace_model_free)

static inline bool trace_request_is_read(const struct trace_request *rq)
{
	return rq->e->kind == TRACE_FUSE && rq->e->code == TRACE_FUSE_READ &&
	       !(rq->e->flags & TRACE_READ_END);
}

/* "fuse.read", "http.GET" */
void trace_request_name(const struct trace_request *rq, char *ret, size_t n);
/* Nanoseconds by phase. */
void trace_request_phases(const struct trace_request *rq, uint64_t ret[static TRACE_PHASES]);

/* For pictures: a number for each request such that those of one number don't overlap. *ret_n: how
 * many numbers there are. for free(). */
int trace_lanes(const struct trace_model *m, uint32_t **ret, uint32_t *ret_n);

#endif
