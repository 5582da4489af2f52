/* SPDX-License-Identifier: MIT */
/* The planner over a simulated link: first in, first out, one delay, one bandwidth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include "cache/planner.h"

#define SPANS_MAX 40000
#define REQUESTS_MAX 40000
#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)
#define MS UINT64_C(1000000)
#define PER_REQUEST_MAX (4 * MIB)

static const uint64_t rtts_ms[] = {5, 20, 80}, rates[] = {12500000, 125000000};

struct request {
	uint64_t sent_ns, first_ns, last_ns, bytes;
	bool alone, seen;
};

/* A layer whose files are one span and one chunk each, a link, and what one reader of it pays. */
struct sim {
	struct layer_span spans[SPANS_MAX];
	struct layer_chunk chunks[SPANS_MAX];
	struct layer_index ix;
	uint64_t here_ns[SPANS_MAX]; /* when it arrives; 0 = was not asked for */
	struct request requests[REQUESTS_MAX];
	struct planner_budget budget;
	struct planner p;
	struct link_model model;      /* as estimated */
	uint64_t rtt_ns, bytes_per_s; /* as it is */
	uint64_t now_ns, link_free_ns, cpu_ns;
	uint64_t n, moved, read;
};

static struct sim s; /* too large for the stack; every test begins with sim_init() */

static void sim_file(uint64_t bytes)
{
	uint64_t i = s.ix.header.n_spans++;
	uint64_t at = i ? s.spans[i - 1].in_end : 0;
	uint64_t dev = i ? align_up(s.chunks[i - 1].dev_off + s.chunks[i - 1].len, 4096) : 0;

	assert_true(i < SPANS_MAX);
	s.spans[i] = (struct layer_span){.in_off = at, .in_end = at + bytes};
	s.chunks[i] = (struct layer_chunk){.dev_off = dev,
					   .len = (uint32_t)bytes,
					   .span = (uint32_t)i,
					   .span_last = (uint32_t)i};
	s.ix.header.n_chunks++;
	s.ix.header.blob_bytes = at + bytes;
}

static void sim_init(uint64_t rtt_ms, uint64_t bytes_per_s)
{
	memset(&s, 0, sizeof(s));
	s.ix.spans = s.spans;
	s.ix.chunks = s.chunks;
	s.rtt_ns = rtt_ms * MS;
	s.bytes_per_s = bytes_per_s;
	s.now_ns = 1;
	link_model_init(&s.model);
}

static void sim_ready(void)
{
	assert_int_equal(planner_init(&s.p, &s.ix, &s.budget), 0);
}

static bool wanted(void *userdata, uint64_t span)
{
	assert_true(span < s.ix.header.n_spans);
	return !s.here_ns[span];
}

static const struct planner_link link_of_sim = {
	.model = &s.model, .max_bytes = UINT64_MAX, .is_wanted = wanted};

static uint64_t transfer_ns(uint64_t bytes)
{
	return bytes * 1000 * MS / s.bytes_per_s;
}

static void sim_request(uint64_t first, uint64_t last)
{
	struct request *q = &s.requests[s.n++];
	uint64_t begin = s.spans[first].in_off;

	assert_true(s.n < REQUESTS_MAX);
	*q = (struct request){.sent_ns = s.now_ns, .alone = s.now_ns >= s.link_free_ns};
	q->bytes = s.spans[last].in_end - begin;
	q->first_ns = max_u64(s.now_ns + s.rtt_ns, s.link_free_ns);
	q->last_ns = s.link_free_ns = q->first_ns + transfer_ns(q->bytes);
	for (uint64_t i = first; i <= last; i++) {
		assert_false(s.here_ns[i]); /* nothing is fetched twice */
		s.here_ns[i] = q->first_ns + transfer_ns(s.spans[i].in_end - begin);
	}
	s.moved += q->bytes;
}

static void sim_learn(void)
{
	for (uint64_t i = s.n > 64 ? s.n - 64 : 0; i < s.n; i++) {
		struct request *q = &s.requests[i];

		if (q->seen || q->last_ns > s.now_ns)
			continue;
		q->seen = true;
		link_model_observe(&s.model, q->alone ? q->first_ns - q->sent_ns : 0, q->bytes,
				   q->last_ns - q->first_ns);
	}
}

