/* SPDX-License-Identifier: MIT */
/*
 * Credentials that docker login and podman login have stored: the JSON of ~/.docker/config.json
 * and of containers' auth.json, which share one shape. This half is pure: bytes in, table out.
 * Which files are read is creds_store.h.
 *
 * Keys of "auths" are hosts, in auth.json also host/namespace/repository; old ones are URLs.
 * Docker Hub's is "https://index.docker.io/v1/". Looked up most specific first; per key exactly,
 * then without scheme and "/v1/" or "/v2/" path.
 *
 * Credential helpers are recognised, not run: the caller can say what is missing.
 */
#ifndef MORSEL_REGISTRY_CREDS_H
#define MORSEL_REGISTRY_CREDS_H

#include "base/error.h"

struct creds;

enum credential_kind {
	CREDENTIAL_BASIC = 1, /* username, secret = password */
	CREDENTIAL_IDENTITY,  /* secret = refresh token for the token server; username may be "" */
	CREDENTIAL_BEARER,    /* secret = registry token, used as it is */
};

struct credential {
	enum credential_kind kind;
	char *username; /* never NULL, may be "" */
	char *secret;	/* no NUL inside, no control bytes */
};
/* Wipes the secret. */
void credential_fini(struct credential *c);

/* what names the file in errors (secrets are never quoted). -EBADMSG, -E2BIG, -ENOMEM. Fuzzed.
 * An entry that is broken by itself is kept as such: only looking it up fails. */
int creds_parse(const void *json, size_t len, const char *what, struct creds **ret,
		struct error *err);
void creds_free(struct creds *c); /* accepts NULL */
DEFINE_CLEANUP(struct creds *, creds_free)

enum { CREDS_NONE = 1, CREDS_HELPER = 2 };

/* host and path as in struct ref ("docker.io", "library/alpine"); path may be NULL.
 * 0 with ret, to be finished by the caller; CREDS_NONE; CREDS_HELPER: only a helper knows, its
 * name ("secretservice") is in *ret_helper, borrowed; -EBADMSG: the entry is broken. */
int creds_lookup(const struct creds *c, const char *host, const char *path, struct credential *ret,
		 const char **ret_helper, struct error *err);

#endif
