/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include "cache/planner.h"

#define N_SPANS 4096
#define SPAN_BYTES (64u << 10)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

/* A layer of even spans, a link, and what one reader of it pays. */
struct sim {
	struct layer_span spans[N_SPANS];
	struct layer_index ix;
	bool here[N_SPANS];
	struct link_model link;	      /* as estimated */
	uint64_t rtt_ns, bytes_per_s; /* as it is */
	struct planner p;
	uint64_t requests, bytes, ns, longest_plan;
};

static void sim_init(struct sim *s, uint64_t rtt_ns, uint64_t bytes_per_s)
{
	memset(s, 0, sizeof(*s));
	for (uint64_t i = 0; i < N_SPANS; i++)
		s->spans[i] = (struct layer_span){.in_off = i * SPAN_BYTES,
						  .in_end = (i + 1) * SPAN_BYTES};
	s->ix.header.n_spans = N_SPANS;
	s->ix.header.blob_bytes = (uint64_t)N_SPANS * SPAN_BYTES;
	s->ix.spans = s->spans;
	s->rtt_ns = rtt_ns;
	s->bytes_per_s = bytes_per_s;
	link_model_init(&s->link);
}

static bool wanted(void *userdata, uint64_t span)
{
	const struct sim *s = userdata;

	assert_true(span < N_SPANS);
	return !s->here[span];
}

static struct plan sim_plan(struct sim *s, uint64_t first, uint64_t last, uint64_t max_bytes)
{
	struct plan plan;

	planner_plan(&s->p, &s->ix, &s->link, first, last, wanted, s, max_bytes, &plan);
	assert_true(plan.first <= first && plan.last >= last && plan.last < N_SPANS);
	return plan;
}

static void sim_read(struct sim *s, uint64_t span)
{
	uint64_t bytes, transfer_ns;
	struct plan plan;

	if (s->here[span])
		return;
	plan = sim_plan(s, span, span, 8 * MIB);
	for (uint64_t i = plan.first; i <= plan.last; i++) {
		assert_false(s->here[i]); /* nothing is fetched twice */
		s->here[i] = true;
	}
	bytes = (plan.last - plan.first + 1) * SPAN_BYTES;
	assert_true(bytes <= 8 * MIB);
	transfer_ns = bytes * UINT64_C(1000000000) / s->bytes_per_s;
	link_model_observe(&s->link, s->rtt_ns, bytes, transfer_ns);
	s->requests++;
	s->bytes += bytes;
	s->ns += s->rtt_ns + transfer_ns;
	if (bytes > s->longest_plan)
		s->longest_plan = bytes;
}

static void sequential_readers_wait_for_few_round_trips(void **state)
{
	static const uint64_t rtts_ms[] = {1, 20, 150}, rates[] = {1250000, 12500000, 125000000};

	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 3; k++) {
			static struct sim s;
			double ideal_ns;

			sim_init(&s, rtts_ms[i] * 1000000, rates[k]);
			for (uint64_t span = 0; span < N_SPANS; span++)
				sim_read(&s, span);
			ideal_ns = (double)s.bytes * 1e9 / (double)rates[k];
			assert_int_equal(s.bytes, s.ix.header.blob_bytes);
			assert_true(s.requests <= 8 + s.bytes / (8 * MIB));
			assert_int_equal(s.longest_plan, 8 * MIB);
			/* At most 40 round trips on top of the bytes. */
			assert_true((double)s.ns <= ideal_ns + 40.0 * (double)s.rtt_ns);
		}
}

static void random_readers_fetch_little_beside(void **state)
{
	static struct sim s;
	uint64_t seed = 1, asked = 0;

	sim_init(&s, 20000000, 12500000);
	for (int i = 0; i < 200; i++) {
		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
		asked += !s.here[seed >> 33 & (N_SPANS - 1)];
		sim_read(&s, seed >> 33 & (N_SPANS - 1));
	}
	/* Once it is clear that reads jump, a neighbour or none comes along. */
	assert_true(s.bytes <= 2 * asked * SPAN_BYTES + MIB);
}

