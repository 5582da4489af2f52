/* SPDX-License-Identifier: MIT */
#include "prof/ring.h"

enum { FREE, FILLING, READY };

struct ring_sample *ring_claim(struct ring *r, uint32_t weight)
{
	for (unsigned tries = 0; tries < 64; tries++) {
		uint32_t i = atomic_fetch_add_explicit(&r->next, 1, memory_order_relaxed);
		struct ring_sample *s = &r->slots[i % ARRAY_SIZE(r->slots)];
		unsigned want = FREE;

		if (atomic_compare_exchange_strong(&s->state, &want, FILLING)) {
			s->weight = weight;
			return s;
		}
	}
	atomic_fetch_add_explicit(&r->lost, weight, memory_order_relaxed);
	return NULL;
}

void ring_ready(struct ring_sample *s)
{
	atomic_store_explicit(&s->state, READY, memory_order_release);
}

void ring_drain(struct ring *r, void (*f)(const struct ring_sample *s, void *arg), void *arg)
{
	for (size_t i = 0; i < ARRAY_SIZE(r->slots); i++) {
		struct ring_sample *s = &r->slots[i];

		if (atomic_load_explicit(&s->state, memory_order_acquire) != READY)
			continue;
		f(s, arg);
		atomic_store_explicit(&s->state, FREE, memory_order_release);
	}
}
