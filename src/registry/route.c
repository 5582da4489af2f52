/* SPDX-License-Identifier: MIT */
#include "registry/route.h"

#include <errno.h>
#include <stdio.h>

#include "registry/conf.h"

#define PING_NS (750 * NS_PER_MS)
#define LOOK_AGAIN_NS (20 * NS_PER_MS)

/* ---- making ---- */

void route_free(struct route *rt)
{
	if (!rt)
		return;
	for (unsigned i = 0; i < rt->n; i++)
		site_fini(&rt->places[i].site);
	free(rt->places);
	free(rt->key);
	free(rt);
}
DEFINE_CLEANUP(struct route *, route_free)

static int conf_ensure(struct registry *r, struct error *err)
{
	int e = 0;

	pthread_mutex_lock(&r->lock);
	if (!r->conf_read)
		e = registries_conf_load(r->o.seam, &r->conf, err);
	r->conf_read = e >= 0;
	if (e < 0)
		registries_conf_fini(&r->conf);
	pthread_mutex_unlock(&r->lock);
	return e;
}

static int places_make(struct registry *r, struct route *rt, const struct ref *ref,
		       struct site_list *sites, struct error *err)
{
	rt->places = calloc(sites->n, sizeof(*rt->places));
	if (!rt->places)
		return -ENOMEM;
	for (; rt->n < sites->n; rt->n++) {
		struct place *p = &rt->places[rt->n];
		struct host *h = registry_host_of(r, &sites->sites[rt->n], err);

		if (!h)
			return err && err->code ? err->code : -ENOMEM;
		p->auth = registry_auth(r, h, sites->sites[rt->n].repo, false, NULL);
		if (!p->auth)
			return -ENOMEM;
		p->site = sites->sites[rt->n];
		sites->sites[rt->n] = (struct site){0};
	}
	rt->moved = strcmp(rt->places[rt->n - 1].site.host, ref->api_host) != 0 ||
		    strcmp(rt->places[rt->n - 1].site.repo, ref->path) != 0;
	return 0;
}

static struct route *route_find(struct registry *r, const char *key)
{
	struct route *rt;

	pthread_mutex_lock(&r->lock);
	for (rt = r->routes; rt && strcmp(rt->key, key) != 0; rt = rt->next)
		;
	pthread_mutex_unlock(&r->lock);
	return rt;
}

int registry_route(struct registry *r, const struct ref *ref, struct route **ret, struct error *err)
{
	_cleanup_(route_freep) struct route *rt = calloc(1, sizeof(*rt));
	_cleanup_(site_list_fini) struct site_list sites = {0};
	struct route *same;
	int e;

	if (!rt || asprintf(&rt->key, "%s/%s %d", ref->host, ref->path, ref->has_digest) < 0)
		return -ENOMEM;
	*ret = route_find(r, rt->key);
	if (*ret)
		return 0;
	e = conf_ensure(r, err);
	if (e >= 0)
		e = sites_of_ref(r->o.seam, &r->conf, ref, &sites, err);
	if (e >= 0)
		e = places_make(r, rt, ref, &sites, err);
	if (e < 0)
		return conf_error(e, err);
	pthread_mutex_lock(&r->lock);
	for (same = r->routes; same && strcmp(same->key, rt->key) != 0; same = same->next)
		;
	if (!same) {
		rt->next = r->routes;
		same = r->routes = steal_ptr(rt);
	}
	pthread_mutex_unlock(&r->lock);
	*ret = same;
	return 0;
}

/* ---- is a mirror there? ---- */

static uint64_t now_of(const struct registry *r)
{
	return r->o.seam->monotonic_ns(r->o.seam);
}

static void health_note(struct registry *r, struct host *h, bool up)
{
	pthread_mutex_lock(&r->lock);
	if (up)
		health_up(&h->health);
	else
		health_down(&h->health, now_of(r));
	pthread_cond_broadcast(&r->health_news);
	pthread_mutex_unlock(&r->lock);
}

/* Any answer says that it is; most of a second (or its dial_timeout) is enough for one. */
static void place_ping(struct registry *r, const struct place *p, const atomic_bool *cancel)
{
	struct http_response rs = {0};
	struct error why = ERROR_INIT;
	struct exchange x = {
		.r = r,
		.auth = p->auth,
		.site = &p->site,
		.path = "",
		.hurried = true,
		.ping = true,
		.cancel = cancel,
		.deadline_ns = now_of(r) + (p->site.dial_ns ? p->site.dial_ns : PING_NS),
	};
	int e = exchange_run(&x, &rs, &why);

	http_response_fini(&rs);
	if (e < 0)
		log_write(r->o.log, LOG_INFO, "mirror %s is not there: %s", p->site.host, why.text);
	health_note(r, p->auth->host, e >= 0);
}

struct probe {
	struct registry *r;
	const struct place *place;
};

static void probe_run(void *arg)
{
	struct probe *p = arg;

	place_ping(p->r, p->place, &p->r->closing);
	free(p);
}

static void probe_start(struct registry *r, const struct place *place)
{
	struct probe *p = malloc(sizeof(*p));
	int e = p ? 0 : -ENOMEM;

	if (p)
		*p = (struct probe){r, place};
	pthread_mutex_lock(&r->lock);
	if (e >= 0 && !r->probes)
		e = work_pool_new(1, "morsel-probe", &r->probes);
	if (e >= 0)
		e = work_submit(r->probes, WORK_IDLE, probe_run, p);
	if (e < 0)
		health_down(&place->auth->host->health, now_of(r));
	pthread_mutex_unlock(&r->lock);
	if (e < 0)
		free(p);
}

