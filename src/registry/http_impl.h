/* SPDX-License-Identifier: MIT */
/*
 * What the engine thread (http_engine.c) and the callers (http.c) share. The engine owns the multi
 * handle and all easy handles. A caller hands a transfer over through a list and a wake-up; from
 * then on both sides talk through the transfer's lock:
 *
 *   engine: header lines, body bytes (pausing at BODY_BUFFER), the result   -> caller
 *   caller: "go on" after it has taken bytes, "stop"                        -> engine
 *
 * A body that is sent comes from a feed, which the engine asks; whoever fills it wakes the engine.
 * Neither follows redirects, nor tries again: exchange.h does.
 */
#ifndef MORSEL_REGISTRY_HTTP_IMPL_H
#define MORSEL_REGISTRY_HTTP_IMPL_H

#include <curl/curl.h>
#include <pthread.h>
#include "registry/http.h"

struct transfer {
	struct transfer *next;
	const struct http *http;
	const struct http_request *rq;
	CURL *easy;
	struct curl_slist *headers;
	pthread_mutex_t lock;
	pthread_cond_t news;
	struct buf lines, body; /* under lock, as all below */
	int status;
	bool headers_done, paused, resume, stop, queued, done, too_big;
	bool address_refused;
	bool starved;	 /* the feed has nothing to send: we are the slow ones */
	uint64_t fed_ns; /* when it last gave something */
	int feed_code;	 /* < 0: it stopped the transfer */
	CURLcode code;
	char error[CURL_ERROR_SIZE];
};

struct http {
	struct http_options o;
	CURLM *multi;
	pthread_t thread;
	pthread_mutex_t lock;
	struct transfer *incoming, *active; /* incoming: under lock; active: the engine's */
	bool stopping;
	_Atomic uint64_t requests, received, sent; /* http_traffic() */
};

/* Makes the easy handle of a transfer. */
int transfer_prepare(struct http *h, struct transfer *t);
void transfer_submit(struct http *h, struct transfer *t);
/* It was begun at start (from trace_begin()) and is over. */
void http_trace(const struct http_request *rq, const struct http_response *rs, uint64_t start);
/* Under the transfer's lock: stop it, or go on after a pause. */
void transfer_wish(struct http *h, struct transfer *t, bool stop);

#endif
