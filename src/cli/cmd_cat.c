/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE (1u << 20)

static int write_all(const char *p, size_t n)
{
	while (n) {
		ssize_t w = write(1, p, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

static int not_a_file(const char *path, uint32_t mode)
{
	fputs("morsel: ", stderr);
	print_name(path, stderr);
	fputs(S_ISDIR(mode) ? ": is a directory\n" : ": not a regular file\n", stderr);
	return 1;
}

struct cat {
	struct cli *c;
	struct morsel_image *img;
	char *buf;
	struct morsel_progress progress; /* of all files */
	bool tell;			 /* it: on a terminal the files themselves do */
	bool full;			 /* stdout takes no more */
};

static int piece_write(struct cat *cat, size_t n)
{
	int r = write_all(cat->buf, n);

	if (r >= 0) {
		cat->progress.done_bytes += n;
		return 0;
	}
	cat->full = true;
	progress_stop(cat->c);
	if (r != -EPIPE)
		fprintf(stderr, "morsel: can't write to stdout: %s\n", strerror(-r));
	return 1;
}

/* Exit code of this file. */
static int cat_file(struct cat *cat, const char *path)
{
	struct cli *c = cat->c;
	struct morsel_stat st;
	uint64_t off = 0;
	size_t n = 1;
	int r = morsel_image_stat(cat->img, path, 0, &st, &c->err);

	if (r >= 0 && !S_ISREG(st.mode)) {
		progress_stop(c);
		return not_a_file(path, st.mode);
	}
	if (r >= 0)
		cat->progress.total_bytes += st.size;
	for (; r >= 0 && n; off += n) {
		if (cat->tell)
			progress_show(c, &cat->progress);
		r = morsel_image_read(cat->img, st.ino, off, cat->buf, PIECE, &n, &c->err);
		if (r >= 0 && piece_write(cat, n))
			return 1;
	}
	cat->progress.layers_done++;
	return r < 0 ? fail(c, r) : 0;
}

int cmd_cat(struct cli *c)
{
	struct cat cat = {.c = c, .buf = malloc(PIECE), .tell = !isatty(1)};
	struct morsel *m;
	int r, code;

	if (!cat.buf)
		return 1;
	r = image_new(c, &m, &cat.img);
	if (r) {
		free(cat.buf);
		return r;
	}
	cat.progress.phase = "read";
	cat.progress.layers_total = (uint32_t)c->n_args - 1;
	for (int i = 1; i < c->n_args && !cat.full && !morsel_cancelled(m); i++) {
		c->err = (struct morsel_error){0};
		code = cat_file(&cat, c->args[i]);
		r = r ? r : code; /* as cat(1): the others all the same */
	}
	progress_stop(c);
	morsel_image_close(cat.img);
	context_free(m);
	free(cat.buf);
	return r;
}
