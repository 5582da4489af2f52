/* SPDX-License-Identifier: MIT */
#include "image/tree_build.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Blocks come from mmap, so that a freed tree goes back to the system and not into malloc's bins:
 * the process that merged is the one that then serves for weeks. */
#define ARENA_BLOCK ((size_t)1 << 20)

struct arena_block {
	struct arena_block *next;
	size_t used;
};

void *tree_alloc(struct tree *t, size_t n)
{
	struct arena_block *b = t->arena;
	void *p;

	n = align_up(n, 16);
	assert(n <= ARENA_BLOCK / 2);
	if (!b || b->used + n > ARENA_BLOCK) {
		b = mmap(NULL, ARENA_BLOCK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (b == MAP_FAILED)
			return NULL;
		b->next = t->arena;
		b->used = align_up(sizeof(*b), 16);
		t->arena = b;
	}
	p = (uint8_t *)b + b->used;
	b->used += n;
	return p;
}

void tree_free(struct tree *t)
{
	struct arena_block *b, *next;

	if (!t)
		return;
	for (b = t->arena; b; b = next) {
		next = b->next;
		munmap(b, ARENA_BLOCK);
	}
	if (t->lists)
		munmap(t->lists, t->lists_bytes);
	free(t);
}

/* ---- the table of names ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t m = (__uint128_t)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

static uint64_t name_hash(const struct name_table *t, const struct tree_node *parent, const char *name,
			  size_t n)
{
	uint64_t h = t->seed ^ (uint64_t)(uintptr_t)parent, w;

	for (; n >= 8; n -= 8, name += 8)
		h = mix(h ^ le64_get(name), UINT64_C(0x9e3779b97f4a7c15));
	w = n;
	for (size_t i = 0; i < n; i++)
		w = w << 8 | (uint8_t)name[i];
	return mix(h ^ w, UINT64_C(0xa0761d6478bd642f));
}

int name_table_init(struct name_table *t, uint64_t expected)
{
	size_t size = 1024;

	while (size < expected * 2 && size < (size_t)1 << 32)
		size *= 2;
	/* Not a secret, but nothing an image's author can know: where the stack lies. */
	*t = (struct name_table){.seed = mix((uint64_t)(uintptr_t)&size, UINT64_C(0xe7037ed1a0b428db)),
				 .size = size};
	t->slots = mmap(NULL, size * sizeof(*t->slots), PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (t->slots == MAP_FAILED) {
		t->slots = NULL;
		return -ENOMEM;
	}
	return 0;
}

void name_table_fini(struct name_table *t)
{
	if (t->slots)
		munmap(t->slots, t->size * sizeof(*t->slots));
}

struct build_node **name_table_slot(struct name_table *t, const struct tree_node *parent,
				    const char *name, size_t n)
{
	uint64_t i = name_hash(t, parent, name, n);

	for (;; i++) {
		struct build_node **slot = &t->slots[i & (t->size - 1)];
		const struct tree_node *node = *slot ? &(*slot)->node : NULL;

		if (!node || (node->parent == parent && node->name_len == n &&
			      !memcmp(node->name, name, n)))
			return slot;
	}
}

int name_table_grow(struct name_table *t)
{
	struct name_table bigger;
	int r;

	if (++t->used * 2 < t->size)
		return 0;
	r = name_table_init(&bigger, t->size);
	if (r < 0)
		return r;
	bigger.used = t->used;
	for (size_t i = 0; i < t->size; i++)
		if (t->slots[i])
			*name_table_slot(&bigger, t->slots[i]->node.parent, t->slots[i]->node.name,
					 t->slots[i]->node.name_len) = t->slots[i];
	name_table_fini(t);
	*t = bigger;
	return 0;
}

/* ---- finishing: children in arrays, sorted; links counted ---- */

static int name_order(const void *a, const void *b)
{
	const struct tree_node *x = *(struct tree_node *const *)a, *y = *(struct tree_node *const *)b;
	int r = memcmp(x->name, y->name, min_u64(x->name_len, y->name_len));

	return r ? r : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

static uint32_t children_take(struct build_node *dir, struct tree_node **out)
{
	uint32_t n = 0;

	for (struct build_node *c = dir->first_child; c; c = c->next_sibling)
		if (!c->dead) {
			out[n++] = &c->node;
			if (S_ISDIR(c->node.inode->mode))
				dir->node.inode->nlink++;
			else
				c->node.inode->nlink++;
		}
	return n;
}

/* Breadth first, by a queue that is the growing list itself: no recursion, whatever the depth. */
int tree_finish(struct tree *t, uint64_t n_built)
{
	struct tree_node **list;
	uint64_t head = 0, tail = 1, inodes = 0;

	t->lists_bytes = (n_built + 1) * sizeof(*list);
	list = mmap(NULL, t->lists_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (list == MAP_FAILED)
		return -ENOMEM;
	t->lists = list;
	list[0] = t->root;
	while (head < tail) {
		struct tree_node *n = list[head++];

		inodes += !n->inode->flags; /* hard links share one: counted at the first */
		n->inode->flags = 1;
		if (!S_ISDIR(n->inode->mode))
			continue;
		n->inode->nlink += 2;
		n->children = &list[tail];
		n->n_children = children_take((struct build_node *)n, &list[tail]);
		qsort(n->children, n->n_children, sizeof(*n->children), name_order);
		tail += n->n_children;
	}
	t->n_nodes = tail;
	t->n_inodes = inodes;
	return 0;
}
