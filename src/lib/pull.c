/* SPDX-License-Identifier: MIT */
/*
 * Images on disk: opened as for a mount, then extracted from the cache. What is interrupted leaves
 * the contents it has fetched in the cache, where the next run finds them.
 */
#include "image/path.h"
#include "lib/report.h"
#include "transfer/extract.h"

#include <stdio.h>
#include <sys/stat.h>

void morsel_pull_options_init(struct morsel_pull_options *o)
{
	*o = (struct morsel_pull_options){.size = sizeof(*o)};
}

/* o may come from a program built against a smaller, older struct. */
static int options_take(const struct morsel_pull_options *o, struct morsel_pull_options *ret,
			struct error *err)
{
	morsel_pull_options_init(ret);
	if (!o)
		return 0;
	if (o->size < sizeof(size_t) || o->size > sizeof(*o))
		return error_set(err, -EINVAL,
				 "options: size %zu; call morsel_pull_options_init() first",
				 o->size);
	memcpy(ret, o, o->size);
	return 0;
}

/* ---- the report ---- */

static json_t *left_out_report(const struct extract_result *res)
{
	static const char *const kinds[] = {"owners", "devices", "xattrs"};
	json_t *o = json_object();

	for (int k = 0; k < EXTRACT_KINDS; k++) {
		const struct extract_left_out *l = &res->left_out[k];
		json_t *one = json_object(), *names = json_array();

		for (uint32_t i = 0; i < l->n_names; i++) {
			json_t *name = json_string(l->names[i]);

			/* not UTF-8: as good as JSON can say it */
			json_array_append_new(names, name ? name : json_string("?"));
		}
		json_object_set_new(one, "count", json_integer((json_int_t)l->n));
		json_object_set_new(one, "names", names);
		json_object_set_new(o, kinds[k], one);
	}
	return o;
}

static json_t *times_report(const struct morsel_image *img, uint64_t extract_ns)
{
	json_t *o = json_object();

	json_object_set_new(o, "resolve", report_seconds(img->resolved_ns));
	json_object_set_new(o, "index", report_seconds(img->indexed_ns));
	json_object_set_new(o, "merge", report_seconds(img->merged_ns));
	json_object_set_new(o, "extract", report_seconds(extract_ns));
	json_object_set_new(o, "total", report_seconds(img->opened_ns + extract_ns));
	return o;
}

static char *pull_report(struct morsel_image *img, const char *dir,
			 const struct extract_result *res, uint64_t extract_ns)
{
	json_t *o = json_object();
	uint64_t layers = 0, moved = atomic_load(&img->index_cost.wire_bytes) +
				     counter_get(&img->counters.bytes_fetched);

	for (uint32_t i = 0; i < img->rv.manifest->n_layers; i++)
		layers += (uint64_t)img->rv.manifest->layers[i].desc.size;
	json_object_set_new(o, "reference", json_string(img->rv.ref->text));
	json_object_set_new(o, "digest", json_string(img->digest));
	json_object_set_new(o, "directory", json_string(dir));
	json_object_set_new(o, "total_bytes", json_integer((json_int_t)layers));
	json_object_set_new(o, "moved_bytes", json_integer((json_int_t)moved));
	json_object_set_new(o, "skipped_bytes",
			    json_integer((json_int_t)(layers > moved ? layers - moved : 0)));
	json_object_set_new(o, "requests",
			    json_integer((json_int_t)(atomic_load(&img->index_cost.requests) +
						      counter_get(&img->counters.requests))));
	json_object_set_new(o, "files", json_integer((json_int_t)res->files));
	json_object_set_new(o, "directories", json_integer((json_int_t)res->directories));
	json_object_set_new(o, "others", json_integer((json_int_t)res->others));
	json_object_set_new(o, "written_bytes", json_integer((json_int_t)res->bytes));
	json_object_set_new(o, "cloned_bytes", json_integer((json_int_t)res->cloned_bytes));
	json_object_set_new(o, "left_out", left_out_report(res));
	json_object_set_new(o, "seconds", times_report(img, extract_ns));
	return report_text(o);
}

/* ---- the work ---- */

