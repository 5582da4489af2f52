/* SPDX-License-Identifier: MIT */
/*
 * morsel push: directories as an image, or an image as it is. What is pushed is an image when its
 * name begins like a reference to one on disk or has "docker://" in front; a directory with such a
 * name is "./oci:name".
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct pushing {
	struct cli *c;
	struct morsel_push_options o;
	struct morsel_push_layer *layers;
	size_t n;
	char **prefixes; /* owned; as many as layers */
	const char **env, **labels, **annotations, **excludes, **prioritize, **layer_texts;
	int digest_fd;	  /* --digest-file; -1 */
	bool digest_made; /* by us, and without a digest in it */
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

enum { LEVEL, CHUNK_SIZE, JOBS, THREADS, N_RANGES };

static const struct range {
	enum option_id id;
	uint64_t min, max;
	const char *text;
} ranges[N_RANGES] = {
	[LEVEL] = {OPT_LEVEL, 1, 19, "1 to 12 for gzip, 1 to 19 for zstd"},
	[CHUNK_SIZE] = {OPT_CHUNK_SIZE, 4 << 10, 8 << 20, "4K to 8M"},
	[JOBS] = {OPT_JOBS, 1, 64, "1 to 64"},
	[THREADS] = {OPT_THREADS, 1, 1024, "1 to 1024"},
};

/* ret: as many as ranges; 0 is what was not given. */
static int numbers_read(const struct cli *c, uint64_t ret[static N_RANGES])
{
	for (size_t i = 0; i < N_RANGES; i++) {
		const struct range *r = &ranges[i];

		ret[i] = 0;
		if (option_given(c, r->id) && (parse_size(c->values[r->id], &ret[i]) < 0 ||
					       ret[i] < r->min || ret[i] > r->max))
			return option_refuse(c, (int)r->id, r->text);
	}
	return 0;
}

/* What is copied can't be changed on the way. A variable may stand for other pushes, and says
 * nothing here. */
static int copy_check(const struct cli *c)
{
	static const enum option_id making[] = {
		OPT_COMPRESSION, OPT_LEVEL,   OPT_CHUNK_SIZE,	 OPT_BASE,	    OPT_ENTRYPOINT,
		OPT_CMD,	 OPT_ENV,     OPT_WORKDIR,	 OPT_USER,	    OPT_LABEL,
		OPT_ANNOTATION,	 OPT_AUTHOR,  OPT_ARTIFACT_TYPE, OPT_OWNER,	    OPT_EXCLUDE,
		OPT_IGNORE_FILE, OPT_THREADS, OPT_PRIORITIZE,	 OPT_ALLOW_CHANGED, OPT_PLATFORM};

	for (size_t i = 0; i < c->n_given; i++)
		for (size_t k = 0; k < sizeof(making) / sizeof(making[0]); k++)
			if (c->given[i].id == (int)making[k])
				return usage_error(c,
						   "%s is copied as it is, with all its platforms: "
						   "--%s is for directories",
						   c->args[0],
						   option_of(c->verb, c->given[i].id)->name);
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
	uint64_t numbers[N_RANGES] = {0};
	int r = numbers_read(c, numbers);

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
	p->o.level = (int)numbers[LEVEL];
	p->o.chunk_size = (uint32_t)numbers[CHUNK_SIZE];
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
	p->o.jobs = (unsigned)numbers[JOBS];
	p->o.threads = (unsigned)numbers[THREADS];
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

/* Before anything is sent: what can't be opened ends the push, with no tag moved. A file that is
 * there keeps what it says until the end. */
static int digest_open(struct pushing *p)
{
	const char *path = p->c->values[OPT_DIGEST_FILE];
	int flags = O_WRONLY | O_CLOEXEC | O_NOCTTY, r;

	if (!path)
		return 0;
	p->digest_fd = open(path, flags | O_CREAT | O_EXCL, 0666);
	p->digest_made = p->digest_fd >= 0;
	if (p->digest_fd < 0 && errno == EEXIST)
		p->digest_fd = open(path, flags | O_CREAT, 0666);
	if (p->digest_fd >= 0)
		return 0;
	r = -errno;
	snprintf(p->c->err.text, sizeof(p->c->err.text), "--digest-file: %s: %s; nothing was sent",
		 path, strerror(-r));
	return fail(p->c, r);
}

static int digest_write(struct pushing *p, const char *digest)
{
	ssize_t n = (ssize_t)strlen(digest);
	int r;

	if (p->digest_fd < 0)
		return 0;
	errno = ENOSPC;
	if (write(p->digest_fd, digest, (size_t)n) == n) {
		p->digest_made = false;				    /* it stays */
		if (!ftruncate(p->digest_fd, n) || errno == EINVAL) /* EINVAL: not a file */
			return 0;
	}
	r = -errno;
	snprintf(p->c->err.text, sizeof(p->c->err.text),
		 "--digest-file: %s: can't write the digest: %s; the image is pushed",
		 p->c->values[OPT_DIGEST_FILE], strerror(-r));
	return fail(p->c, r);
}

static void digest_close(struct pushing *p)
{
	if (p->digest_fd >= 0)
		close(p->digest_fd);
	if (p->digest_made)
		unlink(p->c->values[OPT_DIGEST_FILE]);
}

static int result_tell(struct pushing *p, char *json)
{
	struct cli *c = p->c;
	json_t *o = json_loads(json, 0, NULL);
	int r = digest_write(p, text_in(o, "digest"));

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
	int r = digest_open(p);

	if (!r)
		r = context_new(c, &m);
	if (r)
		return r;
	r = image ? morsel_push_image(m, c->args[0], to, &p->o, &json, &c->err)
		  : morsel_push(m, p->layers, p->n, to, &p->o, &json, &c->err);
	progress_stop(c);
	r = r < 0 ? fail(c, r) : result_tell(p, json);
	context_free(m);
	return r;
}

int cmd_push(struct cli *c)
{
	struct pushing p = {.c = c, .digest_fd = -1};
	bool image = c->n_args == 2 && is_image(c->args[0]);
	int r;

	morsel_push_options_init(&p.o);
	r = options_take(&p);
	if (!r)
		r = image && !p.layer_texts[0] ? copy_check(c) : layers_take(&p);
	if (!r)
		r = push_run(&p, image);
	digest_close(&p);
	pushing_fini(&p);
	return r;
}
