/* SPDX-License-Identifier: MIT */
#include "registry/token_reply.h"

#include <errno.h>
#include "base/json.h"

#define LIFE_MIN_S 60
#define LIFE_MAX_S (24 * 3600)

void token_reply_fini(struct token_reply *t)
{
	if (t->token)
		explicit_bzero(t->token, strlen(t->token));
	if (t->refresh_token)
		explicit_bzero(t->refresh_token, strlen(t->refresh_token));
	free(t->token);
	free(t->refresh_token);
	*t = (struct token_reply){0};
}

/* Fit for a header: nothing that could end it or start another. */
static bool is_visible(const char *s)
{
	for (; *s; s++)
		if (*s <= 0x20 || *s >= 0x7f)
			return false;
	return true;
}

/* A copy of member key; *ret stays NULL when it is absent or empty. */
static int secret_get(const json_t *root, const char *key, const char *where, char **ret,
		      struct error *err)
{
	const char *s = "";
	int r = json_get_string(root, key, where, &s, NULL);

	if (r < 0 || !is_visible(s))
		return error_set(err, -EPROTO,
				 "token server %s: \"%s\" in its reply is not a token", where, key);
	if (!*s)
		return 0;
	*ret = strdup(s);
	return *ret ? 0 : error_set_errno(err, -ENOMEM, "token server %s", where);
}

static uint64_t life_get(const json_t *root)
{
	const json_t *v = json_object_get(root, "expires_in");
	json_int_t s = json_is_integer(v) ? json_integer_value(v) : LIFE_MIN_S;

	return s < LIFE_MIN_S ? LIFE_MIN_S : s > LIFE_MAX_S ? LIFE_MAX_S : (uint64_t)s;
}

static int root_read(const json_t *root, const char *where, struct token_reply *t,
		     struct error *err)
{
	int r = secret_get(root, "token", where, &t->token, err);

	if (r >= 0 && !t->token)
		r = secret_get(root, "access_token", where, &t->token, err);
	if (r >= 0)
		r = secret_get(root, "refresh_token", where, &t->refresh_token, err);
	if (r < 0)
		return r;
	if (!t->token)
		return error_set(err, -EPROTO, "token server %s: there is no token in its reply",
				 where);
	t->life_s = life_get(root);
	t->renew_s = t->life_s * 8 / 10;
	return 0;
}

int token_reply_parse(const void *json, size_t len, const char *where, struct token_reply *ret,
		      struct error *err)
{
	struct token_reply t = {0};
	json_t *root = NULL;
	/* jansson's message may quote the reply, and with it a token */
	int r = json_parse(json, len, TOKEN_REPLY_MAX, where, &root, NULL);

	if (r == -E2BIG)
		return error_set(err, r, "token server %s: its reply is too large", where);
	if (r < 0)
		return error_set(err, -EPROTO, "token server %s: its reply is not JSON", where);
	r = root_read(root, where, &t, err);
	json_decref(root);
	if (r < 0)
		token_reply_fini(&t);
	else
		*ret = t;
	return r;
}
