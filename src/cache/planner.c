/* SPDX-License-Identifier: MIT */
#include "cache/planner.h"

#define GUESS_RTT_NS UINT64_C(20000000)
#define GUESS_BYTES_PER_S UINT64_C(12500000)
#define RATE_BYTES_MIN (UINT64_C(64) << 10)
#define RATE_MAX (UINT64_C(1) << 40)
#define SECOND_NS UINT64_C(1000000000)

void link_model_init(struct link_model *m)
{
	*m = (struct link_model){.rtt_ns = GUESS_RTT_NS, .bytes_per_s = GUESS_BYTES_PER_S};
}

/* A guess is replaced, a measurement moves by a quarter. */
static void smooth(uint64_t *value, bool *measured, uint64_t seen)
{
	*value = *measured ? *value - *value / 4 + seen / 4 : seen;
	*measured = true;
}

static uint64_t rate_of(double bytes_per_s)
{
	return bytes_per_s >= (double)RATE_MAX ? RATE_MAX : (uint64_t)bytes_per_s + 1;
}

void link_model_observe(struct link_model *m, uint64_t first_byte_ns, uint64_t bytes,
			uint64_t transfer_ns)
{
	if (first_byte_ns)
		smooth(&m->rtt_ns, &m->rtt_measured, first_byte_ns);
	if (transfer_ns && bytes >= RATE_BYTES_MIN)
		smooth(&m->bytes_per_s, &m->rate_measured,
		       rate_of((double)bytes * (double)SECOND_NS / (double)transfer_ns));
}

static uint64_t cheap_bytes(const struct link_model *m)
{
	double bytes = (double)m->bytes_per_s * (double)m->rtt_ns / (double)SECOND_NS;

	return bytes >= (double)PLANNER_WINDOW_MAX ? PLANNER_WINDOW_MAX : (uint64_t)bytes;
}

/* A read runs on when it begins at, or shares its first span with, what was fetched last. */
static bool window_move(struct planner *p, uint64_t need_first)
{
	bool runs_on = p->next_span && need_first <= p->next_span && need_first + 1 >= p->next_span;

	if (!p->window_bytes)
		p->window_bytes = PLANNER_WINDOW_FIRST;
	else if (runs_on)
		p->window_bytes = min_u64(2 * p->window_bytes, PLANNER_WINDOW_MAX);
	else
		p->window_bytes = max_u64(p->window_bytes / 2, PLANNER_WINDOW_MIN);
	return runs_on;
}

void planner_plan(struct planner *p, const struct layer_index *index, const struct link_model *link,
		  uint64_t need_first, uint64_t need_last,
		  bool (*is_wanted)(void *userdata, uint64_t span), void *userdata,
		  uint64_t max_bytes, struct plan *ret)
{
	const struct layer_span *spans = index->spans;
	uint64_t from = spans[need_first].in_off, last = need_last, extra, end;

	extra = window_move(p, need_first) ? p->window_bytes
					   : min_u64(p->window_bytes, cheap_bytes(link));
	end = spans[need_last].in_end + extra; /* both are bounded by the blob and the window */
	while (last + 1 < index->header.n_spans && spans[last + 1].in_end <= end &&
	       spans[last + 1].in_end - from <= max_bytes && is_wanted(userdata, last + 1))
		last++;
	p->next_span = last + 1;
	*ret = (struct plan){need_first, last};
}
