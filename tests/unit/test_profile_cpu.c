/* SPDX-License-Identifier: MIT */
/* CPU profiles against the threads' own clocks, as go tool pprof reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <time.h>
#include "base/seam.h"
#include "pprof_raw.h"
#include "prof/op.h"
#include "prof/session.h"

#define CPU_PROFILE 0 /* of prof_profiles */

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

static _Thread_local volatile uint64_t sink;

#define BURNER(name)                                                                               \
	__attribute__((noinline, noclone)) void name(uint64_t ns);                                 \
	void name(uint64_t ns)                                                                     \
	{                                                                                          \
		uint64_t until = clock_ns(CLOCK_THREAD_CPUTIME_ID) + ns;                           \
		while (clock_ns(CLOCK_THREAD_CPUTIME_ID) < until)                                  \
			for (int i = 0; i < 20000; i++)                                            \
				sink += (uint64_t)i * sink + 1;                                    \
	}
BURNER(burn_much)
BURNER(burn_little)

struct burner {
	pthread_t thread;
	void (*burn)(uint64_t ns);
	uint64_t ns, used_ns;
	const char *op;
};

static void *burn_thread(void *arg)
{
	struct burner *b = arg;
	struct prof_scope scope;

	prof_op_begin(&scope, &(struct prof_op){.name = b->op, .layer = "sha256:00", .pid = 4711});
	b->burn(b->ns);
	prof_op_end(&scope);
	b->used_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	return NULL;
}

static void burn(struct burner *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		assert_int_equal(pthread_create(&b[i].thread, NULL, burn_thread, &b[i]), 0);
	for (size_t i = 0; i < n; i++)
		pthread_join(b[i].thread, NULL);
}

static void profile(const struct prof_session_options *o, struct burner *b, size_t n,
		    struct raw *ret)
{
	_cleanup_(prof_profiles_fini) struct prof_profiles out = {0};
	struct prof_session *s;
	struct error err = ERROR_INIT;

	if (prof_session_start(o, &s, &err) < 0)
		fail_msg("%s", err.text);
	burn(b, n);
	if (prof_session_stop(s, &out, &err) < 0)
		fail_msg("%s", err.text);
	*ret = raw_read(&out.profile[CPU_PROFILE]);
}

static void near(int64_t got, uint64_t want, double tolerance, const char *what)
{
	double off = (double)got / (double)want - 1;

	if (!RAW_TRUTH)
		return;
	if (off < -tolerance || off > tolerance)
		fail_msg("%s: %.3f s in the profile, %.3f s by the clock", what, (double)got / 1e9,
			 (double)want / 1e9);
}

static void as_the_clocks_say(unsigned hz)
{
	int64_t period_ns = (int64_t)NS_PER_S / (hz ? hz : 100);
	struct burner b[] = {
		{.burn = burn_much, .ns = 700 * NS_PER_MS, .op = "read"},
		{.burn = burn_little, .ns = 350 * NS_PER_MS, .op = "decode"},
	};
	_cleanup_(raw_free) struct raw r = {0};

	profile(&(struct prof_session_options){.kinds = PROF_CPU, .cpu_hz = hz}, b, 2, &r);
	near(raw_sum(&r, 1, "burn_much", NULL), b[0].used_ns, 0.1, "burn_much");
	near(raw_sum(&r, 1, "burn_little", NULL), b[1].used_ns, 0.1, "burn_little");
	near(raw_sum(&r, 1, NULL, "op:[read]"), b[0].used_ns, 0.1, "op=read");
	near(raw_sum(&r, 1, NULL, "pid:[4711]"), b[0].used_ns + b[1].used_ns, 0.1, "pid=4711");
	near(raw_sum(&r, 0, "burn_thread", NULL) * period_ns, b[0].used_ns + b[1].used_ns, 0.1,
	     "samples");
	assert_non_null(strstr(r.tail, "test_profile_cpu.c:"));
	assert_non_null(strstr(r.types[1], "cpu/nanoseconds[dflt]"));
}

static void at_100_hz(void **state)
{
	as_the_clocks_say(0);
}

static void at_1000_hz(void **state)
{
	as_the_clocks_say(1000);
}

static size_t timers(void)
{
	FILE *f = fopen("/proc/self/timers", "re");
	char line[256];
	size_t n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += !strncmp(line, "ID: ", 4);
	fclose(f);
	return n;
}

/* Threads that live for a moment are counted too (not all of it: they have to be found first), and
 * leave no timers. */
