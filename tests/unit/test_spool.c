/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include "base/thread.h"
#include "registry/spool.h"

#define SIZE 1000000

static int memory(void *userdata, uint64_t bytes)
{
	return *(bool *)userdata ? memfd_create("spool", MFD_CLOEXEC) : -ENOSPC;
}

static uint8_t byte_at(uint64_t i)
{
	return (uint8_t)(i * 7 + i / 251);
}

struct taker {
	uint64_t at;
	bool wrong;
};

static int take(void *userdata, const void *data, size_t n)
{
	struct taker *t = userdata;

	for (size_t i = 0; i < n; i++)
		t->wrong |= ((const uint8_t *)data)[i] != byte_at(t->at + i);
	t->at += n;
	return 0;
}

static int put(struct spool *s, uint64_t from, uint64_t to)
{
	uint8_t *buf = malloc(to - from);
	int r;

	for (uint64_t i = from; i < to; i++)
		buf[i - from] = byte_at(i);
	r = spool_put(s, from, buf, to - from, 2);
	free(buf);
	return r;
}

static void *fill(void *arg)
{
	struct spool *s = arg;

	for (uint64_t at = 0; at < SIZE; at += 50000) {
		seam_real()->sleep_until(seam_real(),
					 seam_real()->monotonic_ns(seam_real()) + NS_PER_MS);
		put(s, at, at + 50000);
	}
	spool_end(s);
	return NULL;
}

/* Readers get what is there, wait for what comes, and are told what does not. */
static void grows_under_readers(void **state)
{
	struct blob_read_options o = {0};
	struct taker t = {.at = 300000};
	uint64_t have = 1, at = 300000;
	uint32_t served = 0;
	bool room = true;
	struct spool s;
	pthread_t thread;

	spool_init(&s, seam_real(), SIZE);
	assert_int_equal(spool_read(&s, &at, SIZE, &o, take, &t), SPOOL_HAS_NOT);
	assert_true(spool_begin(&s, memory, &room, &have));
	assert_int_equal(have, 0);
	assert_false(spool_begin(&s, memory, &room, &have)); /* one at a time */
	assert_true(spool_is_filling(&s));
	assert_int_equal(thread_start(&thread, "filler", fill, &s), 0);
	o.served = &served;
	assert_int_equal(spool_read(&s, &at, SIZE, &o, take, &t), 0);
	assert_int_equal(at, SIZE);
	assert_int_equal(t.at, SIZE);
	assert_false(t.wrong);
	assert_int_equal(served, 2);
	pthread_join(thread, NULL);
	assert_true(spool_is_complete(&s));
	spool_drop(&s);
	assert_false(spool_is_complete(&s));
	at = 0;
	assert_int_equal(spool_read(&s, &at, 1, &o, take, &t), SPOOL_HAS_NOT);
	spool_fini(&s);
}

/* It broke off: what came is there, the rest is not; the next one goes on from there. */
static void goes_on(void **state)
{
	struct blob_read_options o = {0};
	struct taker t = {0};
	uint64_t have = 0, at = 0;
	bool room = true;
	struct spool s;

	spool_init(&s, seam_real(), 300);
	assert_true(spool_begin(&s, memory, &room, &have));
	assert_int_equal(put(&s, 0, 100), 0);
	spool_end(&s);
	assert_int_equal(spool_read(&s, &at, 300, &o, take, &t), SPOOL_HAS_NOT);
	assert_int_equal(at, 100);
	assert_true(spool_begin(&s, memory, &room, &have));
	assert_int_equal(have, 100);
	assert_int_equal(put(&s, 50, 90), 0); /* no news */
	assert_int_equal(put(&s, 50, 300), 0);
	spool_end(&s);
	assert_int_equal(spool_read(&s, &at, 300, &o, take, &t), 0);
	assert_false(t.wrong);
	assert_true(spool_is_complete(&s));
	spool_fini(&s);
}

static void no_room(void **state)
{
	const atomic_bool cancel = true;
	struct blob_read_options o = {.cancel = &cancel};
	struct taker t = {0};
	uint64_t have, at = 0;
	bool room = false;
	struct spool s;

	spool_init(&s, seam_real(), 300);
	assert_false(spool_begin(&s, memory, &room, &have));
	assert_false(spool_begin(&s, NULL, NULL, &have));
	room = true;
	assert_true(spool_begin(&s, memory, &room, &have));
	assert_int_equal(spool_read(&s, &at, 300, &o, take, &t), -ECANCELED);
	o = (struct blob_read_options){.deadline_ns = 1};
	assert_int_equal(spool_read(&s, &at, 300, &o, take, &t), -ETIMEDOUT);
	spool_end(&s);
	spool_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_under_readers),
		cmocka_unit_test(goes_on),
		cmocka_unit_test(no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
