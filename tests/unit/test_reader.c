/* SPDX-License-Identifier: MIT */
#include "cache_rig.h"

#include <sys/wait.h>
#include "cache/reader_impl.h"

/* Chunks cross spans, files end inside blocks. */
static const struct rig_shape shape = {
	.file_bytes = 300000, .n_files = 8, .chunk_bytes = 65536, .span_bytes = 100000, .seed = 3};
/* One chunk, one span. */
static const struct rig_shape plain = {
	.file_bytes = 1 << 20, .n_files = 4, .chunk_bytes = 65536, .span_bytes = 65536, .seed = 4};

struct setup {
	struct rig g;
	struct rig_layer rl;
	struct layer *l;
	struct reader *r;
};

static void setup_init(struct setup *s, const struct rig_shape *sh, bool contents,
		       uint64_t deadline_ns)
{
	rig_init(&s->g);
	rig_layer_init(&s->rl, sh);
	assert_int_equal(rig_stage(s->g.c, &s->rl, contents, &s->l, NULL), 0);
	s->r = rig_reader_of(&s->g, s->l, &s->rl, deadline_ns);
}

static void setup_reopen(struct setup *s, uint64_t deadline_ns)
{
	reader_free(s->r);
	layer_close(s->l);
	assert_int_equal(layer_open(s->g.c, &s->rl.key, &s->l, NULL), 0);
	s->r = rig_reader_of(&s->g, s->l, &s->rl, deadline_ns);
}

static void setup_fini(struct setup *s)
{
	reader_free(s->r);
	layer_close(s->l);
	rig_layer_fini(&s->rl);
	rig_fini(&s->g);
}

static uint64_t count(const _Atomic uint64_t *c)
{
	return counter_get(c);
}

static uint64_t now_ns(void)
{
	return seam_real()->monotonic_ns(seam_real());
}

/* ---- one reader ---- */

