/* SPDX-License-Identifier: MIT */
/*
 * Authorisation of requests for one repository: nothing until a 401 asks for it, then Basic, or a
 * token from the realm of the challenge (token_request.c), kept until 80 % of its life. One thread
 * fetches a token; the others wait for it.
 */
#include "registry/exchange.h"

#include <errno.h>
#include <stdio.h>

#include "base/buf.h"
#include "registry/challenge.h"
#include "registry/token_request.h"

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

/* ---- tokens ---- */

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
		e = token_request(r, a, have ? &c : NULL, where, deadline, cancel, &reply, err);
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
		return auth_denied(a, a->host->name, false, where, err);
	if (e < 0)
		return e;
	bearer = c.kind == CREDENTIAL_BEARER;
	header = bearer ? bearer_header(c.secret) : auth_basic_header(&c);
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
