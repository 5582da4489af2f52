/* SPDX-License-Identifier: MIT */
/*
 * Which credential files are read, in this order; the first that knows the host wins:
 *
 *   --authfile, else $REGISTRY_AUTH_FILE          then only that one, and it must exist
 *   $XDG_RUNTIME_DIR/containers/auth.json         podman login
 *   ${XDG_CONFIG_HOME:-~/.config}/containers/auth.json
 *   ${DOCKER_CONFIG:-~/.docker}/config.json       docker login
 *
 * Read once, when the store is opened. Root reads no file that belongs to somebody else than root
 * or the user who called sudo. Not watched, never written.
 */
#ifndef MORSEL_REGISTRY_CREDS_STORE_H
#define MORSEL_REGISTRY_CREDS_STORE_H

#include "base/log.h"
#include "base/seam.h"
#include "registry/creds.h"

struct creds_store;

/* authfile may be NULL. A file of the default places that can't be read or used is left out with
 * a warning in log; a named one is an error: -ENOENT, -EACCES, -EPERM (owner), -EBADMSG. */
int creds_store_open(const struct seam *seam, const struct log *log, const char *authfile,
		     struct creds_store **ret, struct error *err);
void creds_store_free(struct creds_store *s); /* accepts NULL */
DEFINE_CLEANUP(struct creds_store *, creds_store_free)

/* As creds_lookup(); *ret_file (borrowed) is the file that had it, set for 0 and CREDS_HELPER.
 * Immutable after opening: any thread. */
int creds_store_lookup(const struct creds_store *s, const char *host, const char *path,
		       struct credential *ret, const char **ret_helper, const char **ret_file,
		       struct error *err);

#endif