static void sim_read(uint64_t span)
{
	struct planner_stream *st;
	struct plan ahead;
	uint64_t first = span, last = span;

	sim_learn();
	s.now_ns += s.cpu_ns;
	s.read += s.spans[span].in_end - s.spans[span].in_off;
	if (!planner_is_touched(&s.p, span)) {
		st = planner_touch(&s.p, &link_of_sim, span, span,
				   s.here_ns[span] ? PLANNER_NO_MISS : span);
		if (!s.here_ns[span]) {
			if (st->next == span + 1 &&
			    planner_ahead(&s.p, &link_of_sim, st, true, PER_REQUEST_MAX, &ahead)) {
				assert_int_equal(ahead.first, span + 1);
				last = ahead.last;
			}
			if (planner_before(&s.p, &link_of_sim, st, span, PER_REQUEST_MAX, &ahead)) {
				assert_int_equal(ahead.last, span - 1);
				first = ahead.first;
			}
			sim_request(first, last);
		}
		while (planner_ahead(&s.p, &link_of_sim, st, false, PER_REQUEST_MAX, &ahead))
			sim_request(ahead.first, ahead.last);
		while (planner_rest(&s.p, &link_of_sim, PER_REQUEST_MAX, &ahead))
			sim_request(ahead.first, ahead.last);
	}
	s.now_ns = max_u64(s.now_ns, s.here_ns[span]);
}

static uint64_t random_next(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return *seed >> 33;
}

/* Sizes as in a distribution's packages: many small files, few large ones. */
static void sim_files(uint64_t n, uint64_t seed)
{
	for (uint64_t i = 0; i < n; i++) {
		uint64_t r = random_next(&seed) % 100, base = random_next(&seed);

		sim_file(r < 60	  ? 300 + base % 4000
			 : r < 95 ? 3000 + base % 20000
			 : r < 99 ? 20000 + base % 200000
				  : 200000 + base % 1500000);
	}
}

/* ---- what is promised ---- */

static void neighbouring_files_arrive_as_one(void **state)
{
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 2; k++)
			for (uint64_t bytes = 4096; bytes <= 4100; bytes += 4) {
				double ideal;

				sim_init(rtts_ms[i], rates[k]);
				for (int n = 0; n < 5000; n++)
					sim_file(bytes);
				sim_ready();
				for (uint64_t span = 2000; span < 3000; span++)
					sim_read(span);
				ideal = (double)(transfer_ns(s.read) + 3 * s.rtt_ns);
				assert_true((double)s.now_ns <= 1.3 * ideal);
				planner_fini(&s.p);
			}
}

static void everything_takes_as_long_as_the_blob(void **state)
{
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 2; k++) {
			uint64_t ideal;

			sim_init(rtts_ms[i], rates[k]);
			sim_files(20000, 7);
			sim_ready();
			assert_true(s.ix.header.blob_bytes > 200 * MIB);
			for (uint64_t span = 0; span < s.ix.header.n_spans; span++)
				sim_read(span);
			ideal = transfer_ns(s.ix.header.blob_bytes) + s.rtt_ns;
			assert_int_equal(s.moved, s.ix.header.blob_bytes);
			assert_true((double)s.now_ns <= 1.1 * (double)ideal);
			planner_fini(&s.p);
		}
}

/* Directories are walked in another order than the layer has them: stretches of it are shuffled. */
static void everything_in_another_order(void **state)
{
	uint64_t seed = 3, order[400];

	sim_init(20, 12500000);
	sim_files(20000, 8);
	sim_ready();
	for (uint64_t i = 0; i < 400; i++)
		order[i] = i;
	for (uint64_t i = 399; i; i--) {
		uint64_t j = random_next(&seed) % (i + 1), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (uint64_t i = 0; i < 400; i++)
		for (uint64_t k = 0; k < 50; k++)
			sim_read(order[i] * 50 + k);
	assert_int_equal(s.moved, s.ix.header.blob_bytes);
	assert_true((double)s.now_ns <= 1.8 * (double)transfer_ns(s.ix.header.blob_bytes));
	planner_fini(&s.p);
}

static void one_small_file_moves_little(void **state)
{
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 2; k++) {
			sim_init(rtts_ms[i], rates[k]);
			for (int n = 0; n < 6400; n++)
				sim_file(64 * KIB);
			sim_ready();
			sim_read(1234);
			assert_true(s.moved <= 256 * KIB);
			assert_int_equal(s.n, 1);
			planner_fini(&s.p);
		}
}

