/* SPDX-License-Identifier: MIT */
/* morsel ls: the format of ls(1), or JSON; morsel cat. */
#include "cli/cli.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct entry {
	char *name;
	struct morsel_stat st;
};

struct listing {
	struct cli *c;
	struct morsel_image *img;
	json_t *json; /* an array, or NULL: text */
	struct entry *entries;
	size_t n, cap;
	bool first;
};

static void mode_format(uint32_t mode, char out[11])
{
	static const char bits[] = "rwxrwxrwx";
	const struct {
		uint32_t type;
		char letter;
	} types[] = {{S_IFDIR, 'd'}, {S_IFLNK, 'l'}, {S_IFCHR, 'c'},
		     {S_IFBLK, 'b'}, {S_IFIFO, 'p'}, {S_IFSOCK, 's'}};

	out[0] = '-';
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((mode & S_IFMT) == types[i].type)
			out[0] = types[i].letter;
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode & (0400u >> i) ? bits[i] : '-';
	if (mode & S_ISUID)
		out[3] = mode & S_IXUSR ? 's' : 'S';
	if (mode & S_ISGID)
		out[6] = mode & S_IXGRP ? 's' : 'S';
	if (mode & S_ISVTX)
		out[9] = mode & S_IXOTH ? 't' : 'T';
	out[10] = 0;
}

static const char *link_text(struct listing *l, const struct morsel_stat *st, char buf[4096])
{
	struct morsel_error err = {0};

	if (!S_ISLNK(st->mode) || morsel_image_readlink(l->img, st->ino, buf, 4096, &err) < 0)
		return NULL;
	return buf;
}

