/* SPDX-License-Identifier: MIT */
#include "registry/health.h"

#include "base/seam.h"

#define WAIT_MIN_NS NS_PER_S
#define WAIT_MAX_NS (60 * NS_PER_S)

enum health_advice health_advise(struct health *h, uint64_t now_ns)
{
	switch (h->state) {
	case HEALTH_NEW:
		h->state = HEALTH_BEING_ASKED;
		return HEALTH_PING;
	case HEALTH_BEING_ASKED:
		return HEALTH_WAIT;
	case HEALTH_UP:
		return HEALTH_ASK;
	case HEALTH_DOWN:
		break;
	}
	if (h->probing || now_ns < h->probe_ns)
		return HEALTH_LEAVE;
	h->probing = true;
	return HEALTH_PROBE;
}

void health_up(struct health *h)
{
	h->state = HEALTH_UP;
	h->probing = false;
}

void health_good(struct health *h)
{
	if (h->state == HEALTH_UP)
		h->wait_ns = 0;
}

void health_down(struct health *h, uint64_t now_ns)
{
	h->state = HEALTH_DOWN;
	h->probing = false;
	h->wait_ns = h->wait_ns ? min_u64(2 * h->wait_ns, WAIT_MAX_NS) : WAIT_MIN_NS;
	h->probe_ns = now_ns + h->wait_ns;
}
