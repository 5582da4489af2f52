/* SPDX-License-Identifier: MIT */
#include "transfer/names.h"

#include <errno.h>

struct name {
	uint64_t hash;
	size_t len;
	char bytes[]; /* the key, then the text with its NUL */
};

/* FNV-1a. The keys are the user's own files. */
static uint64_t hash_of(const void *key, size_t n)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < n; i++)
		h = (h ^ ((const uint8_t *)key)[i]) * UINT64_C(0x100000001b3);
	return h ^ h >> 32;
}

static struct name **slot_of(const struct names *s, uint64_t hash, const void *key, size_t n)
{
	size_t i = hash & (s->cap - 1);

	while (s->slots[i] && (s->slots[i]->hash != hash || s->slots[i]->len != n ||
			       memcmp(s->slots[i]->bytes, key, n)))
		i = (i + 1) & (s->cap - 1);
	return &s->slots[i];
}

static int grow(struct names *s)
{
	struct names more = {.cap = s->cap ? 2 * s->cap : 64, .n = s->n};

	more.slots = calloc(more.cap, sizeof(*more.slots));
	if (!more.slots)
		return -ENOMEM;
	for (size_t i = 0; i < s->cap; i++)
		if (s->slots[i])
			*slot_of(&more, s->slots[i]->hash, s->slots[i]->bytes, s->slots[i]->len) =
				s->slots[i];
	free(s->slots);
	*s = more;
	return 0;
}

int names_add(struct names *s, const void *key, size_t n, const char *text)
{
	size_t text_len = strlen(text) + 1;
	struct name *name;

	if (2 * s->n >= s->cap && grow(s) < 0)
		return -ENOMEM;
	name = malloc(sizeof(*name) + n + text_len);
	if (!name)
		return -ENOMEM;
	*name = (struct name){.hash = hash_of(key, n), .len = n};
	memcpy(name->bytes, key, n);
	memcpy(name->bytes + n, text, text_len);
	*slot_of(s, name->hash, key, n) = name;
	s->n++;
	return 0;
}

const char *names_get(const struct names *s, const void *key, size_t n)
{
	struct name *name = s->n ? *slot_of(s, hash_of(key, n), key, n) : NULL;

	return name ? name->bytes + name->len : NULL;
}

void names_fini(struct names *s)
{
	for (size_t i = 0; i < s->cap; i++)
		free(s->slots[i]);
	free(s->slots);
	*s = NAMES_INIT;
}
