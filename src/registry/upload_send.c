/* SPDX-License-Identifier: MIT */
/*
 * The sending end of an upload. All requests are attempts of one exchange, so that the retry policy
 * counts failures without progress whatever was tried between. Which request is next depends on the
 * mode:
 *
 *   STREAM   one PATCH until the end, as docker pushes; the first choice
 *   CHUNKED  a PATCH with Content-Range per chunk: after anything broke, or when STREAM is refused
 *   WHOLE    one PUT with digest and size, when they are known: small blobs, or no PATCH at all
 *
 * Before an attempt is repeated the registry is asked where it is, and believed: it goes on there.
 * What is no longer in the window is written again by the caller (UPLOAD_REWIND).
 */
#include "registry/upload_impl.h"

#include <errno.h>
#include <stdio.h>

#include "base/thread.h"

#define CHUNK_BYTES (UINT64_C(4) << 20)
#define CHUNK_LEAST (UINT64_C(64) << 10)
#define WHOLE_BYTES (INT64_C(1) << 20) /* up to here one PUT is cheaper */
#define ANSWER_NS (120 * NS_PER_S)
#define WAIT_NS (60 * NS_PER_S)
#define ADAPTIONS_MAX 24
#define SESSIONS_MAX 4
#define REWINDS_MAX 16

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
	else if (atomic_load(&u->ending) && u->mode == SEND_STREAM)
		r = 0;
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

/* ---- requests ---- */

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

	if (u->mode == SEND_WHOLE) {
		r = target_has(&u->session.t->target, u->known, (uint64_t)u->size, NULL);
		if (!r) {
			u->session.confirmed = (uint64_t)u->size;
			return 0;
		}
		session_cancel(&u->session);
		return session_again(u);
	}
	u->mode = SEND_CHUNKED;
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
	uint64_t least = u->mode == SEND_CHUNKED ? u->chunk : 1;

	while (!u->eof && !atomic_load(&u->ending) && u->window.end - u->at < least)
		upload_news_wait(u);
}

/* Sets up the request for what comes next. Under the lock. */
static int piece_plan(struct upload_http *u, struct exchange *x)
{
	uint64_t left = u->window.end - u->at;

	x->method = u->mode == SEND_WHOLE ? "PUT" : "PATCH";
	x->location = u->session.location;
	x->headers[0] = "Content-Type: application/octet-stream";
	x->headers[1] = NULL;
	u->stop = UINT64_MAX;
	u->feed.size = -1;
	if (u->mode == SEND_CHUNKED) {
		left = min_u64(left, u->chunk);
		u->stop = u->at + left;
		u->feed.size = (int64_t)left;
		snprintf(u->range, sizeof(u->range), "Content-Range: %llu-%llu",
			 (unsigned long long)u->at, (unsigned long long)(u->stop - 1));
		x->headers[1] = u->range;
		x->headers[2] = NULL;
	} else if (u->mode == SEND_WHOLE) {
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
	whole_done =
		u->mode == SEND_WHOLE && u->repeated && u->session.confirmed == (uint64_t)u->size;
	u->repeated = true;
	pthread_mutex_lock(&u->lock);
	if (!whole_done)
		r = window_seek(u);
	if (r >= 0 && !whole_done)
		backlog_wait(u);
	over = whole_done || atomic_load(&u->ending) ||
	       (u->eof && u->at == u->window.end && (u->mode != SEND_WHOLE || u->size));
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
	if (u->mode == SEND_WHOLE) {
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
		if (u->mode == SEND_CHUNKED) {
			if (u->chunk / 2 < max_u64(CHUNK_LEAST, u->session.chunk_min))
				return code;
			u->chunk /= 2;
		} else if (u->mode == SEND_WHOLE) {
			if (u->patch_refused)
				return code;
			u->whole_refused = true;
		}
		u->mode = SEND_CHUNKED;
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
		if (u->mode != SEND_STREAM || u->stream_refused)
			return code;
		u->stream_refused = u->repeated = true;
		return 0;
	case 405:
	case 415:
	case 501:
		if (u->mode == SEND_WHOLE || u->whole_refused)
			return code;
		u->patch_refused = true;
		if (!u->known)
			return UPLOAD_WHOLE;
		session_cancel(&u->session);
		u->mode = SEND_WHOLE;
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

/* ---- the thread ---- */

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

int upload_sender_start(struct upload_http *u)
{
	int r;

	u->done = false;
	r = thread_start(&u->thread, "morsel-upload", sender_run, u);
	u->started = r >= 0;
	return r;
}

void upload_sender_join(struct upload_http *u)
{
	if (u->started)
		pthread_join(u->thread, NULL);
	u->started = false;
}

void upload_sender_init(struct upload_http *u)
{
	u->feed = (struct http_feed){.read = feed_read, .userdata = u};
	u->chunk = CHUNK_BYTES;
	if (u->known)
		u->mode = u->size <= WHOLE_BYTES ? SEND_WHOLE : SEND_STREAM;
}
