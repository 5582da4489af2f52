/* SPDX-License-Identifier: MIT */
#include "image/tree_build.h"

#include <errno.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "prof/heap.h"

/* Everything here comes from mmap, so that a freed tree goes back to the system and not into
 * malloc's bins: the process that merged is the one that then serves for weeks. (Huge pages were
 * tried: faster when the kernel has them at hand, twice as slow when it must make them.) */
#define ARENA_BLOCK ((size_t)1 << 20)

struct arena_block {
	struct arena_block *next;
	size_t used;
};

static void *pages_new(size_t n)
{
	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	heap_add(p, n);
	return p;
}

static void pages_free(void *p, size_t n)
{
	heap_remove(p);
	munmap(p, n);
}

void *tree_alloc(struct tree *t, size_t n)
{
	struct arena_block *b = t->arena;
	void *p;

	n = align_up(n, 8);
	assert(n <= ARENA_BLOCK / 2);
	if (!b || b->used + n > ARENA_BLOCK) {
		b = pages_new(ARENA_BLOCK);
		if (!b)
			return NULL;
		b->next = t->arena;
		b->used = 64; /* nodes then don't straddle cache lines as long as they come alone */
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
		pages_free(b, ARENA_BLOCK);
	}
	if (t->nodes)
		pages_free(t->nodes, t->nodes_bytes);
	free(t);
}

/* ---- the table of names ---- */

static uint64_t mix(uint64_t a, uint64_t b)
{
	__uint128_t m = (__uint128_t)a * b;

	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

/* Keyed, since names are a stranger's: without the key nobody can choose names that collide. */
static uint64_t name_hash(const struct name_table *t, const struct tree_node *parent,
			  const char *name, size_t n)
{
	uint64_t h = mix(t->key[0] ^ (uint64_t)(uintptr_t)parent, t->key[1] ^ n), w = 0;

	for (; n >= 8; n -= 8, name += 8)
		h = mix(h ^ t->key[0], le64_get(name) ^ t->key[1]);
	memcpy(&w, name, n);
	return mix(h ^ t->key[0], w ^ t->key[1]);
}

int name_table_init(struct name_table *t, uint64_t expected)
{
	size_t size = 1024;

	while (size < expected * 2 && size < (size_t)1 << 32)
		size *= 2;
	*t = (struct name_table){.size = size};
	/* 16 bytes that the kernel drew for this process: random, at hand, and they can't fail. */
	memcpy(t->key, (const void *)getauxval(AT_RANDOM), sizeof(t->key));
	t->slots = pages_new(size * sizeof(*t->slots));
	return t->slots ? 0 : -ENOMEM;
}

void name_table_fini(struct name_table *t)
{
	if (t->slots)
		pages_free(t->slots, t->size * sizeof(*t->slots));
}

struct build_node **name_table_slot(const struct name_table *t, const struct tree_node *parent,
				    const char *name, size_t n)
{
	for (uint64_t i = name_hash(t, parent, name, n);; i++) {
		struct build_node **slot = &t->slots[i & (t->size - 1)];
		const struct tree_node *node = *slot ? &(*slot)->node : NULL;

		if (!node ||
		    (node->parent == parent && node->name_len == n && !memcmp(node->name, name, n)))
			return slot;
	}
}

int name_table_grow(struct name_table *t)
{
	struct name_table bigger;
	int r;

	if (++t->used * 2 <= t->size)
		return 0;
	r = name_table_init(&bigger, t->size);
	if (r < 0)
		return r;
	bigger.used = t->used;
	for (size_t i = 0; i < t->size; i++) {
		struct build_node *n = t->slots[i];

		if (n)
			*name_table_slot(&bigger, n->node.parent, n->node.name, n->node.name_len) =
				n;
	}
	name_table_fini(t);
	*t = bigger;
	return 0;
}

/* ---- finishing: children in arrays, sorted; links counted ---- */

enum { INODE_SEEN = 1 };

static int name_order(const void *a, const void *b)
{
	const struct tree_node *x = *(struct tree_node *const *)a;
	const struct tree_node *y = *(struct tree_node *const *)b;
	int r = memcmp(x->name, y->name, min_u64(x->name_len, y->name_len));

	return r ? r : (x->name_len > y->name_len) - (x->name_len < y->name_len);
}

/* The list runs from the last made to the first; most archives are in order the other way round. */
static uint32_t children_take(const struct build_node *dir, struct tree_node **out)
{
	bool in_order = true;
	uint32_t n = 0;

	for (struct build_node *c = dir->first_child; c; c = c->next_sibling)
		if (!c->dead)
			out[n++] = &c->node;
	for (uint32_t i = 0; i < n / 2; i++) {
		struct tree_node *other = out[i];

		out[i] = out[n - 1 - i];
		out[n - 1 - i] = other;
	}
	for (uint32_t i = 1; i < n && in_order; i++)
		in_order = name_order(&out[i - 1], &out[i]) < 0;
	if (!in_order)
		qsort(out, n, sizeof(*out), name_order);
	return n;
}

static void links_count(struct tree *t, struct tree_node *dir)
{
	dir->inode->nlink += 2;
	for (uint32_t i = 0; i < dir->n_children; i++) {
		struct tree_inode *ino = dir->children[i]->inode;

		if (S_ISDIR(ino->mode))
			dir->inode->nlink++;
		else
			ino->nlink++;
		if (!(ino->flags & INODE_SEEN))
			t->n_inodes++;
		ino->flags |= INODE_SEEN;
	}
}

/* Breadth first, by a queue that is the growing list itself: no recursion, whatever the depth. */
int tree_finish(struct tree *t, uint64_t n_built)
{
	t->nodes_bytes = (n_built + 1) * sizeof(*t->nodes);
	t->nodes = pages_new(t->nodes_bytes);
	if (!t->nodes)
		return -ENOMEM;
	t->nodes[0] = t->root;
	t->n_nodes = t->n_inodes = 1;
	for (uint64_t i = 0; i < t->n_nodes; i++) {
		struct tree_node *n = t->nodes[i];

		if (!S_ISDIR(n->inode->mode))
			continue;
		n->children = &t->nodes[t->n_nodes];
		n->n_children = children_take((struct build_node *)n, n->children);
		t->n_nodes += n->n_children;
		links_count(t, n);
	}
	return 0;
}
