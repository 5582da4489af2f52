/* SPDX-License-Identifier: MIT */
/*
 * With a base the config is the base's, member by member, with what was said put over it: as FROM
 * and the lines below it do in a Dockerfile. Members that are not known here stay.
 */
#include "transfer/image_doc.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "base/json.h"
#include "transfer/words.h"

static int no_memory(struct error *err)
{
	return error_set_errno(err, -ENOMEM, "can't make the image's documents");
}

static int text_write(const json_t *root, struct buf *ret, struct error *err)
{
	_cleanup_(freep) char *text = json_dumps(root, JSON_COMPACT);

	return text && buf_append_str(ret, text) >= 0 ? 0 : no_memory(err);
}

static json_t *digest_text(const struct digest *d)
{
	char text[DIGEST_TEXT_MAX];

	digest_format(d, text);
	return json_string(text);
}

static void created_format(int64_t s, char out[static 40])
{
	time_t t = s;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(out, 40, "%Y-%m-%dT%H:%M:%SZ", &tm))
		strcpy(out, "1970-01-01T00:00:00Z");
}

/* The object that a member is, made when it is missing or null. Borrowed; NULL = no memory. */
static json_t *object_in(json_t *root, const char *key)
{
	json_t *o = json_object_get(root, key);

	if (json_is_object(o))
		return o;
	return json_object_set_new(root, key, json_object()) < 0 ? NULL
								 : json_object_get(root, key);
}

static json_t *array_in(json_t *root, const char *key)
{
	json_t *a = json_object_get(root, key);

	if (json_is_array(a))
		return a;
	return json_object_set_new(root, key, json_array()) < 0 ? NULL : json_object_get(root, key);
}

/* ---- what was said ---- */

static int text_set(json_t *o, const char *key, const char *option, const char *text,
		    struct error *err)
{
	if (!text)
		return 0;
	if (json_object_set_new(o, key, json_string(text)) < 0)
		return error_set(err, -EINVAL, "%s: not UTF-8", option);
	return 0;
}

/* "KEY=VALUE" into an object; need_value: "KEY" alone is none. */
static int pairs_set(json_t *o, const char *const *pairs, const char *option, bool need_value,
		     struct error *err)
{
	for (; pairs && *pairs; pairs++) {
		const char *eq = strchr(*pairs, '=');
		_cleanup_(freep) char *key =
			strndup(*pairs, eq ? (size_t)(eq - *pairs) : strlen(*pairs));

		if (!key)
			return no_memory(err);
		if (!*key || (need_value && !eq))
			return error_set(err, -EINVAL, "%s: \"%s\" is not KEY=VALUE", option,
					 *pairs);
		if (json_object_set_new(o, key, json_string(eq ? eq + 1 : "")) < 0)
			return error_set(err, -EINVAL, "%s: \"%s\" is not UTF-8", option, *pairs);
	}
	return 0;
}

/* A variable that is there keeps its place. */
static int env_set(json_t *env, const char *pair, struct error *err)
{
	size_t n = strcspn(pair, "="), i;
	json_t *have, *text = json_string(pair);

	if (!n || !pair[n] || !text) {
		json_decref(text);
		return error_set(err, -EINVAL, "--env: \"%s\" is not NAME=VALUE%s", pair,
				 text ? "" : " in UTF-8");
	}
	json_array_foreach (env, i, have)
		if (json_is_string(have) && !strncmp(json_string_value(have), pair, n + 1))
			return json_array_set_new(env, i, text) < 0 ? no_memory(err) : 0;
	return json_array_append_new(env, text) < 0 ? no_memory(err) : 0;
}

static int command_set(json_t *config, const struct image_wish *w, struct error *err)
{
	json_t *words;
	int r = 0;

	if (w->entrypoint) {
		r = words_parse(w->entrypoint, "--entrypoint", &words, err);
		if (r >= 0 && json_object_set_new(config, "Entrypoint", words) < 0)
			r = no_memory(err);
		json_object_del(config, "Cmd"); /* the base's is for the base's entrypoint */
	}
	if (r >= 0 && w->cmd) {
		r = words_parse(w->cmd, "--cmd", &words, err);
		if (r >= 0 && json_object_set_new(config, "Cmd", words) < 0)
			r = no_memory(err);
	}
	return r;
}

