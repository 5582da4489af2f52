/* SPDX-License-Identifier: MIT */
/*
 * One upload session of a registry: begun by a POST, moved on by what the answers to PATCH say,
 * asked for by a GET after something broke, ended by a PUT with the digest, or by a DELETE.
 *
 * Where it goes on is a Location of the registry's own origin or nothing: another host gets neither
 * bytes nor credentials of ours. Sends no blob bytes itself: upload_send.c does.
 */
#ifndef MORSEL_REGISTRY_UPLOAD_SESSION_H
#define MORSEL_REGISTRY_UPLOAD_SESSION_H

#include "registry/exchange.h"
#include "registry/target_impl.h"

struct target_registry {
	struct target target;
	struct registry *r;
	struct auth *auth;
	char *text; /* the reference as typed, for errors */
	char *repo, *tag;
	char *from; /* whose blobs may be mounted, or NULL */
	bool has_digest;
	struct digest digest;
};

struct session {
	struct target_registry *t;
	const atomic_bool *cancel;
	char *location;	    /* absolute; NULL: no session */
	uint64_t confirmed; /* bytes the registry says it has */
	uint64_t sent;	    /* no answer can confirm more than this */
	uint64_t chunk_min; /* bytes; every chunk but the last has to have so many */
	int status;	    /* of the last answer; 0: there was none */
	char why[300];	    /* what was wrong with an answer; "" */
};

/* Asks for a session, from byte 0. */
int session_begin(struct session *s, struct error *err);
/* The new Location and how far it is, from an answer that accepted bytes: for on_headers. -EPROTO:
 * it makes no sense; -EPERM: it leads elsewhere; both with `why`. */
int session_advance(struct session *s, const struct http_response *rs);
enum { SESSION_LOST = 1 };
/* Asks how far it is. SESSION_LOST: the registry does not know it, or can't say. */
int session_look(struct session *s, struct error *err);
/* All bytes are there: makes a blob of them. */
int session_finish(struct session *s, const struct digest *d, uint64_t size, struct error *err);
/* Adds the digest to a Location. NULL: no memory. */
char *session_final_url(const struct session *s, const struct digest *d);
/* An answer to the last request: 201, and about this blob. For on_headers. */
int session_created(struct session *s, const struct http_response *rs, const struct digest *d);
/* Tells the registry that nothing more comes, in a few seconds or not at all. */
void session_cancel(struct session *s);
void session_fini(struct session *s);

/* A question about a session or a blob, ready to be run. */
struct exchange target_exchange(struct target_registry *t, const atomic_bool *cancel,
				const char *method);
/* The error of an exchange, or what was found wrong with its answer. */
int session_error(const struct session *s, int code, const struct error *why, struct error *err);

int upload_http_new(struct target_registry *t, const struct digest *known, int64_t size,
		    struct upload **ret, struct error *err);

#endif
