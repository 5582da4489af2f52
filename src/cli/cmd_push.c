/* SPDX-License-Identifier: MIT */
/*
 * morsel push: directories as an image, or an image as it is. What is pushed is an image when its
 * name begins like a reference to one on disk or has "docker://" in front; a directory with such a
 * name is "./oci:name".
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

struct pushing {
	struct cli *c;
	struct morsel_push_options o;
	struct morsel_push_layer *layers;
	size_t n;
	char **prefixes; /* owned; as many as layers */
	const char **env, **labels, **annotations, **excludes, **prioritize, **layer_texts;
};

static bool is_image(const char *text)
{
	static const char *const schemes[] = {
		"oci:", "oci-archive:", "docker-archive:", "docker://"};

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (!strncmp(text, schemes[i], strlen(schemes[i])))
			return true;
	return false;
}

/* ---- options ---- */

/* "NAME" alone takes the value of our own environment, and is left out without one. */
static int env_complete(const char **env)
{
	size_t n = 0;

	for (size_t i = 0; env[i]; i++) {
		const char *value = strchr(env[i], '=') ? NULL : getenv(env[i]);
		char *text;

		if (strchr(env[i], '='))
			text = strdup(env[i]);
		else if (!value)
			continue;
		else if (asprintf(&text, "%s=%s", env[i], value) < 0)
			text = NULL;
		if (!text)
			return -ENOMEM;
		env[n++] = text;
	}
	env[n] = NULL;
	return 0;
}

static int number(const struct cli *c, enum option_id id, uint64_t max, uint64_t *ret)
{
	if (!option_given(c, id))
		return 0;
	if (parse_size(c->values[id], ret) < 0 || *ret > max)
		return usage_error(c, "--%s: \"%s\" is not valid (%s)",
				   option_of(c->verb, id)->name, c->values[id],
				   option_of(c->verb, id)->help);
	return 0;
}

static int epoch_read(struct pushing *p)
{
	const char *text = getenv("SOURCE_DATE_EPOCH");
	char *end;

	if (!text || !*text)
		return 0;
	errno = 0;
	p->o.epoch_s = strtoll(text, &end, 10);
	p->o.has_epoch = true;
	if (errno || *end || p->o.epoch_s < 0)
		return usage_error(p->c, "SOURCE_DATE_EPOCH: \"%s\" is not a number of seconds",
				   text);
	return 0;
}

static int options_take(struct pushing *p)
{
	struct cli *c = p->c;
	uint64_t level = 0, chunk = 0, jobs = 0, threads = 0;
	int r = number(c, OPT_LEVEL, 30, &level);

	if (!r)
		r = number(c, OPT_CHUNK_SIZE, UINT32_MAX, &chunk);
	if (!r)
		r = number(c, OPT_JOBS, 64, &jobs);
	if (!r)
		r = number(c, OPT_THREADS, 1024, &threads);
	if (!r)
		r = epoch_read(p);
	p->env = option_all(c, OPT_ENV);
	p->labels = option_all(c, OPT_LABEL);
	p->annotations = option_all(c, OPT_ANNOTATION);
	p->excludes = option_all(c, OPT_EXCLUDE);
	p->prioritize = option_all(c, OPT_PRIORITIZE);
	p->layer_texts = option_all(c, OPT_LAYER);
	if (!p->env || !p->labels || !p->annotations || !p->excludes || !p->prioritize ||
	    !p->layer_texts || env_complete(p->env) < 0)
		return fail(c, -ENOMEM);
	p->o.compression = c->values[OPT_COMPRESSION];
	p->o.level = (int)level;
	p->o.chunk_size = (uint32_t)chunk;
	p->o.base = c->values[OPT_BASE];
	p->o.entrypoint = c->values[OPT_ENTRYPOINT];
	p->o.cmd = c->values[OPT_CMD];
	p->o.env = p->env;
	p->o.labels = p->labels;
	p->o.annotations = p->annotations;
	p->o.workdir = c->values[OPT_WORKDIR];
	p->o.user = c->values[OPT_USER];
	p->o.author = c->values[OPT_AUTHOR];
	p->o.artifact_type = c->values[OPT_ARTIFACT_TYPE];
	p->o.owner = c->values[OPT_OWNER];
	p->o.excludes = p->excludes;
	p->o.ignore_file = c->values[OPT_IGNORE_FILE];
	p->o.prioritize = p->prioritize;
	p->o.allow_changed = option_given(c, OPT_ALLOW_CHANGED);
	p->o.jobs = (unsigned)jobs;
	p->o.threads = (unsigned)threads;
	return r;
}