static int config_apply(json_t *root, const struct image_wish *w, struct error *err)
{
	json_t *config = object_in(root, "config");
	int r = config ? command_set(config, w, err) : no_memory(err);

	for (const char *const *e = w->env; r >= 0 && e && *e; e++) {
		json_t *env = array_in(config, "Env");

		r = env ? env_set(env, *e, err) : no_memory(err);
	}
	if (r >= 0)
		r = text_set(config, "WorkingDir", "--workdir", w->workdir, err);
	if (r >= 0)
		r = text_set(config, "User", "--user", w->user, err);
	if (r >= 0 && w->labels && *w->labels) {
		json_t *labels = object_in(config, "Labels");

		r = labels ? pairs_set(labels, w->labels, "--label", false, err) : no_memory(err);
	}
	return r < 0 ? r : text_set(root, "author", "--author", w->author, err);
}

/* An artifact has no config to say this in. */
static int artifact_check(const struct image_wish *w, struct error *err)
{
	const char *lost = w->entrypoint	     ? "--entrypoint"
			   : w->cmd		     ? "--cmd"
			   : w->env && *w->env	     ? "--env"
			   : w->labels && *w->labels ? "--label"
			   : w->workdir		     ? "--workdir"
			   : w->user		     ? "--user"
			   : w->author		     ? "--author"
						     : NULL;

	if (!strchr(w->artifact_type, '/'))
		return error_set(err, -EINVAL, "--artifact-type: \"%s\" is not a media type",
				 w->artifact_type);
	if (lost)
		return error_set(err, -EINVAL,
				 "an artifact has no configuration: --artifact-type or %s; what "
				 "it is can be said by --annotation",
				 lost);
	return 0;
}

int image_wish_check(const struct image_wish *w, struct error *err)
{
	json_auto_t *config = json_object(), *annotations = json_object();
	int r = config && annotations ? config_apply(config, w, err) : no_memory(err);

	if (r >= 0)
		r = pairs_set(annotations, w->annotations, "--annotation", true, err);
	if (r >= 0 && w->workdir && *w->workdir != '/')
		r = error_set(err, -EINVAL, "--workdir: \"%s\" is not an absolute path",
			      w->workdir);
	return r >= 0 && w->artifact_type ? artifact_check(w, err) : r;
}

/* ---- the config ---- */

static json_t *config_new(const struct platform *p)
{
	json_t *root = json_pack("{s:s, s:s}", "architecture", p->arch, "os", p->os);

	if (root && p->variant[0])
		json_object_set_new(root, "variant", json_string(p->variant));
	return root;
}

/* Lines that have a layer must be as many as the layers: a base that tells less gets them. */
static int history_fill(json_t *history, size_t n_layers, const char *created)
{
	json_t *line;
	size_t i, have = 0;

	json_array_foreach (history, i, line)
		have += !json_is_true(json_object_get(line, "empty_layer"));
	for (; have < n_layers; have++)
		if (json_array_append_new(history, json_pack("{s:s, s:s}", "created", created,
							     "created_by", "base layer")) < 0)
			return -ENOMEM;
	return 0;
}

static int layers_add(json_t *root, const char *created, const struct image_doc_layer *layers,
		      size_t n, struct error *err)
{
	json_t *rootfs = object_in(root, "rootfs"), *history = array_in(root, "history");
	json_t *ids = rootfs ? array_in(rootfs, "diff_ids") : NULL;

	if (!ids || !history || json_object_set_new(rootfs, "type", json_string("layers")) < 0 ||
	    history_fill(history, json_array_size(ids), created) < 0)
		return no_memory(err);
	for (size_t i = 0; i < n; i++)
		if (json_array_append_new(ids, digest_text(&layers[i].diff_id)) < 0 ||
		    json_array_append_new(history, json_pack("{s:s, s:s}", "created", created,
							     "created_by", layers[i].created_by)) <
			    0)
			return no_memory(err);
	return 0;
}

int image_config_make(const struct image_wish *w, const struct platform *platform,
		      const struct buf *base_config, const struct image_doc_layer *layers, size_t n,
		      struct buf *ret, struct error *err)
{
	json_auto_t *root = NULL;
	char created[40];
	int r = 0;

