/* SPDX-License-Identifier: MIT */
/*
 * Records through the library.
 *	profiled attach DIR KINDS MS OUT [chrome]	the server of a mount; on SIGINT it has been
 *enough profiled own REF KINDS OUT PATH...		this process, which reads these files of an
 *image KINDS is a number, of enum morsel_profile_kind. Files get the names OUT/KIND.SUFFIX. Prints
 *what went wrong; exit code as morsel's then.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <morsel.h>

static const char *out;
static volatile sig_atomic_t enough;

static void on_signal(int sig)
{
	(void)sig;
	enough = 1;
}

static bool is_enough(void *userdata)
{
	(void)userdata;
	return enough;
}

static int file_write(void *userdata, const char *kind, const char *suffix, const void *data,
		      size_t n)
{
	char path[4096];
	FILE *f;

	(void)userdata;
	snprintf(path, sizeof(path), "%s/%s%s", out, kind, suffix);
	f = fopen(path, "wb");
	if (!f || fwrite(data, 1, n, f) != n || fclose(f))
		return -5;
	return 0;
}

static int fail(int r, const struct morsel_error *err)
{
	if (r < 0)
		fprintf(stderr, "profiled: %s\n", err->text);
	return r < 0 ? morsel_exit_code(r) : r;
}

static int own(char **args, int n, struct morsel_profile_options *po)
{
	struct morsel_error err = {0, ""};
	struct morsel_options o;
	struct morsel_profile *p;
	struct morsel_image *img;
	struct morsel_stat st;
	struct morsel *m;
	static char buf[1 << 20];
	size_t got = 1;
	int r;

	morsel_options_init(&o);
	r = morsel_new(&o, &m, &err);
	if (r >= 0)
		r = morsel_profile_start(po, &p, &err);
	if (r >= 0 && morsel_profile_start(po, &p, NULL) != -16) /* -EBUSY: one at a time */
		return 99;
	if (r >= 0)
		r = morsel_image_open(m, args[0], &img, &err);
	if (r < 0)
		return fail(r, &err);
	r = morsel_profile_image(p, img, &err);
	for (int i = 1; i < n && r >= 0; i++) {
		r = morsel_image_stat(img, args[i], 0, &st, &err);
		for (uint64_t off = 0; r >= 0 && got; off += got)
			r = morsel_image_read(img, st.ino, off, buf, sizeof(buf), &got, &err);
		got = 1;
	}
	if (r >= 0)
		r = morsel_profile_stop(p, &err);
	morsel_image_close(img);
	morsel_free(m);
	return fail(r, &err);
}

int main(int argc, char **argv)
{
	struct morsel_profile_options o;
	struct morsel_error err = {0, ""};

	morsel_profile_options_init(&o);
	o.file = file_write;
	o.stop = is_enough;
	if (argc >= 6 && !strcmp(argv[1], "attach")) {
		signal(SIGINT, on_signal);
		o.kinds = (unsigned)atoi(argv[3]);
		o.chrome_trace = argc > 6;
		out = argv[5];
		return fail(morsel_mount_profile(argv[2], &o, strtoull(argv[4], NULL, 10) * 1000000,
						 &err),
			    &err);
	}
	if (argc < 6 || strcmp(argv[1], "own"))
		return 2;
	o.kinds = (unsigned)atoi(argv[3]);
	out = argv[4];
	argv[4] = argv[2];
	return own(argv + 4, argc - 4, &o);
}
