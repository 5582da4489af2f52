/* SPDX-License-Identifier: MIT */
/* A repository of a registry as a source, and what all repositories share. */
#include "registry/source_impl.h"

#include <errno.h>
#include <stdio.h>

#include "base/json.h"
#include "registry/blob_http.h"
#include "registry/headers.h"

#define CALL_NS (30 * NS_PER_S)
#define TAGS_PAGES_MAX 1000
#define ACCEPT                                                                                     \
	"Accept: application/vnd.oci.image.index.v1+json, "                                        \
	"application/vnd.oci.image.manifest.v1+json, "                                             \
	"application/vnd.docker.distribution.manifest.list.v2+json, "                              \
	"application/vnd.docker.distribution.manifest.v2+json"

struct source_registry {
	struct source source;
	struct auth *auth; /* the registry's */
	char *host;
	char *repo;
	char *tag;
	bool has_digest;
	struct digest digest;
};

static struct source_registry *registry_of(struct source *s)
{
	return (struct source_registry *)s;
}

/* ---- struct registry ---- */

static int engine_new(const struct registry *r, struct http **ret)
{
	const struct http_options o = {.seam = r->o.seam,
				       .user_agent = r->o.user_agent,
				       .tls_noverify = r->o.tls_noverify,
				       .connect_ns = r->o.connect_ns,
				       .first_byte_ns = r->o.first_byte_ns,
				       .slow_ns = r->o.slow_ns};

	return http_new(&o, ret);
}

/* Prefetch has connections of its own: else it would sit on the warm one when somebody reads. */
struct http *registry_http(struct registry *r, bool background)
{
	struct http *h;

	if (!background)
		return r->http;
	pthread_mutex_lock(&r->lock);
	if (!r->background && engine_new(r, &r->background) < 0)
		r->background = NULL;
	h = r->background ? r->background : r->http;
	pthread_mutex_unlock(&r->lock);
	return h;
}

int registry_new(const struct registry_options *o, struct registry **ret, struct error *err)
{
	_cleanup_(registry_freep) struct registry *r = calloc(1, sizeof(*r));
	int e;

	if (!r)
		return -ENOMEM;
	r->o = *o;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->token_news, NULL);
	e = creds_store_open(o->seam, o->authfile, &r->creds, err);
	if (e >= 0 && !o->offline)
		e = engine_new(r, &r->http);
	if (e < 0)
		return e;
	*ret = steal_ptr(r);
	return 0;
}