/* Whether to ask this mirror now. */
static bool place_is_up(struct registry *r, const struct place *p, const struct exchange *x)
{
	struct host *h = p->auth->host;

	for (;;) {
		uint64_t at = now_of(r) + LOOK_AGAIN_NS;
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};
		enum health_advice advice;

		pthread_mutex_lock(&r->lock);
		advice = health_advise(&h->health, now_of(r));
		if (advice == HEALTH_WAIT)
			pthread_cond_clockwait(&r->health_news, &r->lock, CLOCK_MONOTONIC, &ts);
		pthread_mutex_unlock(&r->lock);
		if (advice == HEALTH_ASK)
			return true;
		if (advice == HEALTH_PROBE)
			probe_start(r, p);
		else if (advice == HEALTH_PING)
			place_ping(r, p, x->cancel);
		if (advice == HEALTH_PROBE || advice == HEALTH_LEAVE ||
		    (x->cancel && atomic_load(x->cancel)))
			return false;
	}
}

/* ---- asking ---- */

static bool may_ask(const struct route *rt, unsigned i, const struct route_ask *ask)
{
	const struct site *s = &rt->places[i].site;

	return (ask->by_tag ? s->tags : s->digests) && !(ask->avoid >> i & 1);
}

bool route_has_other(const struct route *rt, uint32_t avoid)
{
	for (unsigned i = 0; i < rt->n; i++)
		if (may_ask(rt, i, &(struct route_ask){.avoid = avoid}))
			return true;
	return false;
}

/* For -v, whenever it changes; who is asked where the reference says, and nowhere else, is not
 * worth a word. */
static void winner_note(struct route *rt, unsigned i, struct registry *r)
{
	const struct place *p = &rt->places[i];
	char origin[ORIGIN_TEXT_MAX];
	enum address_class peer;
	struct origin o;

	if (p->site.is_mirror) {
		pthread_mutex_lock(&r->lock);
		health_good(&p->auth->host->health);
		pthread_mutex_unlock(&r->lock);
	}
	if ((rt->n < 2 && !rt->moved) || atomic_exchange(&rt->won, (int)i + 1) == (int)i + 1)
		return;
	host_look(r, p->auth->host, &o, &peer);
	origin_format(&o, origin);
	log_write(r->o.log, LOG_INFO, "%.*s: served by %s %s%s/%s", (int)strcspn(rt->key, " "),
		  rt->key,
		  p->site.is_mirror ? "mirror"
		  : rt->moved	    ? "the registry, which is at"
				    : "the registry,",
		  origin, p->site.api, p->site.repo);
}

/* What a mirror's failure means for the next questions. */
static void failure_note(struct route *rt, unsigned i, const struct route_ask *ask, int code,
			 const struct exchange *x, const char *why)
{
	const struct place *p = &rt->places[i];

	log_write(x->r->o.log, LOG_INFO, "mirror %s: %s; asking the next", p->site.host, why);
	if (code != -ENOENT || x->fault != TRANSFER_ANSWERED)
		health_note(x->r, p->auth->host, false);
	else if (ask->absent)
		atomic_fetch_or(ask->absent, UINT32_C(1) << i);
}

static int place_ask(struct route *rt, unsigned i, const struct route_ask *ask, struct exchange *x,
		     struct http_response *ret, struct error *err)
{
	struct place *p = &rt->places[i];
	_cleanup_(freep) char *path = NULL;
	int e;

	if (asprintf(&path, "%s/%s", p->site.repo, ask->rest) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	x->auth = p->auth;
	x->site = &p->site;
	x->place = i;
	x->path = path;
	x->remembered = ask->remembered ? &ask->remembered[i] : NULL;
	x->fault = TRANSFER_ANSWERED;
	e = exchange_run(x, ret, err);
	x->path = NULL;
	return e;
}

int route_run(struct route *rt, const struct route_ask *ask, struct exchange *x,
	      struct http_response *ret, struct error *err)
{
	struct error tried = ERROR_INIT, why = ERROR_INIT; /* of a mirror; of the last place */
	unsigned last = rt->n;
	int e = -EIO;

	for (unsigned i = 0; i < rt->n; i++)
		if (may_ask(rt, i, ask))
			last = i;
	if (last == rt->n)
		return error_set(err, -EIO, "no place is left to ask for %s", ask->rest);
	for (unsigned i = 0; i <= last; i++) {
		bool absent = ask->absent && atomic_load(ask->absent) >> i & 1;

		if (!may_ask(rt, i, ask))
			continue;
		if (i < last && !x->r->o.offline &&
		    (absent || !place_is_up(x->r, &rt->places[i], x)))
			continue;
		x->hurried = i < last;
		why = ERROR_INIT;
		e = place_ask(rt, i, ask, x, ret, &why);
		if (e >= 0) {
			winner_note(rt, i, x->r);
			if (ask->served)
				*ask->served |= UINT32_C(1) << i;
			return e;
		}
		if (i == last || x->r->o.offline || e == -ECANCELED ||
		    (x->fault == TRANSFER_OURS && e != -EPERM) ||
		    (x->deadline_ns && now_of(x->r) >= x->deadline_ns))
			break;
		failure_note(rt, i, ask, e, x, why.text);
		error_set(&tried, e, "mirror %s: %s", rt->places[i].site.host, why.text);
		http_response_fini(ret);
	}
	return error_set(err, e, tried.code ? "%s (%s)" : "%s", why.text, tried.text);
}