static void fetches_once_then_hits(void **state)
{
	struct setup s;
	uint64_t reads;

	setup_init(&s, &shape, false, 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	reads = s.rl.blob.reads;
	assert_true(s.rl.blob.bytes >= 8 * 300000);
	assert_true(layer_is_complete(s.l));
	for (uint64_t at = 0; at < s.rl.device_bytes; at += 4096)
		assert_int_equal(rig_check(s.r, &s.rl, at, 4096), 0);
	assert_int_equal(s.rl.blob.reads, reads);
	assert_true(count(&s.g.counters.hits) >= s.rl.device_bytes / 4096);
	assert_int_equal(count(&s.g.counters.bytes_served), 2 * s.rl.device_bytes);
	assert_int_equal(count(&s.g.counters.read_errors), 0);
	assert_int_equal(count(&s.g.counters.requests), reads);
	/* A new process verifies and fetches nothing. */
	setup_reopen(&s, 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_int_equal(s.rl.blob.reads, reads);
	setup_fini(&s);
}

static void random_ranges_are_right(void **state)
{
	struct setup s;
	uint64_t seed = 11;

	setup_init(&s, &shape, false, 0);
	for (int i = 0; i < 400; i++) {
		uint64_t off = rig_random(&seed) % s.rl.device_bytes;
		uint64_t len = min_u64(rig_random(&seed) % 200000, s.rl.device_bytes - off);

		assert_int_equal(rig_check(s.r, &s.rl, off, len), 0);
	}
	/* Single flight and presence: no span is paid twice, but for those that chunks share. */
	assert_true(s.rl.blob.bytes <= 2 * s.rl.blob.base.size);
	setup_fini(&s);
}

static void only_what_is_asked_is_fetched(void **state)
{
	struct setup s;

	setup_init(&s, &plain, false, 0);
	assert_int_equal(rig_check(s.r, &s.rl, 2 << 20, 100), 0);
	assert_int_equal(s.rl.blob.reads, 1);
	assert_true(s.rl.blob.bytes <= 65536 + PLANNER_FIRST);
	setup_fini(&s);
}

static void outside_the_device(void **state)
{
	struct setup s;
	char b[16];

	setup_init(&s, &plain, false, 0);
	assert_int_equal(reader_read(s.r, 0, s.rl.device_bytes, b, 1, NULL, NULL), -EINVAL);
	assert_int_equal(reader_read(s.r, 0, UINT64_MAX - 3, b, 16, NULL, NULL), -EINVAL);
	assert_int_equal(reader_read(s.r, 1, 0, b, 1, NULL, NULL), -EINVAL);
	assert_int_equal(reader_read(s.r, 0, s.rl.device_bytes, b, 0, NULL, NULL), 0);
	setup_fini(&s);
}

static void holes_are_zero_whatever_the_file_holds(void **state)
{
	struct setup s;

	setup_init(&s, &shape, true, 0);
	assert_int_equal(pwrite(layer_data_fd(s.l), "dirt", 4, 300000 + 100),
			 4); /* behind file 0 */
	assert_int_equal(rig_check(s.r, &s.rl, 299000, 4000), 0);
	setup_fini(&s);
}

/* ---- bad bytes ---- */

static void one_wrong_answer_is_fetched_again(void **state)
{
	struct setup s;

	setup_init(&s, &plain, false, 0);
	s.rl.blob.corrupt_at = 70000;
	assert_int_equal(rig_check(s.r, &s.rl, 0, 200000), 0);
	assert_int_equal(s.rl.blob.fresh_reads, 1);
	assert_int_equal(count(&s.g.counters.digest_errors), 1);
	assert_non_null(strstr(s.g.log.text, "chunk 1 is sha256:"));
	assert_non_null(strstr(s.g.log.text, "expected sha256:"));
	setup_fini(&s);
}

static void wrong_for_ever_is_eio_and_never_kept(void **state)
{
	struct setup s;
	char why[512];

	setup_init(&s, &plain, false, 0);
	s.rl.blob.corrupt_at = 70000;
	s.rl.blob.corrupt_fresh = true;
	assert_int_equal(rig_check(s.r, &s.rl, 65536, 65536), -EBADMSG);
	assert_int_equal(layer_chunk_state(s.l, 1), CHUNK_ABSENT);
	reader_last_error(s.r, why, sizeof(why));
	assert_non_null(strstr(why, "corrupt"));
	/* Its neighbours are not to blame, and it heals without a new reader. */
	assert_int_equal(rig_check(s.r, &s.rl, 0, 65536), 0);
	assert_int_equal(rig_check(s.r, &s.rl, 131072, 65536), 0);
	s.rl.blob.corrupt_at = -1;
	seam_real()->sleep_until(seam_real(), now_ns() + RETRY_NS);
	assert_int_equal(rig_check(s.r, &s.rl, 65536, 65536), 0);
	setup_fini(&s);
}

static void rot_in_the_cache_is_fetched_again(void **state)
{
	uint64_t seed = 5;
	struct setup s;

	setup_init(&s, &shape, true, 0);
	for (int i = 0; i < 20; i++) {
		uint64_t at = rig_random(&seed) % 300000;
		uint8_t byte;

		assert_int_equal(pread(layer_data_fd(s.l), &byte, 1, (off_t)at), 1);
		byte ^= (uint8_t)(1u << rig_random(&seed) % 8);
		assert_int_equal(pwrite(layer_data_fd(s.l), &byte, 1, (off_t)at), 1);
	}
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_true(s.rl.blob.reads > 0);
	assert_true(count(&s.g.counters.digest_errors) > 0);
	/* And was put right on disk. */
	setup_reopen(&s, 0);
	s.rl.blob.fail = -ENETUNREACH;
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	setup_fini(&s);
}

static void offline_rot_is_eio(void **state)
{
	struct setup s;
	struct error err = ERROR_INIT;
	char b[10];

	setup_init(&s, &shape, true, 0);
	assert_int_equal(pwrite(layer_data_fd(s.l), "dirt", 4, 100), 4);
	reader_free(s.r);
	s.r = rig_reader_of(&s.g, s.l, NULL, 0);
	assert_int_equal(reader_read(s.r, 0, 0, b, 10, NULL, &err), -ENETUNREACH);
	assert_non_null(strstr(err.text, "--offline"));
	assert_int_equal(rig_check(s.r, &s.rl, 100000, 100000), 0);
	setup_fini(&s);
}

static void data_cut_under_a_reader(void **state)
{
	struct setup s;

	setup_init(&s, &shape, true, 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_int_equal(ftruncate(layer_data_fd(s.l), 500000), 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_true(s.rl.blob.reads > 0);
	setup_fini(&s);
}

/* ---- failing, waiting ---- */

struct request {
	struct reader_request rq;
	_Atomic int done;
	int result;
	uint64_t done_ns;
	uint8_t buf[4096];
};

static void request_done(struct reader_request *rq, int result)
{
	struct request *q = rq->userdata;

	q->result = result;
	q->done_ns = seam_real()->monotonic_ns(seam_real());
	atomic_store(&q->done, 1);
}

static int request_submit(struct setup *s, struct request *q, uint64_t off)
{
	*q = (struct request){
		.rq = {.dev_off = off, .len = sizeof(q->buf), .buf = q->buf, .done = request_done}};
	q->rq.userdata = q;
	return reader_submit(s->r, &q->rq);
}

static void request_wait(struct request *q)
{
	const struct seam *sm = seam_real();
	uint64_t limit = sm->monotonic_ns(sm) + 10 * NS_PER_S;

	while (!atomic_load(&q->done)) {
		if (sm->monotonic_ns(sm) > limit)
			fail_msg("a request was never answered");
		sm->sleep_until(sm, sm->monotonic_ns(sm) + MS);
	}
}

static void many_readers_one_request(void **state)
{
	static struct request q[64];
	struct setup s;

	setup_init(&s, &plain, false, 0);
	s.rl.blob.delay_ns = 50 * MS;
	for (int i = 0; i < 64; i++)
		assert_int_equal(request_submit(&s, &q[i], (uint64_t)i % 16 * 4096),
				 READER_PENDING);
	for (int i = 0; i < 64; i++) {
		request_wait(&q[i]);
		assert_int_equal(q[i].result, 0);
		assert_memory_equal(q[i].buf, s.rl.device + i % 16 * 4096, 4096);
	}
	assert_int_equal(s.rl.blob.reads, 1);
	assert_int_equal(count(&s.g.counters.joins), 63);
	assert_int_equal(count(&s.g.counters.waits), 64);
	assert_true(count(&s.g.counters.wait_ns) >= 64 * 40 * MS);
	setup_fini(&s);
}

static void an_error_wakes_all_and_is_not_kept(void **state)
{
	static struct request q[64];
	struct setup s;
	uint64_t first, last = 0, start;

	setup_init(&s, &plain, false, 0);
	s.rl.blob.delay_ns = 50 * MS;
	s.rl.blob.fail = -ECONNRESET;
	for (int i = 0; i < 64; i++)
		assert_int_equal(request_submit(&s, &q[i], 0), READER_PENDING);
	first = UINT64_MAX;
	for (int i = 0; i < 64; i++) {
		request_wait(&q[i]);
		assert_int_equal(q[i].result, -EIO);
		first = min_u64(first, q[i].done_ns);
		last = max_u64(last, q[i].done_ns);
	}
	assert_true(last - first < 100 * MS);
	assert_int_equal(s.rl.blob.reads, 1);
	assert_int_equal(count(&s.g.counters.read_errors), 64);
	/* For half a second the answer stands; then the next who asks tries again. */
	s.rl.blob.fail = 0;
	s.rl.blob.delay_ns = 0;
	start = now_ns();
	assert_int_equal(rig_check(s.r, &s.rl, 0, 4096), -ECONNRESET);
	while (rig_check(s.r, &s.rl, 0, 4096) < 0)
		assert_true(now_ns() - start < 900 * MS);
	assert_true(now_ns() - start > 300 * MS);
	assert_int_equal(s.rl.blob.reads, 2);
	setup_fini(&s);
}

static void a_failing_span_is_tried_twice_a_second(void **state)
{
	struct setup s;
	uint64_t end;

	setup_init(&s, &plain, false, 0);
	s.rl.blob.fail = -ECONNREFUSED;
	end = now_ns() + 1200 * MS;
	while (now_ns() < end)
		assert_int_equal(rig_check(s.r, &s.rl, 0, 4096), -ECONNREFUSED);
	assert_true(s.rl.blob.reads >= 2 && s.rl.blob.reads <= 4);
	setup_fini(&s);
}

static void deadline_ends_a_wait(void **state)
{
	static struct request q;
	struct setup s;
	uint64_t start;

	setup_init(&s, &plain, false, 200 * MS);
	s.rl.blob.delay_ns = 10 * NS_PER_S;
	start = now_ns();
	assert_int_equal(request_submit(&s, &q, 0), READER_PENDING);
	request_wait(&q);
	assert_true(q.result == -ETIMEDOUT || q.result == -EIO);
	assert_true(now_ns() - start < NS_PER_S);
	setup_fini(&s); /* which ends the fetch that nobody waits for */
	assert_true(now_ns() - start < 5 * NS_PER_S);
}

/* Also when the one who fetches does not keep to it. */
static void deadline_does_not_depend_on_the_fetch(void **state)
{
	static struct request q;
	struct setup s;
	uint64_t start;

	setup_init(&s, &plain, false, 200 * MS);
	s.rl.blob.delay_ns = 2 * NS_PER_S;
	s.rl.blob.stubborn = true;
	start = now_ns();
	assert_int_equal(request_submit(&s, &q, 0), READER_PENDING);
	request_wait(&q);
	assert_int_equal(q.result, -ETIMEDOUT);
	assert_true(now_ns() - start < 1500 * MS); /* before the fetch is over */
	seam_real()->sleep_until(seam_real(), start + 2500 * MS);
	assert_int_equal(rig_check(s.r, &s.rl, 0, 4096), 0); /* it went on, and was kept */
	assert_int_equal(s.rl.blob.reads, 1);
	setup_fini(&s);
}

static void cancel_is_prompt_and_the_fetch_goes_on(void **state)
{
	static struct request a, b;
	struct setup s;
	uint64_t start;

	setup_init(&s, &plain, false, 0);
	s.rl.blob.delay_ns = 400 * MS;
	assert_int_equal(request_submit(&s, &a, 0), READER_PENDING);
	assert_int_equal(request_submit(&s, &b, 0), READER_PENDING);
	start = now_ns();
	reader_cancel(s.r, &a.rq);
	request_wait(&a);
	assert_int_equal(a.result, -EINTR);
	assert_true(now_ns() - start < 200 * MS);
	request_wait(&b);
	assert_int_equal(b.result, 0);
	assert_int_equal(s.rl.blob.reads, 1);
	reader_cancel(s.r, &a.rq); /* too late does nothing */
	assert_int_equal(count(&s.g.counters.read_errors), 0);
	setup_fini(&s);
}

static void first_bytes_do_not_wait_for_the_window(void **state)
{
	static const struct rig_shape large = {.file_bytes = 1 << 20,
					       .n_files = 32,
					       .chunk_bytes = 65536,
					       .span_bytes = 65536,
					       .seed = 4};
	static struct request q;
	struct setup s;
	uint64_t start;

	setup_init(&s, &large, false, 0);
	for (uint64_t at = 0; at < 1 << 20; at += 65536) /* sequential: the window grows */
		assert_int_equal(rig_check(s.r, &s.rl, at, 65536), 0);
	s.rl.blob.fail = -ECONNRESET;
	s.rl.blob.fail_after = 100000; /* the rest of the window never comes */
	start = now_ns();
	for (uint64_t at = 1 << 20; layer_chunk_state(s.l, at / 65536) != CHUNK_ABSENT;)
		at += 65536;
	assert_int_equal(request_submit(&s, &q, 30 << 20), READER_PENDING);
	request_wait(&q);
	assert_int_equal(q.result, 0);
	assert_true(now_ns() - start < 2 * NS_PER_S);
	setup_fini(&s);
}

static void free_answers_everybody(void **state)
{
	static struct request q[8];
	struct setup s;

	setup_init(&s, &plain, false, 0);
	s.rl.blob.delay_ns = 20 * NS_PER_S;
	for (int i = 0; i < 8; i++)
		assert_int_equal(request_submit(&s, &q[i], (uint64_t)i << 18), READER_PENDING);
	reader_free(s.r);
	for (int i = 0; i < 8; i++) {
		assert_int_equal(atomic_load(&q[i].done), 1);
		assert_true(q[i].result < 0);
	}
	s.r = NULL;
	setup_fini(&s);
}

static ssize_t never_at_once(const struct seam *s, int fd, void *buf, size_t n, uint64_t off,
			     int flags)
{
	return flags ? -EAGAIN : seam_real()->pread(s, fd, buf, n, off, flags);
}

static bool verified_within(struct setup *s, uint64_t chunk, uint64_t ns)
{
	uint64_t end = now_ns() + ns;

	while (layer_chunk_state(s->l, chunk) != CHUNK_ON_DISK && now_ns() < end)
		seam_real()->sleep_until(seam_real(), now_ns() + MS);
	return layer_chunk_state(s->l, chunk) == CHUNK_ON_DISK;
}

static void who_reads_on_finds_it_verified(void **state)
{
	struct setup s;

	setup_init(&s, &plain, true, 0);
	s.g.seam.pread = never_at_once; /* so that nothing is verified by who asks */
	assert_int_equal(rig_check(s.r, &s.rl, 3 << 20, 65536), 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, 65536), 0); /* jumps */
	assert_false(verified_within(&s, 2, 50 * MS));
	assert_int_equal(rig_check(s.r, &s.rl, 65536, 65536), 0); /* runs on */
	assert_true(verified_within(&s, 2, NS_PER_S));
	assert_true(verified_within(&s, 47, NS_PER_S));
	/* Damage that is met on the way is nobody's error. */
	setup_reopen(&s, 0);
	assert_int_equal(pwrite(layer_data_fd(s.l), "dirt", 4, 5 * 65536), 4);
	assert_int_equal(rig_check(s.r, &s.rl, 0, 65536), 0);
	assert_int_equal(rig_check(s.r, &s.rl, 65536, 65536), 0);
	assert_true(verified_within(&s, 47, NS_PER_S));
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	setup_fini(&s);
}

/* ---- the disk ---- */

static ssize_t no_nowait(const struct seam *s, int fd, void *buf, size_t n, uint64_t off, int flags)
{
	return flags ? -EOPNOTSUPP : seam_real()->pread(s, fd, buf, n, off, flags);
}

static _Atomic int64_t bad_sector = -1;

static ssize_t bad_sector_pread(const struct seam *s, int fd, void *buf, size_t n, uint64_t off,
				int flags)
{
	int64_t bad = atomic_load(&bad_sector);

	if (bad >= (int64_t)off && bad < (int64_t)(off + n))
		return -EIO;
	return seam_real()->pread(s, fd, buf, n, off, flags);
}

static ssize_t healing_pwrite(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off)
{
	int64_t bad = atomic_load(&bad_sector);

	if (bad >= (int64_t)off && bad < (int64_t)(off + n))
		atomic_store(&bad_sector, -1); /* as disks do: written sectors move */
	return seam_real()->pwrite(s, fd, buf, n, off);
}

static void bad_sectors_are_fetched_again(void **state)
{
	struct setup s;

	for (int verified = 0; verified < 2; verified++) {
		setup_init(&s, &plain, true, 0);
		if (verified)
			assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
		atomic_store(&bad_sector, 700000);
		s.g.seam.pread = bad_sector_pread;
		s.g.seam.pwrite = healing_pwrite;
		assert_int_equal(rig_check(s.r, &s.rl, 650000, 100000), 0);
		assert_int_equal(s.rl.blob.reads, 1);
		setup_fini(&s);
	}
}

static void slow_disks_are_waited_for_elsewhere(void **state)
{
	struct setup s;

	setup_init(&s, &shape, true, 0);
	s.g.seam.pread = never_at_once;
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_int_equal(rig_check(s.r, &s.rl, 5000, 4096), 0);
	assert_int_equal(count(&s.g.counters.hits), 0);
	s.g.seam.pread = no_nowait;
	assert_int_equal(rig_check(s.r, &s.rl, 5000, 4096), 0);
	assert_int_equal(count(&s.g.counters.hits), 1);
	assert_int_equal(s.rl.blob.reads, 0);
	setup_fini(&s);
}

static _Atomic int disk_error;

static ssize_t failing_pwrite(const struct seam *s, int fd, const void *buf, size_t n, uint64_t off)
{
	int e = atomic_load(&disk_error);

	return e < 0 ? e : seam_real()->pwrite(s, fd, buf, n, off);
}

static void full_disk_serves_from_memory(void **state)
{
	static const int errors[] = {-ENOSPC, -EDQUOT, -EIO, -EROFS};

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		struct setup s;
		uint64_t reads;

		setup_init(&s, &shape, false, 0);
		s.g.seam.pwrite = failing_pwrite;
		atomic_store(&disk_error, errors[i]);
		assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
		reads = s.rl.blob.reads;
		assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
		assert_int_equal(s.rl.blob.reads, reads); /* kept */
		assert_int_equal(s.g.log.lines, 1);
		/* The disk has room again: after a while things are kept there. */
		atomic_store(&disk_error, 0);
		atomic_store(&s.g.c->disk_retry_ns, 0);
		for (uint64_t k = 0; k < s.rl.n_chunks; k++)
			layer_mine_set(s.l, k, 0);
		assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
		assert_int_equal(layer_chunk_state(s.l, 3), CHUNK_ON_DISK);
		setup_fini(&s);
	}
}

static void memory_is_bounded(void **state)
{
	struct setup s;

	setup_init(&s, &plain, false, 0);
	s.g.c->memory.max_bytes = 1 << 20;
	s.g.seam.pwrite = failing_pwrite;
	atomic_store(&disk_error, -ENOSPC);
	for (int round = 0; round < 2; round++)
		assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_true(s.g.c->memory.bytes <= 1 << 20);
	assert_true(s.g.c->memory.bytes >= 1 << 19);
	atomic_store(&disk_error, 0);
	setup_fini(&s);
}

static void read_only_cache_serves_and_fetches(void **state)
{
	struct setup s;

	setup_init(&s, &shape, false, 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, 600000), 0);
	reader_free(s.r);
	layer_close(s.l);
	s.g.c->writable = false;
	assert_int_equal(layer_open(s.g.c, &s.rl.key, &s.l, NULL), 0);
	s.r = rig_reader_of(&s.g, s.l, &s.rl, 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, s.rl.device_bytes), 0);
	assert_int_equal(layer_chunk_state(s.l, 0), CHUNK_ON_DISK);
	assert_int_equal(layer_chunk_state(s.l, s.rl.n_chunks - 1), CHUNK_IN_MEMORY);
	setup_fini(&s);
}

