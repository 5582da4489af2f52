/* SPDX-License-Identifier: MIT */
#include "cache/prefetch.h"

#define SECOND_NS UINT64_C(1000000000)
#define HEAD_START_NS SECOND_NS
#define LOOK_AGAIN_NS (SECOND_NS / 50)
#define IDLE_PART 20 /* of the time since the last reader */
#define RTT_PART 6   /* of a round trip, behind a reader */

void prefetch_gate_init(struct prefetch_gate *g, uint64_t bandwidth, uint64_t now_ns)
{
	*g = (struct prefetch_gate){.bandwidth = bandwidth,
				    .demand_end_ns = now_ns - min_u64(now_ns, HEAD_START_NS)};
}

void prefetch_demand_begin(struct prefetch_gate *g, uint64_t bytes, uint64_t now_ns)
{
	g->demand++;
	g->demand_begin_ns = now_ns;
	g->demand_bytes += bytes;
}

void prefetch_demand_end(struct prefetch_gate *g, uint64_t bytes, uint64_t now_ns)
{
	assert(g->demand && g->demand_bytes >= bytes);
	g->demand--;
	g->demand_bytes -= bytes;
	g->demand_end_ns = now_ns;
}

void prefetch_stop(struct prefetch_gate *g, uint64_t until_ns)
{
	g->stopped_until_ns = max_u64(g->stopped_until_ns, until_ns);
}

/* How long a reader who came now might have to wait for it. */
static uint64_t delay_allowed(const struct prefetch_gate *g, const struct link_model *link,
			      uint64_t now_ns)
{
	if (!g->demand)
		return (now_ns - min_u64(now_ns, g->demand_end_ns)) / IDLE_PART;
	if (link_model_transfer_ns(link, g->demand_bytes) > link->rtt_ns / 4 ||
	    now_ns - min_u64(now_ns, g->demand_begin_ns) > link->rtt_ns / 4)
		return 0;
	return link->rtt_ns / RTT_PART;
}

uint64_t prefetch_may(const struct prefetch_gate *g, const struct link_model *link, uint64_t now_ns,
		      uint64_t *ret_again_ns)
{
	uint64_t delay, bytes;
	double fit;

	*ret_again_ns = max_u64(g->stopped_until_ns, g->free_ns);
	if (*ret_again_ns > now_ns)
		return 0;
	*ret_again_ns = now_ns + LOOK_AGAIN_NS;
	delay = delay_allowed(g, link, now_ns);
	if (!delay)
		return 0;
	fit = (double)link->bytes_per_s * (double)delay / (double)SECOND_NS;
	bytes = fit >= (double)PREFETCH_PIECE_MAX ? PREFETCH_PIECE_MAX : (uint64_t)fit;
	if (bytes < PREFETCH_PIECE_MIN)
		return 0;
	if (g->bandwidth) /* in steps of a tenth of a second */
		bytes = max_u64(PREFETCH_PIECE_MIN, min_u64(bytes, g->bandwidth / 10));
	return bytes;
}

void prefetch_asked(struct prefetch_gate *g, uint64_t bytes, uint64_t now_ns)
{
	double ns;

	if (!g->bandwidth)
		return;
	ns = (double)bytes * (double)SECOND_NS / (double)g->bandwidth;
	g->free_ns = max_u64(g->free_ns, now_ns) +
		     (ns >= 1e18 ? UINT64_C(1000000000000000000) : (uint64_t)ns);
}
