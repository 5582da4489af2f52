/* SPDX-License-Identifier: MIT */
/*
 * Opening an image: resolve, make sure of every layer's index, merge them into one EROFS image
 * (once: it is kept under the digest of the ordered layer keys), map it, and put a reader over the
 * layers' devices.
 */
#include "lib/image.h"

#include "image/erofs_paths.h"
#include "image/erofs_write.h"
#include "image/tree.h"
#include "prof/op.h"

/* The merged image depends on the layers and their order, and on nothing else. */
static void image_key(const struct morsel_image *img, struct digest *ret)
{
	struct hasher *h;

	*ret = (struct digest){0};
	if (hasher_new(DIGEST_SHA256, &h) < 0)
		return;
	hasher_update(h, "morsel image 1\n", 15);
	for (uint32_t i = 0; i < img->rv.manifest->n_layers; i++)
		hasher_update(h, img->layers[i].key.hex, 64);
	hasher_final(h, ret);
	hasher_free(h);
}

struct merge_input {
	struct layer_index *indexes;
	uint64_t *device_bytes;
	char (*tags)[65];
	const char **tag_list;
};

static void merge_input_fini(struct merge_input *in)
{
	free(in->indexes);
	free(in->device_bytes);
	free(in->tags);
	free(in->tag_list);
}

static int merge_input_load(struct morsel_image *img, struct merge_input *in, struct error *err)
{
	uint32_t n = img->rv.manifest->n_layers;
	char text[DIGEST_TEXT_MAX];

	in->indexes = calloc(n + 1, sizeof(*in->indexes));
	in->device_bytes = calloc(n + 1, sizeof(*in->device_bytes));
	in->tags = calloc(n + 1, sizeof(*in->tags));
	in->tag_list = calloc(n + 1, sizeof(*in->tag_list));
	if (!in->indexes || !in->device_bytes || !in->tags || !in->tag_list)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		int r = layer_load_entries(img->layers[i].layer, context_max_entries(img->m),
					   &in->indexes[i], err);

		if (r < 0)
			return r;
		in->device_bytes[i] = in->indexes[i].header.device_bytes;
		digest_format_hex(&img->layers[i].desc->desc.digest, text);
		memcpy(in->tags[i], text, 64);
		in->tag_list[i] = in->tags[i];
	}
	return 0;
}

static int image_merge(struct morsel_image *img, const struct digest *key, struct buf *ret,
		       struct error *err)
{
	_cleanup_(merge_input_fini) struct merge_input in = {0};
	_cleanup_(tree_freep) struct tree *tree = NULL;
	struct erofs_params params;
	uint32_t n = img->rv.manifest->n_layers;
	int r;

	r = merge_input_load(img, &in, err);
	if (r < 0)
		return r;
	r = tree_merge(in.indexes, n, context_max_entries(img->m), &tree, err);
	if (r < 0)
		return r;
	tree->device_bytes = in.device_bytes;
	params = (struct erofs_params){
		.uuid = key->bytes, .device_tags = in.tag_list, .volume_name = "morsel"};
	return erofs_write(tree, &params, ret, err);
}

/* Refuses what the merge of these layers would. Every name is the only one of its file or a hard
 * link, which is an entry of a layer: names are counted only where the limit may be met. */
static int image_check_entries(struct morsel_image *img, struct error *err)
{
	uint64_t max = context_max_entries(img->m), n = img->fs.inode_count - 1;

	for (uint32_t i = 0; i < img->rv.manifest->n_layers; i++) {
		int r = layer_check_entries(img->layers[i].layer, max, err);

		if (r < 0)
			return r;
		n += layer_tables(img->layers[i].layer)->header.n_entries;
	}
	return n > max ? tree_check_names(erofs_count_names(&img->fs), max, err) : 0;
}

static int image_map_open(struct morsel_image *img, struct error *err)
{
	_cleanup_(buf_fini) struct buf bytes = BUF_INIT;
	struct error damage = ERROR_INIT;
	char hex[DIGEST_TEXT_MAX];
	int r;

	image_key(img, &img->key);
	digest_format_hex(&img->key, hex);
	r = cache_image_get(img->m->cache, hex, &img->map);
	if (!r) {
		r = erofs_open(img->map.bytes, img->map.len, &img->fs, &damage);
		if (!r && img->fs.n_devices == img->rv.manifest->n_layers)
			return image_check_entries(img, err);
		image_map_fini(&img->map); /* damaged on disk: made again below */
	}
	r = image_merge(img, &img->key, &bytes, err);
	for (uint32_t i = 0; i < img->rv.manifest->n_layers; i++)
		layer_unload_entries(img->layers[i].layer);
	if (r >= 0)
		r = cache_image_put(img->m->cache, hex, bytes.data, bytes.len, &img->map, err);
	if (r < 0)
		return r;
	return erofs_open(img->map.bytes, img->map.len, &img->fs, err);
}

