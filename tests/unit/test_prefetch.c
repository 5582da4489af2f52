/* SPDX-License-Identifier: MIT */
/* When a prefetch may ask, on a link that is simulated; and the access order it goes by. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include "cache/order.h"
#include "cache/prefetch.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define START (100 * SECOND)

static const uint64_t rtts_ms[] = {5, 20, 80}, rates[] = {12500000, 125000000};

static struct link_model link_of(uint64_t rtt_ms, uint64_t rate)
{
	return (struct link_model){.rtt_ns = rtt_ms * MS,
				   .bytes_per_s = rate,
				   .rtt_measured = true,
				   .rate_measured = true};
}

/* ---- the gate ---- */

struct sim {
	struct link_model link;
	struct prefetch_gate gate;
	uint64_t now_ns, free_ns; /* the link: first in, first out */
	uint64_t next_ns;	  /* the prefetch looks again */
	bool asked;		  /* for then it has an answer */
	uint64_t prefetched;
};

static uint64_t sim_send(struct sim *s, uint64_t bytes)
{
	uint64_t first = max_u64(s->now_ns + s->link.rtt_ns, s->free_ns);

	s->free_ns = first + link_model_transfer_ns(&s->link, bytes);
	return s->free_ns;
}

/* Lets the prefetch work until then. */
static void sim_until(struct sim *s, uint64_t until_ns)
{
	while (s->next_ns <= until_ns) {
		uint64_t again, bytes;

		s->now_ns = max_u64(s->now_ns, s->next_ns);
		bytes = prefetch_may(&s->gate, &s->link, s->now_ns, &again);
		s->asked = bytes != 0;
		if (!bytes) {
			s->next_ns = max_u64(again, s->now_ns + 1);
			continue;
		}
		prefetch_asked(&s->gate, bytes, s->now_ns);
		s->next_ns = sim_send(s, bytes);
		s->prefetched += bytes;
	}
	s->now_ns = max_u64(s->now_ns, until_ns);
}

/* n reads of so many bytes, with so long between them; the time they waited in all. */
static uint64_t sim_reads(struct sim *s, unsigned n, uint64_t bytes, uint64_t pause_ns)
{
	uint64_t waited = 0;

	for (unsigned i = 0; i < n; i++) {
		uint64_t start, end;

		sim_until(s, s->now_ns + pause_ns);
		start = s->now_ns;
		prefetch_demand_begin(&s->gate, bytes, start);
		end = sim_send(s, bytes);
		if (!s->asked)
			s->next_ns = start;
		sim_until(s, end);
		prefetch_demand_end(&s->gate, bytes, end);
		waited += end - start;
	}
	return waited;
}

static void reads_are_hardly_delayed(void **state)
{
	static const uint64_t sizes[] = {4 * KIB, 32 * KIB, 256 * KIB, 4 * MIB};
	static const uint64_t pauses_ms[] = {0, 1, 7, 50, 400, 3000};

	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 2; k++)
			for (size_t b = 0; b < 4; b++)
				for (size_t p = 0; p < 6; p++) {
					struct sim s = {.link = link_of(rtts_ms[i], rates[k]),
							.now_ns = START,
							.next_ns = START};
					uint64_t alone, waited, all;

					prefetch_gate_init(&s.gate, 0, START);
					sim_until(&s, START + 17 * MS);
					alone = 200 * (s.link.rtt_ns +
						       link_model_transfer_ns(&s.link, sizes[b]));
					waited = sim_reads(&s, 200, sizes[b], pauses_ms[p] * MS);
					/* What passes between reads is the reader's time too. */
					all = alone + 200 * pauses_ms[p] * MS;
					assert_true(waited <= alone + all / 20);
				}
}

static void idle_links_are_used(void **state)
{
	for (size_t i = 0; i < 3; i++) {
		struct sim s = {
			.link = link_of(rtts_ms[i], 12500000), .now_ns = START, .next_ns = START};

		prefetch_gate_init(&s.gate, 0, START);
		sim_until(&s, START + 20 * SECOND);
		assert_true(s.prefetched > 20 * s.link.bytes_per_s * 6 / 10);
	}
}

