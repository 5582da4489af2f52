/* SPDX-License-Identifier: MIT */
/*
 * WWW-Authenticate: which scheme a registry wants, and the parameters of a Bearer challenge.
 * Several headers, several challenges in one header, quoted strings with escapes, token68 forms.
 * Bearer is preferred over Basic, the first of several Bearers wins.
 * Pure; whether the realm may be trusted is origin_policy.h's question.
 */
#ifndef MORSEL_REGISTRY_CHALLENGE_H
#define MORSEL_REGISTRY_CHALLENGE_H

#include "base/error.h"

#define CHALLENGE_HEADER_MAX 16384 /* bytes of one header value */

enum challenge_scheme { CHALLENGE_BASIC = 1, CHALLENGE_BEARER };

struct challenge {
	enum challenge_scheme scheme;
	char *realm;   /* Bearer: the token server's URL, never NULL; Basic: a text, or NULL */
	char *service; /* Bearer; NULL when absent, as the following */
	char *scope;
	char *error; /* "invalid_token", "insufficient_scope" */
};

enum { CHALLENGE_NONE = 1 };

/* values: the header values (without the name); where names the server in errors. 0;
 * CHALLENGE_NONE: there is no challenge at all; -ENOTSUP: only other schemes, named; -EPROTO:
 * malformed. A malformed challenge beside a good one is skipped. Fuzzed. */
int challenge_parse(const char *const *values, size_t n, const char *where, struct challenge *ret,
		    struct error *err);
void challenge_fini(struct challenge *c);

#endif
