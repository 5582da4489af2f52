/* SPDX-License-Identifier: MIT */
#include "cache/link.h"

#define GUESS_RTT_NS UINT64_C(20000000)
#define GUESS_BYTES_PER_S UINT64_C(12500000)
#define RATE_BYTES_MIN (UINT64_C(64) << 10)
#define RATE_MAX (UINT64_C(1) << 40)
#define BYTES_MAX (UINT64_C(1) << 30)
#define SECOND_NS UINT64_C(1000000000)

void link_model_init(struct link_model *m)
{
	*m = (struct link_model){.rtt_ns = GUESS_RTT_NS, .bytes_per_s = GUESS_BYTES_PER_S};
}

/* A guess is replaced; a measurement moves fast to one side and slowly to the other: what delays a
 * round trip or a transfer is often not the link, what shortens it is. */
static uint64_t smooth(uint64_t value, bool measured, uint64_t seen, bool better)
{
	unsigned part = better ? 2 : 8;

	return measured ? value - value / part + seen / part : seen;
}

static uint64_t clamped(double v, uint64_t max)
{
	return v >= (double)max ? max : (uint64_t)v;
}

void link_model_observe(struct link_model *m, uint64_t first_byte_ns, uint64_t bytes,
			uint64_t transfer_ns)
{
	if (first_byte_ns) {
		m->rtt_ns = smooth(m->rtt_ns, m->rtt_measured, first_byte_ns,
				   first_byte_ns < m->rtt_ns);
		m->rtt_measured = true;
	}
	if (transfer_ns && bytes >= RATE_BYTES_MIN) {
		uint64_t rate =
			clamped((double)bytes * (double)SECOND_NS / (double)transfer_ns, RATE_MAX) +
			1;

		m->bytes_per_s =
			smooth(m->bytes_per_s, m->rate_measured, rate, rate > m->bytes_per_s);
		m->rate_measured = true;
	}
}

uint64_t link_model_bytes_per_rtt(const struct link_model *m)
{
	return clamped((double)m->bytes_per_s * (double)m->rtt_ns / (double)SECOND_NS, BYTES_MAX);
}

uint64_t link_model_transfer_ns(const struct link_model *m, uint64_t bytes)
{
	return clamped((double)bytes * (double)SECOND_NS / (double)max_u64(m->bytes_per_s, 1),
		       UINT64_MAX / 2);
}