static void gaps_between_small_reads_are_used(void **state)
{
	struct sim s = {.link = link_of(20, 12500000), .now_ns = START, .next_ns = START};

	prefetch_gate_init(&s.gate, 0, START);
	sim_reads(&s, 200, 4 * KIB, 0);
	assert_true(s.prefetched > 200 * 16 * KIB);
}

static void large_reads_stop_it(void **state)
{
	struct link_model l = link_of(20, 12500000);
	struct prefetch_gate g;
	uint64_t again;

	prefetch_gate_init(&g, 0, START);
	assert_true(prefetch_may(&g, &l, START, &again) > 0);
	prefetch_demand_begin(&g, 4 * MIB, START);
	assert_int_equal(prefetch_may(&g, &l, START, &again), 0);
	assert_true(again > START);
	prefetch_demand_begin(&g, 4096, START);
	prefetch_demand_end(&g, 4 * MIB, START);
	assert_true(prefetch_may(&g, &l, START, &again) > 0);
	assert_int_equal(prefetch_may(&g, &l, START + 10 * MS, &again), 0); /* too late behind it */
	prefetch_demand_end(&g, 4096, START + 20 * MS);
	assert_int_equal(prefetch_may(&g, &l, START + 21 * MS, &again), 0);
}

static void the_limit_is_kept(void **state)
{
	static const uint64_t limits[] = {50000, 1000000, 10000000};

	for (size_t i = 0; i < 3; i++) {
		struct sim s = {.link = link_of(5, 125000000), .now_ns = START, .next_ns = START};

		prefetch_gate_init(&s.gate, limits[i], START);
		sim_until(&s, START + 10 * SECOND);
		assert_true(s.prefetched <= 10 * limits[i] + max_u64(limits[i] / 10, 16 * KIB));
		assert_true(s.prefetched >= 9 * limits[i]);
	}
}

static void it_stops_when_told(void **state)
{
	struct link_model l = link_of(20, 12500000);
	struct prefetch_gate g;
	uint64_t again;

	prefetch_gate_init(&g, 0, START);
	prefetch_stop(&g, START + 30 * SECOND);
	prefetch_stop(&g, START + 10 * SECOND);
	assert_int_equal(prefetch_may(&g, &l, START + 29 * SECOND, &again), 0);
	assert_int_equal(again, START + 30 * SECOND);
	assert_true(prefetch_may(&g, &l, START + 30 * SECOND, &again) > 0);
}

static void absurd_links_are_no_trap(void **state)
{
	struct link_model l = link_of(20, 12500000);
	struct prefetch_gate g;
	uint64_t again;

	prefetch_gate_init(&g, 1, 0);
	l.rtt_ns = l.bytes_per_s = UINT64_MAX;
	assert_true(prefetch_may(&g, &l, UINT64_MAX, &again) <= PREFETCH_PIECE_MAX);
	l.bytes_per_s = 0;
	assert_int_equal(prefetch_may(&g, &l, START, &again), 0);
	prefetch_asked(&g, UINT64_MAX, START);
	assert_int_equal(prefetch_may(&g, &l, START, &again), 0);
}

/* ---- the order ---- */

static const uint8_t key[ORDER_KEY_BYTES] = {1, 2, 3};
static const uint64_t n_spans[] = {100, 50};

static void check_run(const struct order *o, size_t i, uint32_t layer, uint32_t first, uint32_t n,
		      uint32_t age)
{
	assert_true(i < o->n);
	assert_int_equal(o->runs[i].layer, layer);
	assert_int_equal(o->runs[i].first, first);
	assert_int_equal(o->runs[i].n, n);
	assert_int_equal(o->runs[i].age, age);
}

static void runs_are_joined(void **state)
{
	struct order o = ORDER_INIT;

	assert_int_equal(order_add(&o, 0, 10, 2), 0);
	assert_int_equal(order_add(&o, 0, 12, 1), 0);
	assert_int_equal(order_add(&o, 1, 13, 1), 0);
	assert_int_equal(order_add(&o, 0, 13, 0), 0);
	assert_int_equal(order_add(&o, 0, UINT64_MAX, 1), 0);
	assert_int_equal(order_add(&o, 0, 4, UINT32_MAX), 0);
	assert_int_equal(o.n, 2);
	check_run(&o, 0, 0, 10, 3, 0);
	check_run(&o, 1, 1, 13, 1, 0);
	order_fini(&o);
}

