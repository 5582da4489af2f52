/* SPDX-License-Identifier: MIT */
/*
 * Where credentials are looked for, in this order; the first that knows the host wins:
 *
 *   --authfile, else $REGISTRY_AUTH_FILE          then only that one, and it must exist
 *   $DOCKER_AUTH_CONFIG                           the JSON itself
 *   $XDG_RUNTIME_DIR/containers/auth.json         podman login
 *   ${XDG_CONFIG_HOME:-~/.config}/containers/auth.json
 *   ${DOCKER_CONFIG:-~/.docker}/config.json       docker login
 *   ~/.dockercfg
 *
 * In one file a helper of credHelpers goes first, then docker's credsStore, then auths. A helper
 * that knows nothing hides nothing.
 *
 * Read once, when the store is opened; helpers are asked anew each time. Not watched, never
 * written.
 */
#ifndef MORSEL_REGISTRY_CREDS_STORE_H
#define MORSEL_REGISTRY_CREDS_STORE_H

#include <stdatomic.h>
#include "base/buf.h"
#include "base/seam.h"
#include "registry/creds.h"

struct creds_store;

/* authfile may be NULL. A file of the default places that can't be read or used is left out, and
 * creds_store_lookup() says so when nobody else knows the host. One that is named, and the JSON of
 * the environment, is an error: -ENOENT, -EACCES, -EPERM (owner), -EUCLEAN. */
int creds_store_open(const struct seam *seam, const char *authfile, struct creds_store **ret,
		     struct error *err);
void creds_store_free(struct creds_store *s); /* accepts NULL */
DEFINE_CLEANUP(struct creds_store *, creds_store_free)

/* May run a helper, for up to 30 s; cancel may be NULL. 0: found, where (file and key, or helper)
 * is appended to where; CREDS_NONE: where says what was tried; < 0: -EUCLEAN, -EACCES, -EPERM,
 * -ETIMEDOUT, -ECANCELED. Any thread. */
int creds_store_lookup(const struct creds_store *s, const char *host, const char *path,
		       const atomic_bool *cancel, struct credential *ret, struct buf *where,
		       struct error *err);

#endif
