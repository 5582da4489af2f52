/* SPDX-License-Identifier: MIT */
/*
 * Authorisation of requests for one repository: nothing until a 401 asks for it, then Basic, or a
 * token from the realm of the challenge, kept until 80 % of its life. One thread fetches a token;
 * the others wait for it.
 */
#include "registry/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <curl/curl.h>

#include "base/buf.h"
#include "registry/challenge.h"
#include "registry/token_reply.h"

#define WAIT_NS (50 * NS_PER_MS)

static char *scope_text(const char *repo, bool push, const char *from)
{
	char *text;

	if (asprintf(&text, "repository:%s:pull%s%s%s%s", repo, push ? ",push" : "",
		     from ? " repository:" : "", from ? from : "", from ? ":pull" : "") < 0)
		return NULL;
	return text;
}

struct auth *registry_auth(struct registry *r, struct host *host, const char *repo, bool push,
			   const char *from)
{
	_cleanup_(freep) char *scope = scope_text(repo, push, from);
	struct auth *a;

	if (!scope)
		return NULL;
	pthread_mutex_lock(&r->lock);
	for (a = r->auths; a && (a->host != host || strcmp(a->scope, scope) != 0); a = a->next)
		;
	if (!a && (a = calloc(1, sizeof(*a)))) {
		a->host = host;
		a->repo = strdup(repo);
		a->scope = steal_ptr(scope);
		a->next = r->auths;
		r->auths = a;
	}
	pthread_mutex_unlock(&r->lock);
	return a;
}

/* ---- credentials ---- */

static char *base64_text(const char *s)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = strlen(s), at = 0;
	char *out = malloc(n / 3 * 4 + 5);

	for (size_t i = 0; out && i < n; i += 3) {
		size_t left = n - i;
		uint32_t v = (uint32_t)(uint8_t)s[i] << 16 |
			     (left > 1 ? (uint32_t)(uint8_t)s[i + 1] << 8 : 0) |
			     (left > 2 ? (uint8_t)s[i + 2] : 0);

		out[at++] = digits[v >> 18];
		out[at++] = digits[v >> 12 & 63];
		out[at++] = left > 1 ? digits[v >> 6 & 63] : '=';
		out[at++] = left > 2 ? digits[v & 63] : '=';
	}
	if (out)
		out[at] = 0;
	return out;
}

/* An identity token goes under the user name that docker login gives it. */
static char *basic_header(const struct credential *c)
{
	const char *user = *c->username || c->kind == CREDENTIAL_BASIC ? c->username : "<token>";
	_cleanup_(freep) char *plain = NULL;
	_cleanup_(freep) char *coded = NULL;
	char *header = NULL;

	if (asprintf(&plain, "%s:%s", user, c->secret) < 0)
		plain = NULL;
	coded = plain ? base64_text(plain) : NULL;
	if (!coded || asprintf(&header, "Authorization: Basic %s", coded) < 0)
		return NULL;
	explicit_bzero(plain, strlen(plain));
	return header;
}

/* 0, CREDS_NONE, < 0. Says with -v which one won. ret_where: its place, or where was looked; the
 * caller's. */
static int credential_find(struct registry *r, const struct auth *a, const atomic_bool *cancel,
			   struct credential *ret, char **ret_where, struct error *err)
{
	const char *name = a->host->name;
	struct buf where = BUF_INIT;
	int e;

	if (!strcmp(name, "registry-1.docker.io"))
		name = "docker.io";
	e = creds_store_lookup(r->creds, name, a->repo, cancel, ret, &where, err);
	*ret_where = buf_str(&where) ? (char *)where.data : NULL;
	if (e >= 0)
		log_write(r->o.log, LOG_INFO, "%s: %s: %s", name,
			  e ? "no credential" : "using the credential of",
			  *ret_where ? *ret_where : "");
	return e;
}

static int denied(const struct auth *a, const char *where, bool had, const char *tried,
		  struct error *err)
{
	if (had)
		return error_set(err, -EACCES,
				 "%s: %s: the credential was refused: %s; log in again", where,
				 a->repo, tried ? tried : "");
	return error_set(
		err, -EACCES,
		"%s: %s needs a credential and none was found; log in with \"podman login\" "
		"or \"docker login\" (looked in %s)",
		where, a->repo, tried ? tried : "");
}

/* ---- tokens ---- */

