/* SPDX-License-Identifier: MIT */
#include "lib/resolve.h"

#include "base/json.h"

#define INDEX_NESTING_MAX 2

/* The name under which a tag is remembered: the whole reference without a digest. */
static int tag_name(const struct ref *ref, struct buf *ret)
{
	return buf_printf(ret, "%s/%s:%s", ref->host, ref->path, ref->tag);
}

static bool is_unreachable(int code)
{
	return error_exit_code(code) == 5;
}

/* Documents are immutable, so a cached one is as good as the registry's. */
static int document_get(struct morsel *m, struct resolved *rv, const struct digest *d, int64_t size,
			struct buf *ret, char **ret_type, struct error *err)
{
	struct source_document doc = {0};
	int r;

	ret->max = JSON_DOC_MAX;
	r = cache_blob_get(m->cache, d, JSON_DOC_MAX, ret);
	if (r <= 0 && r != -EIO)
		return r;
	r = source_manifest(rv->source, d, size, &doc, err);
	if (r < 0)
		return r;
	*ret = doc.body;
	doc.body = BUF_INIT;
	*ret_type = steal_ptr(doc.media_type);
	cache_blob_put(m->cache, d, ret->data, ret->len); /* a hint: the cache says why if not */
	source_document_fini(&doc);
	return 0;
}

static int tag_from_cache(struct morsel *m, struct resolved *rv, struct digest *ret)
{
	_cleanup_(buf_fini) struct buf name = BUF_INIT;
	struct cache_ref known;
	int r;

	if (tag_name(rv->ref, &name) < 0 || !buf_str(&name))
		return -ENOMEM;
	r = cache_ref_get(m->cache, (const char *)name.data, &known);
	if (!r)
		*ret = known.digest;
	return r;
}

static int tag_from_source(struct morsel *m, struct resolved *rv, struct digest *ret_digest,
			   struct buf *ret, char **ret_type, struct error *err)
{
	_cleanup_(buf_fini) struct buf name = BUF_INIT;
	struct source_document doc = {0};
	struct cache_ref known;
	int r;

	r = source_resolve(rv->source, &doc, err);
	if (r < 0)
		return r;
	*ret_digest = doc.digest;
	*ret = doc.body;
	doc.body = BUF_INIT;
	*ret_type = steal_ptr(doc.media_type);
	source_document_fini(&doc);
	if (rv->ref->kind != REF_REGISTRY)
		return 0;
	cache_blob_put(m->cache, ret_digest, ret->data, ret->len);
	if (tag_name(rv->ref, &name) < 0 || !buf_str(&name))
		return -ENOMEM;
	known = (struct cache_ref){.digest = *ret_digest,
				   .confirmed_s = m->seam->realtime_s(m->seam)};
	cache_ref_put(m->cache, (const char *)name.data, &known);
	return 0;
}

/* What the reference names at the top: by digest from anywhere, by tag as the policy says. */
static int top_document(struct morsel *m, struct resolved *rv, struct digest *ret_digest,
			struct buf *ret, char **ret_type, struct error *err)
{
	enum morsel_pull pull = m->o.offline ? MORSEL_PULL_NEVER : m->o.pull;
	struct error net = ERROR_INIT;
	int r;

	if (m->is_pinned || rv->ref->has_digest) {
		*ret_digest = m->is_pinned ? m->pinned : rv->ref->digest;
		return document_get(m, rv, ret_digest, -1, ret, ret_type, err);
	}
	if (rv->ref->kind != REF_REGISTRY)
		return tag_from_source(m, rv, ret_digest, ret, ret_type, err);
	if (pull == MORSEL_PULL_MISSING || pull == MORSEL_PULL_NEVER) {
		r = tag_from_cache(m, rv, ret_digest);
		if (r < 0)
			return r;
		if (!r)
			return document_get(m, rv, ret_digest, -1, ret, ret_type, err);
		if (pull == MORSEL_PULL_NEVER)
			return error_set(err, -ENOENT,
					 "%s: not in the cache, and asking %s is not allowed (%s)",
					 rv->ref->text, rv->ref->host,
					 m->o.offline ? "--offline" : "--pull never");
	}
	r = tag_from_source(m, rv, ret_digest, ret, ret_type, &net);
	if (!is_unreachable(r) || pull != MORSEL_PULL_NEWER || tag_from_cache(m, rv, ret_digest)) {
		if (r < 0)
			error_set(err, r, "%s", net.text);
		return r;
	}
	rv->from_cache = true;
	log_write(&m->log, LOG_WARN, "%s; using what %s named when it was last reachable", net.text,
		  rv->ref->text);
	return document_get(m, rv, ret_digest, -1, ret, ret_type, err);
}

