/* SPDX-License-Identifier: MIT */
/*
 * A repository and the places that have it: mirrors in their order, the registry last. A question
 * is put to one place after the other until one answers; bytes that came from one are not asked for
 * again at the next. Only the last place gets the whole of our patience.
 *
 * Each place has credentials, certificates and connections of its own. Verifies nothing: who finds
 * bytes to be wrong asks again and leaves out the places that sent them.
 */
#ifndef MORSEL_REGISTRY_ROUTE_H
#define MORSEL_REGISTRY_ROUTE_H

#include "registry/exchange.h"

struct place {
	struct site site;
	struct auth *auth;
};

struct route {
	struct route *next;
	char *key;
	struct place *places;
	unsigned n;
	bool moved; /* the registry itself is asked elsewhere than the reference says */
	atomic_bool heeds_ranges;   /* a place has sent a range when asked for one; */
	atomic_bool ignores_ranges; /* or a whole blob */
	_Atomic int won;	    /* who answered last, + 1: to say so when it changes */
};

/* Of a reference to a registry; kept for the life of r. */
int registry_route(struct registry *r, const struct ref *ref, struct route **ret,
		   struct error *err);
void route_free(struct route *rt);

struct route_ask {
	const char *rest;	  /* of the path behind the repository: "manifests/latest" */
	bool by_tag;		  /* only places that may say what a tag means */
	uint32_t avoid;		  /* places that are left out, one bit each */
	uint32_t *served;	  /* bits are added of places whose bytes were taken; or NULL */
	_Atomic uint32_t *absent; /* bits of places known not to have it; or NULL */
	char **remembered; /* for each place a redirect's target, as struct exchange's; or NULL */
};

/* As exchange_run(); x's auth, site, path and remembered are set here. */
int route_run(struct route *rt, const struct route_ask *ask, struct exchange *x,
	      struct http_response *ret, struct error *err);
/* Whether a place is left that may be asked for something by its digest. */
bool route_has_other(const struct route *rt, uint32_t avoid);

#endif
