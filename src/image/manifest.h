/* SPDX-License-Identifier: MIT */
/*
 * Manifests, indexes and configs: JSON bytes in, structs out. Pure and fuzzed; fetches nothing,
 * verifies no digest (the caller has). OCI image-spec 1.1 and Docker schema 2; schema 1, artifacts
 * and unknown layer types are refused by name.
 */
#ifndef MORSEL_IMAGE_MANIFEST_H
#define MORSEL_IMAGE_MANIFEST_H

#include "base/digest.h"

#define LAYERS_MAX 500

struct platform {
	char os[32], arch[32], variant[32]; /* normalised; "" = absent */
};

/* "os/arch[/variant]" or "arch"; -EINVAL. */
int platform_parse(const char *text, struct platform *ret, struct error *err);
/* The machine we run on. */
void platform_host(struct platform *ret);
void platform_format(const struct platform *p, char out[static 100]);
/* 0 = no match; higher = better. have: what an entry offers, want: what is asked for. */
unsigned platform_rank(const struct platform *want, const struct platform *have);

struct descriptor {
	char *media_type;
	struct digest digest;
	int64_t size;
};

enum manifest_kind { MANIFEST_IMAGE, MANIFEST_INDEX };
/* Decides by mediaType, else by content; content_type (may be NULL) must not contradict.
 * -ENOTSUP: schema 1 or a foreign type, named; -EBADMSG: ambiguous or not a manifest. */
int manifest_kind_of(const void *json, size_t len, const char *content_type,
		     enum manifest_kind *ret, struct error *err);

/* The best entry of an index for a platform: skips attestations, SOCI indexes, unknown/unknown,
 * entries with os.features. -ENOTSUP with the list of platforms there are. The entry may be an
 * index again (the caller allows a nesting of 2). */
int index_choose(const void *json, size_t len, const struct platform *want, struct descriptor *ret,
		 struct error *err);

struct manifest_layer {
	struct descriptor desc;
	struct digest diff_id; /* from the config; algo 0 until manifest_set_config() */
	bool has_toc;	       /* "containerd.io/snapshot/stargz/toc.digest" */
	struct digest toc_digest;
	/* zstd:chunked, either dialect's keys; offsets as annotated, -1 = absent */
	bool has_zstd_chunked;
	struct digest zstd_checksum;
	int64_t zstd_off, zstd_len, zstd_raw_len, zstd_type;
	int64_t uncompressed_size; /* io.containers.estargz.uncompressed-size, -1 = absent */
};

struct manifest {
	char *media_type;
	struct descriptor config;
	struct manifest_layer *layers; /* base first */
	uint32_t n_layers;
	struct platform platform; /* from the config */
	char *created;		  /* config.created or NULL */
};

int manifest_parse(const void *json, size_t len, struct manifest **ret, struct error *err);
/* Takes diff_ids, platform, created from the config; their number must equal the layers'. */
int manifest_set_config(struct manifest *m, const void *json, size_t len, struct error *err);
void manifest_free(struct manifest *m);
DEFINE_CLEANUP(struct manifest *, manifest_free)
void descriptor_fini(struct descriptor *d);

#endif