void registry_free(struct registry *r)
{
	if (!r)
		return;
	http_free(r->http);
	http_free(r->background);
	creds_store_free(r->creds);
	for (struct auth *a = r->auths, *next; a; a = next) {
		next = a->next;
		if (a->header)
			explicit_bzero(a->header, strlen(a->header));
		free(a->header);
		free(a->where);
		free(a->repo);
		free(a->scope);
		free(a->realm);
		free(a->service);
		free(a);
	}
	for (struct host *h = r->hosts, *next; h; h = next) {
		next = h->next;
		free(h);
	}
	pthread_cond_destroy(&r->token_news);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

const struct seam *registry_seam(const struct registry *r)
{
	return r->o.seam;
}

/* ---- documents ---- */

static int document_get(struct source_registry *s, const char *path, const char *accept,
			size_t max_bytes, struct http_response *ret, struct error *err)
{
	struct registry *r = s->source.registry;
	uint64_t budget = r->o.call_ns ? r->o.call_ns : CALL_NS;
	struct exchange x = {.r = r,
			     .auth = s->auth,
			     .path = path,
			     .headers = {accept},
			     .body_max = max_bytes,
			     .cancel = r->o.cancel,
			     .deadline_ns = r->o.seam->monotonic_ns(r->o.seam) + budget};
	int e = exchange_run(&x, ret, err);

	if (e == -E2BIG)
		error_set(err, e, "%s: a document of more than %zu bytes", s->source.name,
			  max_bytes);
	if (e >= 0 && ret->status != 200)
		e = error_set(err, -EPROTO, "%s: the registry answered %d", s->source.name,
			      ret->status);
	return e;
}

static int manifest_get(struct source_registry *s, const char *name, const struct digest *want,
			struct source_document *ret, struct error *err)
{
	_cleanup_(freep) char *path = NULL;
	struct http_response rs = {0};
	const char *type;
	int e;

	if (asprintf(&path, "%s/manifests/%s", s->repo, name) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	e = document_get(s, path, ACCEPT, DOCUMENT_MAX, &rs, err);
	if (e == -E2BIG)
		error_set(err, e, "%s: its manifest has more than 4 MiB", s->source.name);
	if (e >= 0 && want)
		e = document_verify(s->source.name, "the manifest's digest", rs.body.data,
				    rs.body.len, want, err);
	if (e >= 0) {
		digest_of(want ? want->algo : DIGEST_SHA256, rs.body.data, rs.body.len,
			  &ret->digest);
		type = http_header(&rs, "content-type");
		ret->media_type = NULL;
		if (type && content_type_parse(type, &ret->media_type) < 0)
			ret->media_type = NULL;
		ret->body = rs.body;
		rs.body = BUF_INIT;
	}
	http_response_fini(&rs);
	return e;
}

static int registry_resolve(struct source *source, struct source_document *ret, struct error *err)
{
	struct source_registry *s = registry_of(source);
	char digest[DIGEST_TEXT_MAX];

	if (!s->has_digest)
		return manifest_get(s, s->tag, NULL, ret, err);
	digest_format(&s->digest, digest);
	return manifest_get(s, digest, &s->digest, ret, err);
}

static int registry_manifest(struct source *source, const struct digest *d, int64_t size,
			     struct source_document *ret, struct error *err)
{
	char digest[DIGEST_TEXT_MAX];
	int e;

	digest_format(d, digest);
	e = manifest_get(registry_of(source), digest, d, ret, err);
	if (e >= 0 && size >= 0 && (uint64_t)size != ret->body.len) {
		e = error_set(err, -EBADMSG,
			      "%s: manifest %s has %zu bytes, its descriptor says %lld",
			      source->name, digest, ret->body.len, (long long)size);
		source_document_fini(ret);
	}
	return e;
}

static int registry_small_blob(struct source *source, const struct digest *d, int64_t size,
			       size_t max_bytes, struct buf *ret, struct error *err)
{
	struct source_registry *s = registry_of(source);
	_cleanup_(freep) char *path = NULL;
	struct http_response rs = {0};
	char digest[DIGEST_TEXT_MAX];
	int e;

	digest_format(d, digest);
	if (asprintf(&path, "%s/blobs/%s", s->repo, digest) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	e = document_get(s, path, "Accept: */*", size >= 0 ? (size_t)size + 1 : max_bytes, &rs,
			 err);
	if (e >= 0 && size >= 0 && (uint64_t)size != rs.body.len)
		e = error_set(err, -EBADMSG, "%s: blob %s has %zu bytes, its descriptor says %lld",
			      source->name, digest, rs.body.len, (long long)size);
	if (e >= 0)
		e = document_verify(s->source.name, "a blob's digest", rs.body.data, rs.body.len, d,
				    err);
	if (e >= 0)
		e = buf_append(ret, rs.body.data, rs.body.len);
	http_response_fini(&rs);
	return e;
}

static int registry_blob(struct source *source, const struct digest *d, uint64_t size,
			 struct blob **ret, struct error *err)
{
	struct source_registry *s = registry_of(source);

	return blob_http_open(source->registry, s->auth, s->repo, d, size, ret);
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
	size_t n = 0;

	*ret = NULL;
	if (!value || link_next_parse(value, &link))
		return 0;
	host = link_host(link, &n);
	if (host && (n != strlen(s->host) || strncasecmp(host, s->host, n)))
		return error_set(
			err, -EPERM,
			"%s: its list of tags goes on at another host (%.*s), which is not "
			"followed",
			s->source.name, (int)min_u64(n, 200), host);
	query = strchr(link, '?');
	if (query && asprintf(ret, "%s/tags/list%s", s->repo, query) < 0) {
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
	char *next = NULL;
	int e = document_get(s, *path, "Accept: application/json", DOCUMENT_MAX, &rs, err);

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
	int e = list.names && asprintf(&path, "%s/tags/list", s->repo) >= 0 ? 0 : -ENOMEM;

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

	free(s->host);
	free(s->repo);
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
	struct host *host = registry_host(r, ref->api_host, err);
	struct source_registry *s;

	if (!host)
		return err && err->code ? err->code : -ENOMEM;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->source = (struct source){.ops = &ops, .registry = r, .name = strdup(ref->text)};
	s->host = strdup(ref->api_host);
	s->repo = strdup(ref->path);
	s->tag = ref->tag ? strdup(ref->tag) : NULL;
	s->has_digest = ref->has_digest;
	s->digest = ref->digest;
	s->auth = registry_auth(r, host, ref->path, false, NULL);
	if (!s->source.name || !s->host || !s->repo || (ref->tag && !s->tag) || !s->auth ||
	    !s->auth->repo) {
		registry_close(&s->source);
		return -ENOMEM;
	}
	*ret = &s->source;
	return 0;
}
