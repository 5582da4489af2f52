/* SPDX-License-Identifier: MIT */
#include "registry/post.h"

#include <stdio.h>

#include "base/base64.h"
#include "registry/http.h"
#include "registry/proxy.h"

#define ANSWER_NS (30 * NS_PER_S)

/* "%41" is "A"; user names in URLs may hold anything. */
static int unescape(const char *s, size_t n, struct buf *ret)
{
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++) {
		unsigned byte = (uint8_t)s[i];

		if (s[i] == '%' && i + 2 < n && sscanf(s + i + 1, "%2x", &byte) == 1)
			i += 2;
		r = buf_append(ret, &(uint8_t){(uint8_t)byte}, 1);
	}
	return r;
}

/* Takes what is before the "@" out of the URL. *ret_user stays empty when there is nothing. */
static int user_split(const char *url, struct buf *ret_url, struct buf *ret_user)
{
	const char *host = strstr(url, "://"), *at;
	size_t authority;
	int r;

	if (!host)
		return buf_append_str(ret_url, url);
	host += 3;
	authority = strcspn(host, "/?#");
	at = memrchr(host, '@', authority);
	if (!at)
		return buf_append_str(ret_url, url);
	r = buf_append(ret_url, url, (size_t)(host - url));
	if (r >= 0)
		r = buf_append_str(ret_url, at + 1);
	return r < 0 ? r : unescape(host, (size_t)(at - host), ret_user);
}

static int url_make(const struct post *p, const char *text, struct url *ret, struct error *err)
{
	_cleanup_(buf_fini) struct buf whole = BUF_INIT;
	size_t n = strlen(text);
	int r;

	while (n && text[n - 1] == '/')
		n--;
	r = buf_append(&whole, text, n);
	if (r >= 0 && p->path)
		r = buf_append_str(&whole, p->path);
	if (r < 0 || !buf_str(&whole))
		return -ENOMEM;
	r = url_parse((char *)whole.data, ret, err);
	if (r < 0)
		return r == -EPROTO || r == -EPERM ? -EINVAL : r;
	for (const char *const *q = p->query; q && q[0] && r >= 0; q += 2)
		r = url_add_query(ret, q[0], q[1]);
	return r;
}

static int auth_make(const struct url *u, const struct buf *user, struct buf *ret)
{
	const struct credential_scope own = {.kind = SECRET_BASIC, .registry = u->origin};
	int r = 0;

	if (user->len && may_send_credential(&own, &u->origin, REGISTRY_REQUEST)) {
		r = buf_append_str(ret, "Authorization: Basic ");
		if (r >= 0)
			r = base64_encode(user->data, user->len, ret);
	}
	return r < 0 || !buf_str(ret) ? -ENOMEM : 0;
}

static int judge(const struct attempt *a, const char *where, struct error *err)
{
	static const int codes[] = {
		[TRANSFER_RESOLVE] = -EHOSTUNREACH, [TRANSFER_CONNECT] = -ECONNREFUSED,
		[TRANSFER_TIMEOUT] = -ETIMEDOUT,    [TRANSFER_CUT] = -ECONNRESET,
		[TRANSFER_GARBLED] = -EPROTO,	    [TRANSFER_HANDSHAKE] = -EPROTO,
		[TRANSFER_CERT] = -EPROTO};
	int s = a->status;

	if (a->fault == TRANSFER_OURS)
		return error_set_errno(err, a->code, "%s", where);
	if (a->fault != TRANSFER_ANSWERED)
		return error_set(err, codes[a->fault], "%s: %s", where,
				 a->detail ? a->detail : "no answer in time");
	if (s >= 200 && s < 300)
		return 0;
	return error_set(err,
			 s == 401 || s == 403 ? -EACCES
			 : s == 404	      ? -ENOENT
					      : -EPROTO,
			 "%s: it answered %d", where, s);
}

static int perform(const struct post *p, const struct url *u, const char *auth, struct error *err)
{
	const struct http_options o = {.seam = p->seam, .user_agent = p->user_agent};
	_cleanup_(http_freep) struct http *h = NULL;
	_cleanup_(freep) char *type = NULL;
	const char *headers[] = {NULL, *auth ? auth : NULL, NULL};
	struct http_request rq = {.method = "POST",
				  .url = u->text,
				  .headers = headers,
				  .body = p->body,
				  .body_len = p->body_len,
				  .answer_ns = ANSWER_NS,
				  .cancel = p->cancel};
	struct proxy_settings proxies;
	struct http_response rs;
	struct attempt a = {0};
	char where[WHERE_MAX], detail[256];
	int r;

	if (asprintf(&type, "Content-Type: %s", p->content_type) < 0) {
		type = NULL;
		return -ENOMEM;
	}
	headers[0] = type;
	proxy_settings_read(&proxies);
	rq.proxy = proxy_choose(&proxies, &u->origin);
	url_redact(u->text, where, WHERE_URL_MAX);
	r = proxy_check(&proxies, rq.proxy, err);
	if (r >= 0)
		r = http_new(&o, &h);
	if (r < 0)
		return r;
	http_perform(h, &rq, &rs, &a, detail);
	proxy_note(&proxies, rq.proxy, &a, where, sizeof(where));
	r = judge(&a, where, err);
	http_response_fini(&rs);
	return r;
}

int post_send(const struct post *p, struct error *err)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT, user = BUF_INIT, auth = BUF_INIT;
	_cleanup_(url_fini) struct url u = {0};
	int r = user_split(p->url, &text, &user);

	if (r < 0 || !buf_str(&text))
		return -ENOMEM;
	r = url_make(p, (char *)text.data, &u, err);
	if (r >= 0)
		r = auth_make(&u, &user, &auth);
	return r < 0 || !p->body ? r : perform(p, &u, (char *)auth.data, err);
}
