/* SPDX-License-Identifier: MIT */
/* What a push remembers: fingerprints, pieces by them in packs, states of hashes in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cache_rig.h"
#include "cache/members.h"
#include "transfer/stream_hash.h"

static int setup(void **state)
{
	struct rig *g = calloc(1, sizeof(*g));

	rig_init(g);
	*state = g;
	return 0;
}

static int teardown(void **state)
{
	struct rig *g = *state;

	rig_fini(g);
	free(g);
	return 0;
}

static struct members *members_of(struct rig *g)
{
	struct members *m = NULL;

	assert_int_equal(members_open(g->c, &m), 0);
	return m;
}

static void key_of(const struct members *m, const char *text, uint8_t *key)
{
	_cleanup_(fingerprint_freep) struct fingerprint *f = NULL;

	assert_int_equal(members_fingerprint(m, &f), 0);
	fingerprint_add(f, text, strlen(text));
	fingerprint_end(f, key);
}

static void text_put(struct members *m, const char *text, const uint8_t *note)
{
	uint8_t key[MEMBER_KEY_BYTES];

	key_of(m, text, key);
	members_put(m, key, note, text, strlen(text));
}

static int text_get(struct members *m, const char *text, uint8_t *note)
{
	_cleanup_(buf_fini) struct buf out = BUF_INIT;
	uint8_t key[MEMBER_KEY_BYTES];
	int r;

	key_of(m, text, key);
	r = members_get(m, key, note, &out);
	if (!r) {
		assert_int_equal(out.len, strlen(text));
		assert_memory_equal(out.data, text, out.len);
	} else
		assert_int_equal(out.len, 0);
	return r;
}

static void commit(struct members *m)
{
	members_commit(m);
	members_close(m);
}

/* ---- fingerprints ---- */

static void test_fingerprint(void **state)
{
	uint8_t key[FINGERPRINT_KEY_BYTES] = {1}, a[FINGERPRINT_BYTES], b[FINGERPRINT_BYTES];
	struct fingerprint *f = NULL, *other = NULL;
	static const uint8_t zeros[33];

	assert_int_equal(fingerprint_new(key, &f), 0);
	key[15] ^= 1;
	assert_int_equal(fingerprint_new(key, &other), 0);
	fingerprint_add(f, "one message", 11);
	fingerprint_end(f, a);
	for (size_t cut = 0; cut <= 11; cut++) { /* and nothing is left of the one before */
		fingerprint_add(f, "one message", cut);
		fingerprint_add(f, "one message" + cut, 11 - cut);
		fingerprint_end(f, b);
		assert_memory_equal(a, b, sizeof(a));
	}
	fingerprint_add(other, "one message", 11);
	fingerprint_end(other, b);
	assert_memory_not_equal(a, b, sizeof(a));
	memset(a, 0, sizeof(a));
	for (size_t n = 0; n < sizeof(zeros); n++) { /* the length counts */
		fingerprint_add(f, zeros, n);
		fingerprint_end(f, b);
		assert_memory_not_equal(a, b, sizeof(a));
		memcpy(a, b, sizeof(a));
	}
	fingerprint_free(f);
	fingerprint_free(other);
}

/* ---- packs ---- */

static void test_notes(void **state)
{
	struct rig *g = *state;
	uint8_t note[MEMBER_NOTE_BYTES] = {1, 2, 3}, got[MEMBER_NOTE_BYTES];
	static const uint8_t zeros[MEMBER_NOTE_BYTES];
	struct members *m = members_of(g);

	text_put(m, "with", note);
	text_put(m, "without", NULL);
	assert_int_equal(text_get(m, "with", got), CACHE_MISS); /* not before it is committed */
	commit(m);
	m = members_of(g);
	assert_int_equal(text_get(m, "with", got), 0);
	assert_memory_equal(got, note, sizeof(got));
	assert_int_equal(text_get(m, "without", got), 0);
	assert_memory_equal(got, zeros, sizeof(got));
	assert_int_equal(text_get(m, "without", NULL), 0);
	assert_int_equal(text_get(m, "neither", got), CACHE_MISS);
	members_close(m);
}

/* Two that begin at once have two secrets; whoever comes later goes on with one of them. */
static void test_two_secrets(void **state)
{
	struct rig *g = *state;
	struct members *a = members_of(g), *b = members_of(g);
	uint8_t key_a[MEMBER_KEY_BYTES], key_b[MEMBER_KEY_BYTES];

	key_of(a, "both", key_a);
	key_of(b, "both", key_b);
	assert_memory_not_equal(key_a, key_b, sizeof(key_a));
	text_put(a, "both", NULL);
	text_put(a, "a", NULL);
	text_put(b, "both", NULL);
	text_put(b, "b", NULL);
	commit(a);
	commit(b);
	a = members_of(g);
	assert_int_equal(text_get(a, "both", NULL), 0);
	assert_int_equal((text_get(a, "a", NULL) == 0) + (text_get(a, "b", NULL) == 0), 1);
	text_put(a, "c", NULL);
	commit(a);
	a = members_of(g);
	assert_int_equal(text_get(a, "c", NULL), 0);
	assert_int_equal(text_get(a, "both", NULL), 0);
	members_close(a);
}

