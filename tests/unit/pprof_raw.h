/* SPDX-License-Identifier: MIT */
/*
 * A profile as `go tool pprof -raw` understands it: what tests judge our profiles by. Debian's
 * golang-go; a test without it skips.
 */
#ifndef MORSEL_TESTS_PPROF_RAW_H
#define MORSEL_TESTS_PPROF_RAW_H

#include <ctype.h>
#include <stdio.h>
#include <sys/wait.h>
#include "base/buf.h"

#define RAW_MAX_VALUES 8

/* Sanitizers hold signals back and stand between callers: what is measured under them means little.
 */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RAW_TRUTH false
#else
#define RAW_TRUTH true
#endif

struct raw_sample {
	int64_t values[RAW_MAX_VALUES];
	char *stack; /* function names, leaf first, each followed by a newline; an address by itself
		      */
	char *labels; /* "key:[value] key:[value]", sorted by key, strings before numbers */
};

struct raw {
	char *head; /* all lines before "Samples:" */
	char *tail; /* the table of locations and mappings */
	char **types;
	struct raw_sample *samples;
	size_t n_types, n_samples;
};

/* What `go tool pprof ARGS FILE` prints for these bytes; the caller frees. */
static inline char *pprof_run(const char *args, const struct buf *profile)
{
	_cleanup_(buf_fini) struct buf out = BUF_INIT;
	char name[] = "/tmp/morsel-test-XXXXXX", cmd[1024], chunk[4096];
	int fd;
	size_t n;
	FILE *f;

	if (system("PATH=/usr/lib/go/bin:$PATH go version >/dev/null 2>&1"))
		skip();
	fd = mkstemp(name);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, profile->data, profile->len), profile->len);
	close(fd);
	snprintf(cmd, sizeof(cmd),
		 "PATH=/usr/lib/go/bin:$PATH PPROF_TMPDIR=/tmp PPROF_BINARY_PATH=/nonexistent "
		 "go tool pprof %s %s 2>&1",
		 args, name);
	f = popen(cmd, "r");
	assert_non_null(f);
	while ((n = fread(chunk, 1, sizeof(chunk), f)))
		assert_int_equal(buf_append(&out, chunk, n), 0);
	n = (size_t)pclose(f);
	unlink(name);
	if (n)
		fail_msg("%s: %s", cmd, buf_str(&out));
	assert_non_null(buf_str(&out));
	return (char *)steal_ptr(out.data);
}

static inline char *raw_join(char *a, const char *b, const char *sep)
{
	char *s;

	assert_true(asprintf(&s, "%s%s%s", a ? a : "", a ? sep : "", b) >= 0);
	free(a);
	return s;
}

/* "     1: 0x0 M=1 name file:1:0 s=0" and, for each further line of it, "             name
 * file:..." */
static inline char **raw_locations(char *text, size_t *ret_n)
{
	char **names = NULL, *save = NULL;
	size_t n = 0, id = 0;

	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		unsigned long address = 0;
		char *at, *name;
		int skip = 0;

		if (sscanf(l, " %zu: %lx %n", &id, &address, &skip) == 2) {
			at = l + skip;
			if (sscanf(at, "M=%*u %n", &skip) == 0 && !strncmp(at, "M=", 2))
				at = strchr(at, ' ') ? strchr(at, ' ') + 1 : at + strlen(at);
		} else {
			for (at = l; *at == ' '; at++)
				;
		}
		while (*at == ' ')
			at++;
		if (n <= id) {
			names = realloc(names, (id + 1) * sizeof(*names));
			memset(names + n, 0, (id + 1 - n) * sizeof(*names));
			n = id + 1;
		}
		name = strdup(at);
		if (strrchr(name, ' ') && strstr(name, " s="))
			*strstr(name, " s=") = 0;
		if (strrchr(name, ' ')) /* the file */
			*strrchr(name, ' ') = 0;
		if (!*name) {
			free(name);
			assert_true(asprintf(&name, "0x%lx", address) > 0);
		}
		names[id] = raw_join(names[id], name, "\n");
		free(name);
	}
	*ret_n = n;
	return names;
}

