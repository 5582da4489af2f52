/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "base/seam.h"
#include "registry/retry.h"

static const struct retry_policy policy = RETRY_POLICY_DEFAULT;

#define NOW (1000 * NS_PER_S)

static int next(struct retry *state, const struct attempt *a, uint64_t deadline, uint64_t random,
		uint64_t *until, struct error *err)
{
	return retry_next(&policy, state, a, "r.example", NOW, deadline, random, until, err);
}

static void first_verdicts(void **state)
{
	enum { PLAIN = 0, AUTH = 1, REDIR = 2 };
	static const struct {
		enum transfer_fault fault;
		int status;
		unsigned flags;
		int want;
	} cases[] = {
		{TRANSFER_ANSWERED, 200, PLAIN, 0},
		{TRANSFER_ANSWERED, 206, REDIR, 0},
		{TRANSFER_ANSWERED, 307, PLAIN, 0},
		{TRANSFER_ANSWERED, 399, PLAIN, 0},
		{TRANSFER_ANSWERED, 100, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, 0, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, -1, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, 999, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, 600, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, 400, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, 400, AUTH, RETRY_REAUTH},
		{TRANSFER_ANSWERED, 400, REDIR, RETRY_RERESOLVE},
		{TRANSFER_ANSWERED, 401, PLAIN, RETRY_REAUTH},
		{TRANSFER_ANSWERED, 401, AUTH, RETRY_REAUTH},
		{TRANSFER_ANSWERED, 401, REDIR, RETRY_RERESOLVE},
		{TRANSFER_ANSWERED, 403, PLAIN, -EACCES},
		{TRANSFER_ANSWERED, 403, AUTH, RETRY_REAUTH},
		{TRANSFER_ANSWERED, 403, REDIR, RETRY_RERESOLVE},
		{TRANSFER_ANSWERED, 404, PLAIN, -ENOENT},
		{TRANSFER_ANSWERED, 404, AUTH, -ENOENT},
		{TRANSFER_ANSWERED, 404, REDIR, RETRY_RERESOLVE},
		{TRANSFER_ANSWERED, 410, REDIR, RETRY_RERESOLVE},
		{TRANSFER_ANSWERED, 405, AUTH, -EPROTO},
		{TRANSFER_ANSWERED, 407, PLAIN, -EACCES},
		{TRANSFER_ANSWERED, 408, PLAIN, RETRY_AGAIN},
		{TRANSFER_ANSWERED, 416, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, 416, REDIR, RETRY_RERESOLVE},
		{TRANSFER_ANSWERED, 429, PLAIN, RETRY_AGAIN},
		{TRANSFER_ANSWERED, 451, PLAIN, -EACCES},
		{TRANSFER_ANSWERED, 500, PLAIN, RETRY_AGAIN},
		{TRANSFER_ANSWERED, 501, PLAIN, -EPROTO},
		{TRANSFER_ANSWERED, 502, PLAIN, RETRY_AGAIN},
		{TRANSFER_ANSWERED, 503, AUTH, RETRY_AGAIN},
		{TRANSFER_ANSWERED, 503, REDIR, RETRY_RERESOLVE},
		{TRANSFER_ANSWERED, 504, PLAIN, RETRY_AGAIN},
		{TRANSFER_ANSWERED, 522, PLAIN, RETRY_AGAIN},
		{TRANSFER_RESOLVE, 0, PLAIN, RETRY_AGAIN},
		{TRANSFER_CONNECT, 0, PLAIN, RETRY_AGAIN},
		{TRANSFER_CONNECT, 0, REDIR, RETRY_RERESOLVE},
		{TRANSFER_TIMEOUT, 0, PLAIN, RETRY_AGAIN},
		{TRANSFER_CUT, 0, PLAIN, RETRY_AGAIN},
		{TRANSFER_GARBLED, 0, PLAIN, RETRY_AGAIN},
		{TRANSFER_HANDSHAKE, 0, PLAIN, RETRY_AGAIN},
		{TRANSFER_CERT, 0, PLAIN, -EPROTO},
		{TRANSFER_OURS, 0, PLAIN, -ECANCELED},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct attempt a = {
			.fault = cases[i].fault,
			.status = cases[i].status,
			.code = -ECANCELED,
			.authorized = cases[i].flags & AUTH,
			.redirected = cases[i].flags & REDIR,
		};
		struct error err = ERROR_INIT;
		struct retry st = {0};
		uint64_t until = 0;
		int r = next(&st, &a, 0, 0, &until, &err);

		if (r != cases[i].want)
			fail_msg("case %zu: %d instead of %d", i, r, cases[i].want);
		if (r > 0)
			assert_int_equal(until, NOW);
		if (r < 0 && a.fault != TRANSFER_OURS)
			assert_non_null(strstr(err.text, "r.example"));
	}
}

