/* SPDX-License-Identifier: MIT */
/*
 * What an image is, from its manifest and config alone, and what this cache knows of its layers.
 */
#include "lib/report.h"

/* The format a mount would use. Without an index of its own a layer is named by its media type's
 * suffix, which is what can be known without fetching it. */
static const char *expected_format(const struct image_layer *l)
{
	const char *type = l->desc->desc.media_type;

	if (l->format)
		return l->format->name;
	if (l->desc->has_zstd_chunked || (l->desc->has_toc && strstr(type, "zstd")))
		return "zstd:chunked";
	if (l->desc->has_toc)
		return "estargz";
	if (strstr(type, "zstd"))
		return "zstd";
	if (strstr(type, "gzip"))
		return "gzip";
	return "tar";
}

static json_t *layer_inspect(const struct image_layer *l)
{
	json_t *o = report_layer_descriptor(l->desc);
	char text[DIGEST_TEXT_MAX];

	digest_format(&l->desc->diff_id, text);
	json_object_set_new(o, "diff_id", json_string(text));
	json_object_set_new(o, "format", json_string(expected_format(l)));
	json_object_set_new(
		o, "lazy", json_boolean(l->layer || l->desc->has_toc || l->desc->has_zstd_chunked));
	json_object_set_new(o, "indexed", json_boolean(!!l->layer));
	if (l->layer) {
		const struct layer_index_header *h = &layer_tables(l->layer)->header;

		json_object_set_new(o, "entries", json_integer((json_int_t)h->n_entries));
		json_object_set_new(o, "present_bytes",
				    json_integer((json_int_t)layer_present_bytes(l->layer)));
		json_object_set_new(o, "total_bytes", json_integer((json_int_t)h->device_bytes));
		json_object_set_new(o, "dropped_xattrs",
				    json_integer((json_int_t)h->dropped_xattrs));
	}
	return o;
}

static json_t *layers_inspect(struct morsel *m, struct resolved *rv)
{
	json_t *layers = json_array();

	for (uint32_t i = 0; i < rv->manifest->n_layers; i++) {
		struct image_layer l = {.desc = &rv->manifest->layers[i]};
		struct error err = ERROR_INIT;

		layer_lookup(m, &l, &err); /* a damaged index is as good as none here */
		json_array_append_new(layers, layer_inspect(&l));
		layer_close(l.layer);
	}
	return layers;
}

static json_t *image_inspect(struct morsel *m, struct resolved *rv)
{
	char digest[DIGEST_TEXT_MAX], platform[100];
	_cleanup_(buf_fini) struct buf name = BUF_INIT;
	const struct manifest *mf = rv->manifest;
	json_t *o = json_object(), *config, *layers = layers_inspect(m, rv), *l;
	json_int_t bytes = 0, lazy = 0;
	size_t i;

	json_array_foreach (layers, i, l) {
		bytes += json_integer_value(json_object_get(l, "size"));
		lazy += json_is_true(json_object_get(l, "lazy"));
	}
	if (ref_format(rv->ref, &name) < 0 || !buf_str(&name))
		return NULL;
	json_object_set_new(o, "reference", json_stringn((char *)name.data, name.len));
	digest_format(&rv->digest, digest);
	json_object_set_new(o, "digest", json_string(digest));
	json_object_set_new(o, "media_type", json_string(mf->media_type));
	platform_format(&mf->platform, platform);
	json_object_set_new(o, "platform", json_string(platform));
	json_object_set_new(o, "created", mf->created ? json_string(mf->created) : json_null());
	json_object_set_new(o, "size", json_integer(bytes));
	json_object_set_new(o, "from_cache", json_boolean(rv->from_cache));
	json_object_set_new(o, "lazy_layers", json_integer(lazy));
	json_object_set_new(o, "layers", layers);
	config = json_loadb((char *)rv->config_json.data, rv->config_json.len, 0, NULL);
	json_object_set(o, "config", json_object_get(config, "config"));
	json_decref(config);
	return o;
}

int morsel_inspect(struct morsel *m, const char *ref, char **ret_json, struct morsel_error *ret_err)
{
	struct resolved rv = {0};
	struct error err = ERROR_INIT;
	char *text;
	int r = progress_begin(m, &err);

	if (r >= 0)
		r = image_resolve(m, ref, &rv, &err);

	if (r >= 0) {
		text = report_text(image_inspect(m, &rv));
		if (text)
			*ret_json = text;
		else
			r = -ENOMEM;
	}
	resolved_fini(&rv);
	return error_publish(r, &err, ret_err);
}
