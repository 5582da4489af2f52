/* SPDX-License-Identifier: MIT */
/* Reading ahead along a known order, over a simulated link: several connections, one bandwidth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache/follow.h"

#define SPANS 2000
#define LAYERS 2
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define MS UINT64_C(1000000)
#define FLIGHTS 10
#define PER_REQUEST_MAX (4 * MIB)

struct sim {
	struct layer_span spans[LAYERS][SPANS];
	struct layer_index layers[LAYERS];
	const struct layer_index *indexes[LAYERS];
	uint64_t here_ns[LAYERS][SPANS]; /* when it arrives; 0 = was not asked for */
	bool touched[LAYERS][SPANS];
	struct order order;
	struct follow f;
	struct link_model link;
	uint64_t now_ns, free_ns, moved, read;
	uint64_t flights_ns[FLIGHTS]; /* when each of the connections is free again */
};

static struct sim s; /* too large for the stack; every test begins with sim_init() */

static bool wanted(void *userdata, uint32_t layer, uint64_t span)
{
	assert_true(span < SPANS);
	return !s.here_ns[layer][span];
}

static bool touched(void *userdata, uint32_t layer, uint64_t span)
{
	return s.touched[layer][span];
}

static const struct follow_view view = {
	.link = &s.link, .max_bytes = UINT64_MAX, .is_wanted = wanted, .is_touched = touched};

static void sim_init(uint64_t rtt_ms, uint64_t bytes_per_s, uint64_t span_bytes)
{
	order_fini(&s.order);
	follow_fini(&s.f);
	memset(&s, 0, sizeof(s));
	for (uint32_t k = 0; k < LAYERS; k++) {
		s.layers[k].spans = s.spans[k];
		s.layers[k].header.n_spans = SPANS;
		s.indexes[k] = &s.layers[k];
		for (uint64_t i = 0; i < SPANS; i++) {
			s.spans[k][i].in_off = i * span_bytes;
			s.spans[k][i].in_end = (i + 1) * span_bytes;
		}
	}
	s.link = (struct link_model){.rtt_ns = rtt_ms * MS, .bytes_per_s = bytes_per_s};
	s.now_ns = 1;
}

static void sim_ready(void)
{
	assert_int_equal(follow_init(&s.f, &s.order, s.indexes, LAYERS), 0);
}

static void add(uint32_t layer, uint64_t first, uint64_t n)
{
	assert_int_equal(order_add(&s.order, layer, first, n), 0);
}

static uint64_t send(uint32_t layer, uint64_t first, uint64_t last)
{
	uint64_t bytes = s.spans[layer][last].in_end - s.spans[layer][first].in_off;

	s.free_ns = max_u64(s.now_ns + s.link.rtt_ns, s.free_ns) +
		    link_model_transfer_ns(&s.link, bytes);
	for (uint64_t i = first; i <= last; i++) {
		assert_int_equal(s.here_ns[layer][i], 0); /* nothing is asked for twice */
		s.here_ns[layer][i] = s.free_ns;
	}
	s.moved += bytes;
	return s.free_ns;
}

static void ask_ahead(void)
{
	for (int i = 0; i < FLIGHTS; i++) {
		struct follow_plan p;

		if (s.flights_ns[i] > s.now_ns)
			continue;
		if (!follow_next(&s.f, &view, PER_REQUEST_MAX, &p))
			return;
		assert_true(p.layer < LAYERS && p.first <= p.last && p.last < SPANS);
		assert_true(s.spans[p.layer][p.last].in_end - s.spans[p.layer][p.first].in_off <=
			    PER_REQUEST_MAX);
		s.flights_ns[i] = send(p.layer, p.first, p.last);
	}
}

