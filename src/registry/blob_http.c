/* SPDX-License-Identifier: MIT */
/*
 * A range read: one absolute range a request, for what is still missing. A 206 must start where it
 * was asked to and may end early (then the rest is asked for); anything else that looks like data
 * is not believed.
 *
 * A 200 is the whole blob from its beginning, which a pull-through cache sends that does not have
 * it yet. Whoever gets it takes all of it, into the spool, and his slice as it passes by; others
 * find theirs in the spool. Where that has been seen once, only one request for a blob goes out at
 * first.
 */
#include "registry/blob_http.h"

#include <errno.h>
#include <stdio.h>

#include "registry/headers.h"
#include "registry/spool.h"

#define ASKING_NS (50 * NS_PER_MS)

struct blob_http {
	struct blob blob;
	struct registry *r;
	struct route *route;
	char *rest;		 /* "blobs/sha256:..." */
	_Atomic uint32_t absent; /* places that don't have it, or sent wrong bytes */
	struct spool spool;
	pthread_mutex_t lock;
	pthread_cond_t answered;
	char **targets;	 /* where each place sent us last; under lock, as those below */
	bool asking;	 /* somebody finds out whether ranges are heeded */
	bool has_ranges; /* they are */
};

struct range_read {
	struct blob_http *b;
	uint64_t end;  /* asked for up to here */
	uint64_t at;   /* delivered up to here */
	uint64_t seen; /* how far it was when progress was last asked for */
	bool fills;    /* the spool, which goes from have to the end of the blob */
	uint64_t have;
	int sink_code; /* the reader wants no more; the spool goes on */
	bool *whole;
	uint64_t skip; /* bytes of this answer before what is wanted */
	uint64_t room; /* bytes of this answer that may be taken */
	blob_sink_fn sink;
	void *userdata;
	bool fresh;
	struct exchange *x;
	uint32_t served;
	bool ranged; /* the request said which */
	char range[80];
};

/* What the next request is to bring. */
static uint64_t wanted_from(const struct range_read *rr)
{
	return rr->fills ? rr->have : rr->at;
}

static uint64_t wanted_end(const struct range_read *rr)
{
	return rr->fills ? rr->b->blob.size : rr->end;
}

static bool before_attempt(void *userdata, struct exchange *x)
{
	struct range_read *rr = userdata;
	uint64_t from = wanted_from(rr), end = wanted_end(rr);
	size_t n = 0;

	if (from == end)
		return true;
	snprintf(rr->range, sizeof(rr->range), "Range: bytes=%llu-%llu", (unsigned long long)from,
		 (unsigned long long)end - 1);
	rr->ranged = from || end != rr->b->blob.size;
	if (rr->ranged)
		x->headers[n++] = rr->range;
	if (rr->fresh)
		x->headers[n++] = "Cache-Control: no-cache";
	x->headers[n] = NULL;
	return false;
}

/* A lie about the range is a failed attempt, not a decision: the next answer may be honest. */
static int partial_check(struct range_read *rr, const struct http_response *rs)
{
	const char *value = http_header(rs, "content-range"),
		   *type = http_header(rs, "content-type");
	struct content_range cr;

	if ((type && !strncmp(type, "multipart/", 10)) || !value ||
	    content_range_parse(value, &cr) < 0 || cr.unsatisfied || cr.first != wanted_from(rr) ||
	    cr.last >= wanted_end(rr) || (cr.has_total && cr.total != rr->b->blob.size))
		return -EPROTO;
	rr->skip = 0;
	rr->room = cr.last + 1 - cr.first;
	return 0;
}

/* All of it comes, asked for or not: it is kept, unless there is no room for it. */
static int whole_begin(struct range_read *rr)
{
	struct blob_http *b = rr->b;
	const struct registry_options *ro = &b->r->o;

	if (!rr->ranged || rr->fills || rr->fresh)
		return 0;
	atomic_store(&b->route->ignores_ranges, true);
	rr->fills = spool_begin(&b->spool, ro->spool_open, ro->spool_userdata, &rr->have);
	if (!rr->fills)
		return spool_is_filling(&b->spool) ? -EALREADY : 0;
	rr->seen = rr->have;
	rr->x->deadline_ns = 0; /* that was for a slice; what is slow still ends it */
	rr->x->timeless = true;
	if (rr->whole)
		*rr->whole = true;
	log_write(ro->log, LOG_INFO, "%s: %s sends all of it, which is kept", b->rest,
		  rr->x->auth->host->name);
	return 0;
}