/* Directories given as arguments, then those of --layer. */
static int layers_take(struct pushing *p)
{
	struct cli *c = p->c;
	size_t n_args = (size_t)c->n_args - 1, n_texts = 0;

	while (p->layer_texts[n_texts])
		n_texts++;
	p->layers = calloc(n_args + n_texts + 1, sizeof(*p->layers));
	p->prefixes = calloc(n_args + n_texts + 1, sizeof(*p->prefixes));
	if (!p->layers || !p->prefixes)
		return fail(c, -ENOMEM);
	for (size_t i = 0; i < n_args; i++) {
		if (is_image(c->args[i]))
			return usage_error(c, "%s: an image is pushed alone", c->args[i]);
		p->layers[p->n++].dir = c->args[i];
	}
	for (size_t i = 0; i < n_texts; i++) {
		const char *eq = strchr(p->layer_texts[i], '=');

		if (!eq || !eq[1])
			return usage_error(c, "--layer: \"%s\" is not PREFIX=DIR",
					   p->layer_texts[i]);
		p->prefixes[p->n] = strndup(p->layer_texts[i], (size_t)(eq - p->layer_texts[i]));
		if (!p->prefixes[p->n])
			return fail(c, -ENOMEM);
		p->layers[p->n].prefix = p->prefixes[p->n];
		p->layers[p->n++].dir = eq + 1;
	}
	return p->n ? 0 : usage_error(c, "usage: morsel push %s", c->verb->usage);
}

static void pushing_fini(struct pushing *p)
{
	for (size_t i = 0; p->env && p->env[i]; i++)
		free((char *)p->env[i]);
	for (size_t i = 0; p->prefixes && i < p->n; i++)
		free(p->prefixes[i]);
	free(p->env);
	free(p->labels);
	free(p->annotations);
	free(p->excludes);
	free(p->prioritize);
	free(p->layer_texts);
	free(p->layers);
	free(p->prefixes);
}

/* ---- the result ---- */

static const char *text_in(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static void size_show(const char *name, const json_t *o, const char *key)
{
	char text[16];

	format_size((uint64_t)json_integer_value(json_object_get(o, key)), text);
	printf("%-10s %s\n", name, text);
}

static void result_show(const json_t *o)
{
	const json_t *l;
	size_t i;
	char size[16], raw[16];

	printf("%-10s %s\n", "reference", text_in(o, "reference"));
	printf("%-10s %s\n", "digest", text_in(o, "digest"));
	json_array_foreach (json_object_get(o, "layers"), i, l) {
		format_size((uint64_t)json_integer_value(json_object_get(l, "size")), size);
		format_size((uint64_t)json_integer_value(json_object_get(l, "uncompressed_size")),
			    raw);
		printf("%-10s %s of %s, %" JSON_INTEGER_FORMAT " files, %s\n", "layer", size, raw,
		       json_integer_value(json_object_get(l, "files")), text_in(l, "digest"));
	}
	size_show("sent", o, "moved_bytes");
	size_show("was there", o, "skipped_bytes");
}

static int digest_write(struct cli *c, const char *digest)
{
	const char *path = c->values[OPT_DIGEST_FILE];
	FILE *f;
	int r = 0;

	if (!path)
		return 0;
	f = fopen(path, "we");
	if (!f || fprintf(f, "%s", digest) < 0)
		r = -errno;
	if (f && fclose(f) && !r)
		r = -errno;
	if (!r)
		return 0;
	snprintf(c->err.text, sizeof(c->err.text),
		 "%s: can't write the digest: %s; the image is pushed", path, strerror(-r));
	return fail(c, r);
}

static int result_tell(struct cli *c, char *json)
{
	json_t *o = json_loads(json, 0, NULL);
	int r = digest_write(c, text_in(o, "digest"));

	if (c->json)
		puts(json);
	else if (c->quiet)
		puts(text_in(o, "digest"));
	else
		result_show(o);
	json_decref(o);
	free(json);
	return output_finish() ? 1 : r;
}

static int push_run(struct pushing *p, bool image)
{
	struct cli *c = p->c;
	const char *to = c->args[c->n_args - 1];
	struct morsel *m;
	char *json;
	int r = context_new(c, &m);

	if (r)
		return r;
	r = image ? morsel_push_image(m, c->args[0], to, &p->o, &json, &c->err)
		  : morsel_push(m, p->layers, p->n, to, &p->o, &json, &c->err);
	progress_stop(c);
	r = r < 0 ? fail(c, r) : result_tell(c, json);
	morsel_free(m);
	return r;
}

int cmd_push(struct cli *c)
{
	struct pushing p = {.c = c};
	bool image = c->n_args == 2 && is_image(c->args[0]);
	int r;

	morsel_push_options_init(&p.o);
	r = options_take(&p);
	if (!r && !(image && !p.layer_texts[0]))
		r = layers_take(&p);
	if (!r)
		r = push_run(&p, image);
	pushing_fini(&p);
	return r;
}
