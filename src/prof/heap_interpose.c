/* SPDX-License-Identifier: MIT */
/*
 * glibc's allocator behind the sampler's hooks, for everything in the process: libcurl's and
 * OpenSSL's allocations too. Belongs into executables only. MORSEL_HEAP_PERIOD in the environment
 * is the mean number of bytes between two samples; 0 samples nothing.
 */
#include <errno.h>
#include <stdlib.h>

#include "prof/heap.h"

#define EXPORT __attribute__((visibility("default")))

void *__libc_malloc(size_t n);
void __libc_free(void *p);
void *__libc_calloc(size_t n, size_t each);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);
void *__libc_valloc(size_t n);
void *__libc_pvalloc(size_t n);

EXPORT void *memalign(size_t align, size_t n);
EXPORT void *pvalloc(size_t n);

/* What is allocated before this runs is not sampled. */
__attribute__((constructor)) static void heap_begin(void)
{
	const char *text = getenv("MORSEL_HEAP_PERIOD");
	unsigned long long bytes = HEAP_PERIOD_DEFAULT;
	char *end;

	if (text && *text >= '0' && *text <= '9') {
		errno = 0;
		bytes = strtoull(text, &end, 10);
		if (errno || *end || bytes > INT64_MAX / 64)
			bytes = HEAP_PERIOD_DEFAULT;
	}
	heap_set_period(bytes);
}

EXPORT void *malloc(size_t n)
{
	void *p = __libc_malloc(n);

	heap_add(p, n);
	return p;
}

EXPORT void free(void *p)
{
	heap_remove(p);
	__libc_free(p);
}

EXPORT void *calloc(size_t n, size_t each)
{
	void *p = __libc_calloc(n, each);

	heap_add(p, p ? n * each : 0); /* it did not overflow, or there were no p */
	return p;
}

/* One that can't be had leaves p as it is, but no longer known to the sampler. */
EXPORT void *realloc(void *p, size_t n)
{
	void *q;

	heap_remove(p);
	q = __libc_realloc(p, n);
	heap_add(q, n);
	return q;
}

EXPORT void *reallocarray(void *p, size_t n, size_t each)
{
	if (mul_overflows(n, each, &n)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(p, n);
}

EXPORT void *memalign(size_t align, size_t n)
{
	void *p = __libc_memalign(align, n);

	heap_add(p, n);
	return p;
}

EXPORT void *aligned_alloc(size_t align, size_t n)
{
	void *p = __libc_memalign(align, n);

	heap_add(p, n);
	return p;
}

EXPORT int posix_memalign(void **ret, size_t align, size_t n)
{
	void *p;

	if (align % sizeof(void *) || !align || align & (align - 1))
		return EINVAL;
	p = __libc_memalign(align, n);
	if (!p)
		return ENOMEM;
	heap_add(p, n);
	*ret = p;
	return 0;
}

EXPORT void *valloc(size_t n)
{
	void *p = __libc_valloc(n);

	heap_add(p, n);
	return p;
}

EXPORT void *pvalloc(size_t n)
{
	void *p = __libc_pvalloc(n);

	heap_add(p, n);
	return p;
}