/* A read of one span: told to the policy, waited for. Meanwhile connections become free. */
static void sim_read(uint32_t layer, uint64_t span)
{
	if (!s.here_ns[layer][span])
		send(layer, span, span);
	s.touched[layer][span] = true;
	follow_touch(&s.f, &view, layer, span, span);
	s.read += s.spans[layer][span].in_end - s.spans[layer][span].in_off;
	for (;;) {
		uint64_t next = s.here_ns[layer][span];

		ask_ahead();
		for (int i = 0; i < FLIGHTS; i++)
			if (s.flights_ns[i] > s.now_ns)
				next = min_u64(next, s.flights_ns[i]);
		if (s.here_ns[layer][span] <= s.now_ns)
			return;
		s.now_ns = next;
	}
}

/* Jumps about, in both layers, the same way each time. */
static void jump(unsigned k, uint32_t *ret_layer, uint64_t *ret_span)
{
	*ret_layer = k % 3 == 0;
	*ret_span = k * 7919ul % SPANS;
}

static const uint64_t rtts_ms[] = {5, 20, 80};

/* Who does again what was done before waits for the link's bandwidth, not for its round trips. */
static void readers_who_jump_as_before(void **state)
{
	for (size_t r = 0; r < 3; r++) {
		uint64_t alone, start, n = 200;

		sim_init(rtts_ms[r], 12500000, 50 * KIB);
		for (unsigned k = 0; k < n; k++) {
			uint32_t layer;
			uint64_t span;

			jump(k, &layer, &span);
			add(layer, span, 1);
		}
		sim_ready();
		start = s.now_ns;
		for (unsigned k = 0; k < n; k++) {
			uint32_t layer;
			uint64_t span;

			jump(k, &layer, &span);
			sim_read(layer, span);
		}
		alone = n * (s.link.rtt_ns + link_model_transfer_ns(&s.link, 50 * KIB));
		assert_int_equal(s.moved, s.read);
		assert_true(s.now_ns - start < alone / 2);
		/* ten requests at a time are what bounds it at 80 ms */
		assert_true(s.now_ns - start < link_model_transfer_ns(&s.link, s.moved) * 13 / 10 +
						       (n / FLIGHTS + 4) * s.link.rtt_ns);
	}
}

/* Larger than what counts as near: it is not lost because it is being read just now. */
static void large_spans_are_met(void **state)
{
	struct follow_plan p;

	sim_init(20, 12500000, 3 * MIB);
	for (uint64_t i = 0; i < 20; i++)
		add(0, 100 - 3 * i, 1);
	sim_ready();
	for (uint64_t i = 0; i < 5; i++) {
		s.here_ns[0][100 - 3 * i] = 1;
		s.touched[0][100 - 3 * i] = true;
		follow_touch(&s.f, &view, 0, 100 - 3 * i, 100 - 3 * i);
	}
	assert_int_equal(s.f.lost, 0);
	assert_true(follow_next(&s.f, &view, PER_REQUEST_MAX, &p));
	assert_int_equal(p.first, 100 - 3 * 5);
}

static void it_grows_with_the_link(void **state)
{
	uint64_t start;

	sim_init(80, 125000000, 500 * KIB);
	for (uint64_t i = 0; i < 200; i++)
		add(0, (i * 7919ul) % SPANS, 1);
	sim_ready();
	start = s.now_ns;
	for (uint64_t i = 0; i < 200; i++)
		sim_read(0, (i * 7919ul) % SPANS);
	assert_true(s.now_ns - start < 200 / FLIGHTS * s.link.rtt_ns * 2);
}

static void what_is_elsewhere_moves_nothing(void **state)
{
	sim_init(20, 12500000, 50 * KIB);
	add(0, 100, 200);
	sim_ready();
	for (uint64_t i = 0; i < 50; i++)
		sim_read(1, 3 * i);
	for (uint64_t i = 1000; i < 1050; i++)
		sim_read(0, i);
	assert_int_equal(s.moved, s.read);
}

