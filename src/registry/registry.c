/* SPDX-License-Identifier: MIT */
/* What all repositories of a process share: connections, hosts, credentials, configuration. */
#include "registry/route.h"

#include <errno.h>
#include <stdio.h>

#include "registry/client_certs.h"
#include "registry/conf.h"

#define CA_FILE_MAX ((size_t)1 << 20)

static int engine_new(const struct registry *r, struct http **ret)
{
	const struct http_options o = {.seam = r->o.seam,
				       .user_agent = r->o.user_agent,
				       .tls_noverify = r->o.tls_noverify,
				       .connect_ns = r->o.connect_ns,
				       .first_byte_ns = r->o.first_byte_ns,
				       .slow_ns = r->o.slow_ns};

	return http_new(&o, ret);
}

/* Prefetch has connections of its own: else it would sit on the warm one when somebody reads. */
struct http *registry_http(struct registry *r, bool background)
{
	struct http *h;

	if (!background)
		return r->http;
	pthread_mutex_lock(&r->lock);
	if (!r->background && engine_new(r, &r->background) < 0)
		r->background = NULL;
	h = r->background ? r->background : r->http;
	pthread_mutex_unlock(&r->lock);
	return h;
}

void registry_traffic(struct registry *r, struct registry_traffic *ret)
{
	*ret = (struct registry_traffic){0};
	if (r->http)
		http_traffic_add(r->http, ret);
	pthread_mutex_lock(&r->lock);
	if (r->background)
		http_traffic_add(r->background, ret);
	pthread_mutex_unlock(&r->lock);
}

int registry_new(const struct registry_options *o, struct registry **ret, struct error *err)
{
	_cleanup_(registry_freep) struct registry *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	r->o = *o;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->token_news, NULL);
	pthread_cond_init(&r->health_news, NULL);
	proxy_settings_read(&r->proxy);
	e = creds_store_open(o->seam, o->authfile, &r->creds, err);
	if (e >= 0 && !o->offline)
		e = engine_new(r, &r->http);
	if (e < 0)
		return e;
	*ret = steal_ptr(r);
	return 0;
}

static void auths_free(struct registry *r)
{
	for (struct auth *a = r->auths, *next; a; a = next) {
		next = a->next;
		if (a->header)
			explicit_bzero(a->header, strlen(a->header));
		free(a->header);
		free(a->where);
		free(a->repo);
		free(a->scope);
		free(a->realm);
		free(a->service);
		free(a);
	}
}

static void host_free(struct host *h)
{
	if (!h)
		return;
	free(h->conf);
	free(h->tls.ca);
	free(h->tls.cert);
	free(h->tls.key);
	client_certs_free(h->tls.clients);
	free(h);
}
DEFINE_CLEANUP(struct host *, host_free)