static inline void raw_sample_line(struct raw *r, char *l, char **names, size_t n_names)
{
	struct raw_sample *s;
	size_t n = 0;

	if (strspn(l, " ") >= 16) { /* labels of the last one */
		assert_true(r->n_samples > 0);
		s = &r->samples[r->n_samples - 1];
		l += strspn(l, " ");
		for (char *end = l + strlen(l); end > l && end[-1] == ' '; end--)
			end[-1] = 0;
		s->labels = raw_join(s->labels, l, " ");
		return;
	}
	r->samples = realloc(r->samples, (r->n_samples + 1) * sizeof(*r->samples));
	s = &r->samples[r->n_samples++];
	*s = (struct raw_sample){0};
	while (*l && *l != ':') {
		assert_true(n < r->n_types);
		s->values[n++] = strtoll(l, &l, 10);
	}
	assert_int_equal(n, r->n_types);
	s->stack = strdup("");
	for (l++; *l;) {
		size_t id = strtoull(l, &l, 10);

		while (*l == ' ')
			l++;
		if (!id)
			break;
		assert_true(id < n_names && names[id]);
		s->stack = raw_join(s->stack, names[id], "");
		s->stack = raw_join(s->stack, "", "\n");
	}
}

static inline void raw_types(struct raw *r, char *line)
{
	char *save = NULL;

	for (char *t = strtok_r(line, " ", &save); t; t = strtok_r(NULL, " ", &save)) {
		r->types = realloc(r->types, (r->n_types + 1) * sizeof(char *));
		r->types[r->n_types++] = strdup(t);
	}
	assert_true(r->n_types <= RAW_MAX_VALUES);
}

static inline struct raw raw_read(const struct buf *profile)
{
	_cleanup_(freep) char *text = pprof_run("-symbolize=none -raw", profile);
	char *samples = strstr(text, "Samples:\n"), *locations = strstr(text, "\nLocations\n"),
	     *save = NULL;
	char *mappings = strstr(text, "\nMappings\n"), *l, **names;
	struct raw r = {0};
	size_t n_names;

	if (!samples || !locations || !mappings)
		fail_msg("unexpected: %s", text);
	r.tail = strdup(locations + 1);
	*samples = *locations = *mappings = 0;
	r.head = strdup(text);
	names = raw_locations(locations + strlen("\nLocations\n"), &n_names);
	l = strtok_r(samples + strlen("Samples:\n"), "\n", &save);
	assert_non_null(l);
	raw_types(&r, l);
	while ((l = strtok_r(NULL, "\n", &save)))
		raw_sample_line(&r, l, names, n_names);
	for (size_t i = 0; i < n_names; i++)
		free(names[i]);
	free(names);
	return r;
}

static inline void raw_free(struct raw *r)
{
	for (size_t i = 0; i < r->n_samples; i++) {
		free(r->samples[i].stack);
		free(r->samples[i].labels);
	}
	for (size_t i = 0; i < r->n_types; i++)
		free(r->types[i]);
	free(r->types);
	free(r->samples);
	free(r->head);
	free(r->tail);
}

/* The sum of a value over samples whose stack holds this function, and whose labels hold this text;
 * NULL: any. */
static inline int64_t raw_sum(const struct raw *r, size_t value, const char *function,
			      const char *label)
{
	_cleanup_(freep) char *line = NULL;
	int64_t sum = 0;

	assert_true(value < r->n_types);
	assert_true(asprintf(&line, "\n%s\n", function ? function : "") >= 0);
	for (size_t i = 0; i < r->n_samples; i++) {
		const struct raw_sample *s = &r->samples[i];
		size_t n = function ? strlen(function) : 0;

		if (label && !(s->labels && strstr(s->labels, label)))
			continue;
		if (!function || strstr(s->stack, line) ||
		    (!strncmp(s->stack, function, n) && s->stack[n] == '\n'))
			sum += s->values[value];
	}
	return sum;
}

#endif