static void many_short_threads(void **state)
{
	enum { ROUNDS = 60, THREADS = 5 };
	_cleanup_(prof_profiles_fini) struct prof_profiles out = {0};
	_cleanup_(raw_free) struct raw r = {0};
	struct prof_session *s;
	uint64_t used = 0, found;

	assert_int_equal(
		prof_session_start(&(struct prof_session_options){.kinds = PROF_CPU}, &s, NULL), 0);
	for (int i = 0; i < ROUNDS; i++) {
		struct burner b[THREADS];

		for (size_t k = 0; k < THREADS; k++)
			b[k] = (struct burner){
				.burn = burn_much, .ns = 4 * NS_PER_MS, .op = "read"};
		burn(b, THREADS);
		for (size_t k = 0; k < THREADS; k++)
			used += b[k].used_ns;
	}
	assert_in_range(timers(), 1, 3 * THREADS);
	assert_int_equal(prof_session_stop(s, &out, NULL), 0);
	assert_int_equal(timers(), 0);
	r = raw_read(&out.profile[CPU_PROFILE]);
	found = (uint64_t)raw_sum(&r, 1, "burn_much", NULL);
	print_message("%.2f of %.2f s\n", (double)found / 1e9, (double)used / 1e9);
	if (RAW_TRUTH)
		assert_in_range(found, used / 50, used * 5 / 4);
}

static void both_engines_agree(void **state)
{
	const struct burner load[] = {
		{.burn = burn_much, .ns = 700 * NS_PER_MS, .op = "read"},
		{.burn = burn_little, .ns = 350 * NS_PER_MS, .op = "decode"},
	};
	struct prof_session_options o = {.kinds = PROF_CPU, .cpu_engine = PROF_ENGINE_GPERFTOOLS};
	_cleanup_(raw_free) struct raw theirs = {0}, ours = {0};
	struct burner b[2];
	struct error err = ERROR_INIT;
	struct prof_session *s;
	struct prof_profiles out;
	double much[2], little[2];

	if (prof_session_start(&o, &s, &err) < 0) {
		print_message("%s\n", err.text);
		skip();
	}
	prof_session_stop(s, &out, NULL);
	prof_profiles_fini(&out);
	memcpy(b, load, sizeof(b));
	profile(&o, b, 2, &theirs);
	memcpy(b, load, sizeof(b));
	profile(&(struct prof_session_options){.kinds = PROF_CPU}, b, 2, &ours);
	much[0] = (double)raw_sum(&theirs, 1, "burn_much", NULL);
	little[0] = (double)raw_sum(&theirs, 1, "burn_little", NULL);
	much[1] = (double)raw_sum(&ours, 1, "burn_much", NULL);
	little[1] = (double)raw_sum(&ours, 1, "burn_little", NULL);
	print_message("gperftools %.2f %.2f, own %.2f %.2f s\n", much[0] / 1e9, little[0] / 1e9,
		      much[1] / 1e9, little[1] / 1e9);
	near((int64_t)much[0], (uint64_t)much[1], 0.4, "burn_much by gperftools");
	near((int64_t)little[0], (uint64_t)little[1], 0.4, "burn_little by gperftools");
	assert_non_null(strstr(theirs.tail, "test_profile_cpu.c:"));
}

static volatile sig_atomic_t others;

static void on_other(int sig)
{
	others++;
}

/* A SIGPROF or SIGURG that is not ours goes to who handled it before; a late one of ours does
 * nothing. */
static void signals_of_others(void **state)
{
	_cleanup_(prof_profiles_fini) struct prof_profiles out = {0};
	struct prof_session *s;

	others = 0;
	raise(SIGPROF);
	raise(SIGURG);
	assert_int_equal(others, 2);
	assert_int_equal(
		prof_session_start(&(struct prof_session_options){.kinds = PROF_CPU}, &s, NULL), 0);
	raise(SIGPROF);
	assert_int_equal(prof_session_stop(s, &out, NULL), 0);
	raise(SIGPROF);
	assert_int_equal(others, 4);
}

static void one_at_a_time(void **state)
{
	_cleanup_(prof_profiles_fini) struct prof_profiles out = {0};
	struct prof_session_options o = {.kinds = PROF_CPU};
	struct prof_session *s, *t;
	struct error err = ERROR_INIT;

	assert_int_equal(prof_session_start(&o, &s, NULL), 0);
	assert_int_equal(prof_session_start(&o, &t, &err), -EBUSY);
	assert_string_equal(err.text, "this process is being profiled already");
	assert_int_equal(prof_session_stop(s, &out, NULL), 0);
	o.cpu_hz = 1001;
	assert_int_equal(prof_session_start(&o, &t, NULL), -EINVAL);
	for (int i = 0; i < 20; i++) {
		struct prof_profiles empty;

		assert_int_equal(prof_session_start(&(struct prof_session_options){0}, &s, NULL),
				 0);
		assert_int_equal(prof_session_stop(s, &empty, NULL), 0);
		assert_int_equal(empty.profile[0].len, 0);
	}
}

static int group_setup(void **state)
{
	/* Before anything of ours, or of gperftools'. */
	signal(SIGPROF, on_other);
	signal(SIGURG, on_other);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_at_a_time),      cmocka_unit_test(signals_of_others),
		cmocka_unit_test(at_100_hz),	      cmocka_unit_test(at_1000_hz),
		cmocka_unit_test(many_short_threads), cmocka_unit_test(both_engines_agree),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
