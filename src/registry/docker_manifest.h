/* SPDX-License-Identifier: MIT */
/*
 * manifest.json of a docker-archive: the images that a tar file written by docker save (podman
 * save, skopeo, buildah) holds. Pure; opens nothing, believes no name.
 */
#ifndef MORSEL_REGISTRY_DOCKER_MANIFEST_H
#define MORSEL_REGISTRY_DOCKER_MANIFEST_H

#include "base/digest.h"
#include "base/json.h"

#define DOCKER_LAYERS_MAX 500

struct docker_manifest {
	json_t *root; /* an array of objects, each with a Config and Layers */
};

/* -EBADMSG, -E2BIG, -ENOMEM. Fuzzed. fini it also after an error; starts zeroed. */
int docker_manifest_parse(const void *data, size_t len, struct docker_manifest *ret,
			  struct error *err);
void docker_manifest_fini(struct docker_manifest *m);

struct docker_image { /* borrowed from the manifest */
	const char *config;
	const json_t *layers; /* an array of strings, bottom first */
};
/* name: as in "docker save NAME", or NULL: the only image. -ENOENT, -EINVAL (several, none named):
 * the text lists the names. what: the source, for errors. */
int docker_manifest_choose(const struct docker_manifest *m, const char *name, const char *what,
			   struct docker_image *ret, struct error *err);
/* Calls fn for each name of each image; a value other than 0 ends that and is returned. */
int docker_manifest_names(const struct docker_manifest *m,
			  int (*fn)(void *userdata, const char *name), void *userdata);

/* The digests of a config's uncompressed layers: exactly n, written to ret. Fuzzed. */
int docker_config_diff_ids(const void *data, size_t len, size_t n, struct digest *ret,
			   struct error *err);

#endif