static int progress_pass(void *userdata, const struct extract_progress *p)
{
	const struct morsel *m = userdata;
	const struct morsel_progress mp = {.phase = "extract",
					   .done_bytes = p->done_bytes,
					   .total_bytes = p->total_bytes,
					   .layers_done = (uint32_t)p->files_done,
					   .layers_total = (uint32_t)p->files_total};

	return m->o.progress ? m->o.progress(m->o.userdata, &mp) : 0;
}

/* The directory of the image that becomes DIR. path: PATH_LEN_MAX + 1 bytes, its name for
 * patterns. */
static int root_find(struct morsel_image *img, const char *prefix, char *path, uint64_t *ret_nid,
		     struct error *err)
{
	struct erofs_inode ino;
	size_t n;
	int r = path_clean(prefix, strlen(prefix), path, &n, err);

	if (r < 0)
		return -EINVAL;
	r = image_path_walk(&img->fs, path, 0, &ino);
	if (r == -ENOENT || r == -ENOTDIR || r == -ELOOP)
		return error_set(err, -ENOENT, "%s: no such directory in %s", prefix,
				 img->rv.ref->text);
	if (r < 0)
		return error_set(err, r, "the image's index is damaged");
	if (!S_ISDIR(ino.mode))
		return error_set(err, -ENOTDIR, "%s: not a directory in %s", prefix,
				 img->rv.ref->text);
	*ret_nid = ino.nid;
	return 0;
}

/* *ret stays NULL when there are none. */
static int patterns_take(const char *const *patterns, const char *what, struct ignore_list **ret,
			 struct error *err)
{
	int r = patterns && *patterns ? ignore_new(ret) : 0;

	for (; r >= 0 && patterns && *patterns; patterns++) {
		r = ignore_add_pattern(*ret, *patterns, strlen(*patterns), NULL);
		if (r == -EBADMSG)
			r = error_set(err, -EINVAL, "%s: \"%s\" is not a pattern", what, *patterns);
	}
	return r;
}

static int image_extract(struct morsel_image *img, const char *dir,
			 const struct morsel_pull_options *o, struct extract_result *res,
			 struct error *err)
{
	uint32_t n = img->rv.manifest->n_layers;
	_cleanup_(freep) struct layer **layers = calloc(n + 1, sizeof(struct layer *));
	_cleanup_(ignore_freep) struct ignore_list *include = NULL, *exclude = NULL;
	char root_path[PATH_LEN_MAX + 1] = "";
	int r;
	struct extract_options eo = {
		.seam = img->m->seam,
		.fs = &img->fs,
		.reader = img->reader,
		.layers = layers,
		.n_layers = n,
		.root_nid = img->fs.root_nid,
		.root_path = root_path,
		.overwrite = o->overwrite,
		.cancel = &img->m->cancelled,
		.progress = progress_pass,
		.userdata = img->m,
	};

	if (!layers)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		layers[i] = img->layers[i].layer;
		layer_trust(layers[i]);
	}
	r = patterns_take(o->include, "include", &include, err);
	if (r >= 0)
		r = patterns_take(o->exclude, "exclude", &exclude, err);
	if (r >= 0 && o->strip_prefix)
		r = root_find(img, o->strip_prefix, root_path, &eo.root_nid, err);
	if (r < 0)
		return r;
	eo.include = include;
	eo.exclude = exclude;
	return extract_run(&eo, dir, res, err);
}

int morsel_pull(struct morsel *m, const char *ref, const char *dir,
		const struct morsel_pull_options *options, char **ret_json,
		struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct morsel_pull_options o;
	struct extract_result res = {0};
	struct morsel_image *img;
	uint64_t start;
	char *json = NULL;
	int r = options_take(options, &o, &err);

	if (r >= 0)
		r = extract_check(dir, o.overwrite, &err);
	if (r < 0)
		return error_publish(r, &err, ret_err);
	r = morsel_image_open(m, ref, &img, ret_err);
	if (r < 0)
		return r;
	start = m->seam->monotonic_ns(m->seam);
	r = image_extract(img, dir, &o, &res, &err);
	if (r >= 0) {
		json = pull_report(img, dir, &res, m->seam->monotonic_ns(m->seam) - start);
		r = json ? 0 : -ENOMEM;
	}
	if (r >= 0 && ret_json)
		*ret_json = steal_ptr(json);
	free(json);
	extract_result_fini(&res);
	morsel_image_close(img);
	return error_publish(r, &err, ret_err);
}