static void asking_end(struct blob_http *b, bool has_ranges)
{
	if (has_ranges)
		atomic_store(&b->route->heeds_ranges, true);
	pthread_mutex_lock(&b->lock);
	b->asking = false;
	b->has_ranges |= has_ranges;
	pthread_cond_broadcast(&b->answered);
	pthread_mutex_unlock(&b->lock);
}

static int on_headers(void *userdata, const struct http_response *rs)
{
	struct range_read *rr = userdata;
	const char *length = http_header(rs, "content-length");
	uint64_t n;
	int r;

	if (rs->status == 206) {
		r = partial_check(rr, rs);
		asking_end(rr->b, r >= 0);
		return r;
	}
	if (rs->status != 200) {
		asking_end(rr->b, false);
		return HTTP_COLLECT;
	}
	if (length && (content_length_parse(length, &n) < 0 || n != rr->b->blob.size))
		return -EPROTO; /* not the blob: an error page, or something compressed */
	r = whole_begin(rr);
	asking_end(rr->b, false);
	rr->skip = wanted_from(rr);
	rr->room = wanted_end(rr) - wanted_from(rr);
	return r;
}

/* The slice out of what goes by, which begins at off. */
static int slice_deliver(struct range_read *rr, uint64_t off, const uint8_t *data, size_t n)
{
	uint64_t skip = rr->at - min_u64(off, rr->at);
	size_t take = skip < n ? min_u64(n - skip, rr->end - rr->at) : 0;
	int r;

	if (!take || rr->sink_code < 0)
		return 0;
	rr->served |= UINT32_C(1) << rr->x->place;
	r = rr->sink(rr->userdata, data + skip, take);
	if (r < 0)
		return r;
	rr->at += take;
	return 0;
}

static int fill(struct range_read *rr, const uint8_t *data, size_t n)
{
	uint64_t off = rr->have;
	int r = spool_put(&rr->b->spool, off, data, n, UINT32_C(1) << rr->x->place);

	rr->sink_code = rr->sink_code < 0 ? rr->sink_code : slice_deliver(rr, off, data, n);
	rr->have += n;
	if (r >= 0)
		return 0;
	log_write(rr->b->r->o.log, LOG_WARN, "%s: it can't be kept: %s", rr->b->rest, strerror(-r));
	spool_end(&rr->b->spool);
	spool_drop(&rr->b->spool);
	rr->fills = false;
	rr->skip = rr->at - min_u64(rr->at, rr->have);
	rr->room = rr->end - rr->at;
	return rr->sink_code;
}

static int on_body(void *userdata, const void *data, size_t n)
{
	struct range_read *rr = userdata;
	const uint8_t *p = data;
	size_t take = min_u64(n, rr->skip);
	int r;

	p += take;
	n -= take;
	rr->skip -= take;
	take = min_u64(n, rr->room);
	rr->room -= take;
	r = !take ? 0 : rr->fills ? fill(rr, p, take) : slice_deliver(rr, wanted_from(rr), p, take);
	if (r < 0)
		return r;
	if (n > take && wanted_from(rr) != wanted_end(rr))
		return -EPROTO; /* more than it said */
	return wanted_from(rr) == wanted_end(rr) ? HTTP_ENOUGH : 0;
}

static bool progressed(void *userdata)
{
	struct range_read *rr = userdata;
	bool more = wanted_from(rr) > rr->seen;

	rr->seen = wanted_from(rr);
	return more;
}

static int network_read(struct range_read *rr, const struct blob_read_options *o, struct error *err)
{
	struct blob_http *b = rr->b;
	struct http_response rs = {0};
	struct exchange x = {.r = b->r,
			     .deadline_ns = o->deadline_ns,
			     .cancel = o->cancel,
			     .background = o->background,
			     .cost = o->cost,
			     .on_headers = on_headers,
			     .sink = on_body,
			     .userdata = rr,
			     .progressed = progressed,
			     .before = before_attempt,
			     .remembered_lock = &b->lock};
	const struct route_ask ask = {
		.rest = b->rest, .avoid = o->avoid, .absent = &b->absent, .remembered = b->targets};
	int r;

	rr->x = &x;
	rr->seen = wanted_from(rr);
	r = route_run(b->route, &ask, &x, &rs, err);
	http_response_fini(&rs);
	if (rr->fills)
		spool_end(&b->spool);
	rr->fills = false;
	if (o->served)
		*o->served |= rr->served;
	return rr->sink_code < 0 ? rr->sink_code : rr->at == rr->end ? 0 : r;
}