/* A program that starts: modules here and there, some in a row, some libraries. */
static void a_program_that_starts_moves_little_beside(void **state)
{
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 2; k++) {
			uint64_t seed = 5;

			sim_init(rtts_ms[i], rates[k]);
			sim_files(20000, 9);
			sim_ready();
			for (int n = 0; n < 200; n++) {
				uint64_t at = random_next(&seed) % 19990;

				for (uint64_t run = random_next(&seed) % 6; run; run--)
					sim_read(at += 1 + random_next(&seed) % 2);
			}
			assert_true(s.read > 4 * MIB);
			assert_true((double)s.moved <= 1.3 * (double)s.read + (double)MIB);
			planner_fini(&s.p);
		}
}

/* An interpreter that imports: many of the modules of one directory, in an order of its own. */
static void modules_bring_their_neighbours(void **state)
{
	uint64_t seed = 6, modules = 160;

	sim_init(80, 12500000);
	sim_files(20000, 9);
	for (uint64_t i = 0; i < 400; i++)
		sim_file(2000 + random_next(&seed) % 20000);
	sim_ready();
	for (uint64_t i = 0; i < 200; i++) /* the program itself, and what else it needs */
		sim_read(random_next(&seed) % 20000);
	s.n = 0;
	for (uint64_t i = 0; i < modules; i++)
		sim_read(20000 + random_next(&seed) % 400);
	assert_true(s.n <= modules * 7 / 10);
	assert_true((double)s.moved <= 1.3 * (double)s.read + (double)MIB);
	planner_fini(&s.p);
}

static void readers_who_jump_fetch_little_beside(void **state)
{
	uint64_t seed = 1;

	sim_init(20, 12500000);
	for (int n = 0; n < 4096; n++)
		sim_file(64 * KIB);
	sim_ready();
	for (int i = 0; i < 400; i++)
		sim_read(random_next(&seed) % 4096);
	assert_true((double)s.moved <= 1.3 * (double)s.read + (double)MIB);
	planner_fini(&s.p);
}

static void who_goes_on_in_order_has_much_ahead(void **state)
{
	sim_init(20, 12500000);
	for (int n = 0; n < 1000; n++)
		sim_file(64 * KIB);
	sim_ready();
	for (uint64_t i = 0; i < 16; i++)
		sim_read(i);
	assert_true(s.moved >= 6 * s.read);
	assert_true(s.moved <= s.read + PLANNER_AHEAD_MIN + 64 * KIB);
	planner_fini(&s.p);
}

/* Four who read at once are not taken for one who jumps. */
static void several_readers_keep_their_streams(void **state)
{
	sim_init(20, 12500000);
	for (int n = 0; n < 20000; n++)
		sim_file(4100);
	sim_ready();
	for (uint64_t i = 0; i < 2000; i++)
		for (uint64_t k = 0; k < 4; k++)
			sim_read(k * 5000 + i);
	assert_true((double)s.now_ns <= 1.3 * (double)(transfer_ns(s.read) + 3 * s.rtt_ns));
	planner_fini(&s.p);
}

/* The last file of a run says nothing about the large ones behind it. */
static void large_files_are_not_dragged_in(void **state)
{
	sim_init(20, 12500000);
	for (int n = 0; n < 50; n++)
		sim_file(2 * MIB + 5);
	sim_ready();
	sim_read(10);
	assert_int_equal(s.moved, 2 * MIB + 5);
	sim_read(30);
	assert_int_equal(s.moved, 2 * (2 * MIB + 5));
	planner_fini(&s.p);
}

static void the_rest_of_a_layer_comes_at_last(void **state)
{
	sim_init(20, 12500000);
	for (int n = 0; n < 1000; n++)
		sim_file(64 * KIB);
	sim_ready();
	for (uint64_t i = 0; i < 760; i++)
		sim_read(i * 7 % 1000);
	assert_int_equal(s.moved, s.ix.header.blob_bytes);
	planner_fini(&s.p);
}

/* ---- limits ---- */

static bool is_gone(void *userdata, uint64_t span)
{
	return span != 12;
}

