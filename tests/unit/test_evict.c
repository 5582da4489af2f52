/* SPDX-License-Identifier: MIT */
#include "cache_rig.h"

#include <sys/wait.h>
#include "cache/reader_impl.h"

#define KIB UINT64_C(1024)
#define MIB (1024 * KIB)

static const struct rig_shape one_mib = {.file_bytes = 256 * 1024,
					 .n_files = 4,
					 .chunk_bytes = 65536,
					 .span_bytes = 65536,
					 .seed = 1};
/* Chunks that share spans, and blocks with nobody. */
static const struct rig_shape crooked = {
	.file_bytes = 130000, .n_files = 12, .chunk_bytes = 40000, .span_bytes = 50000, .seed = 2};

static void layer_add(struct rig *g, struct rig_layer *rl, const struct rig_shape *like,
		      uint64_t seed)
{
	struct rig_shape shape = *like;
	struct layer *l;

	shape.seed = seed;
	rig_layer_init(rl, &shape);
	assert_int_equal(rig_stage(g->c, rl, true, &l, NULL), 0);
	layer_close(l);
}

static void layer_age(struct rig *g, const struct rig_layer *rl, time_t seconds)
{
	struct timespec at[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
	char path[200];

	snprintf(path, sizeof(path), "%s/layers/%s/present", g->dir, rl->key.hex);
	assert_int_equal(utimensat(AT_FDCWD, path, at, 0), 0);
}

static uint64_t here_bytes(struct rig *g, const struct rig_layer *rl)
{
	struct layer *l;
	uint64_t n;

	if (layer_peek(g->c, &rl->key, &l) < 0)
		return UINT64_MAX; /* not even its tables */
	n = layer_present_bytes(l);
	layer_close(l);
	return n;
}

static int usage_add(void *userdata, const struct cache_item *it)
{
	*(uint64_t *)userdata += it->bytes;
	return 0;
}

static uint64_t usage(struct rig *g)
{
	uint64_t sum = 0;

	assert_int_equal(cache_list(g->c, usage_add, &sum, NULL), 0);
	return sum;
}

static struct layer *layer_get(struct rig *g, const struct rig_layer *rl)
{
	struct layer *l;

	assert_int_equal(layer_open(g->c, &rl->key, &l, NULL), 0);
	return l;
}

/* ---- which goes first ---- */

static void oldest_contents_go_first_and_tables_stay(void **state)
{
	struct rig_layer a, b, c;
	struct reader *r;
	struct layer *l;
	struct rig g;
	uint64_t freed;

	rig_init(&g);
	layer_add(&g, &a, &one_mib, 11);
	layer_add(&g, &b, &one_mib, 12);
	layer_add(&g, &c, &one_mib, 13);
	layer_age(&g, &a, 2000);
	layer_age(&g, &b, 1000);
	layer_age(&g, &c, 3000);
	assert_int_equal(cache_evict(g.c, usage(&g) - MIB / 2, &freed, NULL), 0);
	assert_true(freed >= MIB);
	assert_int_equal(here_bytes(&g, &a), MIB);
	assert_int_equal(here_bytes(&g, &b), 0);
	assert_int_equal(here_bytes(&g, &c), MIB);
	/* Evicting was not a use: a goes before c, and b does not come to the front. */
	assert_int_equal(cache_evict(g.c, usage(&g) - MIB / 2, &freed, NULL), 0);
	assert_int_equal(here_bytes(&g, &a), 0);
	assert_int_equal(here_bytes(&g, &c), MIB);
	l = layer_get(&g, &b); /* still lazy */
	r = rig_reader_of(&g, l, &b, 0);
	assert_int_equal(rig_check(r, &b, 0, b.device_bytes), 0);
	assert_true(b.blob.reads > 0);
	reader_free(r);
	layer_close(l);
	rig_layer_fini(&a);
	rig_layer_fini(&b);
	rig_layer_fini(&c);
	rig_fini(&g);
}

static void layers_in_use_go_last(void **state)
{
	struct rig_layer a, b;
	struct layer *l;
	struct rig g;
	uint64_t freed;

	rig_init(&g);
	layer_add(&g, &a, &one_mib, 11);
	layer_add(&g, &b, &one_mib, 12);
	l = layer_get(&g, &a);
	layer_age(&g, &a, 1000);
	layer_age(&g, &b, 2000);
	assert_int_equal(cache_evict(g.c, usage(&g) - MIB / 2, &freed, NULL), 0);
	assert_int_equal(here_bytes(&g, &a), MIB);
	assert_int_equal(here_bytes(&g, &b), 0);
	assert_int_equal(cache_evict(g.c, usage(&g) - MIB / 2, &freed, NULL), 0);
	assert_true(here_bytes(&g, &a) <= MIB / 2);
	layer_close(l);
	rig_layer_fini(&a);
	rig_layer_fini(&b);
	rig_fini(&g);
}

static void what_was_just_read_has_a_second_chance(void **state)
{
	struct rig_layer a;
	struct reader *r;
	struct layer *l;
	struct rig g;
	uint64_t freed;

	rig_init(&g);
	layer_add(&g, &a, &one_mib, 11);
	l = layer_get(&g, &a);
	r = rig_reader_of(&g, l, &a, 0);
	assert_int_equal(rig_check(r, &a, 3 * 65536, 65536), 0);
	assert_int_equal(rig_check(r, &a, 9 * 65536, 10), 0);
	assert_int_equal(cache_evict(g.c, usage(&g) - 14 * 65536, &freed, NULL), 0);
	assert_int_equal(layer_present_bytes(l), 2 * 65536);
	assert_int_equal(layer_chunk_state(l, 3), CHUNK_ON_DISK);
	assert_int_equal(layer_chunk_state(l, 9), CHUNK_ON_DISK);
	/* One chance, not two. */
	assert_int_equal(cache_evict(g.c, usage(&g) - 65536, &freed, NULL), 0);
	assert_int_equal(layer_present_bytes(l), 65536);
	reader_free(r);
	layer_close(l);
	rig_layer_fini(&a);
	rig_fini(&g);
}

static void claimed_layers_are_left_alone(void **state)
{
	struct rig_layer a;
	struct layer *l;
	struct rig g;
	uint64_t freed;

	rig_init(&g);
	layer_add(&g, &a, &one_mib, 11);
	l = layer_get(&g, &a);
	assert_int_equal(layer_claim(l), 0);
	assert_int_equal(cache_evict(g.c, 0, &freed, NULL), 0);
	assert_int_equal(here_bytes(&g, &a), MIB);
	assert_true(layer_is_complete(l));
	layer_close(l); /* which gives the claim up */
	assert_int_equal(cache_evict(g.c, 0, &freed, NULL), 0);
	assert_int_equal(here_bytes(&g, &a), UINT64_MAX);
	rig_layer_fini(&a);
	rig_fini(&g);
}

static void nothing_to_do_does_nothing(void **state)
{
	struct rig_layer a;
	struct rig g;
	uint64_t freed;

	rig_init(&g);
	layer_add(&g, &a, &one_mib, 11);
	assert_int_equal(cache_evict(g.c, usage(&g), &freed, NULL), 0);
	assert_int_equal(freed, 0);
	assert_int_equal(here_bytes(&g, &a), MIB);
	g.c->writable = false;
	assert_int_equal(cache_evict(g.c, 0, &freed, NULL), -EROFS);
	rig_layer_fini(&a);
	rig_fini(&g);
}

/* What is under a fetch's lock is not taken, and nobody waits for it. */
static void fetches_are_not_disturbed(void **state)
{
	struct rig_layer a;
	struct layer *l;
	struct rig g;
	uint64_t freed;

	rig_init(&g);
	layer_add(&g, &a, &one_mib, 11);
	l = layer_get(&g, &a);
	assert_int_equal(present_lock_spans(l->present.fd, 5, 5, NULL), 0);
	assert_int_equal(cache_evict(g.c, 0, &freed, NULL), 0);
	assert_true(present_get(&l->present, 5) & MARK_HERE);
	assert_int_equal(pread(l->data_fd, &(char){0}, 1, 5 * 65536), 1);
	present_unlock_spans(l->present.fd, 5, 5);
	assert_int_equal(cache_evict(g.c, 0, &freed, NULL), 0);
	assert_int_equal(layer_present_bytes(l), 0);
	layer_close(l);
	rig_layer_fini(&a);
	rig_fini(&g);
}

/* ---- the bound ---- */

static void a_layer_larger_than_the_cache_streams(void **state)
{
	const struct rig_shape big = {.file_bytes = 8 * MIB,
				      .n_files = 3,
				      .chunk_bytes = 65536,
				      .span_bytes = 100000,
				      .seed = 5};
	struct rig_layer a;
	struct reader *r;
	struct layer *l;
	struct rig g;
	uint64_t most = 0;

	rig_init(&g);
	cache_close(g.c);
	rig_cache_open(&g, 4 * MIB);
	rig_layer_init(&a, &big);
	assert_int_equal(rig_stage(g.c, &a, false, &l, NULL), 0);
	r = rig_reader_of(&g, l, &a, 0);
	for (int round = 0; round < 2; round++)
		for (uint64_t at = 0; at < a.device_bytes; at += 128 * KIB) {
			assert_int_equal(
				rig_check(r, &a, at, min_u64(128 * KIB, a.device_bytes - at)), 0);
			most = max_u64(most, usage(&g));
		}
	/* The limit, and what comes before somebody looks again. */
	assert_true(most <= 4 * MIB + 2 * MIB);
	assert_true(g.c->memory.bytes == 0);
	assert_true(counter_get(&g.counters.evictions) > 2 * a.n_chunks / 3);
	reader_free(r);
	layer_close(l);
	rig_layer_fini(&a);
	rig_fini(&g);
}

static _Atomic int64_t disk_room; /* bytes */

static ssize_t small_disk_pwrite(const struct seam *s, int fd, const void *buf, size_t n,
				 uint64_t off)
{
	if (n >= 4096 && atomic_fetch_sub(&disk_room, (int64_t)n) < (int64_t)n) {
		atomic_fetch_add(&disk_room, (int64_t)n);
		return -ENOSPC;
	}
	return seam_real()->pwrite(s, fd, buf, n, off);
}

static int small_disk_punch(const struct seam *s, int fd, uint64_t off, uint64_t len)
{
	atomic_fetch_add(&disk_room, (int64_t)len);
	return seam_real()->punch(s, fd, off, len);
}

static void a_full_disk_evicts_first(void **state)
{
	struct rig_layer old, new;
	struct reader *r;
	struct layer *l;
	struct rig g;

	rig_init(&g);
	layer_add(&g, &old, &one_mib, 11);
	rig_layer_init(&new, &one_mib);
	assert_int_equal(rig_stage(g.c, &new, false, &l, NULL), 0);
	atomic_store(&disk_room, 0);
	g.seam.pwrite = small_disk_pwrite;
	g.seam.punch = small_disk_punch;
	r = rig_reader_of(&g, l, &new, 0);
	assert_int_equal(rig_check(r, &new, 0, new.device_bytes), 0);
	assert_int_equal(here_bytes(&g, &old), 0);
	assert_int_equal(layer_chunk_state(l, 0), CHUNK_ON_DISK);
	assert_int_equal(g.log.lines, 0); /* nothing to complain about */
	reader_free(r);
	layer_close(l);
	rig_layer_fini(&old);
	rig_layer_fini(&new);
	rig_fini(&g);
}

/* ---- under live readers ---- */

struct live {
	struct rig *g;
	struct rig_layer *rl;
	struct reader *r;
	uint64_t seed, reads;
	atomic_bool *stop;
};

static void *live_reader(void *arg)
{
	struct live *lv = arg;

	while (!atomic_load(lv->stop)) {
		uint64_t off = rig_random(&lv->seed) % lv->rl->device_bytes;
		uint64_t len =
			min_u64(1 + rig_random(&lv->seed) % 150000, lv->rl->device_bytes - off);

		assert_int_equal(rig_check(lv->r, lv->rl, off, len), 0);
		lv->reads++;
	}
	return NULL;
}

static void evict_for(struct cache *c, uint64_t ns)
{
	const struct seam *s = seam_real();
	uint64_t end = s->monotonic_ns(s) + ns, freed;

	for (unsigned i = 0; s->monotonic_ns(s) < end; i++)
		assert_int_equal(cache_evict(c, i % 3 ? 600 * KIB : 0, &freed, NULL), 0);
}

enum { READERS = 4 };

/* A process that evicts once it is told to. Made before there are threads: a child that is forked
 * beside them may find locks of the allocator taken for ever. */
struct evictor {
	pid_t pid;
	int go; /* its end of a pipe */
};

static void evictor_start(struct evictor *e, const struct rig *g)
{
	int pipe_fds[2];

	assert_int_equal(pipe(pipe_fds), 0);
	e->go = pipe_fds[1];
	e->pid = fork();
	if (!e->pid) {
		struct cache_options o = {.seam = seam_real(), .dir = g->dir};
		struct cache *c;
		char byte;

		if (read(pipe_fds[0], &byte, 1) != 1 || cache_open(&o, &c, NULL) < 0)
			_exit(1);
		evict_for(c, 1500 * MS);
		_exit(0);
	}
	assert_true(e->pid > 0);
	close(pipe_fds[0]);
}

static void evictor_run(const struct evictor *e)
{
	int status;

	assert_int_equal(write(e->go, "", 1), 1);
	assert_int_equal(waitpid(e->pid, &status, 0), e->pid);
	assert_int_equal(status, 0);
	close(e->go);
}

static void live_test(bool elsewhere)
{
	struct live lv[READERS];
	pthread_t threads[READERS];
	atomic_bool stop = false;
	struct evictor evictor;
	struct rig_layer rl;
	struct reader *r;
	struct layer *l;
	struct rig g;
	uint64_t reads = 0;

	rig_init(&g);
	if (elsewhere)
		evictor_start(&evictor, &g);
	rig_layer_init(&rl, &crooked);
	assert_int_equal(rig_stage(g.c, &rl, true, &l, NULL), 0);
	r = rig_reader_of(&g, l, &rl, 0);
	for (int i = 0; i < READERS; i++) {
		lv[i] = (struct live){
			.g = &g, .rl = &rl, .r = r, .seed = (uint64_t)i, .stop = &stop};
		assert_int_equal(pthread_create(&threads[i], NULL, live_reader, &lv[i]), 0);
	}
	if (elsewhere)
		evictor_run(&evictor);
	else
		evict_for(g.c, 1500 * MS);
	atomic_store(&stop, true);
	for (int i = 0; i < READERS; i++) {
		pthread_join(threads[i], NULL);
		reads += lv[i].reads;
	}
	assert_true(reads > 50);
	assert_true(rl.blob.reads > 10);
	assert_int_equal(counter_get(&g.counters.read_errors), 0);
	assert_int_equal(counter_get(&g.counters.digest_errors), 0);
	reader_free(r);
	layer_close(l);
	rig_layer_fini(&rl);
	rig_fini(&g);
}

static void live_readers_read_right(void **state)
{
	live_test(false);
}

static void live_readers_read_right_beside_another_process(void **state)
{
	live_test(true);
}

/* ---- at the worst moment ---- */

static struct moment {
	struct layer *other; /* another process's view of the layer */
	const struct rig_layer *rl;
	bool armed, refills;
} moment;

/* The chunk leaves right before these bytes are read, and may be back right after. */
static ssize_t evicted_pread(const struct seam *s, int fd, void *buf, size_t n, uint64_t off,
			     int flags)
{
	ssize_t r;

	if (!moment.armed)
		return seam_real()->pread(s, fd, buf, n, off, flags);
	moment.armed = false;
	layer_punch(moment.other, 0, 0);
	r = seam_real()->pread(s, fd, buf, n, off, 0);
	if (moment.refills)
		assert_int_equal(layer_store(moment.other, 0, moment.rl->device, true), 0);
	return r;
}

static void worst_moment(bool verified_before, bool refills)
{
	struct rig_layer a;
	struct reader *r;
	struct layer *l;
	struct rig g;

	rig_init(&g);
	layer_add(&g, &a, &one_mib, 11);
	l = layer_get(&g, &a);
	r = rig_reader_of(&g, l, &a, 0);
	if (verified_before)
		assert_int_equal(rig_check(r, &a, 0, 65536), 0);
	assert_int_equal(layer_peek(g.c, &a.key, &moment.other), 0);
	moment.rl = &a;
	moment.armed = true;
	moment.refills = refills;
	g.seam.pread = evicted_pread;
	assert_int_equal(rig_check(r, &a, 0, 65536), 0);
	assert_false(moment.armed);
	assert_int_equal(a.blob.reads, refills ? 0 : 1);
	assert_int_equal(counter_get(&g.counters.digest_errors), 0); /* nothing was damaged */
	layer_close(moment.other);
	reader_free(r);
	layer_close(l);
	rig_layer_fini(&a);
	rig_fini(&g);
}

static void evicted_under_a_read(void **state)
{
	worst_moment(true, false);
}

static void evicted_and_refilled_under_a_read(void **state)
{
	worst_moment(true, true);
}

static void evicted_under_a_verification(void **state)
{
	worst_moment(false, false);
}

static void evicted_and_refilled_under_a_verification(void **state)
{
	worst_moment(false, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(oldest_contents_go_first_and_tables_stay),
		cmocka_unit_test(layers_in_use_go_last),
		cmocka_unit_test(what_was_just_read_has_a_second_chance),
		cmocka_unit_test(claimed_layers_are_left_alone),
		cmocka_unit_test(nothing_to_do_does_nothing),
		cmocka_unit_test(fetches_are_not_disturbed),
		cmocka_unit_test(a_layer_larger_than_the_cache_streams),
		cmocka_unit_test(a_full_disk_evicts_first),
		cmocka_unit_test(evicted_under_a_read),
		cmocka_unit_test(evicted_and_refilled_under_a_read),
		cmocka_unit_test(evicted_under_a_verification),
		cmocka_unit_test(evicted_and_refilled_under_a_verification),
		cmocka_unit_test(live_readers_read_right),
		cmocka_unit_test(live_readers_read_right_beside_another_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
