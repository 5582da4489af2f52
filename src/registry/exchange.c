/* SPDX-License-Identifier: MIT */
/*
 * The loop around one question: hop by hop along redirects, then by the retry policy. A host that
 * is down is probed at most twice a second, however many ask.
 */
#include "registry/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "registry/error_body.h"
#include "registry/headers.h"

#define PROBE_NS (NS_PER_S / 2)
#define QUIET_NS (5 * NS_PER_S) /* without prefetch after a 429, at least */
#define LOOK_AGAIN_NS (50 * NS_PER_MS)
#define HURRIED_CONNECT_NS NS_PER_S
#define HURRIED_ANSWER_NS (3 * NS_PER_S)
#define HURRIED_SLOW_NS (3 * NS_PER_S)
#define SITE_HEADERS_MAX 16

/* One attempt: where it went, and what came. */
struct
try {
	struct exchange *x;
	struct origin origin;	 /* the registry's, and */
	enum address_class peer; /* where it was found */
	struct url url;
	bool redirected;
	uint64_t auth_version;
	bool authorized;
	const char *proxy; /* it went through: its URL, or "" */
	char detail[256];
	struct attempt at;
};

static uint64_t now_of(const struct exchange *x)
{
	return x->r->o.seam->monotonic_ns(x->r->o.seam);
}

static int sleep_until(struct exchange *x, uint64_t until, struct error *err)
{
	const struct seam *s = x->r->o.seam;

	while (s->monotonic_ns(s) < until) {
		if (x->cancel && atomic_load(x->cancel))
			return error_set(err, -ECANCELED, "interrupted");
		s->sleep_until(s, min_u64(until, s->monotonic_ns(s) + LOOK_AGAIN_NS));
	}
	return 0;
}

/* While a host is down every attempt takes a slot; when one succeeds all may go. Who can ask
 * another place has not come here for nothing. */
static int host_slot_wait(struct exchange *x, struct error *err)
{
	struct host *h = x->auth->host;
	uint64_t slot = 0;

	if (x->hurried)
		return 0;

	for (;;) {
		uint64_t now = now_of(x);
		bool down;

		pthread_mutex_lock(&x->r->lock);
		down = h->failed_ns != 0;
		if (down && !slot)
			slot = h->next_probe_ns = max_u64(now, h->next_probe_ns + PROBE_NS);
		pthread_mutex_unlock(&x->r->lock);
		if (!down || slot <= now)
			return 0;
		if (x->deadline_ns && now >= x->deadline_ns)
			return error_set(err, -ETIMEDOUT, "%s can't be reached", h->name);
		if (sleep_until(x, min_u64(slot, now + LOOK_AGAIN_NS), err) < 0)
			return -ECANCELED;
	}
}

static void host_note(struct exchange *x, const struct try *t, const struct http_response *rs)
{
	struct host *h = x->auth->host;
	bool down = t->at.fault == TRANSFER_CONNECT || t->at.fault == TRANSFER_RESOLVE;

	if (t->redirected)
		return;
	pthread_mutex_lock(&x->r->lock);
	if (down && !h->failed_ns)
		h->failed_ns = h->next_probe_ns = now_of(x);
	else if (!down)
		h->failed_ns = 0;
	if (!down && rs->peer != ADDRESS_UNKNOWN)
		h->peer = rs->peer;
	if (t->at.fault == TRANSFER_ANSWERED)
		h->scheme_known = true;
	pthread_mutex_unlock(&x->r->lock);
}

static int start_url(struct exchange *x, struct try *t, struct error *err)
{
	_cleanup_(freep) char *text = NULL;
	char origin[ORIGIN_TEXT_MAX];
	int r;

	t->redirected = false;
	host_look(x->r, x->auth->host, &t->origin, &t->peer);
	if (x->location)
		return url_parse(x->location, &t->url, err);
	if (x->remembered) {
		pthread_mutex_lock(x->remembered_lock);
		text = *x->remembered ? strdup(*x->remembered) : NULL;
		pthread_mutex_unlock(x->remembered_lock);
		t->redirected = text != NULL;
	}
	if (!text) {
		origin_format(&t->origin, origin);
		if (asprintf(&text, "%s%s/%s", origin, x->site ? x->site->api : "/v2", x->path) <
		    0) {
			text = NULL;
			return -ENOMEM;
		}
	}
	r = url_parse(text, &t->url, err);
	if (r >= 0 && x->site && x->site->ns && !t->redirected)
		r = url_add_query(&t->url, "ns", x->site->ns);
	return r;
}

