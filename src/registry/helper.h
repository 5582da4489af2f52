/* SPDX-License-Identifier: MIT */
/*
 * Asks a credential helper: the program docker-credential-NAME of $PATH, without a shell, with no
 * open file but its pipes, in a process group of its own, for at most 30 s. What it writes on
 * standard error is not shown.
 *
 * Blocks the calling thread. The environment is ours: helpers look up their own configuration.
 */
#ifndef MORSEL_REGISTRY_HELPER_H
#define MORSEL_REGISTRY_HELPER_H

#include <stdatomic.h>
#include "base/seam.h"
#include "registry/creds.h"

/* server: what the credential was stored under: a host, or the Hub's URL. cancel may be NULL.
 * 0; CREDS_NONE; -ENOENT: there is no such program (err says so); -EPERM: not a name; -ETIMEDOUT;
 * -ECANCELED; -EACCES: it failed; -EBADMSG, -E2BIG: its answer. */
int helper_ask(const struct seam *seam, const char *name, const char *server,
	       const atomic_bool *cancel, struct credential *ret, struct error *err);

#endif
