/* SPDX-License-Identifier: MIT */
/*
 * Runs inside malloc and free: what it allocates itself is neither sampled nor looked up, for which
 * `inside` is set. An object of n bytes is sampled with the chance 1 - exp(-n/period), so each that
 * is stands for the inverse of that many.
 */
#include "prof/heap.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <time.h>

#include "prof/heap_profile.h"
#include "prof/intern.h"

struct live {
	void *p; /* NULL = free slot */
	uint32_t site;
	double objects, bytes;
};

struct totals {
	double alloc_objects, alloc_bytes, inuse_objects, inuse_bytes;
};

_Thread_local int64_t heap_left __attribute__((tls_model("initial-exec")));
_Atomic uint8_t heap_filter[HEAP_FILTER];

static _Atomic size_t period;
static _Thread_local bool inside __attribute__((tls_model("initial-exec")));
static _Thread_local uint64_t seed __attribute__((tls_model("initial-exec"))); /* 0 = new thread */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of what follows */
static struct intern sites;				 /* of addresses */
static struct totals *totals;				 /* by site */
static struct live *lives;				 /* hash table by address, linear probing */
static size_t n_lives, cap_lives;			 /* cap: a power of two, or 0 */
static bool fork_safe;

static void fork_begin(void)
{
	pthread_mutex_lock(&lock);
}

static void fork_end(void)
{
	pthread_mutex_unlock(&lock);
}

void heap_set_period(size_t bytes)
{
	inside = true;
	pthread_mutex_lock(&lock);
	if (!fork_safe)
		fork_safe = !pthread_atfork(fork_begin, fork_end, fork_end);
	pthread_mutex_unlock(&lock);
	inside = false;
	atomic_store(&period, bytes);
}

size_t heap_period(void)
{
	return atomic_load(&period);
}

/* ---- the table of what is in use ---- */

static size_t home(const void *p, size_t cap)
{
	return (((uintptr_t)p >> 4) * UINT64_C(0xff51afd7ed558ccd) >> 17) & (cap - 1);
}

static void lives_put(struct live *table, size_t cap, const struct live *l)
{
	size_t at = home(l->p, cap);

	while (table[at].p)
		at = (at + 1) & (cap - 1);
	table[at] = *l;
}

static int lives_grow(void)
{
	size_t cap = cap_lives ? 2 * cap_lives : 1024;
	struct live *table = calloc(cap, sizeof(*table));

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < cap_lives; i++)
		if (lives[i].p)
			lives_put(table, cap, &lives[i]);
	free(lives);
	lives = table;
	cap_lives = cap;
	return 0;
}

static struct live *lives_find(const void *p)
{
	size_t at = home(p, cap_lives);

	for (; cap_lives && lives[at].p; at = (at + 1) & (cap_lives - 1))
		if (lives[at].p == p)
			return &lives[at];
	return NULL;
}

/* Those behind it move up, so that no search ends too early. */
static void lives_delete(struct live *l)
{
	size_t gap = (size_t)(l - lives);

	for (size_t at = (gap + 1) & (cap_lives - 1); lives[at].p;
	     at = (at + 1) & (cap_lives - 1)) {
		size_t from = home(lives[at].p, cap_lives);

		if (((at - from) & (cap_lives - 1)) >= ((at - gap) & (cap_lives - 1))) {
			lives[gap] = lives[at];
			gap = at;
		}
	}
	lives[gap].p = NULL;
	n_lives--;
}

/* ---- sampling ---- */

