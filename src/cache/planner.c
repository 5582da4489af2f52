/* SPDX-License-Identifier: MIT */
#include "cache/planner.h"

#define WINDOW_MIN (64u << 10)
#define WINDOW_MAX (8u << 20)
#define RTT_GUESS_NS UINT64_C(20000000)
#define RATE_GUESS UINT64_C(12500000)
#define CHEAP_SHARE 2 /* neighbours may cost up to half a round trip */

void link_model_init(struct link_model *m)
{
	*m = (struct link_model){.rtt_ns = RTT_GUESS_NS, .bytes_per_s = RATE_GUESS};
}

static uint64_t smooth(uint64_t old, uint64_t now)
{
	return old - old / 4 + now / 4;
}

void link_model_observe(struct link_model *m, uint64_t first_byte_ns, uint64_t bytes,
			uint64_t transfer_ns)
{
	if (first_byte_ns)
		m->rtt_ns = smooth(m->rtt_ns, first_byte_ns);
	/* A short transfer says more about buffers than about the link. */
	if (bytes >= WINDOW_MIN && transfer_ns)
		m->bytes_per_s = smooth(m->bytes_per_s,
					(uint64_t)((double)bytes * 1e9 / (double)transfer_ns));
}

static uint64_t span_bytes(const struct layer_index *index, uint64_t first, uint64_t last)
{
	return index->spans[last].in_end - index->spans[first].in_off;
}

void planner_plan(struct planner *p, const struct layer_index *index, const struct link_model *link,
		  uint64_t need_first, uint64_t need_last,
		  bool (*is_wanted)(void *userdata, uint64_t span), void *userdata,
		  uint64_t max_bytes, struct plan *ret)
{
	uint64_t cheap =
		(uint64_t)((double)link->rtt_ns / 1e9 / CHEAP_SHARE * (double)link->bytes_per_s);
	struct plan plan = {need_first, need_last};
	uint64_t budget;

	if (need_first <= p->next_span && need_first + 4 >= p->next_span && p->next_span)
		p->window_bytes = min_u64(max_u64(p->window_bytes * 2, WINDOW_MIN), WINDOW_MAX);
	else
		p->window_bytes = p->window_bytes / 2;
	budget = min_u64(max_bytes, span_bytes(index, need_first, need_last) +
					    max_u64(p->window_bytes, min_u64(cheap, WINDOW_MAX)));
	while (plan.last + 1 < index->header.n_spans &&
	       span_bytes(index, plan.first, plan.last + 1) <= budget &&
	       is_wanted(userdata, plan.last + 1))
		plan.last++;
	p->next_span = plan.last + 1;
	*ret = plan;
}