static void plans_end_at_what_is_there_and_at_the_end(void **state)
{
	struct planner_link l = link_of_sim;
	struct planner_stream *st;
	struct plan plan;

	sim_init(20, 12500000);
	for (int n = 0; n < 100; n++)
		sim_file(4096);
	sim_ready();
	l.is_wanted = is_gone;
	st = planner_touch(&s.p, &l, 10, 10, 10);
	assert_true(planner_ahead(&s.p, &l, st, true, MIB, &plan));
	assert_int_equal(plan.first, 11);
	assert_int_equal(plan.last, 11);
	st = planner_touch(&s.p, &l, 98, 98, 98);
	assert_true(planner_ahead(&s.p, &l, st, true, MIB, &plan));
	assert_int_equal(plan.last, 99);
	assert_false(planner_ahead(&s.p, &l, st, false, MIB, &plan));
	st = planner_touch(&s.p, &l, 99, 99, 99);
	assert_false(planner_ahead(&s.p, &l, st, false, MIB, &plan));
	planner_fini(&s.p);
}

static void limits_hold(void **state)
{
	struct planner_link l = link_of_sim;
	struct planner_stream *st;
	struct plan plan;

	sim_init(20, 12500000);
	for (int n = 0; n < 30000; n++)
		sim_file(4096);
	sim_ready();
	s.model.rtt_ns = s.model.bytes_per_s = UINT64_MAX;
	st = planner_touch(&s.p, &l, 0, 0, 0);
	assert_true(planner_ahead(&s.p, &l, st, true, 10 * 4096, &plan));
	assert_int_equal(plan.last, 10);
	for (uint64_t i = 1; i < 5000; i++)
		st = planner_touch(&s.p, &l, i, i, i);
	st->used = UINT64_MAX;
	assert_true(planner_ahead(&s.p, &l, st, false, UINT64_MAX, &plan));
	assert_true((plan.last - plan.first + 1) * 4096 <= PLANNER_AHEAD_MAX);
	st = planner_touch(&s.p, &l, 20000, 20000, 20000);
	st->used = UINT64_MAX;
	l.max_bytes = 100000;
	assert_true(planner_ahead(&s.p, &l, st, false, UINT64_MAX, &plan));
	assert_true((plan.last - plan.first + 1) * 4096 <= 100000);
	planner_fini(&s.p);
}

static void books_balance(void **state)
{
	uint64_t seed = 2;

	sim_init(20, 12500000);
	sim_files(2000, 4);
	sim_ready();
	for (int i = 0; i < 3000; i++)
		sim_read(random_next(&seed) % 2000);
	for (uint64_t i = 0; i < 2000; i++)
		sim_read(i);
	assert_int_equal(s.budget.unused_bytes, 0);
	assert_int_equal(s.budget.touched_bytes, s.ix.header.blob_bytes);
	assert_int_equal(s.p.touched_bytes, s.p.all_bytes);
	planner_fini(&s.p);
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
	for (int i = 0; i < 60; i++)
		link_model_observe(&m, 50000000, 10000000, 1000000000);
	assert_in_range(m.rtt_ns, 49000000, 51000000);
	assert_in_range(m.bytes_per_s, 9900000, 10200000);
	link_model_observe(&m, UINT64_MAX, UINT64_MAX, 1); /* absurd, and no trap */
	assert_true(link_model_bytes_per_rtt(&m) <= UINT64_C(1) << 30);
	assert_true(link_model_transfer_ns(&m, UINT64_MAX) > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(neighbouring_files_arrive_as_one),
		cmocka_unit_test(everything_takes_as_long_as_the_blob),
		cmocka_unit_test(everything_in_another_order),
		cmocka_unit_test(one_small_file_moves_little),
		cmocka_unit_test(a_program_that_starts_moves_little_beside),
		cmocka_unit_test(modules_bring_their_neighbours),
		cmocka_unit_test(readers_who_jump_fetch_little_beside),
		cmocka_unit_test(who_goes_on_in_order_has_much_ahead),
		cmocka_unit_test(several_readers_keep_their_streams),
		cmocka_unit_test(large_files_are_not_dragged_in),
		cmocka_unit_test(the_rest_of_a_layer_comes_at_last),
		cmocka_unit_test(plans_end_at_what_is_there_and_at_the_end),
		cmocka_unit_test(limits_hold),
		cmocka_unit_test(books_balance),
		cmocka_unit_test(the_link_is_learned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
