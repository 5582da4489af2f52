/* SPDX-License-Identifier: MIT */
#include "cache_rig.h"

#include "cache/prefetch_run.h"
#include "cache/reader_impl.h"

static const struct rig_shape shape = {
	.file_bytes = 1 << 20, .n_files = 8, .chunk_bytes = 65536, .span_bytes = 65536, .seed = 4};

struct setup {
	struct rig g;
	struct rig_layer rl;
	struct layer *l;
	struct reader *r;
	struct prefetch *p;
};

static const struct prefetch_options everything = {.all = true,
						   .image_key = {.algo = DIGEST_SHA256}};

static void setup_init(struct setup *s, uint64_t delay_ns)
{
	rig_init(&s->g);
	rig_layer_init(&s->rl, &shape);
	assert_int_equal(rig_stage(s->g.c, &s->rl, false, &s->l, NULL), 0);
	s->r = rig_reader_of(&s->g, s->l, &s->rl, 0);
	s->rl.blob.delay_ns = delay_ns;
	s->p = NULL;
}

static void setup_fini(struct setup *s)
{
	prefetch_end(s->p);
	reader_free(s->r);
	layer_close(s->l);
	rig_layer_fini(&s->rl);
	rig_fini(&s->g);
}

static uint64_t now_ns(void)
{
	return seam_real()->monotonic_ns(seam_real());
}

static void sleep_ms(uint64_t ms)
{
	uint64_t until = now_ns() + ms * MS;

	while (now_ns() < until)
		seam_real()->sleep_until(seam_real(), until);
}

static bool completes(struct setup *s, uint64_t seconds)
{
	uint64_t until = now_ns() + seconds * NS_PER_S;

	while (!layer_is_complete(s->l) && now_ns() < until)
		sleep_ms(5);
	return layer_is_complete(s->l);
}

static void everything_comes_once(void **state)
{
	struct setup s;

	setup_init(&s, 1 * MS);
	assert_int_equal(prefetch_start(s.r, s.g.c, &everything, &s.p), 0);
	assert_true(completes(&s, 30));
	prefetch_end(steal_ptr(s.p));
	assert_int_equal(s.rl.blob.bytes, s.rl.blob.base.size);
	assert_int_equal(counter_get(&s.g.counters.prefetch_bytes), s.rl.blob.base.size);
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_int_equal(s.rl.blob.bytes, s.rl.blob.base.size);
	setup_fini(&s);
}

/* Readers here and there take over what is on its way, and get the right bytes. */
static void readers_come_between(void **state)
{
	uint64_t seed = 1;
	struct setup s;

	setup_init(&s, 3 * MS);
	s.rl.blob.piece = 10000;
	assert_int_equal(prefetch_start(s.r, s.g.c, &everything, &s.p), 0);
	for (int i = 0; i < 200; i++) {
		uint64_t at = rig_random(&seed) % (s.rl.device_bytes - 5000);

		assert_int_equal(rig_check(s.r, &s.rl, at, 5000), 0);
	}
	assert_true(completes(&s, 30));
	prefetch_end(steal_ptr(s.p));
	reader_free(steal_ptr(s.r));
	assert_true(s.rl.blob.bytes <= s.rl.blob.base.size); /* nothing came twice */
	setup_fini(&s);
}

static void a_blob_that_fails_is_left_alone(void **state)
{
	struct setup s;

	setup_init(&s, 0);
	s.rl.blob.fail = -EHOSTDOWN;
	assert_int_equal(prefetch_start(s.r, s.g.c, &everything, &s.p), 0);
	sleep_ms(700);
	assert_int_equal(s.rl.blob.reads, 1);
	/* Who reads tries himself, and is not told what the prefetch met. */
	s.rl.blob.fail = 0;
	assert_int_equal(rig_check(s.r, &s.rl, 0, 4096), 0);
	setup_fini(&s);
}

static void it_ends_at_once(void **state)
{
	struct setup s;
	uint64_t start;

	setup_init(&s, 20 * NS_PER_S);
	assert_int_equal(prefetch_start(s.r, s.g.c, &everything, &s.p), 0);
	sleep_ms(50);
	start = now_ns();
	setup_fini(&s);
	assert_true(now_ns() - start < 5 * NS_PER_S);
}

static void a_full_cache_ends_it(void **state)
{
	struct setup s;

	setup_init(&s, 0);
	s.g.c->limit_bytes = 4 << 20;
	assert_int_equal(prefetch_start(s.r, s.g.c, &everything, &s.p), 0);
	sleep_ms(1500);
	assert_true(s.rl.blob.bytes <= 2 << 20);
	setup_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_once),
		cmocka_unit_test(readers_come_between),
		cmocka_unit_test(a_blob_that_fails_is_left_alone),
		cmocka_unit_test(it_ends_at_once),
		cmocka_unit_test(a_full_cache_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
