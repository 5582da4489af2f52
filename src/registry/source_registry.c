/* SPDX-License-Identifier: MIT */
/* A repository of a registry as a source. */
#include "registry/source_impl.h"

#include <errno.h>
#include <stdio.h>

#include "base/json.h"
#include "registry/blob_http.h"
#include "registry/headers.h"
#include "registry/route.h"

#define CALL_NS (30 * NS_PER_S)
#define TAGS_PAGES_MAX 1000
#define ACCEPT                                                                                     \
	"Accept: application/vnd.oci.image.index.v1+json, "                                        \
	"application/vnd.oci.image.manifest.v1+json, "                                             \
	"application/vnd.docker.distribution.manifest.list.v2+json, "                              \
	"application/vnd.docker.distribution.manifest.v2+json"

struct source_registry {
	struct source source;
	struct route *route; /* the registry's */
	char *tag;
	bool has_digest;
	struct digest digest;
};

static struct source_registry *registry_of(struct source *s)
{
	return (struct source_registry *)s;
}

/* ---- documents ---- */

/* rest: of the path behind the repository. avoid: places that are not asked; whose answer it is, is
 * added to it. */
static int document_get(struct source_registry *s, const char *rest, bool by_tag, uint32_t *avoid,
			const char *accept, size_t max_bytes, struct http_response *ret,
			struct error *err)
{
	struct registry *r = s->source.registry;
	uint64_t budget = r->o.call_ns ? r->o.call_ns : CALL_NS;
	struct exchange x = {.r = r,
			     .headers = {accept},
			     .body_max = max_bytes,
			     .cancel = r->o.cancel,
			     .deadline_ns = r->o.seam->monotonic_ns(r->o.seam) + budget};
	const struct route_ask ask = {
		.rest = rest, .by_tag = by_tag, .avoid = *avoid, .served = avoid};
	int e;

	if (r->o.offline)
		return error_set(
			err, -ENOENT,
			"%s: %s is not in the cache, and asking is not allowed (--offline)",
			s->source.name, rest);
	e = route_run(s->route, &ask, &x, ret, err);
	if (e == -E2BIG)
		error_set(err, e, "%s: a document of more than %zu bytes", s->source.name,
			  max_bytes);
	if (e >= 0 && ret->status != 200)
		e = error_set(err, -EPROTO, "%s: the registry answered %d", s->source.name,
			      ret->status);
	return e;
}

struct wanted { /* a document by its digest */
	const char *what;
	const struct digest *digest;
	int64_t size; /* -1: not known */
};

static int document_judge(const struct source_registry *s, const struct wanted *w,
			  const struct http_response *rs, struct error *err)
{
	char digest[DIGEST_TEXT_MAX];

	digest_format(w->digest, digest);
	if (w->size >= 0 && (uint64_t)w->size != rs->body.len)
		return error_set(err, -EBADMSG, "%s: %s %s has %zu bytes, its descriptor says %lld",
				 s->source.name, w->what, digest, rs->body.len, (long long)w->size);
	return document_verify(s->source.name, w->what, rs->body.data, rs->body.len, w->digest,
			       err);
}

/* What is wrong from one place is asked for at the next. */
static int document_get_verified(struct source_registry *s, const char *rest,
				 const struct wanted *w, const char *accept, size_t max_bytes,
				 struct http_response *ret, struct error *err)
{
	uint32_t avoid = 0;

	for (;;) {
		struct error why = ERROR_INIT;
		int e = document_get(s, rest, false, &avoid, accept, max_bytes, ret, &why);
		bool answered = e >= 0 || e == -E2BIG || e == -EPROTO;

		if (e >= 0)
			e = document_judge(s, w, ret, &why);
		if (e >= 0)
			return e;
		http_response_fini(ret);
		if (!answered || !avoid || !route_has_other(s->route, avoid))
			return error_set(err, e, "%s", why.text);
		log_write(s->source.registry->o.log, LOG_WARN, "%s; asking another place",
			  why.text);
	}
}

static void document_take(struct http_response *rs, enum digest_algo algo,
			  struct source_document *ret)
{
	const char *type = http_header(rs, "content-type");

