/* SPDX-License-Identifier: MIT */
/* Blobs of a registry, read by range. */
#ifndef MORSEL_REGISTRY_BLOB_HTTP_H
#define MORSEL_REGISTRY_BLOB_HTTP_H

#include "registry/exchange.h"

/* repo: "library/alpine". Dials nothing. */
int blob_http_open(struct registry *r, struct auth *auth, const char *repo, const struct digest *d,
		   uint64_t size, struct blob **ret);

#endif
