/* SPDX-License-Identifier: MIT */
/* The cache verbs, as JSON. */
#include "lib/report.h"

struct listing {
	json_t *items;
	json_int_t bytes, damaged;
};

static int listing_add(void *userdata, const struct cache_item *it)
{
	struct listing *ls = userdata;
	json_t *o = json_object();

	json_object_set_new(o, "kind", json_string(it->kind));
	json_object_set_new(o, "name", json_string(it->name));
	json_object_set_new(o, "bytes", json_integer((json_int_t)it->bytes));
	if (it->total_bytes)
		json_object_set_new(o, "total_bytes", json_integer((json_int_t)it->total_bytes));
	if (it->format)
		json_object_set_new(o, "format", json_string(it->format));
	json_object_set_new(o, "used", json_integer(it->used_s));
	json_object_set_new(o, "ok", json_boolean(it->ok));
	ls->bytes += (json_int_t)it->bytes;
	ls->damaged += !it->ok;
	return json_array_append_new(ls->items, o) < 0 ? -ENOMEM : 0;
}

static int listing_run(struct morsel *m,
		       int (*walk)(struct cache *c, cache_item_fn fn, void *userdata,
				   struct error *err),
		       char **ret_json, struct morsel_error *ret_err)
{
	struct listing ls = {.items = json_array()};
	struct error err = ERROR_INIT;
	json_t *o = json_object();
	int r = walk(m->cache, listing_add, &ls, &err);
	char *text;

	json_object_set_new(o, "cache_dir", json_string(cache_dir(m->cache)));
	json_object_set_new(o, "bytes", json_integer(ls.bytes));
	json_object_set_new(o, "damaged", json_integer(ls.damaged));
	json_object_set_new(o, "items", ls.items);
	text = report_text(o);
	if (r == -EBADMSG && ls.damaged) /* verify did its work: the report says what it removed */
		r = 0;
	if (r >= 0 && !text)
		r = -ENOMEM;
	if (r >= 0)
		*ret_json = text;
	else
		free(text);
	return error_publish(r, &err, ret_err);
}

int morsel_cache_list(struct morsel *m, char **ret_json, struct morsel_error *err)
{
	return listing_run(m, cache_list, ret_json, err);
}

int morsel_cache_verify(struct morsel *m, char **ret_json, struct morsel_error *err)
{
	return listing_run(m, cache_verify, ret_json, err);
}

struct usage {
	const char *kind;
	json_int_t items, bytes;
};

struct usages {
	struct usage kinds[8];
	size_t n;
	json_int_t bytes;
};

static int usage_add(void *userdata, const struct cache_item *it)
{
	struct usages *u = userdata;
	size_t i = 0;

	while (i < u->n && strcmp(u->kinds[i].kind, it->kind))
		i++;
	if (i == ARRAY_SIZE(u->kinds))
		return 0;
	if (i == u->n)
		u->kinds[u->n++].kind = it->kind;
	u->kinds[i].items++;
	u->kinds[i].bytes += (json_int_t)it->bytes;
	u->bytes += (json_int_t)it->bytes;
	return 0;
}

int morsel_cache_info(struct morsel *m, char **ret_json, struct morsel_error *ret_err)
{
	struct usages u = {0};
	struct error err = ERROR_INIT;
	json_t *o, *kinds;
	uint64_t limit = m->o.cache_bytes ? m->o.cache_bytes : CACHE_SIZE_DEFAULT;
	int r = cache_list(m->cache, usage_add, &u, &err);

	if (r < 0)
		return error_publish(r, &err, ret_err);
	o = json_object();
	kinds = json_object();
	json_object_set_new(o, "cache_dir", json_string(cache_dir(m->cache)));
	json_object_set_new(o, "limit", json_integer((json_int_t)limit));
	json_object_set_new(o, "bytes", json_integer(u.bytes));
	for (size_t i = 0; i < u.n; i++)
		json_object_set_new(kinds, u.kinds[i].kind,
				    json_pack("{s:I, s:I}", "items", u.kinds[i].items, "bytes",
					      u.kinds[i].bytes));
	json_object_set_new(o, "kinds", kinds);
	*ret_json = report_text(o);
	return *ret_json ? 0 : error_publish(-ENOMEM, &err, ret_err);
}

int morsel_cache_prune(struct morsel *m, uint64_t target_bytes, uint64_t *ret_freed,
		       struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;

	return error_publish(cache_evict(m->cache, target_bytes, ret_freed, &err), &err, ret_err);
}

int morsel_cache_clear(struct morsel *m, uint64_t *ret_freed, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;

	return error_publish(cache_clear(m->cache, ret_freed, &err), &err, ret_err);
}
