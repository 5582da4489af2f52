/* SPDX-License-Identifier: MIT */
/*
 * The bytes of one upload. The caller's thread writes into a window; a thread of the upload's own
 * sends from it:
 *
 *      start            confirmed       at               end
 *        |  may be sent again  |  on the  |  not yet sent  |
 *        |<----- history ----->|   wire   |<-- backlog --->|  (at most half of the window)
 *
 * All requests of an upload are attempts of one exchange, so that the retry policy counts failures
 * without progress whatever was tried between. Which request is next depends on the mode:
 *
 *   STREAM   one PATCH until the end, as docker pushes; the first choice
 *   CHUNKED  a PATCH with Content-Range per chunk: after anything broke, or when STREAM is refused
 *   WHOLE    one PUT with digest and size, when they are known: small blobs, or no PATCH at all
 *
 * Before an attempt is repeated the registry is asked where it is, and believed: it goes on there.
 * What is no longer in the window is written again by the caller (UPLOAD_REWIND).
 */
#include <errno.h>
#include <stdio.h>

#include "base/thread.h"
#include "registry/upload_session.h"
#include "registry/window.h"

#define WINDOW_BYTES ((size_t)8 << 20)
#define CHUNK_BYTES (UINT64_C(4) << 20)
#define CHUNK_LEAST (UINT64_C(64) << 10)
#define WHOLE_BYTES (INT64_C(1) << 20) /* up to here one PUT is cheaper */
#define ANSWER_NS (120 * NS_PER_S)
#define WAIT_NS (60 * NS_PER_S)
#define LOOK_AGAIN_NS (100 * NS_PER_MS)
#define ADAPTIONS_MAX 24
#define SESSIONS_MAX 4
#define REWINDS_MAX 16

enum mode { STREAM, CHUNKED, WHOLE };

struct upload_http {
	struct upload upload;
	struct session session; /* the sender's */
	struct http_feed feed;
	pthread_t thread;
	atomic_bool closing;
	bool started;
	const struct digest *known; /* &digest, or NULL */
	struct digest digest;
	int64_t size;

	/* the sender's */
	enum mode mode;
	bool stream_refused, patch_refused, whole_refused, started_over;
	bool repeated; /* the request that comes is not the first */
	uint64_t chunk, seen;
	unsigned adaptions, sessions, rewinds;
	char range[80];
	char *final_url;
	int fail; /* < 0: decided by before(), with its error */
	struct error fail_err;

	pthread_mutex_t lock; /* all below */
	pthread_cond_t news;
	struct window window;
	uint64_t at, stop; /* next byte to be sent; where this request ends, UINT64_MAX = the end */
	bool eof, rewind, want_whole, done;
	int result;
	struct error err;
};

/* ---- the feed, in the engine's thread ---- */

static ssize_t feed_read(void *userdata, void *buf, size_t n)
{
	struct upload_http *u = userdata;
	uint64_t until;
	ssize_t r = HTTP_FEED_LATER;

	pthread_mutex_lock(&u->lock);
	until = min_u64(u->window.end, u->stop);
	if (atomic_load(&u->closing))
		r = -ECANCELED;
	else if (u->at < until) {
		n = min_u64(n, until - u->at);
		window_copy(&u->window, u->at, buf, n);
		u->at += n;
		atomic_fetch_add_explicit(&u->upload.wire_bytes, n, memory_order_relaxed);
		r = (ssize_t)n;
		pthread_cond_broadcast(&u->news);
	} else if (u->at == u->stop || (u->eof && u->at == u->window.end))
		r = 0;
	pthread_mutex_unlock(&u->lock);
	return r;
}

/* ---- the sender ---- */

static void news_wait(struct upload_http *u)
{
	const struct seam *s = u->session.t->r->o.seam;
	uint64_t at = s->monotonic_ns(s) + LOOK_AGAIN_NS;
	struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S)};
	const atomic_bool *cancel = u->session.t->r->o.cancel;

	pthread_cond_clockwait(&u->news, &u->lock, CLOCK_MONOTONIC, &ts);
	if (cancel && atomic_load(cancel))
		atomic_store(&u->closing, true);
}

static int failed(struct upload_http *u, int code)
{
	u->fail = code;
	return code;
}

/* Everything from the session's offset on is sent (again); the writer starts over when the window
 * has lost that. Under the lock. */
