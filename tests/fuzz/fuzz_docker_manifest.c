/* SPDX-License-Identifier: MIT */
/* What parses can be listed, and each name that it lists chooses an image. */
#include "registry/docker_manifest.h"

static int choose(void *userdata, const char *name)
{
	struct docker_image image = {0};
	struct error err = ERROR_INIT;

	if (docker_manifest_choose(userdata, name, "archive", &image, &err) < 0 || !image.config ||
	    !json_is_array(image.layers))
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct docker_manifest m = {0};
	struct docker_image image;
	struct error err = ERROR_INIT;
	struct digest ids[2];

	if (!docker_manifest_parse(data, size, &m, &err)) {
		docker_manifest_names(&m, choose, &m);
		docker_manifest_choose(&m, NULL, "archive", &image, &err);
	}
	docker_manifest_fini(&m);
	docker_config_diff_ids(data, size, 2, ids, &err);
	return 0;
}
