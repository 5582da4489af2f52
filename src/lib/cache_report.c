/* SPDX-License-Identifier: MIT */
/* The cache verbs, as JSON. */
#include "lib/report.h"

struct listing {
	struct morsel *m;
	json_t *items;
	json_int_t bytes, damaged;
	struct index_progress progress; /* of verifying: items as layers */
	uint64_t before;		/* bytes of the items that are done */
	uint64_t shown_ns;
	struct error *err;
};

static int listing_add(void *userdata, const struct cache_item *it)
{
	struct listing *ls = userdata;
	int r = context_check(ls->m, ls->err);
	json_t *o;

	if (r < 0)
		return r;
	o = json_object();
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

static int listing_publish(struct listing *ls, int r, char **ret_json, struct morsel_error *ret_err)
{
	json_t *o = json_object();
	char *text;

	json_object_set_new(o, "cache_dir", json_string(cache_dir(ls->m->cache)));
	json_object_set_new(o, "bytes", json_integer(ls->bytes));
	json_object_set_new(o, "damaged", json_integer(ls->damaged));
	json_object_set_new(o, "items", ls->items);
	text = report_text(o);
	if (r >= 0 && !text)
		r = -ENOMEM;
	if (r >= 0)
		*ret_json = text;
	else
		free(text);
	return error_publish(r, ls->err, ret_err);
}

int morsel_cache_list(struct morsel *m, char **ret_json, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct listing ls = {.m = m, .items = json_array(), .err = &err};
	int r = cache_list(m->cache, listing_add, &ls, &err);

	return listing_publish(&ls, r, ret_json, ret_err);
}

/* ---- verify ---- */

static int verify_foresee(void *userdata, const struct cache_item *it)
{
	struct listing *ls = userdata;

	atomic_fetch_add(&ls->progress.total_bytes, it->bytes);
	atomic_fetch_add(&ls->progress.layers_total, 1);
	return context_check(ls->m, ls->err);
}

static int verify_step(void *userdata, uint64_t bytes)
{
	struct listing *ls = userdata;
	uint64_t now = ls->m->seam->monotonic_ns(ls->m->seam);

	atomic_fetch_add(&ls->progress.done_bytes, bytes);
	if (now - ls->shown_ns < PROGRESS_NS)
		return context_check(ls->m, ls->err);
	ls->shown_ns = now;
	return progress_report(ls->m, "check", &ls->progress, ls->err);
}

/* What an item has besides the pieces that were told of counts when it is done. */
static int verify_add(void *userdata, const struct cache_item *it)
{
	struct listing *ls = userdata;
	int r = listing_add(ls, it);

	ls->before += it->bytes;
	atomic_store(&ls->progress.done_bytes, ls->before);
	atomic_fetch_add(&ls->progress.layers_done, 1);
	return r < 0 ? r : verify_step(ls, 0);
}

int morsel_cache_verify(struct morsel *m, char **ret_json, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct listing ls = {.m = m, .items = json_array(), .err = &err};
	int r = cache_list(m->cache, verify_foresee, &ls, &err);

	if (r >= 0)
		r = progress_report(m, "check", &ls.progress, &err);
	if (r >= 0)
		r = cache_verify(m->cache, verify_add, verify_step, &ls, &err);
	if (r == -EBADMSG && ls.damaged) /* it did its work: the report says what it removed */
		r = 0;
	return listing_publish(&ls, r, ret_json, ret_err);
}

/* ---- info ---- */

struct usage {
	const char *kind;
	json_int_t items, bytes;
};

struct usages {
	struct morsel *m;
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
	return context_check(u->m, NULL);
}

int morsel_cache_info(struct morsel *m, char **ret_json, struct morsel_error *ret_err)
{
	struct usages u = {.m = m};
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