static void remember(struct exchange *x, const char *text)
{
	if (!x->remembered)
		return;
	pthread_mutex_lock(x->remembered_lock);
	free(*x->remembered);
	*x->remembered = text ? strdup(text) : NULL;
	pthread_mutex_unlock(x->remembered_lock);
}

static void cost_add(struct exchange *x, const struct http_response *rs)
{
	if (!x->cost)
		return;
	x->cost->requests++;
	x->cost->wire_bytes += rs->body_bytes;
	x->cost->queue_ns += rs->queue_ns;
	x->cost->connect_ns += rs->connect_ns;
	x->cost->first_byte_ns += rs->first_byte_ns;
	x->cost->transfer_ns += rs->transfer_ns;
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Only questions may be sent elsewhere, bytes of ours may not. */
static bool is_upload(const struct exchange *x)
{
	return x->method && strcmp(x->method, "HEAD") != 0;
}

/* A mirror's own headers are secrets, as far as we know. They and the name of the registry it
 * stands in for go to the mirror itself. */
static size_t site_headers(const struct try *t, enum purpose purpose, const char **headers,
			   char **ret_ns)
{
	const struct site *s = t->x->site;
	const struct credential_scope own = {.kind = SECRET_BASIC, .registry = t->origin};
	size_t n = 0;

	if (!s || !may_send_credential(&own, &t->url.origin, purpose))
		return 0;
	for (; s->headers && s->headers[n] && n < SITE_HEADERS_MAX; n++)
		headers[n] = s->headers[n];
	if (s->ns && asprintf(ret_ns, "OCI-Namespace: %s", s->ns) >= 0)
		headers[n++] = *ret_ns;
	else
		*ret_ns = NULL;
	return n;
}

static int hop_perform(struct try *t, struct http_response *rs, struct error *err)
{
	struct exchange *x = t->x;
	_cleanup_(freep) char *auth = NULL;
	_cleanup_(freep) char *ns = NULL;
	const char *headers[ARRAY_SIZE(x->headers) + SITE_HEADERS_MAX + 4];
	enum purpose purpose = t->redirected ? REDIRECT
			       : x->location ? UPLOAD_LOCATION
					     : REGISTRY_REQUEST;
	struct http_request rq = {.method = x->method ? x->method : "GET",
				  .headers = headers,
				  .body = x->body,
				  .body_len = x->body_len,
				  .feed = x->feed,
				  .answer_ns = x->answer_ns,
				  .body_max = x->body_max,
				  .deadline_ns = x->deadline_ns,
				  .timeless = &x->timeless,
				  .cancel = x->cancel,
				  .registry_class = t->peer,
				  .on_headers = x->on_headers,
				  .sink = x->sink,
				  .userdata = x->userdata};
	size_t n = 0;
	int r;

	rq.url = t->url.text;
	r = registry_way(x->r, x->auth->host, &t->url.origin, &rq, err);
	if (r >= 0 && !x->ping)
		r = auth_header(x->r, x->auth, &t->url.origin, purpose, x->deadline_ns, x->cancel,
				&auth, &t->auth_version, err);
	if (r < 0)
		return r;
	for (; n < ARRAY_SIZE(x->headers) && x->headers[n]; n++)
		headers[n] = x->headers[n];
	n += site_headers(t, purpose, headers + n, &ns);
	headers[n++] = "Accept-Encoding: identity";
	if (auth)
		headers[n++] = auth;
	headers[n] = NULL;
	t->authorized = auth != NULL;
	t->proxy = rq.proxy;
	if (x->hurried) {
		rq.hurried = true;
		rq.connect_ns = x->site && x->site->dial_ns ? x->site->dial_ns : HURRIED_CONNECT_NS;
		rq.answer_ns = rq.connect_ns + HURRIED_ANSWER_NS;
		rq.slow_ns = HURRIED_SLOW_NS;
	}
	rq.judge_address = !origin_equal(&t->url.origin, &t->origin);
	http_perform(registry_http(x->r, x->background), &rq, rs, &t->at, t->detail);
	if (auth)
		explicit_bzero(auth, strlen(auth));
	cost_add(x, rs);
	host_note(x, t, rs);
	return 0;
}

static int redirect_follow(struct try *t, const struct http_response *rs, unsigned hop,
			   struct error *err)
{
	struct exchange *x = t->x;
	const char *location = http_header(rs, "location");
	struct url next = {0};
	int r;

	if (!location)
		return error_set(err, -EPROTO, "%s: a redirect (%d) without a Location",
				 x->auth->host->name, rs->status);
	if (is_upload(x))
		return error_set(err, -EPERM, "%s: an upload was redirected (%d), which is refused",
				 x->auth->host->name, rs->status);
	host_look(x->r, x->auth->host, &t->origin, &t->peer); /* this attempt may have found it */
	r = url_resolve(&t->url, location, &next, err);
	if (r >= 0)
		r = redirect_check(&t->origin, t->peer, &t->url.origin, &next.origin, hop, err);
	if (r < 0) {
		url_fini(&next);
		return r;
	}
	url_fini(&t->url);
	t->url = next;
	t->redirected = true;
	return 0;
}

/* One attempt with all its hops. < 0: a decision of ours ended it. */
static int try_once(struct try *t, struct http_response *rs, struct error *err)
{
	unsigned hop = 0;
	int r = host_slot_wait(t->x, err);

	if (r >= 0)
		r = start_url(t->x, t, err);
	while (r >= 0) {
		r = hop_perform(t, rs, err);
		if (r < 0 || t->at.fault != TRANSFER_ANSWERED || t->x->ping ||
		    !is_redirect(rs->status))
			break;
		r = redirect_follow(t, rs, ++hop, err);
		http_response_fini(rs);
	}
	if (r >= 0 && t->at.fault == TRANSFER_ANSWERED && t->redirected && rs->status < 300)
		remember(t->x, t->url.text);
	return r;
}

/* A loopback registry that does not speak TLS is asked again in plain HTTP, and one of which
 * registries.conf says "insecure"; nobody else is. */
static bool fall_back_to_http(struct try *t)
{
	struct host *h = t->x->auth->host;
	bool plain;

	pthread_mutex_lock(&t->x->r->lock);
	plain = !h->scheme_known && h->origin.https &&
		(h->plain_ok || origin_classify(&h->origin) == ADDRESS_LOOPBACK) &&
		(t->at.fault == TRANSFER_HANDSHAKE || t->at.fault == TRANSFER_CUT);
	if (plain) {
		h->origin.https = false;
		if (!strchr(h->name[0] == '[' ? strchr(h->name, ']') : h->name, ':'))
			h->origin.port = 80;
		h->scheme_known = true;
	}
	pthread_mutex_unlock(&t->x->r->lock);
	return plain;
}

static void attempt_complete(struct try *t, const struct http_response *rs)
{
	const char *after = http_header(rs, "retry-after");

	if (t->at.fault == TRANSFER_ANSWERED && rs->status >= 400)
		t->at.detail =
			error_body_text(rs->body.data, rs->body.len, t->detail, sizeof(t->detail));
	t->at.redirected = t->redirected;
	t->at.authorized = t->authorized;
	if (t->at.fault == TRANSFER_ANSWERED && after &&
	    !retry_after_parse(after, t->x->r->o.seam->realtime_s(t->x->r->o.seam),
			       &t->at.retry_after_s))
		t->at.has_retry_after = true;
}

/* A success that brought nothing of what was asked for (204, 304, an empty 206) is none: asked
 * again at once it would say so again, and again. */
static void answer_is_empty(struct try *t, int status)
{
	snprintf(t->detail, sizeof(t->detail), "HTTP %d without the bytes asked for", status);
	t->at.fault = TRANSFER_GARBLED;
	t->at.detail = t->detail;
}

static void quiet_note(struct exchange *x, const struct attempt *at)
{
	struct host *h = x->auth->host;
	uint64_t wait_ns = QUIET_NS, until;

	if (at->has_retry_after && mul_overflows(at->retry_after_s, NS_PER_S, &wait_ns))
		wait_ns = UINT64_MAX;
	if (add_overflows(now_of(x), max_u64(wait_ns, QUIET_NS), &until))
		until = UINT64_MAX;
	pthread_mutex_lock(&x->r->lock);
	h->quiet_until_ns = max_u64(h->quiet_until_ns, until);
	pthread_mutex_unlock(&x->r->lock);
}

static bool is_quiet(struct exchange *x)
{
	bool quiet;

	pthread_mutex_lock(&x->r->lock);
	quiet = now_of(x) < x->auth->host->quiet_until_ns;
	pthread_mutex_unlock(&x->r->lock);
	return quiet;
}

static int outcome_act(struct try *t, int outcome, const struct http_response *rs,
		       struct error *err)
{
	struct exchange *x = t->x;

	if (outcome == RETRY_RERESOLVE)
		remember(x, NULL);
	if (outcome == RETRY_REAUTH)
		return auth_answer(x->r, x->auth, rs, t->auth_version, x->deadline_ns, x->cancel,
				   err);
	return 0;
}

static void failure_explain(struct try *t, int code, const char *where, const struct error *why,
			    struct error *err)
{
	const struct auth *a = t->x->auth;

	pthread_mutex_lock(&t->x->r->lock);
	if (code == -EACCES && t->authorized && a->where)
		error_set(err, code, "%s: %s: the credential was refused: %s; log in again",
			  a->host->name, a->repo, a->where);
	pthread_mutex_unlock(&t->x->r->lock);
	if (code == -E2BIG && !why->text[0])
		error_set(err, code, "%s: the answer has more than %zu bytes", where,
			  t->x->body_max ? t->x->body_max : HTTP_ERROR_BODY_MAX);
	error_set(err, code, "%s",
		  why->text[0]	       ? why->text
		  : code == -ECANCELED ? "interrupted"
				       : "the request failed");
}

static uint64_t wait_deadline(const struct exchange *x)
{
	return x->deadline_ns || !x->wait_ns ? x->deadline_ns : now_of(x) + x->wait_ns;
}

static int exchange_step(struct try *t, struct retry *state, struct http_response *rs,
			 struct error *err)
{
	struct exchange *x = t->x;
	uint64_t until = 0, rnd;
	char where[WHERE_MAX];
	struct error why = ERROR_INIT;
	int r = try_once(t, rs, &why);

	if (r < 0)
		x->fault = TRANSFER_OURS;
	if (r < 0)
		return error_set(err, r, "%s",
				 why.text[0] ? why.text : "the request could not be made");
	if (fall_back_to_http(t))
		return RETRY_AGAIN;
	x->fault = t->at.fault;
	if (x->ping && t->at.fault == TRANSFER_ANSWERED)
		return 0;
	attempt_complete(t, rs);
	if (t->at.fault == TRANSFER_ANSWERED && rs->status == 429)
		quiet_note(x, &t->at);
	if (x->progressed && x->progressed(x->userdata))
		retry_progress(state);
	else if (x->progressed && t->at.fault == TRANSFER_ANSWERED && rs->status < 400)
		answer_is_empty(t, rs->status);
	url_redact(t->url.text, where, WHERE_URL_MAX);
	proxy_note(&x->r->proxy, t->proxy, &t->at, where, sizeof(where));
	x->r->o.seam->random(x->r->o.seam, &rnd, sizeof(rnd));
	r = retry_next(x->hurried ? &RETRY_POLICY_ONCE : &RETRY_POLICY_DEFAULT, state, &t->at,
		       where, now_of(x), wait_deadline(x), rnd, &until, &why);
	if (r <= 0) {
		if (r < 0)
			failure_explain(t, r, where, &why, err);
		return r;
	}
	if (r == RETRY_AGAIN && x->cost)
		x->cost->retries++;
	if (x->background && rs->status == 429)
		return RETRY_AGAIN; /* and exchange_run() says no */
	if (r != RETRY_REAUTH)
		log_write(x->r->o.log, LOG_INFO, "%s: attempt %u failed (%s%d); again in %llu ms",
			  where, state->failures,
			  t->at.fault == TRANSFER_ANSWERED ? "status " : "transfer ",
			  t->at.fault == TRANSFER_ANSWERED ? t->at.status : (int)t->at.fault,
			  (unsigned long long)((until - min_u64(until, now_of(x))) / NS_PER_MS));
	if (outcome_act(t, r, rs, err) < 0)
		return err && err->code ? err->code : -EACCES;
	return sleep_until(x, until, err) < 0 ? -ECANCELED : r;
}

int exchange_run(struct exchange *x, struct http_response *ret, struct error *err)
{
	struct retry state = {0};

	if (x->r->o.offline)
		return error_set(
			err, -ENETUNREACH,
			"%s: %s is not in the cache, and asking is not allowed (--offline)",
			x->auth->host->name, x->path);
	for (;;) {
		struct try t = {.x = x};
		int r;

		if (x->before && x->before(x->userdata, x))
			return 0;
		if (x->background && is_quiet(x))
			return error_set(err, -EHOSTDOWN, "%s wants fewer requests (HTTP 429)",
					 x->auth->host->name);
		r = exchange_step(&t, &state, ret, err);
		url_fini(&t.url);
		/* a range reader decides itself whether it has all */
		if (r < 0 || (r == 0 && !(x->progressed && x->before)))
			return r;
		http_response_fini(ret);
	}
}