static int window_seek(struct upload_http *u)
{
	uint64_t off = u->session.confirmed;

	u->at = off;
	if (off >= u->window.start && off <= u->window.end)
		return 0;
	if (++u->rewinds > REWINDS_MAX)
		return error_set(&u->fail_err, -EPROTO,
				 "%s: the registry lost what was sent %d times", u->session.t->text,
				 REWINDS_MAX);
	window_reset(&u->window, off);
	u->eof = false;
	u->rewind = true;
	pthread_cond_broadcast(&u->news);
	return 0;
}

static int session_again(struct upload_http *u)
{
	int r;

	if (++u->sessions > SESSIONS_MAX)
		return failed(u, error_set(&u->fail_err, -EPROTO,
					   "%s: the registry forgot the upload %d times",
					   u->session.t->text, SESSIONS_MAX));
	r = session_begin(&u->session, &u->fail_err);
	if (r < 0)
		return failed(u, r);
	u->chunk = max_u64(u->chunk, u->session.chunk_min);
	pthread_mutex_lock(&u->lock);
	r = window_grow(&u->window, (size_t)(2 * u->chunk));
	pthread_mutex_unlock(&u->lock);
	return r < 0 ? failed(u, r) : 0;
}

/* After something broke: where is the registry? */
static int resync(struct upload_http *u)
{
	int r;

	if (u->mode == WHOLE) {
		r = target_has(&u->session.t->target, u->known, (uint64_t)u->size, NULL);
		if (!r) {
			u->session.confirmed = (uint64_t)u->size;
			return 0;
		}
		session_cancel(&u->session);
		return session_again(u);
	}
	u->mode = CHUNKED;
	pthread_mutex_lock(&u->lock);
	u->session.sent = max_u64(u->session.sent, u->at);
	pthread_mutex_unlock(&u->lock);
	r = session_look(&u->session, &u->fail_err);
	if (r == SESSION_LOST && u->session.status != 404)
		session_cancel(&u->session);
	if (r == SESSION_LOST)
		r = session_again(u);
	return r < 0 ? failed(u, r) : 0;
}

/* Waits until there is something to send. Under the lock. */
static void backlog_wait(struct upload_http *u)
{
	uint64_t least = u->mode == CHUNKED ? u->chunk : 1;

	while (!u->eof && !atomic_load(&u->closing) && u->window.end - u->at < least)
		news_wait(u);
}

/* Sets up the request for what comes next. Under the lock. */
static int piece_plan(struct upload_http *u, struct exchange *x)
{
	uint64_t left = u->window.end - u->at;

	x->method = u->mode == WHOLE ? "PUT" : "PATCH";
	x->location = u->session.location;
	x->headers[0] = "Content-Type: application/octet-stream";
	x->headers[1] = NULL;
	u->stop = UINT64_MAX;
	u->feed.size = -1;
	if (u->mode == CHUNKED) {
		left = min_u64(left, u->chunk);
		u->stop = u->at + left;
		u->feed.size = (int64_t)left;
		snprintf(u->range, sizeof(u->range), "Content-Range: %llu-%llu",
			 (unsigned long long)u->at, (unsigned long long)(u->stop - 1));
		x->headers[1] = u->range;
		x->headers[2] = NULL;
	} else if (u->mode == WHOLE) {
		free(u->final_url);
		x->location = u->final_url = session_final_url(&u->session, u->known);
		if (!x->location)
			return -ENOMEM;
		u->feed.size = u->size;
	}
	return 0;
}

/* Before every attempt. true: nothing is left to be sent, or it can't be. */
static bool piece_before(void *userdata, struct exchange *x)
{
	struct upload_http *u = userdata;
	bool whole_done, over;
	int r = 0;

	u->session.why[0] = 0;
	if (u->repeated && resync(u) < 0)
		return true;
	whole_done = u->mode == WHOLE && u->repeated && u->session.confirmed == (uint64_t)u->size;
	u->repeated = true;
	pthread_mutex_lock(&u->lock);
	if (!whole_done)
		r = window_seek(u);
	if (r >= 0 && !whole_done)
		backlog_wait(u);
	over = whole_done || atomic_load(&u->closing) ||
	       (u->eof && u->at == u->window.end && (u->mode != WHOLE || u->size));
	if (r >= 0 && !over)
		r = piece_plan(u, x);
	pthread_mutex_unlock(&u->lock);
	if (r < 0)
		failed(u, r);
	return over || r < 0;
}

