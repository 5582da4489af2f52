/* SPDX-License-Identifier: MIT */
/*
 * Asks the token server that a registry's challenge named, with the credential that may go there,
 * or with none. Keeps nothing: who asks, when, and what becomes of the token is auth.c's.
 */
#ifndef MORSEL_REGISTRY_TOKEN_REQUEST_H
#define MORSEL_REGISTRY_TOKEN_REQUEST_H

#include "registry/exchange.h"
#include "registry/token_reply.h"

/* c: NULL for none. tried: c's place, or where one was looked for. a->realm and a->service stand
 * still meanwhile. ret is set on success only, and must be finished. -EACCES: refused; -EPERM: the
 * realm is none that this registry may name; -EPROTO, -E2BIG; as http.h. */
int token_request(struct registry *r, struct auth *a, const struct credential *c, const char *tried,
		  uint64_t deadline_ns, const atomic_bool *cancel, struct token_reply *ret,
		  struct error *err);

/* "Authorization: Basic ...", the caller's to wipe and free; NULL: no memory. */
char *auth_basic_header(const struct credential *c);

/* -EACCES, said so that the reader knows what to do. had: there was a credential. */
int auth_denied(const struct auth *a, const char *where, bool had, const char *tried,
		struct error *err);

#endif
