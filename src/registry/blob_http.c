/* SPDX-License-Identifier: MIT */
/*
 * A range read: one absolute range a request, for what is still missing. A 206 must start where it
 * was asked to and may end early (then the rest is asked for); a 200 is the whole blob, of which
 * the slice is taken; anything else that looks like data is not believed.
 */
#include "registry/blob_http.h"

#include <errno.h>
#include <stdio.h>

#include "registry/headers.h"

struct blob_http {
	struct blob blob;
	struct registry *r;
	struct route *route;
	char *rest;		 /* "blobs/sha256:..." */
	_Atomic uint32_t absent; /* places that don't have it, or sent wrong bytes */
	pthread_mutex_t lock;
	char **targets; /* where each place sent us last; under lock */
};

struct range_read {
	struct blob_http *b;
	uint64_t end;  /* asked for up to here */
	uint64_t at;   /* delivered up to here */
	uint64_t seen; /* `at` when progress was last asked for */
	uint64_t skip; /* bytes of this answer before what is wanted */
	uint64_t room; /* bytes of this answer that may be taken */
	blob_sink_fn sink;
	void *userdata;
	bool fresh;
	const struct exchange *x;
	uint32_t served;
	char range[80];
};

static bool before_attempt(void *userdata, struct exchange *x)
{
	struct range_read *rr = userdata;
	bool whole = !rr->at && rr->end == rr->b->blob.size;
	size_t n = 0;

	if (rr->at == rr->end)
		return true;
	snprintf(rr->range, sizeof(rr->range), "Range: bytes=%llu-%llu", (unsigned long long)rr->at,
		 (unsigned long long)rr->end - 1);
	if (!whole)
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
	    content_range_parse(value, &cr) < 0 || cr.unsatisfied || cr.first != rr->at ||
	    cr.last >= rr->end || (cr.has_total && cr.total != rr->b->blob.size))
		return -EPROTO;
	rr->skip = 0;
	rr->room = cr.last + 1 - cr.first;
	return 0;
}

static int on_headers(void *userdata, const struct http_response *rs)
{
	struct range_read *rr = userdata;
	const char *length = http_header(rs, "content-length");
	uint64_t n;

	if (rs->status == 206)
		return partial_check(rr, rs);
	if (rs->status != 200)
		return HTTP_COLLECT;
	if (length && (content_length_parse(length, &n) < 0 || n != rr->b->blob.size))
		return -EPROTO; /* not the blob: an error page, or something compressed */
	rr->skip = rr->at;
	rr->room = rr->end - rr->at;
	return 0;
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
	if (take) {
		rr->served |= UINT32_C(1) << rr->x->place;
		r = rr->sink(rr->userdata, p, take);
		if (r < 0)
			return r;
		rr->at += take;
		rr->room -= take;
	}
	if (n > take && rr->at != rr->end)
		return -EPROTO; /* more than it said */
	return rr->at == rr->end ? HTTP_ENOUGH : 0;
}

static bool progressed(void *userdata)
{
	struct range_read *rr = userdata;
	bool more = rr->at > rr->seen;

	rr->seen = rr->at;
	return more;
}

static int blob_http_read(struct blob *blob, uint64_t off, uint64_t len,
			  const struct blob_read_options *o, blob_sink_fn sink, void *userdata,
			  struct error *err)
{
	struct blob_http *b = (struct blob_http *)blob;
	struct range_read rr = {.b = b,
				.end = off + len,
				.at = off,
				.seen = off,
				.sink = sink,
				.userdata = userdata,
				.fresh = o->fresh};
	struct http_response rs = {0};
	struct exchange x = {.r = b->r,
			     .deadline_ns = o->deadline_ns,
			     .cancel = o->cancel,
			     .background = o->background,
			     .cost = o->cost,
			     .on_headers = on_headers,
			     .sink = on_body,
			     .userdata = &rr,
			     .progressed = progressed,
			     .before = before_attempt,
			     .remembered_lock = &b->lock};
	const struct route_ask ask = {
		.rest = b->rest, .avoid = o->avoid, .absent = &b->absent, .remembered = b->targets};
	int r;

	rr.x = &x;
	atomic_fetch_or(&b->absent, o->avoid);
	r = route_run(b->route, &ask, &x, &rs, err);
	if (o->served)
		*o->served |= rr.served;
	http_response_fini(&rs);
	return r;
}

static bool blob_http_has_other(struct blob *blob, uint32_t avoid)
{
	return route_has_other(((struct blob_http *)blob)->route, avoid);
}

static void blob_http_close(struct blob *blob)
{
	struct blob_http *b = (struct blob_http *)blob;

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
	static const struct blob_ops ops = {
		.read = blob_http_read, .has_other = blob_http_has_other, .close = blob_http_close};
	struct blob_http *b = calloc(1, sizeof(*b));
	char digest[DIGEST_TEXT_MAX];

	if (!b)
		return -ENOMEM;
	digest_format(d, digest);
	b->blob = (struct blob){.ops = &ops, .size = size, .digest = *d};
	b->r = r;
	b->route = route;
	pthread_mutex_init(&b->lock, NULL);
	b->targets = calloc(route->n, sizeof(*b->targets));
	if (!b->targets || asprintf(&b->rest, "blobs/%s", digest) < 0) {
		b->rest = NULL;
		blob_http_close(&b->blob);
		return -ENOMEM;
	}
	*ret = &b->blob;
	return 0;
}
