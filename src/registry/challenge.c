/* SPDX-License-Identifier: MIT */
/*
 * The grammar is ambiguous by design: a comma separates both the parameters of one challenge and
 * the challenges of one header. A word after a comma belongs to the challenge before it exactly
 * when '=' follows; else it is the next scheme.
 */
#include "registry/challenge.h"

#include <errno.h>
#include "registry/http_text.h"

struct parser {
	const char *at;			/* in the current header value */
	struct challenge basic, bearer; /* scheme 0 = not seen */
	bool malformed;
	char others[128]; /* names of schemes we can't do */
};

void challenge_fini(struct challenge *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	free(c->error);
	*c = (struct challenge){0};
}

static void others_add(struct parser *p, const char *name, size_t len)
{
	size_t n = strlen(p->others);

	if (len > 40 || n + len + 3 > sizeof(p->others))
		return;
	if (n) {
		memcpy(p->others + n, ", ", 2);
		n += 2;
	}
	memcpy(p->others + n, name, len);
	p->others[n + len] = 0;
}

/* Skips "abc123==" (token68); false and nothing skipped when something else stands there. */
static bool token68_skip(struct parser *p)
{
	size_t n = strspn(p->at, "-._~+/0123456789"
				 "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
	const char *end = http_skip_blank(p->at + n + strspn(p->at + n, "="));

	if (!n || (*end && *end != ','))
		return false;
	p->at = end;
	return true;
}

static char **param_slot(struct challenge *c, const char *name, size_t len)
{
	if (http_token_is(name, len, "realm"))
		return &c->realm;
	if (http_token_is(name, len, "service"))
		return &c->service;
	if (http_token_is(name, len, "scope"))
		return &c->scope;
	if (http_token_is(name, len, "error"))
		return &c->error;
	return NULL;
}

/* One "key=value"; 1 = there is none here. */
static int param_parse(struct parser *p, struct challenge *c)
{
	_cleanup_(freep) char *value = NULL;
	size_t len = http_token_len(p->at);
	const char *eq = http_skip_blank(p->at + len);
	char **slot = param_slot(c, p->at, len);
	int r;

	if (!len || *eq != '=')
		return 1;
	p->at = http_skip_blank(eq + 1);
	r = http_value_parse(&p->at, &value);
	if (r < 0)
		return r;
	p->at = http_skip_blank(p->at);
	if (*p->at && *p->at != ',')
		return -EPROTO;
	if (slot && *slot)
		return -EPROTO; /* said twice: which one counts is what an attacker would play with
				 */
	if (slot)
		*slot = steal_ptr(value);
	return 0;
}

/* What follows the scheme's name: blank-separated token68 or parameters up to the next scheme. */
static int params_parse(struct parser *p, struct challenge *c)
{
	const char *next;
	int r;

	p->at = http_skip_blank(p->at);
	if (token68_skip(p))
		return 0;
	for (;;) {
		r = param_parse(p, c);
		if (r < 0)
			return r;
		if (r > 0)
			return *p->at && *p->at != ',' ? -EPROTO : 0;
		next = p->at;
		while (*next == ',')
			next = http_skip_blank(next + 1);
		if (!*next || *http_skip_blank(next + http_token_len(next)) != '=')
			return 0;
		p->at = next;
	}
}

/* One challenge; the scheme's name is at p->at. */
static int one_parse(struct parser *p)
{
	_cleanup_(challenge_fini) struct challenge c = {0};
	const char *name = p->at;
	size_t len = http_token_len(name);
	struct challenge *slot = NULL;
	int r;

	if (!len)
		return -EPROTO;
	p->at += len;
	if (*p->at && !strchr(" \t,", *p->at))
		return -EPROTO;
	r = params_parse(p, &c);
	if (r < 0)
		return r;
	if (http_token_is(name, len, "bearer")) {
		if (!c.realm)
			return -EPROTO;
		c.scheme = CHALLENGE_BEARER;
		slot = &p->bearer;
	} else if (http_token_is(name, len, "basic")) {
		c.scheme = CHALLENGE_BASIC;
		slot = &p->basic;
	} else {
		others_add(p, name, len);
	}
	if (slot && !slot->scheme) {
		*slot = c;
		c = (struct challenge){0};
	}
	return 0;
}

static int value_parse(struct parser *p, const char *value)
{
	int r;

	if (strnlen(value, CHALLENGE_HEADER_MAX + 1) > CHALLENGE_HEADER_MAX)
		return -EPROTO;
	p->at = value;
	for (;;) {
		while (*(p->at = http_skip_blank(p->at)) == ',')
			p->at++;
		if (!*p->at)
			return 0;
		r = one_parse(p);
		if (r < 0)
			return r;
	}
}

static int parser_result(struct parser *p, const char *where, struct challenge *ret,
			 struct error *err)
{
	struct challenge *best = p->bearer.scheme ? &p->bearer : &p->basic;

	if (best->scheme) {
		*ret = *best;
		*best = (struct challenge){0};
		return 0;
	}
	if (p->others[0])
		return error_set(
			err, -ENOTSUP,
			"%s: wants authentication by %s; only Basic and Bearer are supported",
			where, p->others);
	if (p->malformed)
		return error_set(err, -EPROTO,
				 "%s: wants authentication, but its WWW-Authenticate header can't "
				 "be understood",
				 where);
	return CHALLENGE_NONE;
}

int challenge_parse(const char *const *values, size_t n, const char *where, struct challenge *ret,
		    struct error *err)
{
	struct parser p = {0};
	int r = 0;

	for (size_t i = 0; i < n && r != -ENOMEM; i++) {
		r = value_parse(&p, values[i]);
		p.malformed = p.malformed || r < 0;
	}
	if (r == -ENOMEM)
		error_set_errno(err, r, "%s: challenge", where);
	else
		r = parser_result(&p, where, ret, err);
	challenge_fini(&p.basic);
	challenge_fini(&p.bearer);
	return r;
}
