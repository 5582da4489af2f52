/* SPDX-License-Identifier: MIT */
/* Blobs of a registry, read by range. As with every blob, their bytes are not verified here. */
#ifndef MORSEL_REGISTRY_BLOB_HTTP_H
#define MORSEL_REGISTRY_BLOB_HTTP_H

#include "registry/route.h"

/* Dials nothing. route must outlive the blob. */
int blob_http_open(struct registry *r, struct route *route, const struct digest *d, uint64_t size,
		   struct blob **ret);

#endif
