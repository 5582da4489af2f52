/* SPDX-License-Identifier: MIT */
/* The caller's end of an upload: writes, waits for the end, starts over once. */
#include "registry/upload_impl.h"

#include <errno.h>

#define WINDOW_BYTES ((size_t)8 << 20)
#define LOOK_AGAIN_NS (100 * NS_PER_MS)
#define GRACE_NS (400 * NS_PER_MS)

void upload_news_wait(struct upload_http *u)
{
	const struct seam *s = u->session.t->r->o.seam;
	uint64_t at = s->monotonic_ns(s) + LOOK_AGAIN_NS;
	struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S), .tv_nsec = (long)(at % NS_PER_S)};
	const atomic_bool *cancel = u->session.t->r->o.cancel;

	pthread_cond_clockwait(&u->news, &u->lock, CLOCK_MONOTONIC, &ts);
	if (cancel && atomic_load(cancel))
		atomic_store(&u->ending, true);
}

/* What the sender wants of the writer; 0: nothing. Under the lock. */
static int outcome(struct upload_http *u, struct error *err)
{
	if (atomic_load(&u->ending))
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
			upload_news_wait(u);
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
	r = upload_sender_start(u);
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
		upload_news_wait(u);
	pthread_mutex_unlock(&u->lock);
	if (r)
		return r;
	upload_sender_join(u);
	if (u->mode == SEND_WHOLE)
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

static void tell(struct upload_http *u, atomic_bool *what)
{
	atomic_store(what, true);
	http_feed_wake(&u->feed);
	pthread_mutex_lock(&u->lock);
	pthread_cond_broadcast(&u->news);
	pthread_mutex_unlock(&u->lock);
}

/* A request that is broken off leaves a registry with bytes that it has told nobody of, and
 * docker's then takes no DELETE any more. So it gets a moment to be answered. */
static void sender_end(struct upload_http *u)
{
	const struct seam *s = u->session.t->r->o.seam;
	uint64_t until = s->monotonic_ns(s) + GRACE_NS;

	tell(u, &u->ending);
	pthread_mutex_lock(&u->lock);
	while (u->started && !u->done && s->monotonic_ns(s) < until)
		upload_news_wait(u);
	pthread_mutex_unlock(&u->lock);
	tell(u, &u->closing);
	upload_sender_join(u);
}

static void upload_http_free(struct upload *upload)
{
	struct upload_http *u = (struct upload_http *)upload;

	sender_end(u);
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
	u->size = size;
	if (known && size >= 0) {
		u->digest = *known;
		u->known = &u->digest;
	}
	upload_sender_init(u);
	http_feed_init(&u->feed);
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->news, NULL);
	r = window_init(&u->window, WINDOW_BYTES);
	if (r >= 0)
		r = upload_sender_start(u);
	if (r < 0) {
		upload_http_free(&u->upload);
		return error_set_errno(err, r, "%s: can't start an upload", t->text);
	}
	*ret = &u->upload;
	return 0;
}
