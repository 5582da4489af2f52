/* SPDX-License-Identifier: MIT */
/* Images as they are, into an OCI layout. */
#include "lib/report.h"
#include "transfer/copy_image.h"

#include <stdio.h>

static int progress_pass(void *userdata, const struct copy_progress *p)
{
	const struct morsel *m = userdata;
	const struct morsel_progress mp = {.phase = "copy",
					   .done_bytes = p->done_bytes,
					   .total_bytes = p->total_bytes,
					   .layers_done = p->blobs_done,
					   .layers_total = p->blobs_total};

	return m->o.progress ? m->o.progress(m->o.userdata, &mp) : 0;
}

static char *layout_report(const struct ref *from, const struct ref *to, const char *name,
			   const struct copy_result *res)
{
	char digest[DIGEST_TEXT_MAX];
	json_t *o = json_object(), *seconds = json_object();

	digest_format(&res->digest, digest);
	json_object_set_new(o, "reference", json_string(from->text));
	json_object_set_new(o, "digest", json_string(digest));
	json_object_set_new(o, "media_type", json_string(res->media_type));
	json_object_set_new(o, "layout", json_string(to->path));
	json_object_set_new(o, "name", name ? json_string(name) : json_null());
	json_object_set_new(o, "manifests", json_integer(res->manifests));
	json_object_set_new(o, "blobs", json_integer(res->blobs));
	json_object_set_new(o, "total_bytes", json_integer((json_int_t)res->bytes));
	json_object_set_new(o, "moved_bytes", json_integer((json_int_t)res->moved_bytes));
	json_object_set_new(o, "skipped_bytes", json_integer((json_int_t)res->skipped_bytes));
	json_object_set_new(o, "requests", json_integer((json_int_t)res->requests));
	json_object_set_new(seconds, "documents", report_seconds(res->documents_ns));
	json_object_set_new(seconds, "blobs", report_seconds(res->blobs_ns));
	json_object_set_new(seconds, "total", report_seconds(res->documents_ns + res->blobs_ns));
	json_object_set_new(o, "seconds", seconds);
	return report_text(o);
}

/* "DIR[:NAME]", with or without "oci:" before it. */
static int layout_parse(const char *text, struct ref **ret, struct error *err)
{
	_cleanup_(freep) char *with = NULL;
	int r;

	if (!strncmp(text, "oci:", 4))
		text += 4;
	if (asprintf(&with, "oci:%s", text) < 0) {
		with = NULL;
		return -ENOMEM;
	}
	r = ref_parse(with, ret, err);
	if (r >= 0 && (*ret)->has_digest)
		return error_set(err, -EINVAL, "%s: a digest can't be chosen for what is written",
				 text);
	return r;
}

static int layout_fill(struct morsel *m, const struct ref *from, const struct ref *to, bool all,
		       struct copy_result *res, const char **ret_name, struct error *err)
{
	_cleanup_(layout_writer_closep) struct layout_writer *w = NULL;
	_cleanup_(source_closep) struct source *source = NULL;
	struct copy_options o = {.seam = m->seam,
				 .platform = all ? NULL : &m->platform,
				 .cancel = &m->cancelled,
				 .progress = progress_pass,
				 .userdata = m};
	int r = source_open(m->registry, from, &source, err);

	*ret_name = to->tag ? to->tag : from->tag;
	if (r >= 0)
		r = layout_writer_open(m->seam, to->path, &w, err);
	o.source = source;
	o.to = w;
	if (r >= 0)
		r = copy_image(&o, res, err);
	if (r >= 0)
		r = context_check(m, err);
	return r < 0 ? r
		     : layout_tag(w, *ret_name, res->media_type, NULL, &res->digest, res->size,
				  err);
}

int morsel_pull_layout(struct morsel *m, const char *ref_text, const char *layout, unsigned flags,
		       char **ret_json, struct morsel_error *ret_err)
{
	_cleanup_(ref_freep) struct ref *from = NULL, *to = NULL;
	struct error err = ERROR_INIT;
	struct copy_result res = {0};
	const char *name;
	char *json = NULL;
	int r = flags & ~MORSEL_ALL_PLATFORMS
			? error_set(&err, -EINVAL, "%s: unknown flags 0x%x", ref_text, flags)
			: ref_parse(ref_text, &from, &err);

	if (r >= 0 && m->o.offline && from->kind == REF_REGISTRY)
		r = error_set(&err, -ENOENT,
			      "%s: the cache keeps no layers as they are, and asking %s is not "
			      "allowed (--offline)",
			      ref_text, from->host);
	if (r >= 0)
		r = layout_parse(layout, &to, &err);
	if (r >= 0)
		r = progress_begin(m, &err);
	if (r >= 0)
		r = layout_fill(m, from, to, flags & MORSEL_ALL_PLATFORMS, &res, &name, &err);
	if (r >= 0) {
		json = layout_report(from, to, name, &res);
		r = json ? 0 : -ENOMEM;
	}
	if (r >= 0 && ret_json)
		*ret_json = steal_ptr(json);
	free(json);
	free(res.media_type);
	return error_publish(r, &err, ret_err);
}
