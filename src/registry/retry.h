/* SPDX-License-Identifier: MIT */
/*
 * What to do after a request failed: again, after which wait, by another way, or not at all.
 * Policy: does no I/O and has no clock; time and randomness come in as arguments.
 *
 *   struct retry state = {0};
 *   for (;;) {
 *           ... one attempt, described in struct attempt ...
 *           r = retry_next(&policy, &state, &attempt, where, now, deadline, random, &until,
 *                          err);
 *           if (r <= 0) return r;
 *           ... RETRY_RERESOLVE, RETRY_REAUTH: forget something; wait until `until` ...
 *   }
 */
#ifndef MORSEL_REGISTRY_RETRY_H
#define MORSEL_REGISTRY_RETRY_H

#include "base/error.h"

struct retry_policy {
	unsigned attempts; /* in a row without progress */
	uint64_t base_ns;  /* first back-off; doubles */
	uint64_t cap_ns;   /* of one back-off */
};
/* 5 attempts, 0.1 s doubling to 5 s */
#define RETRY_POLICY_DEFAULT                                                                       \
	((struct retry_policy){5, UINT64_C(100) * 1000 * 1000, UINT64_C(5) * 1000 * 1000 * 1000})
/* Where another place can be asked. */
#define RETRY_POLICY_ONCE ((struct retry_policy){1, 0, 0})

/* How a transfer ended, as far as it was not an HTTP answer. */
enum transfer_fault {
	TRANSFER_ANSWERED,  /* there is a status */
	TRANSFER_RESOLVE,   /* host name */
	TRANSFER_CONNECT,   /* refused, unreachable */
	TRANSFER_TIMEOUT,   /* connect, first byte, or too slow */
	TRANSFER_CUT,	    /* reset, short body, closed while waiting */
	TRANSFER_GARBLED,   /* not HTTP: bad chunk, bad frame, headers too long, wrong range */
	TRANSFER_HANDSHAKE, /* TLS could not be set up */
	TRANSFER_CERT,	    /* the certificate was refused: never retried */
	TRANSFER_OURS,	    /* a decision of ours (policy, memory, sink, cancel): code says which */
};

struct attempt {
	enum transfer_fault fault;
	int code;	 /* TRANSFER_OURS: negative errno, handed up unchanged */
	int status;	 /* TRANSFER_ANSWERED */
	bool redirected; /* the answer came from a redirect's target, not from the registry */
	bool authorized; /* the request carried a credential or token */
	bool has_retry_after;
	uint64_t retry_after_s;
	const char *detail; /* libcurl's or the registry's own words for errors, or NULL */
};

/* Zero at the start of a call. */
struct retry {
	unsigned failures, reauths, reresolves;
};

enum {
	RETRY_AGAIN = 1,     /* the same request, for the bytes still missing */
	RETRY_RERESOLVE = 2, /* first forget the remembered redirect: ask the registry itself */
	RETRY_REAUTH = 3,    /* first forget the token and answer the challenge */
};

/* 0: the status is a success or a redirect (2xx, 3xx): judge it yourself. RETRY_*: do that at
 * *ret_wait_until_ns, which may be now. < 0: over; the class of the error, with a text that names
 * where (a host, or a redacted URL), unless the code was ours. A wait that does not end before
 * deadline_ns (0 = none) ends the call; for a Retry-After with -ETIMEDOUT and a text that names
 * the wait. */
int retry_next(const struct retry_policy *policy, struct retry *state, const struct attempt *a,
	       const char *where, uint64_t now_ns, uint64_t deadline_ns, uint64_t random,
	       uint64_t *ret_wait_until_ns, struct error *err);
/* Bytes were delivered: what failed before no longer counts. */
void retry_progress(struct retry *state);

#endif
