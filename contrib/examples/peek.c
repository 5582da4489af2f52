/* SPDX-License-Identifier: MIT */
/* Shows a file of a container image, or lists a directory: ./peek debian:12 /etc/os-release
 * Built by: cc peek.c $(pkg-config --cflags --libs morsel) -o peek */
#include <stdio.h>
#include <sys/stat.h>

#include <morsel.h>

static int show(void *userdata, const char *name, const struct morsel_stat *st)
{
	return printf("%10llu %s\n", (unsigned long long)st->size, name) < 0;
}

int main(int argc, char **argv)
{
	static char buf[1 << 16];
	const char *ref = argc > 1 ? argv[1] : "", *path = argc > 2 ? argv[2] : "/";
	struct morsel_error err = {0, ""};
	struct morsel_options options;
	struct morsel_image *img = NULL;
	struct morsel *m = NULL;
	struct morsel_stat st;
	size_t n = 1;

	morsel_options_init(&options);
	int r = morsel_new(&options, &m, &err);
	r = r ? r : morsel_image_open(m, ref, &img, &err);
	r = r ? r : morsel_image_stat(img, path, 0, &st, &err);
	if (!r && S_ISDIR(st.mode))
		r = morsel_image_list(img, path, show, NULL, &err);
	for (uint64_t off = 0; !r && !S_ISDIR(st.mode) && n; off += n)
		if (!(r = morsel_image_read(img, st.ino, off, buf, sizeof(buf), &n, &err)))
			r = fwrite(buf, 1, n, stdout) != n;
	if (r < 0)
		fprintf(stderr, "%s: %s\n", argv[0], err.text);
	morsel_image_close(img);
	morsel_free(m);
	return r < 0 ? morsel_exit_code(r) : r || fflush(stdout);
}
