/* SPDX-License-Identifier: MIT */
#include "prof/intern.h"

#include <errno.h>

struct intern_entry {
	uint64_t hash;
	size_t len;
	void *bytes;
};

static uint64_t hash_bytes(const void *bytes, size_t len)
{
	const uint8_t *p = bytes;
	uint64_t h = len ^ UINT64_C(0x9e3779b97f4a7c15);

	for (; len >= 8; p += 8, len -= 8)
		h = (h ^ le64_get(p)) * UINT64_C(0xff51afd7ed558ccd), h ^= h >> 32;
	for (; len; p++, len--)
		h = (h ^ *p) * UINT64_C(0xc4ceb9fe1a85ec53), h ^= h >> 29;
	return h ^ h >> 31;
}

static int grow(struct intern *t)
{
	size_t n_slots = t->n_slots ? t->n_slots * 2 : 64;
	struct intern_entry *entries;
	uint32_t *slots;

	if (n_slots > UINT32_MAX)
		return -E2BIG;
	entries = reallocarray(t->entries, n_slots / 2, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	t->entries = entries;
	slots = calloc(n_slots, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	for (size_t i = 0; i < t->n; i++) {
		size_t at = entries[i].hash & (n_slots - 1);

		while (slots[at])
			at = (at + 1) & (n_slots - 1);
		slots[at] = (uint32_t)i + 1;
	}
	free(t->slots);
	t->slots = slots;
	t->n_slots = n_slots;
	return 0;
}

int64_t intern_id(struct intern *t, const void *bytes, size_t len)
{
	uint64_t hash = hash_bytes(bytes, len);
	struct intern_entry *e;
	size_t at;
	int r;

	if (t->n * 2 >= t->n_slots) {
		r = grow(t);
		if (r < 0)
			return r;
	}
	for (at = hash & (t->n_slots - 1); t->slots[at]; at = (at + 1) & (t->n_slots - 1)) {
		e = &t->entries[t->slots[at] - 1];
		if (e->hash == hash && e->len == len && (!len || !memcmp(e->bytes, bytes, len)))
			return t->slots[at] - 1;
	}
	e = &t->entries[t->n];
	*e = (struct intern_entry){hash, len, malloc(len + 1)};
	if (!e->bytes)
		return -ENOMEM;
	if (len)
		memcpy(e->bytes, bytes, len);
	t->slots[at] = (uint32_t)++t->n;
	t->bytes += len;
	return (int64_t)t->n - 1;
}

const void *intern_get(const struct intern *t, size_t id, size_t *ret_len)
{
	assert(id < t->n);
	if (ret_len)
		*ret_len = t->entries[id].len;
	return t->entries[id].bytes;
}

void *intern_beside(const struct intern *t, void *array, size_t each)
{
	if (t->n & (t->n - 1)) /* grows at powers of two */
		return array;
	return reallocarray(array, t->n ? 2 * t->n : 1, each);
}

void intern_fini(struct intern *t)
{
	for (size_t i = 0; i < t->n; i++)
		free(t->entries[i].bytes);
	free(t->entries);
	free(t->slots);
	*t = INTERN_INIT;
}