static void what_was_known_before_follows_and_ages(void **state)
{
	struct order o = ORDER_INIT, before = ORDER_INIT;

	order_add(&before, 0, 0, 30);
	order_add(&before, 1, 5, 5);
	order_add(&before, 0, 60, 5);
	before.runs[1].age = 2;
	before.runs[2].age = ORDER_AGE_MAX;
	order_add(&o, 0, 20, 4);
	order_add(&o, 0, 4, 6);
	assert_int_equal(order_merge(&o, &before), 0);
	assert_int_equal(o.n, 6);
	check_run(&o, 0, 0, 20, 4, 0);
	check_run(&o, 1, 0, 4, 6, 0);
	check_run(&o, 2, 0, 0, 4, 1);
	check_run(&o, 3, 0, 10, 10, 1);
	check_run(&o, 4, 0, 24, 6, 1);
	check_run(&o, 5, 1, 5, 5, 3);
	order_fini(&o);
	order_fini(&before);
}

static void orders_are_bounded(void **state)
{
	struct order o = ORDER_INIT;

	for (uint64_t i = 0; i < ORDER_RUNS_MAX + 10; i++)
		assert_int_equal(order_add(&o, 0, 2 * i, 1), 0);
	assert_int_equal(o.n, ORDER_RUNS_MAX);
	order_fini(&o);
}

static void what_is_written_is_read(void **state)
{
	struct order o = ORDER_INIT, again = ORDER_INIT;
	struct buf b = BUF_INIT;

	order_add(&o, 1, 49, 1);
	order_add(&o, 0, 0, 100);
	assert_int_equal(order_encode(&o, key, &b), 0);
	assert_true(b.len <= ORDER_BYTES_MAX);
	assert_int_equal(order_decode(b.data, b.len, key, n_spans, 2, &again), 0);
	assert_int_equal(again.n, 2);
	check_run(&again, 0, 1, 49, 1, 0);
	check_run(&again, 1, 0, 0, 100, 0);
	order_fini(&again);
	assert_int_equal(order_decode(b.data, b.len, key, n_spans, 1, &again), -EBADMSG);
	assert_int_equal(order_decode(b.data, b.len - 1, key, n_spans, 2, &again), -EBADMSG);
	assert_int_equal(order_decode(b.data, 10, key, n_spans, 2, &again), -EBADMSG);
	for (size_t at = 0; at < 48; at++) { /* magic, count and key: every bit counts */
		b.data[at] ^= 0x80;
		assert_int_equal(order_decode(b.data, b.len, key, n_spans, 2, &again), -EBADMSG);
		b.data[at] ^= 0x80;
	}
	le32_put(b.data + 64 + 8, 0);
	assert_int_equal(order_decode(b.data, b.len, key, n_spans, 2, &again), -EBADMSG);
	le32_put(b.data + 64 + 8, 2);
	assert_int_equal(order_decode(b.data, b.len, key, n_spans, 2, &again), -EBADMSG);
	le32_put(b.data + 64 + 8, UINT32_MAX);
	assert_int_equal(order_decode(b.data, b.len, key, n_spans, 2, &again), -EBADMSG);
	order_fini(&o);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_are_hardly_delayed),
		cmocka_unit_test(idle_links_are_used),
		cmocka_unit_test(gaps_between_small_reads_are_used),
		cmocka_unit_test(large_reads_stop_it),
		cmocka_unit_test(the_limit_is_kept),
		cmocka_unit_test(it_stops_when_told),
		cmocka_unit_test(absurd_links_are_no_trap),
		cmocka_unit_test(runs_are_joined),
		cmocka_unit_test(what_was_known_before_follows_and_ages),
		cmocka_unit_test(orders_are_bounded),
		cmocka_unit_test(what_is_written_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