	digest_of(algo, rs->body.data, rs->body.len, &ret->digest);
	ret->media_type = NULL;
	if (type && content_type_parse(type, &ret->media_type) < 0)
		ret->media_type = NULL;
	ret->body = rs->body;
	rs->body = BUF_INIT;
}

static int manifest_get(struct source_registry *s, const struct digest *d, int64_t size,
			struct source_document *ret, struct error *err)
{
	const struct wanted w = {"manifest", d, size};
	char digest[DIGEST_TEXT_MAX], rest[DIGEST_TEXT_MAX + 16];
	struct http_response rs = {0};
	int e;

	digest_format(d, digest);
	snprintf(rest, sizeof(rest), "manifests/%s", digest);
	e = document_get_verified(s, rest, &w, ACCEPT, DOCUMENT_MAX, &rs, err);
	if (e >= 0)
		document_take(&rs, d->algo, ret);
	http_response_fini(&rs);
	return e;
}

static int registry_resolve(struct source *source, struct source_document *ret, struct error *err)
{
	struct source_registry *s = registry_of(source);
	_cleanup_(freep) char *rest = NULL;
	struct http_response rs = {0};
	uint32_t avoid = 0;
	int e;

	if (s->has_digest)
		return manifest_get(s, &s->digest, -1, ret, err);
	if (asprintf(&rest, "manifests/%s", s->tag) < 0) {
		rest = NULL;
		return -ENOMEM;
	}
	e = document_get(s, rest, true, &avoid, ACCEPT, DOCUMENT_MAX, &rs, err);
	if (e >= 0)
		document_take(&rs, DIGEST_SHA256, ret);
	http_response_fini(&rs);
	return e;
}

static int registry_manifest(struct source *source, const struct digest *d, int64_t size,
			     struct source_document *ret, struct error *err)
{
	return manifest_get(registry_of(source), d, size, ret, err);
}

static int registry_small_blob(struct source *source, const struct digest *d, int64_t size,
			       size_t max_bytes, struct buf *ret, struct error *err)
{
	const struct wanted w = {"blob", d, size};
	char digest[DIGEST_TEXT_MAX], rest[DIGEST_TEXT_MAX + 16];
	struct http_response rs = {0};
	int e;

	digest_format(d, digest);
	snprintf(rest, sizeof(rest), "blobs/%s", digest);
	e = document_get_verified(registry_of(source), rest, &w, "Accept: */*",
				  size >= 0 ? (size_t)size + 1 : max_bytes, &rs, err);
	if (e >= 0)
		e = buf_append(ret, rs.body.data, rs.body.len);
	http_response_fini(&rs);
	return e;
}

static int registry_blob(struct source *source, const struct digest *d, uint64_t size,
			 struct blob **ret, struct error *err)
{
	struct source_registry *s = registry_of(source);

	return blob_http_open(source->registry, s->route, d, size, ret);
}

/* ---- tags ---- */

struct tag_list {
	char **names;
	size_t n;
};

static int tags_add(struct tag_list *l, const struct http_response *rs, const char *what,
		    struct error *err)
{
	_cleanup_(json_decrefp) json_t *doc = NULL;
	json_t *tags, *t;
	char **names;
	size_t i;
	int e = json_parse(rs->body.data, rs->body.len, DOCUMENT_MAX, what, &doc, err);

	if (e >= 0 && !json_is_object(doc))
		e = error_set(err, -EBADMSG, "%s: its list of tags is not an object", what);
	if (e >= 0)
		e = json_get_array(doc, "tags", what, &tags, err);
	if (e)
		return e < 0 ? e : 0; /* null: a repository without tags */
	names = reallocarray(l->names, l->n + json_array_size(tags) + 1, sizeof(*names));
	if (!names)
		return -ENOMEM;
	l->names = names;
	json_array_foreach (tags, i, t)
		if (json_is_string(t) && (l->names[l->n] = strdup(json_string_value(t))))
			l->n++;
	l->names[l->n] = NULL;
	return 0;
}

/* The host a link names, as "host[:port]"; NULL: none, it is relative. */
static const char *link_host(const char *link, size_t *ret_len)
{
	const char *at = strstr(link, "://");

	if (at && at < link + strcspn(link, "/?"))
		at += 3;
	else if (!strncmp(link, "//", 2))
		at = link + 2;
	else
		return NULL;
	*ret_len = strcspn(at, "/?#");
	return at;
}

