/* SPDX-License-Identifier: MIT */
/*
 * Credentials that docker login and podman login have stored: the JSON of ~/.docker/config.json
 * and of containers' auth.json, which share one shape. This half is pure: bytes in, table out.
 * Which files are read, and in which order what is in them counts, is creds_store.h.
 *
 * Keys of "auths" are hosts, in auth.json also host/namespace/repository; old ones are URLs.
 * Docker Hub's is "https://index.docker.io/v1/". Looked up most specific first; per key exactly,
 * then without scheme and "/v1/" or "/v2/" path.
 *
 * Credential helpers are named, not run (helper.h).
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
/* Copies and checks. -EBADMSG with a text that begins with what; -ENOMEM. */
int credential_make(enum credential_kind kind, const char *username, const char *secret,
		    const char *what, struct credential *ret, struct error *err);

enum creds_house {
	CREDS_DOCKER,	 /* config.json */
	CREDS_DOCKERCFG, /* .dockercfg: what later became "auths", alone */
	CREDS_PODMAN,	 /* auth.json: without "credsStore", which podman ignores */
};

/* what names the file in errors (secrets are never quoted). -EBADMSG, -E2BIG, -ENOMEM. Fuzzed.
 * An entry that is broken by itself is kept as such: only looking it up fails. */
int creds_parse(const void *json, size_t len, enum creds_house house, const char *what,
		struct creds **ret, struct error *err);
void creds_free(struct creds *c); /* accepts NULL */
DEFINE_CLEANUP(struct creds *, creds_free)

enum { CREDS_NONE = 1 };

struct creds_helper {	    /* borrowed */
	const char *name;   /* "secretservice" */
	const char *key;    /* of credHelpers; NULL: it is the credsStore, for every host */
	const char *server; /* what it is to be asked for */
};
/* host as in struct ref ("docker.io"). 0, CREDS_NONE, -EBADMSG. */
int creds_helper(const struct creds *c, const char *host, struct creds_helper *ret,
		 struct error *err);
/* host and path as in struct ref ("docker.io", "library/alpine"); path may be NULL.
 * 0 with ret, to be finished by the caller, and its key, borrowed; CREDS_NONE; -EBADMSG: the entry
 * is broken. */
int creds_lookup(const struct creds *c, const char *host, const char *path, struct credential *ret,
		 const char **ret_key, struct error *err);

#endif