/* What is wrong with a document comes without its name: the parsers know none. */
static int named(const struct resolved *rv, int r, const struct error *why, struct error *err)
{
	return r < 0 && why->code ? error_set(err, r, "%s: %s", rv->ref->text, why->text) : r;
}

/* Follows indexes down to the manifest for our platform. */
static int manifest_find(struct morsel *m, struct resolved *rv, struct error *err)
{
	_cleanup_(freep) char *type = NULL;
	struct error why = ERROR_INIT;
	enum manifest_kind kind;
	int r;

	r = top_document(m, rv, &rv->digest, &rv->manifest_json, &type, err);
	for (unsigned nesting = 0; r >= 0; nesting++) {
		struct descriptor next = {0};

		r = manifest_kind_of(rv->manifest_json.data, rv->manifest_json.len, type, &kind,
				     &why);
		if (r < 0 || kind == MANIFEST_IMAGE)
			return named(rv, r, &why, err);
		if (nesting == INDEX_NESTING_MAX)
			return error_set(err, -E2BIG, "%s: indexes nested deeper than %d",
					 rv->ref->text, INDEX_NESTING_MAX);
		r = index_choose(rv->manifest_json.data, rv->manifest_json.len, &m->platform, &next,
				 &why);
		if (r < 0)
			return named(rv, r, &why, err);
		buf_fini(&rv->manifest_json);
		free(type);
		type = NULL;
		rv->digest = next.digest;
		r = document_get(m, rv, &next.digest, next.size, &rv->manifest_json, &type, err);
		descriptor_fini(&next);
	}
	return r;
}

static int config_load(struct morsel *m, struct resolved *rv, struct error *err)
{
	const struct descriptor *d = &rv->manifest->config;
	struct error why = ERROR_INIT;
	int r;

	rv->config_json.max = JSON_DOC_MAX;
	r = cache_blob_get(m->cache, &d->digest, JSON_DOC_MAX, &rv->config_json);
	if (r > 0 || r == -EIO) {
		r = source_small_blob(rv->source, &d->digest, d->size, JSON_DOC_MAX,
				      &rv->config_json, err);
		if (!r)
			cache_blob_put(m->cache, &d->digest, rv->config_json.data,
				       rv->config_json.len);
	}
	if (r < 0)
		return r;
	r = manifest_set_config(rv->manifest, rv->config_json.data, rv->config_json.len, &why);
	return named(rv, r, &why, err);
}

static int platform_check(struct morsel *m, struct resolved *rv, struct error *err)
{
	char want[100], have[100];

	if (!m->o.platform || !rv->manifest->platform.os[0] ||
	    platform_rank(&m->platform, &rv->manifest->platform))
		return 0;
	platform_format(&m->platform, want);
	platform_format(&rv->manifest->platform, have);
	return error_set(err, -ENOTSUP, "%s: the image is for %s, not for %s as asked",
			 rv->ref->text, have, want);
}

int image_resolve(struct morsel *m, const char *ref_text, struct resolved *ret, struct error *err)
{
	struct error why = ERROR_INIT;
	int r;

	r = ref_parse(ref_text, &ret->ref, err);
	if (r >= 0)
		r = source_open(m->registry, ret->ref, &ret->source, err);
	if (r >= 0)
		r = context_check(m, err);
	if (r >= 0)
		r = manifest_find(m, ret, err);
	if (r >= 0)
		r = named(ret,
			  manifest_parse(ret->manifest_json.data, ret->manifest_json.len,
					 &ret->manifest, &why),
			  &why, err);
	if (r >= 0)
		r = config_load(m, ret, err);
	if (r >= 0)
		r = platform_check(m, ret, err);
	return r;
}

void resolved_fini(struct resolved *rv)
{
	manifest_free(rv->manifest);
	buf_fini(&rv->manifest_json);
	buf_fini(&rv->config_json);
	source_close(rv->source);
	ref_free(rv->ref);
	*rv = (struct resolved){0};
}