static int first_byte_change(void *userdata, int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDWR);
	off_t at = lseek(fd, -48, SEEK_END);

	assert_int_equal(pwrite(fd, "MRMPACK1", 8, at), 8);
	close(fd);
	return 0;
}

static int name_count(void *userdata, int dir_fd, const char *name)
{
	++*(int *)userdata;
	return 0;
}

static void test_older_format(void **state)
{
	struct rig *g = *state;
	int dir = g->c->sub_fd[SUB_MEMBERS], n = 0;
	struct members *m = members_of(g);

	text_put(m, "old", NULL);
	commit(m);
	cache_each_name(dir, first_byte_change, NULL);
	m = members_of(g);
	assert_int_equal(text_get(m, "old", NULL), CACHE_MISS);
	members_close(m);
	cache_each_name(dir, name_count, &n);
	assert_int_equal(n, 0);
}

/* ---- states of hashes ---- */

#define STRETCHES 5

/* Stretches of 1000 bytes, which end within blocks; `changed` is another one; then a rest. */
static void stream_check(struct stream_hash *h, size_t changed)
{
	uint8_t data[STRETCHES * 1000 + 100], id[FINGERPRINT_BYTES] = {0};
	struct digest want, got;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i / 1000 == changed ? 7 * i : i);
	digest_of(DIGEST_SHA256, data, sizeof(data), &want);
	for (size_t i = 0; i < STRETCHES; i++) {
		id[0] = (uint8_t)(i == changed ? 100 + i : i);
		stream_hash_stretch(h, id, data + i * 1000, 1000);
	}
	stream_hash_rest(h, data + STRETCHES * 1000, 60);
	stream_hash_rest(h, data + STRETCHES * 1000 + 60, 40);
	stream_hash_final(h, &got);
	assert_true(digest_equal(&got, &want));
}

static void test_states(void **state)
{
	struct rig *g = *state;
	struct stream_hash *h = NULL;
	struct members *m;

	assert_int_equal(stream_hash_new(STREAM_FILE, NULL, &h), 0);
	stream_check(h, STRETCHES);
	stream_check(h, 0);
	stream_hash_free(h);
	for (size_t changed = STRETCHES + 1; changed--;) {
		m = members_of(g);
		assert_int_equal(stream_hash_new(STREAM_FILE, m, &h), 0);
		stream_check(h, changed);
		stream_check(h, changed); /* not kept yet, but nothing of the one before either */
		stream_hash_free(h);
		commit(m);
	}
	m = members_of(g);
	assert_int_equal(stream_hash_new(STREAM_FILE, m, &h), 0);
	for (size_t changed = 0; changed <= STRETCHES; changed++)
		stream_check(h, changed);
	stream_hash_free(h);
	members_close(m);
}

/* What is found is not hashed: a state of "another" under the key of "one", and it is taken. */
static void test_state_is_taken(void **state)
{
	struct rig *g = *state;
	struct {
		uint32_t h[8];
		uint64_t bytes;
		uint8_t rest[64];
	} kept = {{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
		   0x1f83d9ab, 0x5be0cd19},
		  7,
		  "another"};
	uint8_t key[MEMBER_KEY_BYTES] = {0};
	struct members *m = members_of(g);
	struct fingerprint *f = NULL;
	struct stream_hash *h = NULL;
	struct digest want, got;

	assert_int_equal(members_fingerprint(m, &f), 0);
	fingerprint_add(f, "sha256\0\0\2", 9);
	fingerprint_add(f, key, sizeof(key));
	fingerprint_add(f, "the id of o n e ", 16);
	fingerprint_end(f, key);
	fingerprint_free(f);
	members_put(m, key, NULL, &kept, sizeof(kept));
	commit(m);
	m = members_of(g);
	assert_int_equal(stream_hash_new(STREAM_FILE, m, &h), 0);
	stream_hash_stretch(h, (const uint8_t *)"the id of o n e ", "one", 3);
	stream_hash_stretch(h, (const uint8_t *)"the id of o n e ", " more", 5);
	stream_hash_final(h, &got);
	digest_of(DIGEST_SHA256, "another more", 12, &want);
	assert_true(digest_equal(&got, &want));
	stream_hash_free(h);
	members_close(m);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fingerprint),
		TEST(test_notes),
		TEST(test_two_secrets),
		TEST(test_older_format),
		TEST(test_states),
		TEST(test_state_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
