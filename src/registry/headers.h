/* SPDX-License-Identifier: MIT */
/*
 * Values of the response headers we act on. Text of the value in, numbers out; the name, the
 * colon and the line end are the caller's. Pure and fuzzed; no clock (dates are compared with a
 * time the caller gives).
 *
 * -EPROTO: the value is not in the header's grammar. No error texts: the caller knows the host.
 */
#ifndef MORSEL_REGISTRY_HEADERS_H
#define MORSEL_REGISTRY_HEADERS_H

#include "base/util.h"

enum { HEADER_ABSENT = 1 };

struct content_range {
	bool unsatisfied; /* no range, as in a 416; first and last are unset */
	bool has_total;
	uint64_t first, last; /* inclusive; last < total when there is one */
	uint64_t total;
};

/* "bytes 0-99/1234"; an asterisk may stand for the total or for the range; "bytes " may be missing.
 */
int content_range_parse(const char *value, struct content_range *ret);
/* Of an upload: "0-99" or "bytes=0-99". *ret_next: 100, the offset where it goes on; 0 for "0-0",
 * which is how registries say "nothing yet" (and "one byte", which can't be told apart). */
int upload_range_parse(const char *value, uint64_t *ret_next);
/* Decimal digits only, at most 2^63 - 1. */
int content_length_parse(const char *value, uint64_t *ret);
/* Seconds, or an HTTP date (then the time from now_s on; 0 when it has passed). At most 2^31 s. */
int retry_after_parse(const char *value, int64_t now_s, uint64_t *ret_s);
/* "application/json; charset=x" -> "application/json", lower case. -ENOMEM. */
int content_type_parse(const char *value, char **ret);
/* The target of the first rel="next", relative or absolute as sent. HEADER_ABSENT: none; -ENOMEM.
 */
int link_next_parse(const char *value, char **ret);

#endif
