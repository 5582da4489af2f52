/* SPDX-License-Identifier: MIT */
/*
 * A GET with Basic, or for an identity token a POST of OAuth 2's form. Some servers know only one
 * of the two: what answers the form as if there were no such thing is asked again by GET.
 */
#include "registry/token_request.h"

#include <errno.h>
#include <stdio.h>
#include <curl/curl.h>

#include "base/base64.h"
#include "base/buf.h"

/* An identity token goes under the user name that docker login gives it. */
char *auth_basic_header(const struct credential *c)
{
	const char *user = *c->username || c->kind == CREDENTIAL_BASIC ? c->username : "<token>";
	_cleanup_(freep) char *plain = NULL;
	struct buf header = BUF_INIT;
	int n = asprintf(&plain, "%s:%s", user, c->secret), r;

	if (n < 0) {
		plain = NULL;
		return NULL;
	}
	r = buf_append_str(&header, "Authorization: Basic ");
	if (r >= 0)
		r = base64_encode(plain, (size_t)n, &header);
	explicit_bzero(plain, (size_t)n);
	if (r >= 0 && buf_str(&header))
		return (char *)header.data;
	buf_fini(&header);
	return NULL;
}

int auth_denied(const struct auth *a, const char *where, bool had, const char *tried,
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

/* ---- where it goes ---- */

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

/* The first realm that a host names stays: another one later would be somebody else's. */
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

/* ---- the request ---- */

struct asking {
	struct registry *r;
	struct auth *a;
	const struct credential *c;
	const char *tried;
	struct url url;
	char where[WHERE_MAX]; /* the URL, fit for messages */
	const char *headers[3];
	char *basic, *body, *get_url; /* the latter two of an identity token */
	struct http_request rq;
};

static void wiped_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

static void asking_fini(struct asking *k)
{
	url_fini(&k->url);
	wiped_free(k->basic);
	wiped_free(k->body);
	free(k->get_url);
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

static int credential_add(struct asking *k)
{
	k->basic = auth_basic_header(k->c);
	if (!k->basic)
		return -ENOMEM;
	if (k->c->kind != CREDENTIAL_IDENTITY) {
		k->headers[1] = k->basic;
		return 0;
	}
	k->body = form_body(k->a, k->c);
	k->get_url = strdup(k->url.text);
	if (!k->body || !k->get_url)
		return -ENOMEM;
	k->rq.method = "POST";
	k->rq.body = k->body;
	k->rq.body_len = strlen(k->body);
	k->url.text[strcspn(k->url.text, "?")] = 0;
	return 0;
}

static void get_instead(struct asking *k)
{
	k->rq.method = "GET";
	k->rq.body = NULL;
	k->rq.body_len = 0;
	k->rq.url = k->get_url;
	k->headers[1] = k->basic;
}

static int asking_prepare(struct asking *k, uint64_t deadline, const atomic_bool *cancel,
			  struct error *err)
{
	struct credential_scope scope = {.has_realm = true};
	int e = token_url(k->a, &k->url, err);

	k->headers[0] = "Accept: application/json";
	k->rq = (struct http_request){.method = "GET",
				      .headers = k->headers,
				      .body_max = TOKEN_REPLY_MAX,
				      .deadline_ns = deadline,
				      .cancel = cancel};
	host_look(k->r, k->a->host, &scope.registry, &k->rq.registry_class);
	if (e >= 0)
		e = realm_accept(k->r, k->a, &k->url.origin, err);
	if (e < 0)
		return e;
	k->rq.judge_address = !origin_equal(&k->url.origin, &scope.registry);
	e = registry_way(k->r, k->a->host, &k->url.origin, &k->rq, err);
	scope.realm = k->url.origin;
	scope.kind = k->c && k->c->kind == CREDENTIAL_IDENTITY ? SECRET_IDENTITY : SECRET_BASIC;
	if (e >= 0 && k->c && may_send_credential(&scope, &k->url.origin, TOKEN_REQUEST))
		e = credential_add(k);
	k->rq.url = k->url.text;
	url_redact(k->url.text, k->where, WHERE_URL_MAX);
	return e;
}

static bool answered_as_unknown(const struct attempt *at)
{
	return at->fault == TRANSFER_ANSWERED &&
	       (at->status == 400 || at->status == 401 || at->status == 404 || at->status == 405);
}

/* Until there is an answer that counts. */
static int asking_perform(struct asking *k, struct http_response *rs, struct error *err)
{
	const struct seam *s = k->r->o.seam;
	struct retry state = {0};

	for (;;) {
		struct attempt at;
		uint64_t until, rnd;
		char detail[256];
		int e;

		http_perform(k->r->http, &k->rq, rs, &at, detail);
		at.authorized = k->c != NULL;
		if (k->rq.body && answered_as_unknown(&at)) {
			http_response_fini(rs);
			get_instead(k);
			continue;
		}
		if (at.fault == TRANSFER_ANSWERED && (at.status == 401 || at.status == 403))
			return auth_denied(k->a, k->where, k->c != NULL, k->tried, err);
		if (!state.failures) /* once */
			proxy_note(&k->r->proxy, k->rq.proxy, &at, k->where, sizeof(k->where));
		s->random(s, &rnd, sizeof(rnd));
		e = retry_next(&RETRY_POLICY_DEFAULT, &state, &at, k->where, s->monotonic_ns(s),
			       k->rq.deadline_ns, rnd, &until, err);
		if (e <= 0)
			return e;
		http_response_fini(rs);
		s->sleep_until(s, until);
	}
}

int token_request(struct registry *r, struct auth *a, const struct credential *c, const char *tried,
		  uint64_t deadline_ns, const atomic_bool *cancel, struct token_reply *ret,
		  struct error *err)
{
	_cleanup_(asking_fini) struct asking k = {.r = r, .a = a, .c = c, .tried = tried};
	struct http_response rs = {0};
	int e = asking_prepare(&k, deadline_ns, cancel, err);

	if (e >= 0)
		e = asking_perform(&k, &rs, err);
	if (e == -E2BIG)
		e = error_set(err, e, "%s: the token server's answer has more than %zu bytes",
			      k.where, TOKEN_REPLY_MAX);
	else if (e >= 0 && rs.status != 200)
		e = error_set(err, -EPROTO, "%s: the token server answered %d", k.where, rs.status);
	if (e >= 0)
		e = token_reply_parse(rs.body.data, rs.body.len, a->host->name, ret, err);
	http_response_fini(&rs);
	return e;
}
