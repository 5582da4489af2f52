/* SPDX-License-Identifier: MIT */
/*
 * Samples allocations: on average one each `period` bytes, every byte with the same chance
 * (Poisson), and remembers who made it until it is freed. From one table come two profiles: what is
 * in use, and what was allocated since the process began.
 *
 * The hooks cost a few instructions when no sample is due. Two call them: heap_interpose.c, which
 * stands before glibc's malloc in the executable (never in the library: a library has no business
 * there), and those who map memory for themselves. Without the former the period is 0: nothing is
 * sampled at all.
 */
#ifndef MORSEL_PROF_HEAP_H
#define MORSEL_PROF_HEAP_H

#include <stdatomic.h>
#include "base/util.h"

#define HEAP_PERIOD_DEFAULT (512 * 1024)
#define HEAP_FILTER 8192

/* Bytes this thread may allocate until its next sample. */
extern _Thread_local int64_t heap_left __attribute__((tls_model("initial-exec")));
/* By a hash of the address: how many sampled objects there may be in use. */
extern _Atomic uint8_t heap_filter[HEAP_FILTER];

static inline size_t heap_hash(const void *p)
{
	return (((uintptr_t)p >> 4) * UINT64_C(0x9e3779b97f4a7c15)) >> 51; /* 13 bits */
}

/* Not to be called: the slow halves of the two below. */
void heap_sample(void *p, size_t n);
void heap_forget(void *p);

/* p was allocated, n bytes. */
static inline void heap_add(void *p, size_t n)
{
	heap_left = (int64_t)((uint64_t)heap_left - n);
	if (__builtin_expect(heap_left < 0, 0) && p)
		heap_sample(p, n);
}

/* p is about to be freed. */
static inline void heap_remove(void *p)
{
	if (__builtin_expect(atomic_load_explicit(&heap_filter[heap_hash(p)], memory_order_relaxed),
			     0))
		heap_forget(p);
}

/* 0 = from now on nothing is sampled. Any time. */
void heap_set_period(size_t bytes);
size_t heap_period(void);

#endif
