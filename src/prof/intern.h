/* SPDX-License-Identifier: MIT */
/*
 * Gives equal byte strings one number: 0, 1, 2 ... in the order in which they were first seen. What
 * the profile writer does with strings and functions, and the samplers with stacks, is this.
 * Nothing is ever removed. One thread at a time. It does not know what the bytes mean.
 */
#ifndef MORSEL_PROF_INTERN_H
#define MORSEL_PROF_INTERN_H

#include "base/util.h"

struct intern {
	struct intern_entry *entries; /* by number */
	uint32_t *slots;	      /* hash table of numbers + 1; 0 = free */
	size_t n, n_slots;	      /* n_slots is a power of two, or 0 */
	size_t bytes;		      /* held for all keys together */
};

#define INTERN_INIT ((struct intern){0})

/* The number of these bytes, which are copied when they are new. -ENOMEM, -E2BIG (2^31 of them). */
int64_t intern_id(struct intern *t, const void *bytes, size_t len);
/* The bytes of a number that was given out; borrowed, aligned for any type. */
const void *intern_get(const struct intern *t, size_t id, size_t *ret_len);
/* An array that runs beside the numbers, with room for one more: the array itself, or NULL and it
 * is left as it was. each: bytes of one element. */
void *intern_beside(const struct intern *t, void *array, size_t each);
void intern_fini(struct intern *t);

#endif