static void neighbours_cost_at_most_a_round_trip(void **state)
{
	static const uint64_t rtts_ms[] = {1, 5, 20, 150}, rates[] = {1250000, 12500000, 125000000};

	for (size_t i = 0; i < 4; i++)
		for (size_t k = 0; k < 3; k++) {
			static struct sim s;
			struct plan plan;
			uint64_t extra;

			sim_init(&s, 1, 1);
			s.link.rtt_ns = rtts_ms[i] * 1000000;
			s.link.bytes_per_s = rates[k];
			plan = sim_plan(&s, 100, 101, 8 * MIB);
			extra = (plan.last - 101) * SPAN_BYTES;
			assert_true(extra * UINT64_C(1000000000) / rates[k] <= s.link.rtt_ns);
			assert_true(extra <= PLANNER_WINDOW_FIRST);
		}
}

static void the_plan_stops_at_what_is_there_and_at_the_end(void **state)
{
	static struct sim s;
	struct plan plan;

	sim_init(&s, 1, 1);
	s.here[12] = true;
	plan = sim_plan(&s, 10, 10, 8 * MIB);
	assert_int_equal(plan.last, 11);
	plan = sim_plan(&s, N_SPANS - 2, N_SPANS - 2, 8 * MIB);
	assert_int_equal(plan.last, N_SPANS - 1);
	plan = sim_plan(&s, N_SPANS - 1, N_SPANS - 1, 8 * MIB);
	assert_int_equal(plan.last, N_SPANS - 1);
}

static void the_limit_holds_unless_more_is_needed(void **state)
{
	static struct sim s;
	struct plan plan;

	sim_init(&s, 1, 1);
	plan = sim_plan(&s, 0, 9, 3 * SPAN_BYTES);
	assert_int_equal(plan.last, 9);
	sim_init(&s, 1, 1);
	plan = sim_plan(&s, 0, 1, 3 * SPAN_BYTES);
	assert_int_equal(plan.last, 2);
	sim_init(&s, 1, 1);
	s.link.rtt_ns = UINT64_MAX;
	s.link.bytes_per_s = UINT64_MAX;
	s.p.window_bytes = PLANNER_WINDOW_MAX;
	s.p.next_span = 5;
	plan = sim_plan(&s, 5, 5, UINT64_MAX);
	assert_int_equal((plan.last - plan.first) * SPAN_BYTES, PLANNER_WINDOW_MAX);
}

static void windows_grow_and_fall_back(void **state)
{
	static struct sim s;

	sim_init(&s, 20000000, 125000000);
	sim_read(&s, 0);
	assert_int_equal(s.p.window_bytes, PLANNER_WINDOW_FIRST);
	for (uint64_t span = 0; span < 1024; span++)
		sim_read(&s, span);
	assert_int_equal(s.p.window_bytes, PLANNER_WINDOW_MAX);
	for (uint64_t span = N_SPANS - 1; s.p.window_bytes > PLANNER_WINDOW_MIN; span -= 50)
		sim_read(&s, span);
	sim_read(&s, 3000);
	assert_int_equal(s.p.window_bytes, PLANNER_WINDOW_MIN);
}

static void the_link_is_learned(void **state)
{
	struct link_model m;

	link_model_init(&m);
	assert_int_equal(m.rtt_ns, 20000000);
	assert_int_equal(m.bytes_per_s, 12500000);
	link_model_observe(&m, 0, 100 * MIB, 0); /* says nothing */
	link_model_observe(&m, 0, 100, 1);	 /* a buffer, not a link */
	assert_int_equal(m.rtt_ns, 20000000);
	assert_int_equal(m.bytes_per_s, 12500000);
	link_model_observe(&m, 1000000, 100000000, 1000000000); /* measured beats guessed */
	assert_int_equal(m.rtt_ns, 1000000);
	assert_in_range(m.bytes_per_s, 100000000, 100000001);
	for (int i = 0; i < 30; i++)
		link_model_observe(&m, 50000000, 10000000, 1000000000);
	assert_in_range(m.rtt_ns, 49000000, 51000000);
	assert_in_range(m.bytes_per_s, 9900000, 10100000);
	link_model_observe(&m, UINT64_MAX, UINT64_MAX, 1); /* absurd, and no trap */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequential_readers_wait_for_few_round_trips),
		cmocka_unit_test(random_readers_fetch_little_beside),
		cmocka_unit_test(neighbours_cost_at_most_a_round_trip),
		cmocka_unit_test(the_plan_stops_at_what_is_there_and_at_the_end),
		cmocka_unit_test(the_limit_holds_unless_more_is_needed),
		cmocka_unit_test(windows_grow_and_fall_back),
		cmocka_unit_test(the_link_is_learned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
