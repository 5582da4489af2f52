/* SPDX-License-Identifier: MIT */
#include "prof/stacks.h"

#include <errno.h>

void stack_set_op(struct stack *s, const struct prof_op *op)
{
	s->op = op->name;
	s->image = op->image;
	s->layer = op->layer;
	s->command = op->command;
	s->pid = op->pid;
}

int64_t stacks_id(struct stacks *t, const struct stack *s)
{
	uint64_t *ns = intern_beside(&t->keys, t->ns, sizeof(*ns));
	size_t n = t->keys.n;
	int64_t id;

	if (!ns)
		return -ENOMEM;
	t->ns = ns;
	id = intern_id(&t->keys, s, offsetof(struct stack, pcs) + s->n * sizeof(s->pcs[0]));
	if (t->keys.n > n)
		ns[id] = 0;
	return id;
}

void stacks_add(struct stacks *t, int64_t id, uint64_t ns)
{
	if (id >= 0)
		t->ns[id] += ns;
}

static size_t labels_of(const struct stack *s, struct pprof_label labels[static 8])
{
	const struct pprof_label all[] = {
		{"op", s->op},	       {"image", s->image},
		{"layer", s->layer},   {"command", s->command},
		{"thread", s->thread}, {"state", s->state},
		{"wchan", s->wchan},   {"pid", NULL, (int64_t)s->pid},
	};
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].str || all[i].num)
			labels[n++] = all[i];
	return n;
}

void stacks_write(const struct stacks *t, struct pprof *p, struct symbols *symbols,
		  uint64_t period_ns)
{
	for (size_t i = 0; i < t->keys.n; i++) {
		const struct stack *s = intern_get(&t->keys, i, NULL);
		uint64_t times = (t->ns[i] + period_ns / 2) / period_ns;
		struct pprof_label labels[8];
		uint64_t at[PROF_DEPTH];

		if (!t->ns[i])
			continue;
		for (size_t k = 0; k < s->n; k++)
			at[k] = symbols_location(symbols, p, s->pcs[k]);
		pprof_sample(p, at, s->n,
			     (int64_t[]){(int64_t)max_u64(times, 1), (int64_t)t->ns[i]}, labels,
			     labels_of(s, labels));
	}
}

void stacks_fini(struct stacks *t)
{
	intern_fini(&t->keys);
	free(t->ns);
	t->ns = NULL;
}
