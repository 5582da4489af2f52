/* SPDX-License-Identifier: MIT */
#include "transfer/layer_order.h"

#include <errno.h>
#include <fcntl.h>

#include "base/json.h"
#include "prof/pprof_read.h"

#define LINE_MAX_BYTES (64u << 10)
#define FEED_BYTES (256u << 10)

static int path_add(struct layer_order *o, const char *path, size_t n)
{
	_cleanup_(freep) char *copy = NULL;
	int r;

	if (n && memchr(path, 0, n))
		return -EBADMSG;
	o->named += n > 0;
	if (!n || names_get(&o->seen, path, n))
		return 0;
	if (o->n >= ORDER_PATHS_MAX)
		return -E2BIG;
	if (o->n == o->cap) {
		size_t cap = o->cap ? 2 * o->cap : 64;
		char **more = reallocarray(o->paths, cap, sizeof(*more));

		if (!more)
			return -ENOMEM;
		o->paths = more;
		o->cap = cap;
	}
	copy = strndup(path, n);
	if (!copy)
		return -ENOMEM;
	r = names_add(&o->seen, path, n, "");
	if (r >= 0)
		o->paths[o->n++] = steal_ptr(copy);
	return r;
}

/* ---- lines ---- */

static int hex_path_add(struct layer_order *o, const char *hex)
{
	_cleanup_(buf_fini) struct buf path = BUF_INIT;

	for (; hex[0] && hex[1]; hex += 2) {
		char pair[3] = {hex[0], hex[1]}, *end;
		uint8_t byte = (uint8_t)strtoul(pair, &end, 16);

		if (*end || buf_append(&path, &byte, 1) < 0)
			return *end ? -EBADMSG : -ENOMEM;
	}
	return *hex ? -EBADMSG : path_add(o, (const char *)path.data, path.len);
}

/* What is not UTF-8 stands in the trace twice: to be read, and exactly. */
static int access_add(struct layer_order *o, const char *text, size_t n, const char *what,
		      struct error *err)
{
	const char *path = NULL, *hex = NULL;
	json_t *object = NULL;
	int r = json_parse(text, n, LINE_MAX_BYTES, what, &object, NULL); /* our words are better */

	if (r >= 0)
		r = json_get_string(object, "path_hex", what, &hex, err);
	if (r == JSON_ABSENT)
		r = json_get_string(object, "path", what, &path, err);
	if (r >= 0)
		r = hex ? hex_path_add(o, hex) : path ? path_add(o, path, strlen(path)) : 0;
	json_decref(object);
	return r;
}

int layer_order_line(struct layer_order *o, const char *text, size_t n, const char *what,
		     uint64_t line, struct error *err)
{
	int r = n && *text == '{' ? access_add(o, text, n, what, err) : path_add(o, text, n);

	if (r == -E2BIG)
		return error_set(err, r, "%s has more than %u paths", what, ORDER_PATHS_MAX);
	if (r == -EBADMSG)
		return error_set(err, r, "%s: line %llu is no path, nor a read of a trace", what,
				 (unsigned long long)line);
	return r;
}

/* Takes the complete lines out of the buffer; at the end of the file also the last. */
static int lines_take(struct layer_order *o, struct buf *b, bool end, const char *what,
		      uint64_t *line, struct error *err)
{
	char *at = (char *)b->data, *stop = at + b->len;
	int r = 0;

	while (at < stop && r >= 0) {
		char *newline = memchr(at, '\n', (size_t)(stop - at));

		if (!newline && !end)
			break;
		if (!newline)
			newline = stop;
		++*line;
		r = layer_order_line(o, at, (size_t)(newline - at), what, *line, err);
		at = newline + (newline < stop);
	}
	b->len = (size_t)(stop - at);
	if (b->len && at != (char *)b->data)
		memmove(b->data, at, b->len);
	if (r >= 0 && b->len > LINE_MAX_BYTES)
		r = error_set(err, -EBADMSG, "%s: line %llu has more than %u bytes", what,
			      (unsigned long long)*line + 1, LINE_MAX_BYTES);
	return r;
}

/* ---- profiles ---- */

static bool is_access(const struct profile *p)
{
	for (size_t i = 0; i < p->n_types; i++)
		if (!strcmp(p->types[i].type, "opens"))
			return true;
	return false;
}

/* Path components as frames, the root last: "env" "bin/" "usr/" "/". Other rows begin otherwise. */
static int profile_add(struct layer_order *o, const struct buf *file, const char *what,
		       struct error *err)
{
	_cleanup_(buf_fini) struct buf path = BUF_INIT;
	struct profile p = {0};
	int r = profile_read(file->data, file->len, what, &p, err);

	if (r >= 0 && !is_access(&p))
		r = error_set(err, -EBADMSG,
			      "%s is a profile of \"%.100s\", not of accesses (access_*.pprof)",
			      what, p.types[p.default_type].type);
	for (size_t i = 0; i < p.n_stacks && r >= 0; i++) {
		const struct profile_stack *s = &p.stacks[i];

		path.len = 0;
		for (size_t k = s->n; k > 0 && r >= 0; k--)
			r = buf_append_str(&path, p.names[p.frames[s->first + k - 1]]);
		if (r >= 0 && path.len && path.data[0] == '/')
			r = path_add(o, (const char *)path.data, path.len);
	}
	profile_fini(&p);
	if (r == -E2BIG)
		return error_set(err, r, "%s has more than %u paths", what, ORDER_PATHS_MAX);
	return r;
}

/* ---- the file ---- */

static bool is_gzip(const struct buf *b)
{
	return b->len >= 2 && b->data[0] == 0x1f && b->data[1] == 0x8b;
}

/* Not by offset: it may be a pipe. */
static ssize_t read_some(int fd, struct buf *b)
{
	ssize_t n = buf_reserve(b, FEED_BYTES);

	if (n < 0)
		return n;
	do
		n = read(fd, b->data + b->len, FEED_BYTES);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	b->len += (size_t)n;
	return n;
}

static int file_take(struct layer_order *o, int fd, const char *file, bool *ret_empty,
		     struct error *err)
{
	_cleanup_(buf_fini) struct buf b = BUF_INIT_MAX(PROFILE_BYTES_MAX);
	uint64_t line = 0;

	for (;;) {
		ssize_t n = read_some(fd, &b);
		int r = 0;

		if (n < 0)
			return error_set_errno(err, n == -E2BIG ? -E2BIG : -EINVAL, "can't read %s",
					       file);
		*ret_empty = *ret_empty && !n;
		if (!is_gzip(&b) || line)
			r = lines_take(o, &b, !n, file, &line, err);
		else if (!n)
			return profile_add(o, &b, file, err);
		if (r < 0 || !n)
			return r;
	}
}

int layer_order_read(struct layer_order *o, const char *file, struct error *err)
{
	_cleanup_(closep) int fd = open(file, O_RDONLY | O_CLOEXEC);
	uint64_t before = o->named;
	bool empty = true;
	int r;

	if (fd < 0)
		return error_set_errno(err, errno == ENOENT || errno == EACCES ? -errno : -EINVAL,
				       "can't read %s", file);
	r = file_take(o, fd, file, &empty, err);
	if (r >= 0 && !empty && o->named == before)
		r = error_set(
			err, -EBADMSG,
			"%s names no file: what is wanted is a list of paths, access_*.jsonl or "
			"access_*.pprof",
			file);
	return r;
}

void layer_order_fini(struct layer_order *o)
{
	for (size_t i = 0; i < o->n; i++)
		free(o->paths[i]);
	free(o->paths);
	names_fini(&o->seen);
	*o = LAYER_ORDER_INIT;
}