static int image_reader_open(struct morsel_image *img, struct error *err)
{
	uint32_t n = img->rv.manifest->n_layers;
	_cleanup_(freep) struct reader_layer *layers = calloc(n + 1, sizeof(*layers));
	struct reader_options o = {
		.seam = img->m->seam,
		.log = &img->m->log,
		.counters = &img->counters,
		.pool = img->m->pool,
		.layers = layers,
		.n_layers = n,
		.deadline_ns = img->m->o.read_deadline_ns,
	};

	img->per_layer = calloc(n + 1, sizeof(*img->per_layer));
	if (!layers || !img->per_layer || access_new(&img->access) < 0)
		return -ENOMEM;
	o.per_layer = img->per_layer;
	o.access = img->access;
	o.label = prof_intern(img->rv.ref->text);
	for (uint32_t i = 0; i < n; i++)
		layers[i] = (struct reader_layer){.layer = img->layers[i].layer,
						  .format = img->layers[i].format,
						  .blob = img->layers[i].blob};
	return reader_new(&o, &img->reader, err);
}

static uint64_t lap(struct morsel_image *img, uint64_t *since)
{
	uint64_t now = img->m->seam->monotonic_ns(img->m->seam), took = now - *since;

	*since = now;
	return took;
}

static int image_open(struct morsel_image *img, const char *ref, struct error *err)
{
	uint64_t at = img->m->seam->monotonic_ns(img->m->seam);
	int r;

	r = progress_report(img->m, "resolve", &img->index_cost, err);
	if (r >= 0)
		r = image_resolve(img->m, ref, &img->rv, err);
	if (r < 0)
		return r;
	img->resolved_ns = lap(img, &at);
	digest_format(&img->rv.digest, img->digest);
	img->layers = calloc(img->rv.manifest->n_layers + 1, sizeof(*img->layers));
	if (!img->layers)
		return -ENOMEM;
	r = layers_open(img->m, &img->rv, img->layers, &img->index_cost, err);
	img->indexed_ns = lap(img, &at);
	if (r >= 0)
		r = progress_report(img->m, "merge", &img->index_cost, err);
	if (r >= 0)
		r = image_map_open(img, err);
	if (r >= 0)
		r = image_reader_open(img, err);
	img->merged_ns = lap(img, &at);
	return r;
}

int morsel_image_open(struct morsel *m, const char *ref, struct morsel_image **ret,
		      struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct morsel_image *img = calloc(1, sizeof(*img));
	uint64_t start = m->seam->monotonic_ns(m->seam);
	int r;

	if (!img)
		return error_publish(-ENOMEM, &err, ret_err);
	img->m = m;
	img->users = 1;
	img->map.fd = -1;
	r = image_open(img, ref, &err);
	if (r < 0) {
		morsel_image_close(img);
		return error_publish(r, &err, ret_err);
	}
	img->opened_ns = m->seam->monotonic_ns(m->seam) - start;
	*ret = img;
	return 0;
}

void image_keep(struct morsel_image *img)
{
	atomic_fetch_add(&img->users, 1);
}

void image_drop(struct morsel_image *img)
{
	if (atomic_fetch_sub(&img->users, 1) > 1)
		return;
	image_map_fini(&img->map);
	free(img->layers);
	free(img->per_layer);
	access_free(img->access);
	resolved_fini(&img->rv);
	free(img);
}

/* What the context and the cache know of goes now, whoever keeps the rest. */
void morsel_image_close(struct morsel_image *img)
{
	if (!img)
		return;
	reader_free(steal_ptr(img->reader));
	if (img->layers)
		layers_fini(img->layers, img->rv.manifest->n_layers);
	source_close(steal_ptr(img->rv.source));
	img->m = NULL;
	image_drop(img);
}

const char *morsel_image_digest(const struct morsel_image *img)
{
	return img->digest;
}

const char *image_layer_format_name(const struct image_layer *l)
{
	return l->format->name;
}