/* ---- processes ---- */

/* Children share the counting blob's pages only when it is in shared memory: a pipe counts. */
static int counting_pipe[2];

static int piped_read(struct blob *base, uint64_t off, uint64_t len,
		      const struct blob_read_options *o, blob_sink_fn sink, void *userdata,
		      struct error *err)
{
	assert_int_equal(write(counting_pipe[1], "x", 1), 1);
	return fake_blob_read(base, off, len, o, sink, userdata, err);
}

static const struct blob_ops piped_ops = {.read = piped_read, .close = fake_blob_close};

static void processes_share_one_request(void **state)
{
	enum { CHILDREN = 16 };
	pid_t pids[CHILDREN];
	struct setup s;
	char x[64];

	setup_init(&s, &plain, false, 0);
	reader_free(s.r);
	layer_close(s.l);
	work_pool_free(s.g.pool);
	assert_int_equal(pipe(counting_pipe), 0);
	s.rl.blob.base.ops = &piped_ops;
	s.rl.blob.delay_ns = 100 * MS;
	for (int i = 0; i < CHILDREN; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			assert_int_equal(work_pool_new(4, "child", &s.g.pool), 0);
			assert_int_equal(layer_open(s.g.c, &s.rl.key, &s.l, NULL), 0);
			s.r = rig_reader_of(&s.g, s.l, &s.rl, 0);
			_exit(rig_check(s.r, &s.rl, 0, 65536) < 0);
		}
	}
	for (int i = 0; i < CHILDREN; i++) {
		int status;

		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(read(counting_pipe[0], x, sizeof(x)), 1);
	close(counting_pipe[0]);
	close(counting_pipe[1]);
	assert_int_equal(work_pool_new(2, "test", &s.g.pool), 0);
	assert_int_equal(layer_open(s.g.c, &s.rl.key, &s.l, NULL), 0);
	s.r = rig_reader_of(&s.g, s.l, &s.rl, 0);
	setup_fini(&s);
}

