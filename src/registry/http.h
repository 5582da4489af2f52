/* SPDX-License-Identifier: MIT */
/*
 * HTTP requests: the only user of libcurl. One thread drives all transfers (HTTP/2 multiplexed,
 * connections kept); callers block, and a body flows through a bounded buffer to a sink that runs
 * in the caller's thread.
 *
 * One request is one exchange: no redirect is followed, nothing is retried, no credential is added.
 * Deadlines are on the seam's clock. The environment is not looked at: proxies come in as
 * arguments.
 */
#ifndef MORSEL_REGISTRY_HTTP_H
#define MORSEL_REGISTRY_HTTP_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>
#include "base/buf.h"
#include "base/seam.h"
#include "registry/origin_policy.h"
#include "registry/retry.h"

#define HTTP_HEADERS_MAX ((size_t)256 << 10)
#define HTTP_ERROR_BODY_MAX ((size_t)64 << 10)

struct http_options {
	const struct seam *seam;
	const char *user_agent;
	bool tls_noverify;
	uint64_t connect_ns, first_byte_ns, slow_ns; /* 0 = 5 s, 10 s, 10 s under 1 KiB/s */
};

struct http;
int http_new(const struct http_options *o, struct http **ret);
void http_free(struct http *h); /* no request may be under way; accepts NULL */
DEFINE_CLEANUP(struct http *, http_free)

/* Adds what went over it so far. */
struct registry_traffic;
void http_traffic_add(const struct http *h, struct registry_traffic *ret);

struct http_response {
	int status;
	struct buf headers; /* "name: value\0" lines, names in lower case */
	struct buf body;    /* of answers that the sink does not get: at most body_max bytes */
	enum address_class peer;
	uint64_t queue_ns, connect_ns, first_byte_ns, transfer_ns, body_bytes;
};

enum { HTTP_COLLECT = 1, HTTP_ENOUGH = 1 };

/* A request body that is made while it is sent. */
struct http_feed {
	/* In the engine's thread, so it must not block: > 0 bytes put into buf, 0 = the end,
	 * HTTP_FEED_LATER = none yet (http_feed_wake() when there are), other < 0 = stop with that.
	 */
	ssize_t (*read)(void *userdata, void *buf, size_t n);
	void *userdata;
	int64_t size; /* bytes in all; -1: not known before the end */
	pthread_mutex_t lock;
	struct transfer *transfer; /* being fed; under lock, like http */
	struct http *http;
};

enum { HTTP_FEED_LATER = -EAGAIN };

void http_feed_init(struct http_feed *f);
void http_feed_fini(struct http_feed *f); /* no request may be under way */
void http_feed_wake(struct http_feed *f); /* any thread */

struct http_tls {
	char *ca; /* certificates in PEM, trusted besides the system's; or NULL */
	size_t ca_len;
	char *cert, *key;	      /* files of ours, or NULL */
	struct client_certs *clients; /* these and others, to choose from; or NULL */
};

struct http_request {
	const char *method; /* "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE" */
	const char *url;
	const char *const *headers; /* complete lines, NULL-terminated */
	const void *body;	    /* of POST, PUT; or NULL: an empty one, or */
	size_t body_len;
	struct http_feed *feed; /* this, or NULL */
	uint64_t answer_ns;	/* patience for the answer's head; 0 = connect and first byte */
	size_t body_max;	/* of a collected body; 0 = HTTP_ERROR_BODY_MAX; more is -E2BIG */
	uint64_t deadline_ns;	/* 0 = none */
	const atomic_bool *cancel; /* or NULL */
	const bool *timeless; /* when on_headers sets it there is no deadline any longer; or NULL */
	const char *proxy;    /* its URL; "" or NULL: none */
	const struct http_tls *tls; /* or NULL */
	bool tls_noverify;
	uint64_t connect_ns, slow_ns; /* 0 = the engine's */
	bool hurried;		      /* a peer that acknowledges nothing for a second is gone */
	bool judge_address;	      /* refuse sockets that address_allowed() refuses */
	enum address_class registry_class;
	/* Once, before the body: 0 = give the body to sink, HTTP_COLLECT, < 0 = stop with that
	 * (-EPROTO: the answer is no good, TRANSFER_GARBLED). NULL: collect. */
	int (*on_headers)(void *userdata, const struct http_response *rs);
	/* 0; HTTP_ENOUGH: the rest is not wanted; < 0 = stop with that. */
	int (*sink)(void *userdata, const void *data, size_t n);
	void *userdata;
};

/* 0: there is an answer (or HTTP_ENOUGH was said); a->fault is TRANSFER_ANSWERED. 1: there is none,
 * or it broke off: a->fault says how, a->detail (in detail[]) in words. ret must be finished in any
 * case. */
int http_perform(struct http *h, const struct http_request *rq, struct http_response *ret,
		 struct attempt *a, char detail[static 256]);
void http_response_fini(struct http_response *rs);

/* The first value of a header, or NULL; all of them with http_header_next(). */
const char *http_header(const struct http_response *rs, const char *name);
/* *pos starts at 0. */
const char *http_header_next(const struct http_response *rs, const char *name, size_t *pos);

#endif
