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

/* Exit code of this file; *ret_go_on: false when stdout takes no more. */
static int cat_file(struct cli *c, struct morsel_image *img, const char *path, char *buf,
		    bool *ret_go_on)
{
	struct morsel_stat st;
	uint64_t off = 0;
	size_t n = 1;
	int r = morsel_image_stat(img, path, 0, &st, &c->err);

	if (r >= 0 && !S_ISREG(st.mode))
		return not_a_file(path, st.mode);
	while (r >= 0 && n) {
		r = morsel_image_read(img, st.ino, off, buf, PIECE, &n, &c->err);
		if (r < 0)
			break;
		r = write_all(buf, n);
		if (r < 0 && r != -EPIPE)
			fprintf(stderr, "morsel: can't write to stdout: %s\n", strerror(-r));
		if (r < 0) {
			*ret_go_on = false;
			return 1;
		}
		off += n;
	}
	return r < 0 ? fail(c, r) : 0;
}

int cmd_cat(struct cli *c)
{
	char *buf = malloc(PIECE);
	struct morsel_image *img;
	struct morsel *m;
	bool go_on = true;
	int r, code;

	if (!buf)
		return 1;
	r = image_new(c, &m, &img);
	if (r) {
		free(buf);
		return r;
	}
	for (int i = 1; i < c->n_args && go_on && !morsel_cancelled(m); i++) {
		c->err = (struct morsel_error){0};
		code = cat_file(c, img, c->args[i], buf, &go_on);
		r = r ? r : code; /* as cat(1): the others all the same */
	}
	morsel_image_close(img);
	morsel_free(m);
	free(buf);
	return r;
}
