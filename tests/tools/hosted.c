/* SPDX-License-Identifier: MIT */
/*
 * A program that mounts through the library and lives on: what only a host with threads of its own
 * can try. usage: hosted REF DIR FILE. Prints what went wrong; exit code 1 then.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <morsel.h>

struct server {
	struct morsel_image *img;
	const char *dir;
	sem_t ready;
	int result;
	struct morsel_error err;
};

#define MUST(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			printf("line %d: not so: %s\n", __LINE__, #x);                             \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

static int give_up(void *userdata, const struct morsel_progress *p)
{
	(void)p;
	return *(const int *)userdata;
}

static void post(void *userdata)
{
	sem_post((sem_t *)userdata);
}

static void *serve(void *arg)
{
	struct server *s = (struct server *)arg;
	struct morsel_mount_options o;

	morsel_mount_options_init(&o);
	o.no_signals = true;
	o.ready = post;
	o.userdata = &s->ready;
	s->result = morsel_mount(s->img, s->dir, &o, &s->err);
	sem_post(&s->ready);
	return NULL;
}

static pthread_t start(struct server *s, const char *file)
{
	char path[4096], byte;
	pthread_t t;
	FILE *f;

	sem_init(&s->ready, 0, 0);
	MUST(!pthread_create(&t, NULL, serve, s));
	sem_wait(&s->ready);
	snprintf(path, sizeof(path), "%s/%s", s->dir, file);
	f = fopen(path, "rb");
	MUST(f && fread(&byte, 1, 1, f) == 1);
	fclose(f);
	return t;
}

static int ignore(void *userdata, const char *name, const struct morsel_stat *st)
{
	(void)userdata, (void)name, (void)st;
	return 0;
}

static void strange_arguments(struct morsel_image *img, const char *ref, struct morsel *m)
{
	static const uint64_t none[] = {0, ~UINT64_C(0), UINT64_C(1) << 40};
	struct morsel_error err;
	struct morsel_stat st;
	char buf[16];
	size_t n;

	for (int i = 0; i < 3; i++) {
		err.code = 0;
		MUST(morsel_image_read(img, none[i], 0, buf, sizeof(buf), &n, &err) == -EINVAL);
		MUST(strstr(err.text, "is not in ") && strstr(err.text, ref));
		MUST(morsel_image_readlink(img, none[i], buf, sizeof(buf), NULL) == -EINVAL);
	}
	MUST(morsel_image_stat(img, "", 0x80, &st, NULL) == -EINVAL);
	MUST(morsel_image_stat(img, "", MORSEL_NOFOLLOW, &st, NULL) == 0);
	MUST(morsel_image_read(img, st.ino, 0, buf, sizeof(buf), &n, NULL) == -EISDIR);
	MUST(morsel_pull_layout(m, ref, "/nowhere/x", 0x80, NULL, NULL) == -EINVAL);
}

static void cancelled(struct morsel *m, struct morsel_image *img, const char *file)
{
	struct morsel_stat st;
	uint64_t freed;
	char *json;

	MUST(morsel_image_stat(img, file, 0, &st, NULL) == -ECANCELED);
	MUST(morsel_image_list(img, "", ignore, NULL, NULL) == -ECANCELED);
	MUST(morsel_cache_info(m, &json, NULL) == -ECANCELED);
	MUST(morsel_cache_list(m, &json, NULL) == -ECANCELED);
	MUST(morsel_cache_verify(m, &json, NULL) == -ECANCELED);
	MUST(morsel_cache_prune(m, 0, &freed, NULL) == -ECANCELED);
	MUST(morsel_cache_clear(m, &freed, NULL) == -ECANCELED);
}

int main(int argc, char **argv)
{
	struct morsel_error err = {0, ""};
	struct morsel_options o;
	struct server s;
	struct morsel *m;
	pthread_t t;
	time_t begin;
	int unwanted = 1;

	MUST(argc == 4);
	memset(&s, 0, sizeof(s));
	s.dir = argv[2];
	morsel_options_init(&o);
	o.progress = give_up;
	o.userdata = &unwanted;
	MUST(!morsel_new(&o, &m, &err));
	MUST(morsel_image_open(m, argv[1], &s.img, &err) == -ECANCELED && err.text[0]);
	unwanted = 0;
	MUST(!morsel_image_open(m, argv[1], &s.img, &err));

	t = start(&s, argv[3]);
	begin = time(NULL);
	MUST(!morsel_umount(s.dir, false, &err));
	pthread_join(t, NULL);
	MUST(s.result == 0);
	MUST(time(NULL) - begin < 4);
	MUST(morsel_umount(s.dir, false, NULL) == -ENOENT);

	strange_arguments(s.img, argv[1], m);
	t = start(&s, argv[3]);
	morsel_cancel(m);
	pthread_join(t, NULL);
	MUST(s.result == -ECANCELED);
	MUST(morsel_umount(s.dir, false, NULL) == -ENOENT);
	cancelled(m, s.img, argv[3]);
	morsel_image_close(s.img);
	MUST(morsel_image_open(m, argv[1], &s.img, NULL) == -ECANCELED);
	morsel_free(m);
	return 0;
}