static void back_off_doubles_with_jitter(void **state)
{
	static const uint64_t limits_ms[] = {100, 200, 400, 800, 1600, 3200, 5000, 5000};
	const struct retry_policy patient = {1000, policy.base_ns, policy.cap_ns};
	struct attempt a = {.fault = TRANSFER_CUT};
	struct retry low = {0}, high = {0};
	uint64_t until;

	for (size_t i = 0; i < ARRAY_SIZE(limits_ms); i++) {
		uint64_t limit = limits_ms[i] * NS_PER_MS;

		assert_int_equal(retry_next(&patient, &low, &a, "x", NOW, 0, 0, &until, NULL),
				 RETRY_AGAIN);
		assert_int_equal(until, NOW);
		assert_int_equal(retry_next(&patient, &high, &a, "x", NOW, 0, limit, &until, NULL),
				 RETRY_AGAIN);
		assert_int_equal(until, NOW + limit);
		high.failures--;
		assert_int_equal(
			retry_next(&patient, &high, &a, "x", NOW, 0, limit + 1, &until, NULL),
			RETRY_AGAIN);
		assert_int_equal(until, NOW); /* modulo: never more than the limit */
	}
	for (int i = 0; i < 900; i++)
		assert_int_equal(
			retry_next(&patient, &high, &a, "x", NOW, 0, UINT64_MAX, &until, NULL),
			RETRY_AGAIN);
	assert_true(until <= NOW + policy.cap_ns);
}

static void attempts_are_bounded(void **state)
{
	struct attempt a = {.fault = TRANSFER_ANSWERED, .status = 503, .detail = "down for repair"};
	struct error err = ERROR_INIT;
	struct retry st = {0};
	uint64_t until;

	for (int i = 0; i < 4; i++)
		assert_int_equal(next(&st, &a, 0, 7, &until, &err), RETRY_AGAIN);
	assert_int_equal(next(&st, &a, 0, 7, &until, &err), -EHOSTDOWN);
	assert_string_equal(err.text,
			    "r.example: the server failed (HTTP 503): down for repair, 5 attempts");
	assert_int_equal(error_exit_code(err.code), 5);
}

static void progress_starts_anew(void **state)
{
	struct attempt cut = {.fault = TRANSFER_CUT};
	struct attempt expired = {.fault = TRANSFER_ANSWERED, .status = 401, .authorized = true};
	struct retry st = {0};
	uint64_t until;

	for (int i = 0; i < 100; i++) {
		assert_int_equal(next(&st, &cut, 0, 7, &until, NULL), RETRY_AGAIN);
		assert_int_equal(next(&st, &expired, 0, 7, &until, NULL), RETRY_REAUTH);
		retry_progress(&st);
	}
}

static void one_reauth_one_reresolve(void **state)
{
	struct attempt denied = {.fault = TRANSFER_ANSWERED, .status = 401, .authorized = true};
	struct attempt gone = {.fault = TRANSFER_ANSWERED, .status = 403, .redirected = true};
	struct error err = ERROR_INIT;
	struct retry st = {0};
	uint64_t until;

	assert_int_equal(next(&st, &denied, 0, 0, &until, &err), RETRY_REAUTH);
	assert_int_equal(next(&st, &gone, 0, 0, &until, &err), RETRY_RERESOLVE);
	assert_int_equal(next(&st, &gone, 0, 0, &until, NULL), -EACCES);
	assert_int_equal(next(&st, &denied, 0, 0, &until, &err), -EACCES);
	assert_non_null(strstr(err.text, "log in"));
}

static void deadlines(void **state)
{
	struct attempt a = {.fault = TRANSFER_ANSWERED,
			    .status = 429,
			    .has_retry_after = true,
			    .retry_after_s = 10};
	struct error err = ERROR_INIT;
	struct retry st = {0};
	uint64_t until;

	assert_int_equal(next(&st, &a, NOW + 10 * NS_PER_S + 1, 0, &until, &err), RETRY_AGAIN);
	assert_int_equal(until, NOW + 10 * NS_PER_S);
	assert_int_equal(next(&st, &a, NOW + 10 * NS_PER_S, 0, &until, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "wait 10 s"));
	assert_non_null(strstr(err.text, "429"));
	/* no deadline: the whole wait, but it can't wrap around */
	st = (struct retry){0};
	a.retry_after_s = UINT64_MAX;
	assert_int_equal(next(&st, &a, 0, 0, &until, NULL), RETRY_AGAIN);
	assert_int_equal(until, UINT64_MAX);
	/* "at once" is no way around the back-off */
	st = (struct retry){0};
	a.retry_after_s = 0;
	assert_int_equal(next(&st, &a, 0, 100 * NS_PER_MS, &until, NULL), RETRY_AGAIN);
	assert_int_equal(until, NOW + 100 * NS_PER_MS);
	/* a back-off that would outlast the call: the failure itself is told */
	st = (struct retry){0};
	err = ERROR_INIT;
	a = (struct attempt){.fault = TRANSFER_CONNECT};
	assert_int_equal(next(&st, &a, NOW + 50 * NS_PER_MS, 100 * NS_PER_MS, &until, &err),
			 -ECONNREFUSED);
	assert_string_equal(err.text, "r.example: can't connect");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_verdicts),
		cmocka_unit_test(back_off_doubles_with_jitter),
		cmocka_unit_test(attempts_are_bounded),
		cmocka_unit_test(progress_starts_anew),
		cmocka_unit_test(one_reauth_one_reresolve),
		cmocka_unit_test(deadlines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