static int token_url(const struct auth *a, struct url *ret, struct error *err)
{
	_cleanup_(freep) char *scopes = strdup(a->scope);
	char *save = NULL, *scope = scopes ? strtok_r(scopes, " ", &save) : NULL;
	int e = scopes ? url_parse(a->realm, ret, err) : -ENOMEM;

	if (e >= 0 && a->service)
		e = url_add_query(ret, "service", a->service);
	for (; e >= 0 && scope; scope = strtok_r(NULL, " ", &save))
		e = url_add_query(ret, "scope", scope);
	return e;
}

static int realm_accept(struct registry *r, struct auth *a, const struct origin *realm,
			struct error *err)
{
	struct host *h = a->host;
	char text[ORIGIN_TEXT_MAX], pinned[ORIGIN_TEXT_MAX];
	enum address_class peer;
	struct origin origin;
	int e;

	host_look(r, h, &origin, &peer);
	e = realm_check(&origin, realm, err);

	if (e != REALM_PIN)
		return e;
	pthread_mutex_lock(&r->lock);
	if (h->realm_pinned && !origin_equal(&h->realm, realm))
		e = -EPERM;
	else {
		e = h->realm_pinned ? 0 : REALM_PIN;
		h->realm_pinned = true;
		h->realm = *realm;
	}
	pthread_mutex_unlock(&r->lock);
	origin_format(realm, text);
	if (e == REALM_PIN)
		log_write(r->o.log, LOG_INFO, "%s: its tokens come from %s", h->name, text);
	if (e >= 0)
		return 0;
	origin_format(&h->realm, pinned);
	return error_set(err, e, "%s: it now sends us to %s for a token, before it was %s: refused",
			 h->name, text, pinned);
}

static char *form_body(const struct auth *a, const struct credential *c)
{
	char *service = curl_easy_escape(NULL, a->service ? a->service : "", 0);
	char *scope = curl_easy_escape(NULL, a->scope, 0),
	     *token = curl_easy_escape(NULL, c->secret, 0), *body = NULL;

	if (!service || !scope || !token ||
	    asprintf(&body,
		     "grant_type=refresh_token&refresh_token=%s&service=%s&client_id=morsel&"
		     "scope=%s",
		     token, service, scope) < 0)
		body = NULL;
	curl_free(service);
	curl_free(scope);
	curl_free(token);
	return body;
}

/* Some token servers know only one of the two ways to spend a refresh token. */
static bool post_not_known(int status)
{
	return status == 400 || status == 401 || status == 404 || status == 405;
}

/* where_from: the credential's place, or where was looked for one. */
static int token_perform(struct registry *r, struct auth *a, const struct credential *c,
			 const char *where_from, uint64_t deadline, const atomic_bool *cancel,
			 struct http_response *rs, struct error *err)
{
	_cleanup_(url_fini) struct url url = {0};
	_cleanup_(freep) char *basic = NULL;
	_cleanup_(freep) char *body = NULL;
	_cleanup_(freep) char *get_url = NULL;
	const char *headers[] = {"Accept: application/json", NULL, NULL};
	struct http_request rq = {.method = "GET",
				  .headers = headers,
				  .body_max = TOKEN_REPLY_MAX,
				  .deadline_ns = deadline,
				  .cancel = cancel};
	struct credential_scope scope = {.has_realm = true};
	struct retry state = {0};
	char where[300], detail[256];
	int e = token_url(a, &url, err);