static int piece_answered(void *userdata, const struct http_response *rs)
{
	struct upload_http *u = userdata;
	struct session *s = &u->session;
	int r = 0;

	s->status = rs->status;
	s->why[0] = 0;
	if (rs->status >= 300)
		return HTTP_COLLECT;
	pthread_mutex_lock(&u->lock);
	s->sent = u->at;
	pthread_mutex_unlock(&u->lock);
	if (u->mode == WHOLE) {
		r = session_created(s, rs, u->known);
		s->confirmed = r < 0 ? 0 : (uint64_t)u->size;
	} else
		r = session_advance(s, rs);
	if (r >= 0 && s->confirmed <= u->seen)
		snprintf(s->why, sizeof(s->why), "the registry took nothing of what was sent");
	u->repeated = u->session.confirmed != s->sent; /* else it goes on without a question */
	return r < 0 ? r : HTTP_COLLECT;
}

static bool piece_progressed(void *userdata)
{
	struct upload_http *u = userdata;
	bool more = u->session.confirmed > u->seen;

	u->seen = max_u64(u->seen, u->session.confirmed);
	return more;
}

/* A request was refused for what it is: another kind of request may do. 0: try that. */
static int adapt(struct upload_http *u, int code)
{
	if (++u->adaptions > ADAPTIONS_MAX)
		return code;
	switch (u->session.status) {
	case 413:
		if (u->mode == CHUNKED) {
			if (u->chunk / 2 < max_u64(CHUNK_LEAST, u->session.chunk_min))
				return code;
			u->chunk /= 2;
		} else if (u->mode == WHOLE) {
			if (u->patch_refused)
				return code;
			u->whole_refused = true;
		}
		u->mode = CHUNKED;
		u->repeated = true;
		return 0;
	case 416:
		if (!u->session.confirmed) { /* it may have one byte, and can't say so */
			session_cancel(&u->session);
			session_fini(&u->session);
		}
		u->repeated = true;
		return 0;
	case 404:
		u->repeated = true; /* and it asks where to go on, or begins anew */
		return 0;
	case 411:
	case 400:
		if (u->mode != STREAM || u->stream_refused)
			return code;
		u->stream_refused = u->repeated = true;
		return 0;
	case 405:
	case 415:
	case 501:
		if (u->mode == WHOLE || u->whole_refused)
			return code;
		u->patch_refused = true;
		if (!u->known)
			return UPLOAD_WHOLE;
		session_cancel(&u->session);
		u->mode = WHOLE;
		u->repeated = true;
		return 0;
	default:
		return code;
	}
}

static int pieces_send(struct upload_http *u, struct error *err)
{
	int r;

	do {
		struct exchange x = target_exchange(u->session.t, &u->closing, NULL);
		struct http_response rs = {0};
		struct error why = ERROR_INIT;

		x.feed = &u->feed;
		x.answer_ns = ANSWER_NS;
		x.deadline_ns = 0;
		x.wait_ns = WAIT_NS;
		x.on_headers = piece_answered;
		x.before = piece_before;
		x.progressed = piece_progressed;
		x.userdata = u;
		u->session.status = 0;
		r = exchange_run(&x, &rs, &why);
		http_response_fini(&rs);
		if (u->fail < 0)
			return error_set(err, u->fail, "%s", u->fail_err.text);
		if (r >= 0)
			return 0;
		if (!u->session.status || u->session.status < 400) /* not refused: broken */
			return session_error(&u->session, r, &why, err);
		r = adapt(u, r);
		if (r < 0)
			return session_error(&u->session, r, &why, err);
	} while (!r);
	return r;
}

static void *sender_run(void *arg)
{
	struct upload_http *u = arg;
	struct error err = ERROR_INIT;
	int r = 0;

	if (!u->session.location)
		r = session_again(u) < 0 ? error_set(&err, u->fail, "%s", u->fail_err.text) : 0;
	if (r >= 0)
		r = pieces_send(u, &err);
	pthread_mutex_lock(&u->lock);
	if (r == UPLOAD_WHOLE)
		u->want_whole = true;
	else if (r < 0) {
		u->result = r;
		u->err = err;
	}
	u->done = true;
	pthread_cond_broadcast(&u->news);
	pthread_mutex_unlock(&u->lock);
	return NULL;
}

/* ---- the writer ---- */

static int sender_start(struct upload_http *u)
{
	int r;

	u->done = false;
	r = thread_start(&u->thread, "morsel-upload", sender_run, u);
	u->started = r >= 0;
	return r;
}

static void sender_join(struct upload_http *u)
{
	if (u->started)
		pthread_join(u->thread, NULL);
	u->started = false;
}

/* What the sender wants of the writer; 0: nothing. Under the lock. */
static int outcome(struct upload_http *u, struct error *err)
{
	if (atomic_load(&u->closing))
		return error_set(err, -ECANCELED, "interrupted");
	if (u->result < 0)
		return error_set(err, u->result, "%s",
				 u->err.code ? u->err.text : "the upload failed");
	if (u->want_whole)
		return UPLOAD_WHOLE;
	if (!u->rewind)
		return 0;
	u->rewind = false;
	u->upload.offset = u->window.end;
	return UPLOAD_REWIND;
}