/* The first answer of all is waited for before more is asked; where ranges were ignored once, the
 * first for each blob. */
static void asking_begin(struct blob_http *b, const struct blob_read_options *o)
{
	const struct seam *s = b->r->o.seam;

	if (o->background ||
	    (atomic_load(&b->route->heeds_ranges) && !atomic_load(&b->route->ignores_ranges)))
		return;
	pthread_mutex_lock(&b->lock);
	while (b->asking && !b->has_ranges && !(o->cancel && atomic_load(o->cancel)) &&
	       (!o->deadline_ns || s->monotonic_ns(s) < o->deadline_ns)) {
		uint64_t at = s->monotonic_ns(s) + ASKING_NS;
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};

		pthread_cond_clockwait(&b->answered, &b->lock, CLOCK_MONOTONIC, &ts);
	}
	if (!b->has_ranges)
		b->asking = true;
	pthread_mutex_unlock(&b->lock);
}

static int blob_http_read(struct blob *blob, uint64_t off, uint64_t len,
			  const struct blob_read_options *o, blob_sink_fn sink, void *userdata,
			  struct error *err)
{
	struct blob_http *b = (struct blob_http *)blob;
	struct range_read rr = {.b = b,
				.end = off + len,
				.at = off,
				.sink = sink,
				.userdata = userdata,
				.whole = o->whole,
				.fresh = o->fresh || o->avoid};
	int r;

	atomic_fetch_or(&b->absent, o->avoid);
	for (;;) {
		r = rr.fresh ? SPOOL_HAS_NOT
			     : spool_read(&b->spool, &rr.at, rr.end, o, sink, userdata);
		if (r == SPOOL_HAS_NOT && !rr.fresh) {
			asking_begin(b, o);
			if (spool_is_filling(&b->spool)) {
				asking_end(b, false);
				continue;
			}
		}
		if (r != SPOOL_HAS_NOT)
			return r;
		r = network_read(&rr, o, err);
		asking_end(b, false);
		if (r != -EALREADY)
			return r;
		if (err)
			*err = ERROR_INIT;
	}
}

static bool blob_http_is_here(struct blob *blob, bool drop)
{
	struct blob_http *b = (struct blob_http *)blob;

	if (drop)
		spool_drop(&b->spool);
	return spool_is_complete(&b->spool);
}

static bool blob_http_has_other(struct blob *blob, uint32_t avoid)
{
	return route_has_other(((struct blob_http *)blob)->route, avoid);
}

static void blob_http_close(struct blob *blob)
{
	struct blob_http *b = (struct blob_http *)blob;

	spool_fini(&b->spool);
	pthread_cond_destroy(&b->answered);
	pthread_mutex_destroy(&b->lock);
	for (unsigned i = 0; b->targets && i < b->route->n; i++)
		free(b->targets[i]);
	free(b->targets);
	free(b->rest);
	free(b);
}

int blob_http_open(struct registry *r, struct route *route, const struct digest *d, uint64_t size,
		   struct blob **ret)
{
	static const struct blob_ops ops = {.read = blob_http_read,
					    .is_here = blob_http_is_here,
					    .has_other = blob_http_has_other,
					    .close = blob_http_close};
	struct blob_http *b = calloc(1, sizeof(*b));
	char digest[DIGEST_TEXT_MAX];

	if (!b)
		return -ENOMEM;
	digest_format(d, digest);
	b->blob = (struct blob){.ops = &ops, .size = size, .digest = *d};
	b->r = r;
	b->route = route;
	pthread_mutex_init(&b->lock, NULL);
	pthread_cond_init(&b->answered, NULL);
	spool_init(&b->spool, r->o.seam, size);
	b->targets = calloc(route->n, sizeof(*b->targets));
	if (!b->targets || asprintf(&b->rest, "blobs/%s", digest) < 0) {
		b->rest = NULL;
		blob_http_close(&b->blob);
		return -ENOMEM;
	}
	*ret = &b->blob;
	return 0;
}
