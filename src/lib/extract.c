/* SPDX-License-Identifier: MIT */
/*
 * Images on disk: opened as for a mount, then extracted from the cache. What is interrupted leaves
 * the contents it has fetched in the cache, where the next run finds them.
 */
#include "lib/extract.h"
#include "lib/report.h"

/* ---- the report ---- */

static json_t *left_out_report(const struct extract_result *res)
{
	static const char *const kinds[] = {"owners", "devices", "xattrs"};
	json_t *o = json_object();

	for (int k = 0; k < EXTRACT_KINDS; k++) {
		const struct extract_left_out *l = &res->left_out[k];
		json_t *one = json_object(), *names = json_array();

		for (uint32_t i = 0; i < l->n_names; i++)
			json_array_append_new(names, report_file_name(l->names[i]));
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

static char *extract_report(struct morsel_image *img, const char *dest,
			    const struct extract_result *res, uint64_t extract_ns)
{
	json_t *o = json_object();
	uint64_t layers = 0, moved = atomic_load(&img->index_cost.wire_bytes) +
				     counter_get(&img->counters.bytes_fetched);

	for (uint32_t i = 0; i < img->rv.manifest->n_layers; i++)
		layers += (uint64_t)img->rv.manifest->layers[i].desc.size;
	json_object_set_new(o, "reference", json_string(img->rv.ref->text));
	json_object_set_new(o, "digest", json_string(img->digest));
	json_object_set_new(o, "directory", report_file_name(dest));
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

int image_extract(struct morsel_image *img, const struct extract_options *chosen, const char *dest,
		  char **ret_json, struct error *err)
{
	uint32_t n = img->rv.manifest->n_layers;
	_cleanup_(freep) struct layer **layers = calloc(n + 1, sizeof(struct layer *));
	const struct seam *s = img->m->seam;
	struct extract_options o = *chosen;
	struct extract_result res = {0};
	uint64_t start = s->monotonic_ns(s);
	char *json = NULL;
	int r;

	if (!layers)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		layers[i] = img->layers[i].layer;
		layer_trust(layers[i]);
	}
	o.seam = s;
	o.fs = &img->fs;
	o.reader = img->reader;
	o.layers = layers;
	o.n_layers = n;
	o.cancel = &img->m->cancelled;
	o.progress = progress_pass;
	o.userdata = img->m;
	r = extract_run(&o, dest, &res, err);
	if (r >= 0) {
		json = extract_report(img, dest, &res, s->monotonic_ns(s) - start);
		r = json ? 0 : -ENOMEM;
	}
	if (r >= 0 && ret_json)
		*ret_json = steal_ptr(json);
	free(json);
	extract_result_fini(&res);
	return r;
}