	host_look(r, a->host, &scope.registry, &rq.registry_class);
	if (e >= 0)
		e = realm_accept(r, a, &url.origin, err);
	if (e < 0)
		return e;
	rq.judge_address = !origin_equal(&url.origin, &scope.registry);
	registry_way(r, a->host, &url.origin, &rq);
	scope.realm = url.origin;
	scope.kind = c && c->kind == CREDENTIAL_IDENTITY ? SECRET_IDENTITY : SECRET_BASIC;
	if (c && may_send_credential(&scope, &url.origin, TOKEN_REQUEST)) {
		basic = basic_header(c);
		if (c->kind == CREDENTIAL_IDENTITY) {
			rq.method = "POST";
			rq.body = body = form_body(a, c);
			rq.body_len = body ? strlen(body) : 0;
			get_url = strdup(url.text);
			url.text[strcspn(url.text, "?")] = 0;
		} else
			headers[1] = basic;
	}
	rq.url = url.text;
	url_redact(url.text, where, sizeof(where));
	for (;;) {
		struct attempt at;
		uint64_t until, rnd, now;

		http_perform(r->http, &rq, rs, &at, detail);
		at.authorized = c != NULL;
		now = r->o.seam->monotonic_ns(r->o.seam);
		r->o.seam->random(r->o.seam, &rnd, sizeof(rnd));
		if (rq.body && get_url && at.fault == TRANSFER_ANSWERED &&
		    post_not_known(at.status)) {
			http_response_fini(rs);
			rq.method = "GET";
			rq.body = NULL;
			rq.body_len = 0;
			rq.url = get_url;
			headers[1] = basic;
			continue;
		}
		if (at.fault == TRANSFER_ANSWERED && (at.status == 401 || at.status == 403)) {
			http_response_fini(rs);
			return denied(a, where, c != NULL, where_from, err);
		}
		e = retry_next(&RETRY_POLICY_DEFAULT, &state, &at, where, now, deadline, rnd,
			       &until, err);
		if (e <= 0)
			break;
		http_response_fini(rs);
		r->o.seam->sleep_until(r->o.seam, until);
	}
	if (e == -E2BIG)
		return error_set(err, e, "%s: the token server's answer has more than %zu bytes",
				 where, TOKEN_REPLY_MAX);
	if (e >= 0 && rs->status != 200)
		e = error_set(err, -EPROTO, "%s: the token server answered %d", where, rs->status);
	return e;
}

static void auth_set(struct registry *r, struct auth *a, char *header, enum secret_kind kind,
		     uint64_t renew_ns)
{
	if (a->header)
		explicit_bzero(a->header, strlen(a->header));
	free(a->header);
	a->header = header;
	a->kind = kind;
	a->renew_ns = renew_ns;
	a->version++;
}

static char *bearer_header(const char *token)
{
	char *header;

	return asprintf(&header, "Authorization: Bearer %s", token) < 0 ? NULL : header;
}

/* Not under the lock; a->fetching is ours. */
static int token_fetch(struct registry *r, struct auth *a, uint64_t deadline,
		       const atomic_bool *cancel, struct error *err)
{
	struct credential c = {0};
	struct http_response rs = {0};
	struct token_reply reply = {0};
	_cleanup_(freep) char *where = NULL;
	char *header = NULL;
	int e = credential_find(r, a, cancel, &c, &where, err);
	bool have = !e;

	if (e < 0)
		return e;
	if (have && c.kind == CREDENTIAL_BEARER) {
		header = bearer_header(c.secret);
		reply.renew_s = 0;
	} else {
		e = token_perform(r, a, have ? &c : NULL, where, deadline, cancel, &rs, err);
		if (e >= 0)
			e = token_reply_parse(rs.body.data, rs.body.len, a->host->name, &reply,
					      err);
		if (e >= 0)
			header = bearer_header(reply.token);
	}
	if (e >= 0 && !header)
		e = -ENOMEM;
	if (e >= 0) {
		uint64_t now = r->o.seam->monotonic_ns(r->o.seam);

		pthread_mutex_lock(&r->lock);
		auth_set(r, a, header, SECRET_BEARER,
			 reply.renew_s ? now + reply.renew_s * NS_PER_S : 0);
		free(a->where);
		a->where = have ? steal_ptr(where) : NULL;
		pthread_mutex_unlock(&r->lock);
	}
	token_reply_fini(&reply);
	http_response_fini(&rs);
	if (have)
		credential_fini(&c);
	return e < 0 ? e : 0;
}

/* One at a time; who waited finds the result. */
static int token_fetch_once(struct registry *r, struct auth *a, uint64_t seen_version,
			    uint64_t deadline, const atomic_bool *cancel, struct error *err)
{
	int e = 0;

	pthread_mutex_lock(&r->lock);
	while (a->fetching && a->version == seen_version) {
		uint64_t at = r->o.seam->monotonic_ns(r->o.seam) + WAIT_NS;
		struct timespec ts = {.tv_sec = (time_t)(at / NS_PER_S),
				      .tv_nsec = (long)(at % NS_PER_S)};

		pthread_cond_clockwait(&r->token_news, &r->lock, CLOCK_MONOTONIC, &ts);
		if (cancel && atomic_load(cancel)) {
			pthread_mutex_unlock(&r->lock);
			return error_set(err, -ECANCELED, "interrupted");
		}
	}
	if (a->version == seen_version) {
		a->fetching = true;
		pthread_mutex_unlock(&r->lock);
		e = token_fetch(r, a, deadline, cancel, err);
		pthread_mutex_lock(&r->lock);
		a->fetching = false;
		pthread_cond_broadcast(&r->token_news);
	}
	pthread_mutex_unlock(&r->lock);
	return e;
}

