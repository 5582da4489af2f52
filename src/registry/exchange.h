/* SPDX-License-Identifier: MIT */
/*
 * One question to a registry, asked until it is answered: redirects followed by our own rules,
 * challenges answered, failures retried with back-off. Documents and blobs are read through it.
 * Does not decide where a credential may go (origin_policy.h), nor know what an answer means.
 */
#ifndef MORSEL_REGISTRY_EXCHANGE_H
#define MORSEL_REGISTRY_EXCHANGE_H

#include <pthread.h>
#include "base/log.h"
#include "registry/blob.h"
#include "base/work.h"
#include "registry/creds_store.h"
#include "registry/health.h"
#include "registry/http.h"
#include "registry/mirror_files.h"
#include "registry/proxy.h"
#include "registry/source_impl.h"

/* What is known of one registry host; kept for the life of struct registry. The same name may stand
 * there more than once, reached in different ways. */
struct host {
	struct host *next;
	char name[HOST_MAX + 8]; /* "localhost:5000" */
	char *conf;		 /* struct site's */
	enum site_scheme scheme;
	struct http_tls tls;
	bool noverify, plain_ok;
	struct health health; /* of mirrors */
	struct origin origin;
	bool scheme_known; /* a loopback host may turn out to talk plain HTTP */
	enum address_class peer;
	bool realm_pinned;
	struct origin realm;
	uint64_t failed_ns, next_probe_ns; /* while it is down; 0 = it is not */
	uint64_t quiet_until_ns;	   /* it asked for fewer requests: prefetch waits */
};

/* How requests for one repository of a host are authorised. */
struct auth {
	struct auth *next;
	struct host *host;
	char *repo;
	char *scope;  /* what tokens are asked for, e.g. "repository:a/b:pull"; several by blanks */
	char *header; /* "Authorization: ..." or NULL: none is needed, as far as we know */
	char *where;  /* whose credential it is: file and key, or helper; or NULL */
	enum secret_kind kind;
	uint64_t renew_ns; /* 0 = never */
	uint64_t version;  /* counts changes of header */
	char *realm, *service;
	bool fetching; /* one thread asks the token server, the others wait */
};

struct registry {
	struct registry_options o;
	struct http *http;
	struct http *background; /* under lock; NULL until somebody prefetches */
	struct creds_store *creds;
	struct proxy_settings proxy;
	struct registries_conf conf; /* under lock, once: */
	bool conf_read;
	struct work_pool *probes; /* under lock; NULL until a mirror is down */
	atomic_bool closing;
	pthread_mutex_t lock; /* hosts, auths, routes */
	pthread_cond_t token_news, health_news;
	struct host *hosts;
	struct auth *auths;
	struct route *routes;
};

/* The registry a reference names, without its mirrors. */
struct host *registry_host(struct registry *r, const char *name, struct error *err);
struct host *registry_host_of(struct registry *r, const struct site *s, struct error *err);
/* How a request for h's sake reaches target: sets its proxy and certificates. A target that is not
 * h itself gets what certs.d has for it; and TLS is verified there. -EUCLEAN: no such proxy. */
int registry_way(struct registry *r, const struct host *h, const struct origin *target,
		 struct http_request *rq, struct error *err);
/* What is known of a host now: other threads learn its scheme and its address meanwhile. */
void host_look(struct registry *r, const struct host *h, struct origin *ret,
	       enum address_class *ret_peer);
/* To read, or also to write, a repository; from: and to mount blobs of this one into it, or NULL.
 */
struct auth *registry_auth(struct registry *r, struct host *host, const char *repo, bool push,
			   const char *from);

/* The header to send to target, or NULL; freed by the caller. Renews a token that is due. */
int auth_header(struct registry *r, struct auth *a, const struct origin *target,
		enum purpose purpose, uint64_t deadline_ns, const atomic_bool *cancel, char **ret,
		uint64_t *ret_version, struct error *err);
/* Answers a 401: sent_version is what was refused. */
int auth_answer(struct registry *r, struct auth *a, const struct http_response *rs,
		uint64_t sent_version, uint64_t deadline_ns, const atomic_bool *cancel,
		struct error *err);

/* The engine that a request goes through. */
struct http *registry_http(struct registry *r, bool background);

struct exchange {
	struct registry *r;
	struct auth *auth;
	const struct site *site;   /* NULL: the registry itself, at "/v2" */
	bool hurried;		   /* there is another place to ask: one attempt, little patience */
	bool ping;		   /* any answer will do */
	unsigned place;		   /* which one of the route's this is */
	enum transfer_fault fault; /* set: how the last attempt ended */
	const char *method;	   /* NULL: "GET" */
	const char *path;	   /* below "/v2/", already encoded; or */
	const char *location;	   /* where an upload goes on: absolute, of the registry's origin */
	const char *headers[6];	   /* NULL-terminated */
	const void *body;	   /* of POST and PUT, or feed, or neither */
	size_t body_len;
	struct http_feed *feed;
	uint64_t answer_ns; /* as struct http_request's */
	size_t body_max;
	uint64_t deadline_ns;
	uint64_t wait_ns; /* without a deadline: how long a wait for another attempt may be; 0: any
			   */
	bool timeless;	  /* may be set in on_headers: the deadline does not count any longer */
	const atomic_bool *cancel;
	bool background;	/* not while the host wants fewer requests, and never again then */
	struct blob_cost *cost; /* or NULL */
	int (*on_headers)(void *userdata, const struct http_response *rs);
	int (*sink)(void *userdata, const void *data, size_t n);
	void *userdata;
	/* Whether bytes came since it was last asked: failures then count from the start. NULL: no.
	 */
	bool (*progressed)(void *userdata);
	/* Called before every attempt: may change headers. Returns true when all is done already.
	 */
	bool (*before)(void *userdata, struct exchange *x);
	/* Remembered target of a redirect, or NULL; owned by the caller, changed here under its
	 * lock. */
	char **remembered;
	pthread_mutex_t *remembered_lock;
};

/* 0: answered with success; ret is set and must be finished. < 0: as blob_read(). */
int exchange_run(struct exchange *x, struct http_response *ret, struct error *err);

#endif
