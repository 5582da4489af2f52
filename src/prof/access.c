/* SPDX-License-Identifier: MIT */
/*
 * A hash table of chains that only grow, at their heads, by compare and swap: look-ups take no
 * lock, and an entry stays where it is as long as the table lives.
 */
#include "prof/access.h"

#include <errno.h>

#define BUCKETS (1u << 16)

struct access {
	uint32_t id;
	_Atomic uint32_t n;
	_Atomic uint64_t opens;
	struct access_entry prefetch, other;
	_Atomic(struct access_entry *) buckets[BUCKETS];
};

static _Atomic uint32_t ids;

int access_new(struct access **ret)
{
	struct access *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->id = atomic_fetch_add(&ids, 1) + 1;
	*ret = a;
	return 0;
}

void access_free(struct access *a)
{
	if (!a)
		return;
	for (size_t i = 0; i < BUCKETS; i++) {
		struct access_entry *e = atomic_load(&a->buckets[i]), *next;

		for (; e; e = next) {
			next = e->next;
			free(e);
		}
	}
	free(a);
}

uint32_t access_id(const struct access *a)
{
	return a->id;
}

static struct access_entry *find(struct access_entry *e, const struct access_entry *end,
				 uint64_t ino, uint32_t process)
{
	for (; e != end; e = e->next)
		if (e->ino == ino && e->process == process)
			return e;
	return NULL;
}

struct access_entry *access_of(struct access *a, uint64_t ino, uint32_t process)
{
	uint64_t hash = (ino ^ (uint64_t)process << 40) * UINT64_C(0x9e3779b97f4a7c15);
	_Atomic(struct access_entry *) *bucket = &a->buckets[hash >> 48];
	struct access_entry *head = atomic_load_explicit(bucket, memory_order_acquire), *e, *seen;

	e = find(head, NULL, ino, process);
	if (e)
		return e;
	if (atomic_fetch_add_explicit(&a->n, 1, memory_order_relaxed) >= ACCESS_ENTRIES_MAX ||
	    !(e = calloc(1, sizeof(*e)))) {
		atomic_fetch_sub_explicit(&a->n, 1, memory_order_relaxed);
		return &a->other;
	}
	e->ino = ino;
	e->process = process;
	e->opens = 1;
	for (seen = NULL;;) {
		struct access_entry *theirs = find(head, seen, ino, process);

		if (theirs) {
			atomic_fetch_sub_explicit(&a->n, 1, memory_order_relaxed);
			free(e);
			return theirs;
		}
		e->next = seen = head;
		if (atomic_compare_exchange_weak_explicit(bucket, &head, e, memory_order_release,
							  memory_order_acquire)) {
			access_add(&a->opens, 1);
			return e;
		}
	}
}

struct access_entry *access_prefetch(struct access *a)
{
	return &a->prefetch;
}

struct access_entry *access_other(struct access *a)
{
	return &a->other;
}

uint64_t access_opens(const struct access *a)
{
	return atomic_load_explicit(&((struct access *)a)->opens, memory_order_relaxed);
}

/* ---- copies ---- */

static int row_compare(const void *x, const void *y)
{
	const struct access_row *a = x, *b = y;

	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	if (a->process != b->process)
		return a->process < b->process ? -1 : 1;
	return (int)a->prefetch - (int)b->prefetch;
}

static struct access_row row_of(const struct access *a, struct access_entry *e, bool prefetch)
{
	return (struct access_row){.ino = e->ino,
				   .image = a->id,
				   .process = e->process,
				   .prefetch = prefetch,
				   .opens = atomic_load(&e->opens),
				   .reads = atomic_load(&e->reads),
				   .bytes = atomic_load(&e->bytes),
				   .fetched_bytes = atomic_load(&e->fetched_bytes),
				   .wait_ns = atomic_load(&e->wait_ns)};
}

static void row_subtract(struct access_row *row, const struct access_row *since, size_t n)
{
	const struct access_row *old =
		n ? bsearch(row, since, n, sizeof(*since), row_compare) : NULL;

	if (!old)
		return;
	row->opens -= old->opens;
	row->reads -= old->reads;
	row->bytes -= old->bytes;
	row->fetched_bytes -= old->fetched_bytes;
	row->wait_ns -= old->wait_ns;
}

int access_rows(struct access *a, const struct access_row *since, size_t n_since,
		struct access_row **ret, size_t *ret_n)
{
	size_t cap = atomic_load(&a->n) + 1024, n = 0; /* some may come meanwhile */
	_cleanup_(freep) struct access_row *rows = calloc(cap, sizeof(*rows));

	if (!rows)
		return -ENOMEM;
	rows[n++] = row_of(a, &a->prefetch, true);
	rows[n++] = row_of(a, &a->other, false);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct access_entry *e = atomic_load(&a->buckets[i]); e && n < cap;
		     e = e->next)
			rows[n++] = row_of(a, e, false);
	cap = n;
	n = 0;
	for (size_t i = 0; i < cap; i++) {
		struct access_row row = rows[i];

		row_subtract(&row, since, n_since);
		if (row.opens || row.reads || row.bytes || row.fetched_bytes || row.wait_ns)
			rows[n++] = row;
	}
	if (n)
		qsort(rows, n, sizeof(*rows), row_compare);
	*ret = steal_ptr(rows);
	*ret_n = n;
	return 0;
}
