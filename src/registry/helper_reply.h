/* SPDX-License-Identifier: MIT */
/*
 * What a credential helper (docker-credential-NAME) may be called, and what its answer to "get"
 * means. Pure and fuzzed; helper.h runs it.
 */
#ifndef MORSEL_REGISTRY_HELPER_REPLY_H
#define MORSEL_REGISTRY_HELPER_REPLY_H

#include "registry/creds.h"

#define HELPER_REPLY_MAX ((size_t)64 << 10) /* bytes of an answer */
#define HELPER_NAME_MAX 64

/* [A-Za-z0-9._-], not all dots: a name, never a path. */
bool helper_name_ok(const char *name);

/* failed: the helper did not exit with 0; then its output says why. what names the helper in
 * errors, where the output is quoted only if it failed (it holds no secret then). 0; CREDS_NONE: it
 * knows none; -EBADMSG; -EACCES: it failed; -E2BIG. */
int helper_reply_parse(const void *out, size_t len, bool failed, const char *what,
		       struct credential *ret, struct error *err);

#endif