/* A next page is of the same list on the same host: only its query is taken. *ret = NULL: there is
 * none. */
static int next_page(const struct source_registry *s, const struct http_response *rs, char **ret,
		     struct error *err)
{
	_cleanup_(freep) char *link = NULL;
	const char *value = http_header(rs, "link"), *query, *host;
	const char *own = s->route->places[s->route->n - 1].site.host;
	size_t n = 0;

	*ret = NULL;
	if (!value || link_next_parse(value, &link))
		return 0;
	host = link_host(link, &n);
	if (host && (n != strlen(own) || strncasecmp(host, own, n)))
		return error_set(
			err, -EPERM,
			"%s: its list of tags goes on at another host (%.*s), which is not "
			"followed",
			s->source.name, (int)min_u64(n, 200), host);
	query = strchr(link, '?');
	if (query && asprintf(ret, "tags/list%s", query) < 0) {
		*ret = NULL;
		return -ENOMEM;
	}
	return 0;
}

/* One page; *path becomes the next one's, or NULL. */
static int tags_page(struct source_registry *s, char **path, struct tag_list *list,
		     struct error *err)
{
	struct http_response rs = {0};
	uint32_t mirrors = (UINT32_C(1) << (s->route->n - 1)) - 1; /* they rarely know all tags */
	char *next = NULL;
	int e = document_get(s, *path, true, &mirrors, "Accept: application/json", DOCUMENT_MAX,
			     &rs, err);

	if (e >= 0)
		e = tags_add(list, &rs, s->source.name, err);
	if (e >= 0)
		e = next_page(s, &rs, &next, err);
	http_response_fini(&rs);
	free(*path);
	*path = next;
	return e;
}

static int registry_tags(struct source *source, char ***ret, struct error *err)
{
	struct source_registry *s = registry_of(source);
	struct tag_list list = {.names = calloc(1, sizeof(char *))};
	_cleanup_(freep) char *path = NULL, *mark = NULL;
	int e = list.names && (path = strdup("tags/list")) ? 0 : -ENOMEM;

	for (unsigned page = 1; e >= 0 && path; page++) {
		e = tags_page(s, &path, &list, err);
		if (e < 0 || !path)
			break;
		if (mark && !strcmp(mark, path)) /* any cycle meets a mark at a power of two */
			e = error_set(err, -EPROTO, "%s: its list of tags never ends",
				      source->name);
		else if (page >= TAGS_PAGES_MAX)
			e = error_set(err, -E2BIG, "%s: its list of tags has more than %d pages",
				      source->name, TAGS_PAGES_MAX);
		if (page & (page - 1))
			continue;
		free(mark);
		mark = strdup(path);
	}
	if (e >= 0) {
		*ret = list.names;
		return 0;
	}
	for (size_t i = 0; i < list.n; i++)
		free(list.names[i]);
	free(list.names);
	return e;
}

static void registry_close(struct source *source)
{
	struct source_registry *s = registry_of(source);

	free(s->tag);
	free((char *)s->source.name);
	free(s);
}

int source_registry_open(struct registry *r, const struct ref *ref, struct source **ret,
			 struct error *err)
{
	static const struct source_ops ops = {.resolve = registry_resolve,
					      .manifest = registry_manifest,
					      .small_blob = registry_small_blob,
					      .blob = registry_blob,
					      .tags = registry_tags,
					      .close = registry_close};
	struct source_registry *s = calloc(1, sizeof(*s));
	int e = s ? 0 : -ENOMEM;

	if (e < 0)
		return e;
	s->source = (struct source){.ops = &ops, .registry = r, .name = strdup(ref->text)};
	s->tag = ref->tag ? strdup(ref->tag) : NULL;
	s->has_digest = ref->has_digest;
	s->digest = ref->digest;
	if (!s->source.name || (ref->tag && !s->tag))
		e = -ENOMEM;
	if (e >= 0)
		e = registry_route(r, ref, &s->route, err);
	if (e < 0) {
		registry_close(&s->source);
		return e;
	}
	*ret = &s->source;
	return 0;
}
