/* SPDX-License-Identifier: MIT */
/*
 * Whether a mirror is worth asking. One that has not been asked yet is asked first whether it is
 * there at all, by one thread, while others wait for the answer; one that failed is left alone for
 * a while, and then looked at in the background, so that a mirror that is down costs time once.
 *
 * Policy: does no I/O and has no clock.
 */
#ifndef MORSEL_REGISTRY_HEALTH_H
#define MORSEL_REGISTRY_HEALTH_H

#include "base/util.h"

struct health { /* zero: nothing is known */
	enum { HEALTH_NEW, HEALTH_BEING_ASKED, HEALTH_UP, HEALTH_DOWN } state;
	bool probing;	   /* somebody looks in the background */
	uint64_t probe_ns; /* while it is down: not before */
	uint64_t wait_ns;  /* until the next look; doubles */
};

enum health_advice {
	HEALTH_ASK,   /* ask it for what is wanted */
	HEALTH_PING,  /* first find out whether it is there, then say health_up() or _down() */
	HEALTH_WAIT,  /* another thread finds out */
	HEALTH_LEAVE, /* go elsewhere */
	HEALTH_PROBE, /* go elsewhere, and have it looked at in the background, as for HEALTH_PING
		       */
};

enum health_advice health_advise(struct health *h, uint64_t now_ns);
void health_up(struct health *h);   /* it answers */
void health_good(struct health *h); /* it gave what was wanted */
void health_down(struct health *h, uint64_t now_ns);

#endif
