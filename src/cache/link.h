/* SPDX-License-Identifier: MIT */
/*
 * What is known of the way to the registry: how long a question takes, and how much comes in a
 * second. Pure: measurements come in, estimates go out. One model serves all layers of an image,
 * since they come from one place. Has no clock and decides nothing: what is worth asking for is the
 * planner's business.
 */
#ifndef MORSEL_CACHE_LINK_H
#define MORSEL_CACHE_LINK_H

#include "base/util.h"

struct link_model {	 /* smoothed measurements */
	uint64_t rtt_ns; /* request to first byte */
	uint64_t bytes_per_s;
	bool rtt_measured, rate_measured;
};

void link_model_init(struct link_model *m); /* 20 ms, 12.5 MB/s: a guess until measured */
/* One request: the time from sent to first byte, 0 = not known or not alone on the way (then the
 * others' bytes are what it waited for); and what came over the link, for all requests together,
 * from this one's first byte to its last. A transfer too short to tell bandwidth from buffering
 * does not count as a measurement of it. */
void link_model_observe(struct link_model *m, uint64_t first_byte_ns, uint64_t bytes,
			uint64_t transfer_ns);
/* Bytes that come in the time of one round trip: asking for so many more costs no more than
 * asking once more. At most 1 GiB. */
uint64_t link_model_bytes_per_rtt(const struct link_model *m);
/* How long so many bytes take. */
uint64_t link_model_transfer_ns(const struct link_model *m, uint64_t bytes);

#endif
