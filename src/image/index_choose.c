/* SPDX-License-Identifier: MIT */
/*
 * The best entry of an index for a platform. An index also holds what is no image: BuildKit's
 * attestations (platform unknown/unknown), SOCI indexes (with the *same* platform as the image
 * they belong to, told apart by artifactType only), images that want features of their reader
 * (os.features). Those are no candidates.
 */
#include "image/manifest.h"

#include <errno.h>
#include "base/buf.h"
#include "image/descriptor.h"
#include "image/platform.h"

#define WHAT "image index"

struct choice {
	const struct platform *want;
	const json_t *best, *unplaced; /* borrowed; unplaced: the one without a platform */
	unsigned rank, n_unplaced, n_candidates;
	struct buf names; /* of the platforms there are, for the error */
};

static bool is_attestation(const json_t *entry)
{
	const json_t *annotations = json_object_get(entry, "annotations");
	const char *type =
		json_string_value(json_object_get(annotations, "vnd.docker.reference.type"));

	return type && !strcmp(type, "attestation-manifest");
}

static bool is_candidate(const json_t *entry)
{
	const char *type = json_string_value(json_object_get(entry, "mediaType"));
	const char *artifact = json_string_value(json_object_get(entry, "artifactType"));
	enum media_role role = type ? media_role_of(type) : MEDIA_OTHER;
	const json_t *platform = json_object_get(entry, "platform");

	if (role != MEDIA_MANIFEST && role != MEDIA_INDEX)
		return false;
	if (artifact && *artifact && media_role_of(artifact) != MEDIA_CONFIG)
		return false;
	return !is_attestation(entry) && !json_array_size(json_object_get(platform, "os.features"));
}

/* 0; JSON_ABSENT: none; < 0. An absurd one is kept as a platform that nothing matches. */
static int platform_get(const json_t *entry, struct platform *ret, struct error *err)
{
	const char *os = "", *arch = "", *variant = "";
	json_t *obj = NULL;
	int r = json_get_object(entry, "platform", WHAT, &obj, err);

	if (r)
		return r;
	r = json_get_string(obj, "os", WHAT, &os, err);
	if (r >= 0)
		r = json_get_string(obj, "architecture", WHAT, &arch, err);
	if (r >= 0)
		r = json_get_string(obj, "variant", WHAT, &variant, err);
	if (r < 0)
		return r;
	if (!*os && !*arch)
		return JSON_ABSENT;
	if (!platform_set(os, arch, variant, ret))
		*ret = (struct platform){.os = "unknown", .arch = "unknown"};
	return 0;
}

static void name_add(struct buf *names, const struct platform *p)
{
	char text[100];

	platform_format(p, text);
	/* its cap keeps the message readable: what no longer fits is not named */
	if (names->len + strlen(text) + 2 <= names->max)
		buf_printf(names, "%s%s", names->len ? ", " : "", text);
}

static int entry_look(struct choice *c, const json_t *entry, struct error *err)
{
	struct platform have;
	unsigned rank;
	int r;

	if (!json_is_object(entry))
		return error_set(err, -EBADMSG, WHAT ": an entry is not an object");
	if (!is_candidate(entry))
		return 0;
	r = platform_get(entry, &have, err);
	if (r < 0)
		return r;
	if (r == JSON_ABSENT) {
		c->n_candidates++;
		c->unplaced = c->n_unplaced++ ? c->unplaced : entry;
		return 0;
	}
	if (!strcmp(have.os, "unknown") || !strcmp(have.arch, "unknown"))
		return 0;
	c->n_candidates++;
	name_add(&c->names, &have);
	rank = platform_rank(c->want, &have);
	if (rank > c->rank) { /* the first of equals wins */
		c->rank = rank;
		c->best = entry;
	}
	return 0;
}

static int choice_take(struct choice *c, struct descriptor *ret, struct error *err)
{
	const char *names = buf_str(&c->names);
	char want[100];

	if (!c->best && c->n_unplaced == 1)
		c->best = c->unplaced; /* its config will say what it is for */
	if (c->best)
		return descriptor_parse(c->best, WHAT, ret, err);
	platform_format(c->want, want);
	if (!c->n_candidates)
		return error_set(err, -ENOTSUP, "the index holds no image");
	if (!c->names.len || !names)
		return error_set(err, -ENOTSUP,
				 "the index has %u images and does not say for which platforms",
				 c->n_candidates);
	return error_set(err, -ENOTSUP, "no image for %s; there is: %s", want, names);
}

int index_choose(const void *json, size_t len, const struct platform *want, struct descriptor *ret,
		 struct error *err)
{
	struct choice c = {.want = want, .names = BUF_INIT_MAX(500)};
	enum manifest_kind kind;
	json_t *root, *entry;
	size_t i;
	int r;

	r = json_parse(json, len, JSON_DOC_MAX, WHAT, &root, err);
	if (r < 0)
		return r;
	r = document_kind(root, NULL, &kind, err);
	if (!r && kind != MANIFEST_INDEX)
		r = error_set(err, -EBADMSG, "not an index but a manifest");
	json_array_foreach (json_object_get(root, "manifests"), i, entry) {
		if (r < 0)
			break;
		r = entry_look(&c, entry, err);
	}
	if (!r)
		r = choice_take(&c, ret, err);
	buf_fini(&c.names);
	json_decref(root);
	return r;
}
