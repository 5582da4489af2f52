/* SPDX-License-Identifier: MIT */
/*
 * One upload, as its two ends see it: upload_http.c, in the caller's thread, writes into a window,
 * upload_send.c, in a thread of the upload's own, sends from it.
 *
 *      start            confirmed       at               end
 *        |  may be sent again  |  on the  |  not yet sent  |
 *        |<----- history ----->|   wire   |<-- backlog --->|  (at most half of the window)
 */
#ifndef MORSEL_REGISTRY_UPLOAD_IMPL_H
#define MORSEL_REGISTRY_UPLOAD_IMPL_H

#include "registry/upload_session.h"
#include "registry/window.h"

enum send_mode { SEND_STREAM, SEND_CHUNKED, SEND_WHOLE };

struct upload_http {
	struct upload upload;
	struct session session; /* the sender's */
	struct http_feed feed;
	pthread_t thread;
	atomic_bool ending;  /* no more is sent: the request under way comes to its end */
	atomic_bool closing; /* nor is that waited for */
	bool started;
	const struct digest *known; /* &digest, or NULL */
	struct digest digest;
	int64_t size;

	/* the sender's */
	enum send_mode mode;
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

/* Chooses how the upload begins, by what is known of it. */
void upload_sender_init(struct upload_http *u);
/* The thread, which ends when all is sent (u->done). -EAGAIN, -ENOMEM. */
int upload_sender_start(struct upload_http *u);
void upload_sender_join(struct upload_http *u); /* also when it was not started */
/* Waits until the other end did something, not for long. Under the lock. */
void upload_news_wait(struct upload_http *u);

#endif
