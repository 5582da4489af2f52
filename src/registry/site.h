/* SPDX-License-Identifier: MIT */
/*
 * A site: one place that serves a repository, the registry itself or a mirror, and how it is asked.
 * A list of sites is tried in its order.
 *
 * Data with owners; knows nothing of connections, credentials or health.
 */
#ifndef MORSEL_REGISTRY_SITE_H
#define MORSEL_REGISTRY_SITE_H

#include "base/error.h"

#define SITES_MAX 32 /* of a list: one bit each in a mask */

enum site_scheme { SITE_GUESS, SITE_HTTP, SITE_HTTPS };

struct site {
	char *host; /* "mirror.example:5000": whose credentials and certificates */
	char *api;  /* where its API begins: "/v2"; no slash at its end */
	char *repo; /* what the repository is called there */
	char *ns;   /* the registry it stands in for, which it is told; or NULL */
	char *conf; /* which entry of a file says so; "" = none. Part of the identity of its host */
	char **headers; /* complete lines, sent to nobody else; NULL-terminated, or NULL */
	char **ca;	/* files, as headers */
	char **clients; /* files: a certificate, its key, and so on; as headers */
	enum site_scheme scheme;
	bool is_mirror;
	bool tags, digests;	 /* what it may be asked for */
	bool noverify, plain_ok; /* TLS without verification; plain HTTP where there is no TLS */
	uint64_t dial_ns;	 /* how long a connection may take; 0 = as usual */
};

struct site_list {
	struct site *sites;
	size_t n;
};

/* Adds a site that may be asked for everything at "/v2"; NULL: no memory, or SITES_MAX. Borrowed
 * until the next one is added. */
struct site *site_add(struct site_list *l, const char *host, const char *repo);
void site_fini(struct site *s);
void site_list_fini(struct site_list *l);
/* Moves from's sites behind to's, as far as there is room. */
void site_list_take(struct site_list *to, struct site_list *from);

/* A NULL-terminated array that owns its strings. -ENOMEM. */
int strings_add(char ***list, const char *text);
/* A client certificate and its key. -ENOMEM. */
int site_client_add(struct site *s, const char *cert, const char *key);

#endif