	created_format(w->created_s, created);
	if (base_config)
		r = json_parse(base_config->data, base_config->len, JSON_DOC_MAX,
			       "the base's config", &root, err);
	else
		root = config_new(platform);
	if (r < 0)
		return r;
	if (!json_is_object(root) || json_object_set_new(root, "created", json_string(created)) < 0)
		return no_memory(err);
	r = config_apply(root, w, err);
	if (r >= 0)
		r = layers_add(root, created, layers, n, err);
	return r < 0 ? r : text_write(root, ret, err);
}

/* ---- the manifest ---- */

/* The OCI name of a Docker layer's type: what it holds is the same. */
static const char *oci_layer_type(const char *type)
{
	static const char *const pairs[][2] = {
		{"application/vnd.docker.image.rootfs.diff.tar",
		 "application/vnd.oci.image.layer.v1.tar"},
		{"application/vnd.docker.image.rootfs.diff.tar.gzip",
		 "application/vnd.oci.image.layer.v1.tar+gzip"},
		{"application/vnd.docker.image.rootfs.diff.tar.zstd",
		 "application/vnd.oci.image.layer.v1.tar+zstd"},
		{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
		 "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++)
		if (!strcmp(type, pairs[i][0]))
			return pairs[i][1];
	return type;
}

/* The base's descriptors, with all that is said of them: tables of contents are anchored there. */
static int base_layers(json_t *layers, const struct buf *base_manifest, struct error *err)
{
	json_auto_t *root = NULL;
	json_t *l;
	size_t i;
	int r = json_parse(base_manifest->data, base_manifest->len, JSON_DOC_MAX,
			   "the base's manifest", &root, err);

	if (r < 0)
		return r;
	json_array_foreach (json_object_get(root, "layers"), i, l) {
		json_t *copy = json_deep_copy(l);
		const char *type = json_string_value(json_object_get(l, "mediaType"));

		if (copy && type)
			json_object_set_new(copy, "mediaType", json_string(oci_layer_type(type)));
		if (json_array_append_new(layers, copy) < 0)
			return no_memory(err);
	}
	return 0;
}

static json_t *layer_descriptor(const struct image_doc_layer *l)
{
	json_t *o = json_pack("{s:s, s:o, s:I}", "mediaType", l->media_type, "digest",
			      digest_text(&l->digest), "size", (json_int_t)l->size);
	json_t *annotations = o && l->n_annotations ? object_in(o, "annotations") : NULL;

	for (size_t i = 0; annotations && i < l->n_annotations; i++)
		json_object_set_new(annotations, l->annotations[i].key,
				    json_string(l->annotations[i].value));
	return o;
}

static json_t *config_descriptor(const struct image_wish *w, const struct digest *config,
				 uint64_t size)
{
	struct digest empty;

	if (!w->artifact_type)
		return json_pack("{s:s, s:o, s:I}", "mediaType", TYPE_CONFIG, "digest",
				 digest_text(config), "size", (json_int_t)size);
	digest_of(DIGEST_SHA256, EMPTY_TEXT, strlen(EMPTY_TEXT), &empty);
	return json_pack("{s:s, s:o, s:i, s:s}", "mediaType", TYPE_EMPTY, "digest",
			 digest_text(&empty), "size", (int)strlen(EMPTY_TEXT), "data", "e30=");
}

int image_manifest_make(const struct image_wish *w, const struct digest *config,
			uint64_t config_size, const struct buf *base_manifest,
			const struct image_doc_layer *layers, size_t n, struct buf *ret,
			struct error *err)
{
	json_auto_t *root = json_pack("{s:i, s:s}", "schemaVersion", 2, "mediaType", TYPE_MANIFEST);
	json_t *list;
	int r = 0;

	if (root && w->artifact_type)
		json_object_set_new(root, "artifactType", json_string(w->artifact_type));
	if (!root ||
	    json_object_set_new(root, "config", config_descriptor(w, config, config_size)) < 0)
		return no_memory(err);
	list = array_in(root, "layers");
	if (list && base_manifest)
		r = base_layers(list, base_manifest, err);
	for (size_t i = 0; list && r >= 0 && i < n; i++)
		if (json_array_append_new(list, layer_descriptor(&layers[i])) < 0)
			r = no_memory(err);
	if (!list || r < 0)
		return r < 0 ? r : no_memory(err);
	if (w->annotations && *w->annotations) {
		json_t *o = object_in(root, "annotations");

		r = o ? pairs_set(o, w->annotations, "--annotation", true, err) : no_memory(err);
	}
	return r < 0 ? r : text_write(root, ret, err);
}