/* splitmix64 */
static uint64_t next_random(void)
{
	uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Bytes to the next sample: exponentially distributed, so that being sampled is memoryless. */
static int64_t next_distance(size_t mean)
{
	double u = ((double)(next_random() >> 11) + 1) / 9007199254740993.0; /* (0, 1] */

	return (int64_t)(-log(u) * (double)mean) + 1;
}

static void seed_thread(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	seed = (uint64_t)(uintptr_t)&seed ^ (uint64_t)now.tv_nsec << 20 ^ (uint64_t)now.tv_sec;
	seed |= 1;
}

static int64_t site_of(const uintptr_t *pcs, size_t n)
{
	struct totals *t = intern_beside(&sites, totals, sizeof(*t));
	size_t before = sites.n;
	int64_t id;

	if (!t)
		return -ENOMEM;
	totals = t;
	id = intern_id(&sites, pcs, n * sizeof(*pcs));
	if (sites.n > before)
		t[id] = (struct totals){0};
	return id;
}

static void record(void *p, size_t n, size_t mean, const uintptr_t *pcs, size_t depth)
{
	double weight = 1 / -expm1(-(double)n / (double)mean);
	struct live l = {.p = p, .objects = weight, .bytes = weight * (double)n};
	_Atomic uint8_t *seen = &heap_filter[heap_hash(p)];
	int64_t site;

	pthread_mutex_lock(&lock);
	site = site_of(pcs, depth);
	if (site >= 0 && (2 * n_lives < cap_lives || lives_grow() == 0)) {
		l.site = (uint32_t)site;
		lives_put(lives, cap_lives, &l);
		n_lives++;
		if (*seen < UINT8_MAX) /* a full one stays so for ever */
			(*seen)++;
		totals[site].alloc_objects += l.objects;
		totals[site].alloc_bytes += l.bytes;
		totals[site].inuse_objects += l.objects;
		totals[site].inuse_bytes += l.bytes;
	}
	pthread_mutex_unlock(&lock);
}

__attribute__((noinline)) void heap_sample(void *p, size_t n)
{
	size_t mean = atomic_load_explicit(&period, memory_order_relaxed);
	uintptr_t pcs[PROF_DEPTH];
	int saved = errno;
	int64_t left;

	if (inside)
		return;
	if (!mean) {
		heap_left = HEAP_PERIOD_DEFAULT; /* look again by and by */
		return;
	}
	inside = true;
	if (!seed) { /* the thread's first allocation */
		seed_thread();
		heap_left += next_distance(mean);
	}
	if (heap_left < 0) {
		left = next_distance(mean);
		record(p, n, mean, pcs, backtrace_here(1, pcs));
		heap_left = left; /* what recording allocated does not count */
	}
	inside = false;
	errno = saved;
}

__attribute__((noinline)) void heap_forget(void *p)
{
	_Atomic uint8_t *seen = &heap_filter[heap_hash(p)];
	int saved = errno;
	struct live *l;

	if (inside)
		return;
	inside = true;
	pthread_mutex_lock(&lock);
	l = lives_find(p);
	if (l) {
		totals[l->site].inuse_objects -= l->objects;
		totals[l->site].inuse_bytes -= l->bytes;
		lives_delete(l);
		if (*seen < UINT8_MAX)
			(*seen)--;
	}
	pthread_mutex_unlock(&lock);
	inside = false;
	errno = saved;
}

/* ---- reading ---- */

int heap_sites(struct heap_site **ret, size_t *ret_n)
{
	struct heap_site *all;
	size_t n = 0;

	inside = true;
	pthread_mutex_lock(&lock);
	all = calloc(sites.n + 1, sizeof(*all));
	for (; all && n < sites.n; n++) {
		size_t len;
		const uintptr_t *pcs = intern_get(&sites, n, &len);
		const struct totals *t = &totals[n];

		all[n] = (struct heap_site){
			.n = len / sizeof(*pcs),
			.alloc_objects = t->alloc_objects,
			.alloc_bytes = t->alloc_bytes,
			.inuse_objects = t->inuse_objects,
			.inuse_bytes = t->inuse_bytes,
		};
		memcpy(all[n].pcs, pcs, len);
	}
	pthread_mutex_unlock(&lock);
	inside = false;
	*ret = all;
	*ret_n = n;
	return all ? 0 : -ENOMEM;
}