static void a_stopped_process_stops_nobody(void **state)
{
	struct setup s;
	int fd;

	setup_init(&s, &plain, false, 900 * MS);
	fd = openat(s.l->dir_fd, "present", O_RDWR);
	assert_int_equal(present_lock_spans(fd, 0, 0, NULL), 0);
	assert_int_equal(rig_check(s.r, &s.rl, 0, 4096), 0);
	assert_int_equal(layer_chunk_state(s.l, 0),
			 CHUNK_IN_MEMORY); /* the file is not ours to write */
	/* What is only read ahead is not waited for. */
	assert_int_equal(present_lock_spans(fd, 20, 20, NULL), 0);
	assert_int_equal(rig_check(s.r, &s.rl, 18 * 65536, 4096), 0);
	assert_int_equal(layer_chunk_state(s.l, 18), CHUNK_ON_DISK);
	assert_int_equal(layer_chunk_state(s.l, 20), CHUNK_ABSENT);
	close(fd);
	setup_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fetches_once_then_hits),
		cmocka_unit_test(random_ranges_are_right),
		cmocka_unit_test(only_what_is_asked_is_fetched),
		cmocka_unit_test(outside_the_device),
		cmocka_unit_test(holes_are_zero_whatever_the_file_holds),
		cmocka_unit_test(one_wrong_answer_is_fetched_again),
		cmocka_unit_test(wrong_for_ever_is_eio_and_never_kept),
		cmocka_unit_test(rot_in_the_cache_is_fetched_again),
		cmocka_unit_test(offline_rot_is_eio),
		cmocka_unit_test(data_cut_under_a_reader),
		cmocka_unit_test(many_readers_one_request),
		cmocka_unit_test(an_error_wakes_all_and_is_not_kept),
		cmocka_unit_test(a_failing_span_is_tried_twice_a_second),
		cmocka_unit_test(deadline_ends_a_wait),
		cmocka_unit_test(deadline_does_not_depend_on_the_fetch),
		cmocka_unit_test(cancel_is_prompt_and_the_fetch_goes_on),
		cmocka_unit_test(first_bytes_do_not_wait_for_the_window),
		cmocka_unit_test(free_answers_everybody),
		cmocka_unit_test(who_reads_on_finds_it_verified),
		cmocka_unit_test(bad_sectors_are_fetched_again),
		cmocka_unit_test(slow_disks_are_waited_for_elsewhere),
		cmocka_unit_test(full_disk_serves_from_memory),
		cmocka_unit_test(memory_is_bounded),
		cmocka_unit_test(read_only_cache_serves_and_fetches),
		cmocka_unit_test(processes_share_one_request),
		cmocka_unit_test(a_stopped_process_stops_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