static int upload_http_write(struct upload *upload, const void *data, size_t n, struct error *err)
{
	struct upload_http *u = (struct upload_http *)upload;
	const uint8_t *p = data;
	int r;

	pthread_mutex_lock(&u->lock);
	while (!(r = outcome(u, err)) && n) {
		uint64_t backlog = u->window.end - u->at;
		size_t room = u->window.cap / 2 - min_u64(u->window.cap / 2, backlog);

		room = min_u64(room, n);
		if (!room) {
			news_wait(u);
			continue;
		}
		window_append(&u->window, p, room);
		u->upload.offset = u->window.end;
		p += room;
		n -= room;
		pthread_cond_broadcast(&u->news);
		pthread_mutex_unlock(&u->lock);
		http_feed_wake(&u->feed);
		pthread_mutex_lock(&u->lock);
	}
	pthread_mutex_unlock(&u->lock);
	return r;
}

/* The registry did not make a blob of it: everything once more, in a new session. */
static int start_over(struct upload_http *u, const struct error *why, int code, struct error *err)
{
	int r;

	if (u->started_over || u->session.status >= 500 || !u->session.status)
		return error_set(err, code, "%s", why->code ? why->text : "the upload failed");
	u->started_over = true;
	session_cancel(&u->session);
	session_fini(&u->session);
	u->seen = 0;
	u->repeated = false;
	window_reset(&u->window, 0);
	u->at = 0;
	u->eof = false;
	r = sender_start(u);
	u->upload.offset = 0;
	return r < 0 ? r : UPLOAD_REWIND;
}

static int upload_http_finish(struct upload *upload, const struct digest *d, uint64_t size,
			      struct error *err)
{
	struct upload_http *u = (struct upload_http *)upload;
	struct error why = ERROR_INIT;
	int r;

	pthread_mutex_lock(&u->lock);
	r = outcome(u, err);
	u->eof = !r; /* not when it is to be written again */
	pthread_cond_broadcast(&u->news);
	pthread_mutex_unlock(&u->lock);
	if (r)
		return r;
	http_feed_wake(&u->feed);
	pthread_mutex_lock(&u->lock);
	while (!(r = outcome(u, err)) && !u->done)
		news_wait(u);
	pthread_mutex_unlock(&u->lock);
	if (r)
		return r;
	sender_join(u);
	if (u->mode == WHOLE)
		r = 0;
	else
		r = session_finish(&u->session, d, size, &why);
	if (r < 0 && (r == -EPERM || r == -EACCES || r == -ECANCELED))
		return error_set(err, r, "%s", why.text);
	if (r < 0)
		return start_over(u, &why, r, err);
	session_fini(&u->session); /* nothing to cancel any more */
	return 0;
}

static void upload_http_free(struct upload *upload)
{
	struct upload_http *u = (struct upload_http *)upload;

	atomic_store(&u->closing, true);
	http_feed_wake(&u->feed);
	pthread_mutex_lock(&u->lock);
	pthread_cond_broadcast(&u->news);
	pthread_mutex_unlock(&u->lock);
	sender_join(u);
	session_cancel(&u->session);
	session_fini(&u->session);
	free(u->final_url);
	window_fini(&u->window);
	http_feed_fini(&u->feed);
	pthread_cond_destroy(&u->news);
	pthread_mutex_destroy(&u->lock);
	free(u);
}

int upload_http_new(struct target_registry *t, const struct digest *known, int64_t size,
		    struct upload **ret, struct error *err)
{
	static const struct upload_ops ops = {
		.write = upload_http_write, .finish = upload_http_finish, .free = upload_http_free};
	struct upload_http *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	u->upload.ops = &ops;
	u->session.t = t;
	u->session.cancel = &u->closing;
	u->feed = (struct http_feed){.read = feed_read, .userdata = u};
	u->chunk = CHUNK_BYTES;
	u->size = size;
	if (known && size >= 0) {
		u->digest = *known;
		u->known = &u->digest;
		u->mode = size <= WHOLE_BYTES ? WHOLE : STREAM;
	}
	http_feed_init(&u->feed);
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->news, NULL);
	r = window_init(&u->window, WINDOW_BYTES);
	if (r >= 0)
		r = sender_start(u);
	if (r < 0) {
		upload_http_free(&u->upload);
		return error_set_errno(err, r, "%s: can't start an upload", t->text);
	}
	*ret = &u->upload;
	return 0;
}
