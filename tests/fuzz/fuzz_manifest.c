/* SPDX-License-Identifier: MIT */
/* The same bytes as manifest, as index and as config of a manifest with one layer. */
#include "image/manifest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DIGEST "sha256:0000000000000000000000000000000000000000000000000000000000000000"

static const char one_layer[] = "{\"config\":{\"mediaType\":\"application/"
				"vnd.oci.image.config.v1+json\",\"digest\":\"" DIGEST
				"\",\"size\":1},\"layers\":[{\"mediaType\":\"application/"
				"vnd.oci.image.layer.v1.tar\",\"digest\":"
				"\"" DIGEST "\",\"size\":1}]}";

static void size_check(const struct descriptor *d)
{
	if (d->size < 0 || d->size > INT64_C(1) << 53 || !d->media_type || !d->digest.algo)
		abort();
}

static void manifest_check(const uint8_t *data, size_t size)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	struct error err = ERROR_INIT;

	if (manifest_parse(data, size, &m, &err) < 0)
		return;
	if (m->n_layers > LAYERS_MAX || !m->media_type)
		abort();
	size_check(&m->config);
	for (uint32_t i = 0; i < m->n_layers; i++)
		size_check(&m->layers[i].desc);
	manifest_set_config(m, data, size, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	struct platform want = {.os = "linux", .arch = "arm64", .variant = "v9.1"};
	struct error err = ERROR_INIT;
	struct descriptor d = {0};
	enum manifest_kind kind;

	manifest_kind_of(data, size, "application/vnd.oci.image.index.v1+json", &kind, NULL);
	manifest_check(data, size);
	if (index_choose(data, size, &want, &d, &err) == 0)
		size_check(&d);
	descriptor_fini(&d);
	if (manifest_parse(one_layer, sizeof(one_layer) - 1, &m, NULL) < 0)
		abort();
	if (manifest_set_config(m, data, size, NULL) == 0 && !m->layers[0].diff_id.algo)
		abort();
	return 0;
}
