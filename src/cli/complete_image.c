/* SPDX-License-Identifier: MIT */
/*
 * What completes references and paths of images. Paths and references are those that the cache
 * knows: a key pressed must not start a download. Tags are also asked for at the registry, once a
 * repository and its ":" are there, without a word when that fails: what takes longer than
 * PATIENCE_MS is given up.
 *
 * A credential helper may be asked on the way and think that it sits before a human: it has neither
 * the terminal nor a display to ask him on.
 */
#include "cli/complete.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define PATIENCE_MS 1300
#define LEAVE_MS 200

static struct morsel *_Atomic impatient_context; /* NULL: what had to be said was said */

/* The second time even what can't be cancelled, a name server that is waited for, is left alone. */
static void on_alarm(int sig)
{
	if (!impatient_context)
		_exit(0);
	morsel_cancel(impatient_context);
	impatient_context = NULL;
}

/* After that time, and every LEAVE_MS from then on; 0: never. */
static void patience_set(suseconds_t ms)
{
	struct itimerval t = {.it_value = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000},
			      .it_interval = {.tv_usec = LEAVE_MS * 1000}};

	setitimer(ITIMER_REAL, &t, NULL);
}

static void terminal_leave(void)
{
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);

	if (tty >= 0) {
		ioctl(tty, TIOCNOTTY);
		close(tty);
	}
	unsetenv("GPG_TTY");
	unsetenv("DISPLAY");
	unsetenv("WAYLAND_DISPLAY");
}

/* The context that the options so far ask for; the reference is among what they leave. */
static struct morsel *quiet_context(const struct completion *k, bool dials)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct cli *c = k->c;
	char *last = k->words[k->n - 1];
	struct morsel *m;
	int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC), r;

	if (null_fd < 0 || dup2(null_fd, 2) < 0)
		return NULL;
	close(null_fd);
	c->verb = k->verb;
	morsel_options_init(&c->options);
	k->words[k->n - 1] = NULL;
	r = options_read(c, k->n - 1, k->words);
	k->words[k->n - 1] = last;
	if (r)
		return NULL;
	c->options.offline |= !dials || c->options.pull == MORSEL_PULL_NEVER;
	if (!c->options.offline)
		terminal_leave();
	if (morsel_new(&c->options, &m, NULL) < 0)
		return NULL;
	impatient_context = m;
	sigaction(SIGALRM, &sa, NULL);
	patience_set(PATIENCE_MS);
	return m;
}

static void context_done(struct morsel *m)
{
	fflush(stdout);
	impatient_context = NULL;
	patience_set(LEAVE_MS);
	morsel_free(m);
	patience_set(0);
}

/* ---- references ---- */

/* Where the tag's ":" is, or would be. */
static size_t repository_length(const char *ref)
{
	const char *slash = strrchr(ref, '/'), *name = slash ? slash + 1 : ref;

	return (size_t)(name - ref) + strcspn(name, ":@");
}

/* As an object: each once. whole: with their tags and digests. */
static json_t *known_refs(struct morsel *m, bool whole)
{
	json_t *found = json_object(), *o, *it;
	char *text;
	size_t i;

	if (morsel_cache_list(m, &text, NULL) < 0)
		return found;
	o = json_loads(text, 0, NULL);
	free(text);
	json_array_foreach (json_object_get(o, "items"), i, it) {
		const char *kind = json_string_value(json_object_get(it, "kind"));
		const char *name = json_string_value(json_object_get(it, "name"));
		char *ref = kind && name && !strcmp(kind, "ref") ? strdup(name) : NULL;

		if (ref && !whole)
			ref[repository_length(ref)] = 0;
		if (ref)
			json_object_set_new(found, ref, json_true());
		free(ref);
	}
	json_decref(o);
	return found;
}

static void offer_keys(const struct completion *k, json_t *names)
{
	const char *name;
	json_t *value;

	json_object_foreach (names, name, value)
		offer(k, "", name, "", NULL);
	fflush(stdout);
}

/* "localhost:50" is the beginning of a host and not of somebody's tag 50. */
static bool may_be_host(const char *word, size_t n)
{
	return !strchr(word, '/') &&
	       (memchr(word, '.', n) || *word == '[' || (n == 9 && !memcmp(word, "localhost", n)));
}

/* Those of the repository, layout or archive that the first n bytes of the word name. */
static void offer_tags(const struct completion *k, struct morsel *m, size_t n, json_t *known)
{
	char *repo = strndup(k->word, n), **tags;

	if (repo && !morsel_tags(m, repo, &tags, NULL)) {
		patience_set(0);
		for (char **t = tags; *t; t++) {
			char *ref;

			if (asprintf(&ref, "%s:%s", repo, *t) >= 0) {
				if (!json_object_get(known, ref))
					offer(k, "", ref, "", NULL);
				free(ref);
			}
			free(*t);
		}
		free(tags);
	}
	free(repo);
}

/* An image in a file or directory, and its name there. */
static void offer_local(const struct completion *k, const char *scheme, bool dirs_only)
{
	size_t skip = strlen(scheme), n = skip + repository_length(k->word + skip);
	struct morsel *m = NULL;

	offer_files(k, scheme, dirs_only);
	if (k->word[n] == ':')
		m = quiet_context(k, false);
	if (!m)
		return;
	offer_tags(k, m, n, NULL);
	context_done(m);
}

void offer_refs(const struct completion *k, bool repositories)
{
	static const char *const schemes[] = {"oci:", "docker-archive:", "oci-archive:"};
	size_t n = repository_length(k->word);
	bool open = false;
	struct morsel *m;
	json_t *known;

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (!strncmp(k->word, schemes[i], strlen(schemes[i]))) {
			offer_local(k, schemes[i], i == 0);
			return;
		}
		offer(k, "", schemes[i], "", NULL);
		open = open || !strncmp(k->word, schemes[i], strlen(k->word));
	}
	if (open)
		puts(":nospace");
	m = quiet_context(k, true);
	if (!m)
		return;
	known = known_refs(m, !repositories || k->word[n] == ':');
	offer_keys(k, known);
	if (n && k->word[n] == ':' && !may_be_host(k->word, n) && !k->c->options.offline)
		offer_tags(k, m, n, known);
	json_decref(known);
	context_done(m);
}

/* ---- paths ---- */

struct path_offer {
	const struct completion *k;
	const char *dir; /* as it was written, with its slash */
	bool open;
};

static int offer_path(void *userdata, const char *name, const struct morsel_stat *st)
{
	struct path_offer *p = userdata;
	size_t n = strlen(p->dir);

	offer(p->k, p->dir, name, S_ISDIR(st->mode) ? "/" : "", NULL);
	p->open = p->open ||
		  (S_ISDIR(st->mode) && !strncmp(name, p->k->word + n, strlen(p->k->word + n)));
	return 0;
}

void offer_paths(const struct completion *k)
{
	const char *slash = strrchr(k->word, '/');
	char *dir = slash ? strndup(k->word, (size_t)(slash - k->word) + 1) : strdup("");
	struct path_offer p = {.k = k, .dir = dir};
	struct morsel *m = quiet_context(k, false);
	struct morsel_image *img;

	if (m && dir && k->c->n_args && !morsel_image_open(m, k->c->args[0], &img, NULL)) {
		morsel_image_list(img, dir, offer_path, &p, NULL);
		morsel_image_close(img);
	}
	if (p.open)
		puts(":nospace");
	if (m)
		context_done(m);
	free(dir);
}
