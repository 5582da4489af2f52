/* SPDX-License-Identifier: MIT */
/*
 * The reply of a token server: JSON in, token and life out. Pure and fuzzed. issued_at is not
 * read: life is counted on our monotonic clock from the arrival of the reply.
 */
#ifndef MORSEL_REGISTRY_TOKEN_REPLY_H
#define MORSEL_REGISTRY_TOKEN_REPLY_H

#include "base/error.h"

#define TOKEN_REPLY_MAX ((size_t)1 << 20) /* bytes of a reply */

struct token_reply {
	char *token;	     /* visible ASCII only: fit for a header */
	char *refresh_token; /* NULL when absent; as above */
	uint64_t life_s;     /* 60 s .. 24 h; 60 when absent, nonsense, or less */
	uint64_t renew_s;    /* 80 % of it: renew after so long */
};

/* where names the token server in errors; it is quoted, never the reply. -EPROTO, -E2BIG. */
int token_reply_parse(const void *json, size_t len, const char *where, struct token_reply *ret,
		      struct error *err);
/* Wipes the secrets. */
void token_reply_fini(struct token_reply *t);

#endif