int auth_header(struct registry *r, struct auth *a, const struct origin *target,
		enum purpose purpose, uint64_t deadline, const atomic_bool *cancel, char **ret,
		uint64_t *ret_version, struct error *err)
{
	struct credential_scope scope = {0};
	uint64_t version, now = r->o.seam->monotonic_ns(r->o.seam);
	enum address_class peer;
	bool due;
	int e = 0;

	host_look(r, a->host, &scope.registry, &peer);
	pthread_mutex_lock(&r->lock);
	version = a->version;
	due = a->header && a->renew_ns && now >= a->renew_ns;
	pthread_mutex_unlock(&r->lock);
	if (due)
		e = token_fetch_once(r, a, version, deadline, cancel, err);
	if (e < 0)
		return e;
	pthread_mutex_lock(&r->lock);
	*ret_version = a->version;
	scope.kind = a->kind;
	*ret = a->header && may_send_credential(&scope, target, purpose) ? strdup(a->header) : NULL;
	pthread_mutex_unlock(&r->lock);
	return 0;
}

static int challenge_take(struct auth *a, const struct http_response *rs, struct challenge *ret,
			  struct error *err)
{
	const char *values[8];
	size_t n = 0, pos = 0;

	while (n < ARRAY_SIZE(values) &&
	       (values[n] = http_header_next(rs, "www-authenticate", &pos)))
		n++;
	return challenge_parse(values, n, a->host->name, ret, err);
}

/* The answer to a Basic challenge: a password, or a token that is for the registry itself. */
static int basic_answer(struct registry *r, struct auth *a, const atomic_bool *cancel,
			struct error *err)
{
	_cleanup_(freep) char *where = NULL;
	struct credential c = {0};
	bool bearer;
	char *header;
	int e = credential_find(r, a, cancel, &c, &where, err);

	if (e == CREDS_NONE)
		return denied(a, a->host->name, false, where, err);
	if (e < 0)
		return e;
	bearer = c.kind == CREDENTIAL_BEARER;
	header = bearer ? bearer_header(c.secret) : basic_header(&c);
	if (c.kind == CREDENTIAL_IDENTITY) /* it would have to go to the registry */
		e = error_set(err, -EACCES,
			      "%s: %s wants a password, and %s has an identity token, which only a "
			      "token server takes",
			      a->host->name, a->repo, where ? where : "");
	pthread_mutex_lock(&r->lock);
	if (e >= 0) {
		auth_set(r, a, header, bearer ? SECRET_BEARER : SECRET_BASIC, 0);
		free(a->where);
		a->where = steal_ptr(where);
		header = NULL;
	}
	pthread_mutex_unlock(&r->lock);
	if (header)
		explicit_bzero(header, strlen(header));
	free(header);
	credential_fini(&c);
	return e;
}

int auth_answer(struct registry *r, struct auth *a, const struct http_response *rs,
		uint64_t sent_version, uint64_t deadline, const atomic_bool *cancel,
		struct error *err)
{
	struct challenge ch = {0};
	int e = challenge_take(a, rs, &ch, err);
	bool changed;

	if (e == CHALLENGE_NONE)
		e = error_set(err, -EACCES, "%s: access to %s denied (401 without a challenge)",
			      a->host->name, a->repo);
	if (e < 0)
		return e;
	pthread_mutex_lock(&r->lock);
	changed = a->version != sent_version; /* somebody was faster */
	if (ch.scheme == CHALLENGE_BEARER && !changed && !a->fetching) {
		free(a->realm);
		free(a->service);
		a->realm = steal_ptr(ch.realm);
		a->service = steal_ptr(ch.service);
	}
	pthread_mutex_unlock(&r->lock);
	if (ch.scheme == CHALLENGE_BEARER && !changed)
		e = token_fetch_once(r, a, sent_version, deadline, cancel, err);
	else if (!changed)
		e = basic_answer(r, a, cancel, err);
	challenge_fini(&ch);
	return e < 0 ? e : 0;
}
