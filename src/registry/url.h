/* SPDX-License-Identifier: MIT */
/*
 * URLs as far as a registry client needs them: where does this one point, what does a relative
 * Location mean, how is it shown without its secrets. libcurl's own URL parser does the work, so
 * that what is judged here is what libcurl dials.
 *
 * Only http and https; user names in URLs are refused; only printable ASCII is accepted. Whether
 * a URL may be visited is origin_policy.h's question. Dials nothing, pure.
 */
#ifndef MORSEL_REGISTRY_URL_H
#define MORSEL_REGISTRY_URL_H

#include "base/error.h"

#define URL_MAX 16384 /* bytes; signed URLs with security tokens reach some 4 KiB */
#define HOST_MAX 256  /* with the NUL */

/* What the same-origin rule compares: scheme, host, port. */
struct origin {
	bool https;
	uint16_t port;	     /* always set: 80 or 443 when the URL has none */
	char host[HOST_MAX]; /* lower case; IPv4 in four decimals; IPv6 in brackets, no zone */
};

#define ORIGIN_TEXT_MAX (HOST_MAX + 16)

bool origin_equal(const struct origin *a, const struct origin *b);
/* "https://host" or "http://host:5000": the port only when it is not the scheme's own. */
void origin_format(const struct origin *o, char out[static ORIGIN_TEXT_MAX]);
/* From a reference's "host[:port]". -EINVAL. */
int origin_of_host(const char *host_port, bool https, struct origin *ret, struct error *err);

struct url {
	char *text; /* normalised, without a fragment: what is handed to libcurl; may hold secrets
		     */
	struct origin origin;
};

/* -EPROTO: not a URL, or too long; -EPERM: another scheme, or a user name in it. Fuzzed. */
int url_parse(const char *text, struct url *ret, struct error *err);
/* location is absolute or relative to base. Outcomes as url_parse(). */
int url_resolve(const struct url *base, const char *location, struct url *ret, struct error *err);
/* Adds "key=value" to the query, percent-encoded. -E2BIG over URL_MAX, -ENOMEM. */
int url_add_query(struct url *u, const char *key, const char *value);
void url_fini(struct url *u);

/* For logs and errors: without query, fragment and user name; cut to n bytes with the NUL. Takes
 * any text, also such as url_parse() refuses. Returns out. */
const char *url_redact(const char *text, char *out, size_t n);

#endif