static void print_long(struct listing *l, const struct morsel_stat *st)
{
	char mode[11], size[24], date[40] = "?";
	time_t t = st->mtime_s;
	struct tm tm;

	mode_format(st->mode, mode);
	if (S_ISCHR(st->mode) || S_ISBLK(st->mode))
		snprintf(size, sizeof(size), "%u, %u", st->rdev_major, st->rdev_minor);
	else if (option_given(l->c, OPT_HUMAN))
		format_size(st->size, size);
	else
		snprintf(size, sizeof(size), "%llu", (unsigned long long)st->size);
	if (gmtime_r(&t, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &tm);
	printf("%s %3u %5u %5u %10s %s ", mode, st->nlink, st->uid, st->gid, size, date);
}

static json_t *json_name(const char *name)
{
	json_t *s = json_string(name); /* NULL when the bytes are not UTF-8 */

	if (!s) { /* then Latin-1, which loses nothing: "path_is_latin1" says so */
		char *wide = malloc(2 * strlen(name) + 1), *p = wide;

		for (const unsigned char *q = (const unsigned char *)name; wide && *q; q++) {
			if (*q < 0x80)
				*p++ = (char)*q;
			else {
				*p++ = (char)(0xc0 | *q >> 6);
				*p++ = (char)(0x80 | (*q & 0x3f));
			}
		}
		if (wide)
			s = json_stringn(wide, (size_t)(p - wide));
		free(wide);
	}
	return s;
}

static void emit_json(struct listing *l, const char *path, const struct morsel_stat *st)
{
	static const char *const types[16] = {
		[1] = "fifo", [2] = "char",	[4] = "dir",	[6] = "block",
		[8] = "reg",  [10] = "symlink", [12] = "socket"};
	const char *type = types[st->mode >> 12 & 15];
	json_t *check = json_string(path);
	char buf[4096];
	const char *link = link_text(l, st, buf);
	json_t *o = json_pack("{s:o, s:s, s:s*, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "path",
			      json_name(path), "type", type ? type : "unknown", "mode", NULL,
			      "size", (json_int_t)st->size, "uid", (json_int_t)st->uid, "gid",
			      (json_int_t)st->gid, "nlink", (json_int_t)st->nlink, "mtime",
			      (json_int_t)st->mtime_s, "mtime_ns", (json_int_t)st->mtime_ns, "ino",
			      (json_int_t)st->ino);

	if (!check)
		json_object_set_new(o, "path_is_latin1", json_true());
	json_decref(check);
	json_object_set_new(o, "mode", json_sprintf("%04o", st->mode & 07777));
	if (link)
		json_object_set_new(o, "link", json_name(link));
	if (S_ISCHR(st->mode) || S_ISBLK(st->mode)) {
		json_object_set_new(o, "rdev_major", json_integer(st->rdev_major));
		json_object_set_new(o, "rdev_minor", json_integer(st->rdev_minor));
	}
	json_array_append_new(l->json, o);
}

static void emit(struct listing *l, const char *path, const char *name,
		 const struct morsel_stat *st)
{
	char buf[4096];
	const char *link;

	if (l->json) {
		emit_json(l, path, st);
		return;
	}
	if (!option_given(l->c, OPT_LONG)) {
		print_name(name, stdout);
		putchar('\n');
		return;
	}
	print_long(l, st);
	print_name(name, stdout);
	link = link_text(l, st, buf);
	if (link) {
		fputs(" -> ", stdout);
		print_name(link, stdout);
	}
	putchar('\n');
}

static int entry_add(void *userdata, const char *name, const struct morsel_stat *st)
{
	struct listing *l = userdata;

	if (l->n == l->cap) {
		size_t cap = l->cap ? 2 * l->cap : 64;
		struct entry *e = reallocarray(l->entries, cap, sizeof(*e));

		if (!e)
			return -ENOMEM;
		l->entries = e;
		l->cap = cap;
	}
	l->entries[l->n].name = strdup(name);
	if (!l->entries[l->n].name)
		return -ENOMEM;
	l->entries[l->n++].st = *st;
	return 0;
}

static char *path_join(const char *dir, const char *name)
{
	char *path;

	if (asprintf(&path, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name) < 0)
		return NULL;
	return path;
}

/* One directory; with -R then those below it. Depth is bounded by the image's own limit (1024). */
static int list_dir(struct listing *parent, const char *path)
{
	struct listing l = *parent;
	int r;

	l.entries = NULL;
	l.n = l.cap = 0;
	r = morsel_image_list(l.img, path, entry_add, &l, &l.c->err);
	if (option_given(l.c, OPT_RECURSIVE) && !l.json && r >= 0) {
		printf("%s%s:\n", parent->first ? "" : "\n", path);
		parent->first = false;
	}
	for (size_t i = 0; i < l.n && r >= 0; i++) {
		char *full = path_join(path, l.entries[i].name);

		if (full)
			emit(&l, full, l.entries[i].name, &l.entries[i].st);
		free(full);
	}
	for (size_t i = 0; i < l.n; i++) {
		if (r >= 0 && option_given(l.c, OPT_RECURSIVE) && S_ISDIR(l.entries[i].st.mode)) {
			char *full = path_join(path, l.entries[i].name);

			r = full ? list_dir(parent, full) : -ENOMEM;
			free(full);
		}
		free(l.entries[i].name);
	}
	free(l.entries);
	return r;
}

static int ls_run(struct cli *c, struct morsel_image *img)
{
	struct listing l = {
		.c = c, .img = img, .first = true, .json = c->json ? json_array() : NULL};
	const char *path = c->n_args > 1 ? c->args[1] : "/";
	unsigned flags = option_given(c, OPT_LONG) ? MORSEL_NOFOLLOW : 0;
	struct morsel_stat st;
	char *absolute = NULL;
	int r;

	if (*path != '/') {
		if (asprintf(&absolute, "/%s", path) < 0)
			return 1;
		path = absolute;
	}
	r = morsel_image_stat(img, path, flags, &st, &c->err);
	if (r >= 0 && S_ISDIR(st.mode))
		r = list_dir(&l, path);
	else if (r >= 0)
		emit(&l, path, c->args[1], &st);
	if (r >= 0 && l.json) {
		json_dumpf(l.json, stdout, JSON_INDENT(2));
		putchar('\n');
	}
	json_decref(l.json);
	free(absolute);
	return r < 0 ? fail(c, r) : output_finish();
}

int cmd_ls(struct cli *c)
{
	struct morsel_image *img;
	struct morsel *m;
	int r = image_new(c, &m, &img);

	if (r)
		return r;
	r = ls_run(c, img);
	morsel_image_close(img);
	context_free(m);
	return r;
}