/* The order was of another workload: one touch in it, and then none. */
static void a_false_start_costs_little(void **state)
{
	sim_init(20, 12500000, 16 * KIB);
	for (unsigned k = 0; k < 500; k++)
		add(0, (k * 7919ul) % SPANS, 1);
	sim_ready();
	sim_read(0, 0);
	for (unsigned k = 0; k < 50; k++)
		sim_read(1, k * 10);
	assert_true(s.moved - s.read <= FOLLOW_FIRST + 8 * 16 * KIB);
}

/* Every fourth span of the order only: it is found out, and costs are bounded. */
static void an_order_that_is_mostly_wrong_is_left(void **state)
{
	sim_init(20, 12500000, 16 * KIB);
	add(0, 0, SPANS);
	sim_ready();
	for (uint64_t i = 0; i < SPANS; i += 4)
		sim_read(0, i);
	assert_true(s.moved < 2 * s.read);
}

/* The first half is not read this time. */
static void who_comes_in_later_is_followed_there(void **state)
{
	uint64_t start;

	sim_init(80, 12500000, 50 * KIB);
	for (uint64_t i = 0; i < 200; i++)
		add(0, (i * 7919ul) % SPANS, 1);
	sim_ready();
	start = s.now_ns;
	for (uint64_t i = 100; i < 200; i++)
		sim_read(0, (i * 7919ul) % SPANS);
	assert_int_equal(s.moved, s.read);
	assert_true(s.now_ns - start < 100 * s.link.rtt_ns / 3);
}

static void neighbours_in_the_blob_come_together(void **state)
{
	struct follow_plan p;

	sim_init(20, 12500000, 4 * KIB);
	add(0, 10, 1);
	add(0, 20, 1);
	add(1, 5, 1);
	add(0, 22, 1);
	add(0, 21, 1);
	sim_ready();
	s.touched[0][10] = true;
	follow_touch(&s.f, &view, 0, 10, 10);
	s.here_ns[0][10] = 1;
	assert_true(follow_next(&s.f, &view, PER_REQUEST_MAX, &p));
	assert_int_equal(p.first, 20);
	assert_int_equal(p.last, 22);
	for (uint64_t i = p.first; i <= p.last; i++)
		s.here_ns[0][i] = 1;
	assert_true(follow_next(&s.f, &view, PER_REQUEST_MAX, &p));
	assert_int_equal(p.layer, 1);
	assert_int_equal(p.first, 5);
	s.here_ns[1][5] = 1;
	assert_false(follow_next(&s.f, &view, PER_REQUEST_MAX, &p));
}

static void runs_that_overlap_count_once(void **state)
{
	sim_init(20, 12500000, 4 * KIB);
	add(0, 10, 10);
	add(1, 0, 3);
	add(0, 5, 20);
	add(0, 10, 10);
	sim_ready();
	assert_int_equal(s.f.n, 4); /* 10-19, 1:0-2, 5-9, 20-24 */
	assert_int_equal(s.f.end, 23 * 4 * KIB);
}

static void no_order_is_fine(void **state)
{
	struct follow_plan p;

	sim_init(20, 12500000, 4 * KIB);
	sim_ready();
	follow_touch(&s.f, &view, 0, 1, 2);
	assert_false(follow_next(&s.f, &view, PER_REQUEST_MAX, &p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(readers_who_jump_as_before),
		cmocka_unit_test(large_spans_are_met),
		cmocka_unit_test(it_grows_with_the_link),
		cmocka_unit_test(what_is_elsewhere_moves_nothing),
		cmocka_unit_test(a_false_start_costs_little),
		cmocka_unit_test(an_order_that_is_mostly_wrong_is_left),
		cmocka_unit_test(who_comes_in_later_is_followed_there),
		cmocka_unit_test(neighbours_in_the_blob_come_together),
		cmocka_unit_test(runs_that_overlap_count_once),
		cmocka_unit_test(no_order_is_fine),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	order_fini(&s.order);
	follow_fini(&s.f);
	return r;
}
