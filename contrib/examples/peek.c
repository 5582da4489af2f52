/* SPDX-License-Identifier: MIT */
/*
 * Shows a file of a container image, or lists a directory of it.
 *
 *     cc peek.c $(pkg-config --cflags --libs morsel) -o peek
 *     ./peek docker.io/library/debian:12 /etc/os-release
 */
#include <stdio.h>
#include <sys/stat.h>

#include <morsel.h>

static int show_entry(void *userdata, const char *name, const struct morsel_stat *st)
{
	return printf("%10llu %s\n", (unsigned long long)st->size, name) < 0;
}

static int show_file(struct morsel_image *img, uint64_t ino, struct morsel_error *err)
{
	static char buf[1 << 16];
	uint64_t off = 0;
	size_t n;
	int r;

	while (!(r = morsel_image_read(img, ino, off, buf, sizeof(buf), &n, err)) && n) {
		fwrite(buf, 1, n, stdout);
		off += n;
	}
	return r;
}

int main(int argc, char **argv)
{
	struct morsel_error err = {0, ""};
	struct morsel_options options;
	struct morsel_image *img = NULL;
	struct morsel *m = NULL;
	struct morsel_stat st;
	const char *path = argc > 2 ? argv[2] : "/";
	int r;

	if (argc < 2)
		return fprintf(stderr, "usage: %s REF [PATH]\n", argv[0]), 2;
	morsel_options_init(&options);
	r = morsel_new(&options, &m, &err);
	if (!r)
		r = morsel_image_open(m, argv[1], &img, &err);
	if (!r)
		r = morsel_image_stat(img, path, 0, &st, &err);
	if (!r)
		r = S_ISDIR(st.mode) ? morsel_image_list(img, path, show_entry, NULL, &err)
				     : show_file(img, st.ino, &err);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", argv[0], err.text);
	morsel_image_close(img);
	morsel_free(m);
	return r < 0 ? morsel_exit_code(r) : r;
}
