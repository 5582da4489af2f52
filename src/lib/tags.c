/* SPDX-License-Identifier: MIT */
#include "lib/layers.h"

static int tags_get(struct morsel *m, const char *repo, char ***ret, struct error *err)
{
	_cleanup_(source_closep) struct source *source = NULL;
	_cleanup_(ref_freep) struct ref *ref = NULL;
	int r = ref_parse(repo, &ref, err);

	if (r >= 0 && m->o.offline && ref->kind == REF_REGISTRY)
		return error_set(
			err, -ENOENT,
			"%s: the cache keeps no lists of tags, and asking %s is not allowed "
			"(--offline)",
			repo, ref->host);
	if (r >= 0)
		r = source_open(m->registry, ref, &source, err);
	if (r >= 0)
		r = progress_begin(m, err);
	return r < 0 ? r : source_tags(source, ret, err);
}

int morsel_tags(struct morsel *m, const char *repo, char ***ret_tags, struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	int r = tags_get(m, repo, ret_tags, &err);

	return error_publish(r, &err, ret_err);
}
