/* SPDX-License-Identifier: MIT */
/*
 * Three counters keep three loops finite, each cleared when bytes arrive: failures (waited out
 * with back-off), answers that a fresh token might change, answers of a redirect's target that a
 * fresh redirect might change. The last two happen at once: nothing is gained by waiting.
 */
#include "registry/retry.h"

#include <errno.h>
#include <stdio.h>
#include "base/seam.h"

#define REAUTHS_MAX 1
#define RERESOLVES_MAX 1

struct verdict {
	int code;	/* the class of the error if the call ends here */
	bool again;	/* may pass by itself */
	bool reauth;	/* a fresh token may help */
	bool elsewhere; /* when a redirect's target says so, the registry may say otherwise */
	const char *what;
};

static struct verdict fault_judge(enum transfer_fault fault)
{
	switch (fault) {
	case TRANSFER_RESOLVE:
		return (struct verdict){-EHOSTUNREACH, .again = true,
					.what = "can't find the host"};
	case TRANSFER_CONNECT:
		return (struct verdict){-ECONNREFUSED, .again = true, .what = "can't connect"};
	case TRANSFER_TIMEOUT:
		return (struct verdict){-ETIMEDOUT, .again = true, .what = "no answer in time"};
	case TRANSFER_CUT:
		return (struct verdict){-ECONNRESET, .again = true, .what = "the connection broke"};
	case TRANSFER_GARBLED:
		return (struct verdict){-EPROTO, .again = true,
					.what = "the answer makes no sense"};
	case TRANSFER_HANDSHAKE:
		return (struct verdict){-EPROTO, .again = true, .what = "TLS could not be set up"};
	case TRANSFER_CERT:
		return (struct verdict){-EPROTO, .what = "the server's certificate was refused"};
	case TRANSFER_ANSWERED:
	case TRANSFER_OURS:
		break;
	}
	return (struct verdict){-EPROTO};
}

static struct verdict status_judge(int status)
{
	switch (status) {
	case 400:
		return (struct verdict){-EPROTO, .reauth = true, .elsewhere = true,
					.what = "the request was refused"};
	case 401:
		return (struct verdict){-EACCES, .reauth = true, .elsewhere = true,
					.what = "not allowed"};
	case 403:
		return (struct verdict){-EACCES, .reauth = true, .elsewhere = true,
					.what = "not allowed"};
	case 404:
	case 410:
		return (struct verdict){-ENOENT, .elsewhere = true, .what = "not found"};
	case 407:
		return (struct verdict){-EACCES, .what = "the proxy wants authentication"};
	case 408:
	case 504:
		return (struct verdict){-ETIMEDOUT, .again = true, .what = "the server timed out"};
	case 416:
		return (struct verdict){
			-EPROTO, .elsewhere = true,
			.what = "the server's copy is shorter than the manifest says"};
	case 429:
		return (struct verdict){-EHOSTDOWN, .again = true, .what = "too many requests"};
	case 451:
		return (struct verdict){-EACCES, .what = "not allowed for legal reasons"};
	case 501:
	case 505:
		return (struct verdict){-EPROTO, .what = "the server can't do that"};
	default:
		break;
	}
	if (status >= 500 && status <= 599)
		return (struct verdict){-EHOSTDOWN, .again = true, .what = "the server failed"};
	return (struct verdict){-EPROTO, .what = "unexpected answer"};
}

static int give_up(const struct attempt *a, const struct verdict *v, const struct retry *state,
		   const char *where, struct error *err)
{
	const char *detail = a->detail && *a->detail ? a->detail : NULL;
	char status[24] = "", count[32] = "";
	const char *advice = "";

	if (a->fault == TRANSFER_ANSWERED)
		snprintf(status, sizeof(status), " (HTTP %d)", a->status);
	if (state->failures > 1)
		snprintf(count, sizeof(count), ", %u attempts", state->failures);
	if (a->fault == TRANSFER_ANSWERED && a->status == 401)
		advice = "; log in with docker or podman, or name a file with --authfile";
	else if (a->fault == TRANSFER_CERT)
		advice = "; install its CA, or --tls-verify=false";
	return error_set(err, v->code, "%s: %s%s%s%s%s%s", where, v->what, status,
			 detail ? ": " : "", detail ? detail : "", count, advice);
}

/* Full jitter: anything between nothing and the doubled base. */
static uint64_t back_off_ns(const struct retry_policy *policy, unsigned failures, uint64_t random)
{
	uint64_t limit = policy->base_ns;

	for (unsigned i = 1; i < failures && limit < policy->cap_ns; i++)
		if (mul_overflows(limit, (uint64_t)2, &limit))
			limit = policy->cap_ns;
	limit = min_u64(limit, policy->cap_ns);
	return limit == UINT64_MAX ? random : random % (limit + 1);
}

static int wait_plan(const struct retry_policy *policy, const struct retry *state,
		     const struct attempt *a, const struct verdict *v, const char *where,
		     uint64_t now_ns, uint64_t deadline_ns, uint64_t random, uint64_t *ret_until_ns,
		     struct error *err)
{
	uint64_t asked_ns = 0, until_ns;
	uint64_t wait_ns = back_off_ns(policy, state->failures, random);

	if (a->fault == TRANSFER_ANSWERED && a->has_retry_after &&
	    mul_overflows(a->retry_after_s, NS_PER_S, &asked_ns))
		asked_ns = UINT64_MAX;
	wait_ns = max_u64(wait_ns, asked_ns);
	if (add_overflows(now_ns, wait_ns, &until_ns))
		until_ns = UINT64_MAX;
	if (deadline_ns && until_ns >= deadline_ns) {
		if (asked_ns && asked_ns == wait_ns)
			return error_set(err, -ETIMEDOUT,
					 "%s: %s (HTTP %d): it asks to wait %llu s, longer than "
					 "this call may take; try again later",
					 where, v->what, a->status,
					 (unsigned long long)a->retry_after_s);
		return give_up(a, v, state, where, err);
	}
	*ret_until_ns = until_ns;
	return 0;
}

int retry_next(const struct retry_policy *policy, struct retry *state, const struct attempt *a,
	       const char *where, uint64_t now_ns, uint64_t deadline_ns, uint64_t random,
	       uint64_t *ret_wait_until_ns, struct error *err)
{
	struct verdict v;
	int r;

	if (a->fault == TRANSFER_OURS)
		return a->code;
	if (a->fault == TRANSFER_ANSWERED && a->status >= 200 && a->status < 400)
		return 0;
	v = a->fault == TRANSFER_ANSWERED ? status_judge(a->status) : fault_judge(a->fault);
	if (v.again) {
		state->failures++;
		if (state->failures >= policy->attempts)
			return give_up(a, &v, state, where, err);
		r = wait_plan(policy, state, a, &v, where, now_ns, deadline_ns, random,
			      ret_wait_until_ns, err);
		if (r < 0)
			return r;
		return a->redirected ? RETRY_RERESOLVE : RETRY_AGAIN;
	}
	*ret_wait_until_ns = now_ns;
	if (a->redirected && v.elsewhere && state->reresolves < RERESOLVES_MAX) {
		state->reresolves++;
		return RETRY_RERESOLVE;
	}
	/* 400 and 403 are how ECR says that a token has expired; 401 is everybody's way */
	if (!a->redirected && v.reauth && (a->status == 401 || a->authorized) &&
	    state->reauths < REAUTHS_MAX) {
		state->reauths++;
		return RETRY_REAUTH;
	}
	return give_up(a, &v, state, where, err);
}

void retry_progress(struct retry *state)
{
	*state = (struct retry){0};
}