void registry_free(struct registry *r)
{
	if (!r)
		return;
	atomic_store(&r->closing, true);
	work_pool_free(r->probes);
	http_free(r->http);
	http_free(r->background);
	creds_store_free(r->creds);
	for (struct route *rt = r->routes, *next; rt; rt = next) {
		next = rt->next;
		route_free(rt);
	}
	auths_free(r);
	for (struct host *h = r->hosts, *next; h; h = next) {
		next = h->next;
		host_free(h);
	}
	registries_conf_fini(&r->conf);
	pthread_cond_destroy(&r->health_news);
	pthread_cond_destroy(&r->token_news);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

const struct seam *registry_seam(const struct registry *r)
{
	return r->o.seam;
}

/* ---- hosts ---- */

static int tls_load(const struct registry *r, const struct site *s, struct http_tls *ret,
		    struct error *err)
{
	struct buf all = BUF_INIT;
	int e = 0;

	for (char **path = s->ca; path && *path && e >= 0; path++) {
		_cleanup_(freep) char *text = NULL;
		size_t len = 0;

		e = conf_read(r->o.seam, "certificate", *path, CA_FILE_MAX, &text, &len, err);
		if (e >= 0 && !strstr(text, "-----BEGIN "))
			e = error_set(err, -EBADMSG, "certificate %s: it is not in PEM form",
				      *path);
		if (e >= 0)
			e = buf_printf(&all, "%s\n", text);
	}
	if (e >= 0 && s->clients) {
		e = client_certs_load(r->o.seam, s->clients, &ret->clients, err);
		ret->cert = strdup(s->clients[0]);
		ret->key = strdup(s->clients[1]);
	}
	ret->ca = (char *)all.data;
	ret->ca_len = all.len;
	return e;
}

static int host_make(struct registry *r, const struct site *s, struct host *h, struct error *err)
{
	bool https = s->scheme == SITE_HTTPS || (s->scheme == SITE_GUESS && !r->o.insecure);
	int e;

	if (!h || !(h->conf = strdup(s->conf)))
		return -ENOMEM;
	snprintf(h->name, sizeof(h->name), "%s", s->host);
	e = origin_of_host(s->host, https, &h->origin, err);
	if (e >= 0 && https)
		e = tls_load(r, s, &h->tls, err);
	h->scheme = s->scheme;
	h->scheme_known = s->scheme != SITE_GUESS || r->o.insecure;
	h->noverify = s->noverify;
	h->plain_ok = s->plain_ok;
	h->peer = origin_classify(&h->origin);
	return e;
}

/* Under the lock. */
static struct host *host_find(const struct registry *r, const struct site *s)
{
	struct host *h;

	for (h = r->hosts; h && (strcmp(h->name, s->host) != 0 || strcmp(h->conf, s->conf) != 0 ||
				 h->scheme != s->scheme || h->noverify != s->noverify ||
				 h->plain_ok != s->plain_ok);
	     h = h->next)
		;
	return h;
}

struct host *registry_host_of(struct registry *r, const struct site *s, struct error *err)
{
	_cleanup_(host_freep) struct host *made = NULL;
	struct host *h;
	int e;

	pthread_mutex_lock(&r->lock);
	h = host_find(r, s);
	pthread_mutex_unlock(&r->lock);
	if (h)
		return h;
	made = calloc(1, sizeof(*made));
	e = host_make(r, s, made, err);
	if (e < 0) {
		error_set_errno(err, e, "%s", s->host);
		return NULL;
	}
	pthread_mutex_lock(&r->lock);
	h = host_find(r, s);
	if (!h) {
		made->next = r->hosts;
		h = r->hosts = steal_ptr(made);
	}
	pthread_mutex_unlock(&r->lock);
	return h;
}

struct host *registry_host(struct registry *r, const char *name, struct error *err)
{
	_cleanup_(site_list_fini) struct site_list one = {0};
	struct site *s = site_add(&one, name, "");
	struct host *h = NULL;

	pthread_mutex_lock(&r->lock);
	h = s ? host_find(r, s) : NULL;
	pthread_mutex_unlock(&r->lock);
	if (h)
		return h;
	if (s && site_certificates(r->o.seam, s, err) >= 0)
		h = registry_host_of(r, s, err);
	if (!h) {
		error_set_errno(err, -ENOMEM, "%s", name);
		conf_error(err ? err->code : 0, err);
	}
	return h;
}

void host_look(struct registry *r, const struct host *h, struct origin *ret,
	       enum address_class *ret_peer)
{
	pthread_mutex_lock(&r->lock);
	*ret = h->origin;
	*ret_peer = h->peer;
	pthread_mutex_unlock(&r->lock);
}

/* What certs.d has for a place that somebody sent us to; NULL: nothing. */
static const struct http_tls *tls_elsewhere(struct registry *r, const struct origin *target)
{
	_cleanup_(site_list_fini) struct site_list one = {0};
	char name[HOST_MAX + 8];
	struct site *s;
	struct host *h;

	if (target->port == 443)
		snprintf(name, sizeof(name), "%s", target->host);
	else
		snprintf(name, sizeof(name), "%s:%u", target->host, target->port);
	s = site_add(&one, name, "");
	if (!s || site_certificates(r->o.seam, s, NULL) < 0 || (!s->ca && !s->clients))
		return NULL;
	h = registry_host_of(r, s, NULL);
	return h ? &h->tls : NULL;
}

int registry_way(struct registry *r, const struct host *h, const struct origin *target,
		 struct http_request *rq, struct error *err)
{
	struct origin own;
	enum address_class peer;

	rq->proxy = proxy_choose(&r->proxy, target);
	host_look(r, h, &own, &peer);
	if (origin_equal(&own, target)) {
		rq->tls = &h->tls;
		rq->tls_noverify = h->noverify;
	} else if (target->https)
		rq->tls = tls_elsewhere(r, target);
	return proxy_check(&r->proxy, rq->proxy, err);
}
