/* SPDX-License-Identifier: MIT */
/*
 * Configuration that other programs and their users wrote: where it may be, and reading it. Root
 * reads no file that belongs to somebody else than root or the user who called sudo: it says where
 * requests and credentials go, and what is run. Root of a user namespace also reads files whose
 * owners have no name in it: /etc is such. Does not know what is in the files.
 */
#ifndef MORSEL_REGISTRY_CONF_H
#define MORSEL_REGISTRY_CONF_H

#include "base/error.h"
#include "base/seam.h"

/* A variable of the environment; NULL: not set, empty, or not to be trusted (setuid). */
const char *conf_env(const char *name);
/* $HOME, else the password database's; NULL: there is none. The caller's. */
char *conf_home(void);
/* ${XDG_CONFIG_HOME:-~/.config} with rest behind it; NULL: there is none. The caller's. */
char *conf_user_path(const char *rest);
/* dir with rest behind it; NULL: no memory. The caller's. */
char *conf_join(const char *dir, const char *rest);

bool conf_owner_ok(uid_t owner);

/* What is wrong with somebody's configuration is nothing corrupt that was received: -EBADMSG, in
 * err too, becomes -EUCLEAN, an error like any other. Else r. */
int conf_error(int r, struct error *err);

/* The whole file with a NUL behind it; the caller's. what ("credential file") begins the errors.
 * Symlinks are followed: secrets of orchestrators and dot files are often linked. -ENOENT, -EACCES,
 * -EISDIR, -EPERM (owner, not a regular file), -E2BIG, ... */
int conf_read(const struct seam *seam, const char *what, const char *path, size_t max_bytes,
	      char **ret, size_t *ret_len, struct error *err);

#endif
