/* SPDX-License-Identifier: MIT */
/*
 * Copies an image as it is: its blobs, then its manifest; of an index first all its images. Nothing
 * is written again, so digests stay.
 */
#include "lib/push.h"

#include "base/json.h"
#include "image/children.h"
#include "lib/report.h"
#include "registry/ref.h"

#define NESTING_MAX 2

struct copying {
	struct push_run run;
	struct source *source;
	/* The documents, children before what names them. */
	struct copied {
		struct buf body;
		struct digest digest;
		char *media_type;
	} * documents;
	size_t n;
};

static int document_keep(struct copying *c, struct source_document *doc, const char *media_type)
{
	struct copied *more;

	if (doc->media_type && !media_type)
		media_type = doc->media_type;
	for (size_t i = 0; i < c->n; i++)
		if (digest_equal(&c->documents[i].digest, &doc->digest))
			return 0;
	more = reallocarray(c->documents, c->n + 1, sizeof(*more));
	if (!more)
		return -ENOMEM;
	c->documents = more;
	more[c->n] = (struct copied){
		.body = doc->body, .digest = doc->digest, .media_type = strdup(media_type)};
	doc->body = BUF_INIT;
	return more[c->n++].media_type ? 0 : -ENOMEM;
}

/* What the document says of itself counts; OCI documents may leave it out. */
static char *type_of(const struct source_document *doc, enum manifest_kind kind)
{
	json_auto_t *root = json_loadb((const char *)doc->body.data, doc->body.len, 0, NULL);
	const char *type = json_string_value(json_object_get(root, "mediaType"));

	if (!type)
		type = doc->media_type;
	if (!type)
		type = kind == MANIFEST_INDEX ? "application/vnd.oci.image.index.v1+json"
					      : TYPE_MANIFEST;
	return strdup(type);
}

static int document_walk(struct copying *c, struct source_document *doc, unsigned nesting,
			 struct error *err);

static int child_walk(struct copying *c, const struct descriptor *d, enum manifest_kind kind,
		      unsigned nesting, struct error *err)
{
	struct source_document doc = {0};
	int r;

	if (kind == MANIFEST_IMAGE && descriptor_is_foreign(d))
		return 0;
	if (kind == MANIFEST_IMAGE)
		return push_copy(&c->run.push, c->source, &d->digest, (uint64_t)d->size);
	if (nesting == NESTING_MAX)
		return error_set(err, -E2BIG, "indexes nested deeper than %d", NESTING_MAX);
	r = source_manifest(c->source, &d->digest, d->size, &doc, err);
	if (r >= 0)
		r = document_walk(c, &doc, nesting + 1, err);
	source_document_fini(&doc);
	return r;
}

static int document_walk(struct copying *c, struct source_document *doc, unsigned nesting,
			 struct error *err)
{
	struct children ch = {0};
	_cleanup_(freep) char *type = NULL;
	int r = children_parse(doc->body.data, doc->body.len, doc->media_type, &ch, err);

	for (size_t i = 0; r >= 0 && i < ch.n; i++)
		r = child_walk(c, &ch.list[i], ch.kind, nesting, err);
	if (r >= 0 && !(type = type_of(doc, ch.kind)))
		r = -ENOMEM;
	if (r >= 0)
		r = document_keep(c, doc, type);
	children_fini(&ch);
	return r;
}

static int documents_put(struct copying *c, struct error *err)
{
	int r = 0;

	for (size_t i = 0; r >= 0 && i < c->n; i++) {
		struct copied *d = &c->documents[i];
		struct target_manifest tm = {.media_type = d->media_type,
					     .body = d->body.data,
					     .len = d->body.len,
					     .digest = d->digest,
					     .is_child = i + 1 < c->n};

		r = context_check(c->run.m, err);
		if (r >= 0)
			r = target_put_manifest(c->run.target, &tm, err);
		c->run.digest = d->digest;
		c->run.media_type = d->media_type;
	}
	return r;
}

static int image_copy(struct copying *c, struct morsel *m, const char *from, const char *to,
		      unsigned jobs, struct error *err)
{
	_cleanup_(ref_freep) struct ref *ref = NULL;
	struct source_document doc = {0};
	int r = ref_parse(from, &ref, err);

	if (r >= 0)
		r = source_open(m->registry, ref, &c->source, err);
	if (r >= 0)
		r = source_resolve(c->source, &doc, err);
	if (r >= 0)
		r = push_run_begin(&c->run, m, to, ref, jobs, err);
	if (r >= 0) {
		push_run_mark(&c->run, PUSH_PREPARE);
		r = document_walk(c, &doc, 0, err);
	}
	source_document_fini(&doc);
	if (r >= 0)
		r = push_wait(&c->run.push, err);
	if (r < 0)
		return r;
	push_run_mark(&c->run, PUSH_BLOBS);
	r = documents_put(c, err);
	push_run_mark(&c->run, PUSH_DOCUMENTS);
	return r;
}

static void copying_fini(struct copying *c)
{
	push_run_fini(&c->run);
	source_close(c->source);
	for (size_t i = 0; i < c->n; i++) {
		buf_fini(&c->documents[i].body);
		free(c->documents[i].media_type);
	}
	free(c->documents);
}

int morsel_push_image(struct morsel *m, const char *from, const char *ref,
		      const struct morsel_push_options *options, char **ret_json,
		      struct morsel_error *ret_err)
{
	struct morsel_push_options o;
	struct copying c = {.run.mark_ns = m->seam->monotonic_ns(m->seam)};
	struct error err = ERROR_INIT;
	int r = push_options_take(options, &o, &err);

	if (r >= 0)
		r = image_copy(&c, m, from, ref, o.jobs, &err);
	if (r >= 0 && !(*ret_json = report_text(push_report(&c.run))))
		r = -ENOMEM;
	copying_fini(&c);
	return error_publish(r, &err, ret_err);
}
