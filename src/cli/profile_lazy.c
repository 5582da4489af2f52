/* SPDX-License-Identifier: MIT */
/* One iteration that mounts: opened, mounted by a thread of ours, read by the other process. */
#include "cli/profile.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct mounting {
	struct morsel_image *img;
	char dir[PATH_MAX + 16];
	bool prefetch;
	int news_fd; /* readable: it answers, or it is over */
	_Atomic bool answers;
	int r;
	struct morsel_error err;
	pthread_t thread;
};

static double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void mount_ready(void *userdata)
{
	struct mounting *mo = userdata;

	mo->answers = true;
	eventfd_write(mo->news_fd, 1);
}

static void *mount_main(void *userdata)
{
	struct mounting *mo = userdata;
	struct morsel_mount_options o;

	morsel_mount_options_init(&o);
	o.no_signals = true;
	o.prefetch = mo->prefetch ? MORSEL_PREFETCH_LANDMARK | MORSEL_PREFETCH_ORDER |
					    MORSEL_PREFETCH_ALL
				  : MORSEL_PREFETCH_NONE;
	o.ready = mount_ready;
	o.userdata = mo;
	mo->r = morsel_mount(mo->img, mo->dir, &o, &mo->err);
	eventfd_write(mo->news_fd, 1);
	return NULL;
}

static int mount_begin(struct mounting *mo)
{
	struct pollfd pfd;
	int r;

	mo->news_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mo->news_fd < 0 || (mkdir(mo->dir, 0700) < 0 && errno != EEXIST))
		return -errno;
	r = -pthread_create(&mo->thread, NULL, mount_main, mo);
	if (r < 0)
		return r;
	pfd = (struct pollfd){.fd = mo->news_fd, .events = POLLIN};
	while (poll(&pfd, 1, -1) < 0 && errno == EINTR)
		;
	if (mo->answers)
		return 0;
	pthread_join(mo->thread, NULL);
	return mo->r < 0 ? mo->r : -ECANCELED;
}

static void mount_end(struct mounting *mo)
{
	struct morsel_error err;

	if (morsel_umount(mo->dir, false, &err) == -EBUSY)
		morsel_umount(mo->dir, true, &err);
	pthread_join(mo->thread, NULL);
}

/* What the server counted. */
static void counters_take(struct mounting *mo, struct iteration *it)
{
	struct morsel_error err;
	char *json;
	json_t *o;

	if (morsel_mount_stat(mo->dir, &json, &err) < 0)
		return;
	o = json_loads(json, 0, NULL);
	it->wanted = (uint64_t)json_integer_value(json_object_get(o, "reads"));
	it->had = (uint64_t)json_integer_value(json_object_get(o, "hits"));
	it->moved_bytes = (uint64_t)json_integer_value(json_object_get(o, "bytes_fetched"));
	json_decref(o);
	free(json);
}

/* 0, or an exit code after having said what was wrong: the workload's own, where there is one. */
static int result_judge(struct run *run, int r, const struct load_result *res)
{
	struct cli *c = run->c;

	if (r == -ECANCELED)
		return run_failed(run, "reading from", r);
	if (r < 0) {
		snprintf(c->err.text, sizeof(c->err.text), "the process that reads is gone: %s",
			 strerror(-r));
		return fail(c, r);
	}
	if (res->text[0]) {
		fprintf(stderr, "morsel: %s\n", res->text);
		return WIFEXITED(res->status) && WEXITSTATUS(res->status) ? WEXITSTATUS(res->status)
									  : 1;
	}
	if (WIFSIGNALED(res->status)) {
		fprintf(stderr, "morsel: %s: killed by signal %d (%s)\n", run->load.command[0],
			WTERMSIG(res->status), strsignal(WTERMSIG(res->status)));
		return 128 + WTERMSIG(res->status);
	}
	if (WEXITSTATUS(res->status))
		fprintf(stderr, "morsel: %s: ended with exit code %d\n", run->load.command[0],
			WEXITSTATUS(res->status));
	return WEXITSTATUS(res->status);
}

static int mounted_read(struct run *run, struct mounting *mo, struct iteration *it)
{
	struct load_result res;
	double start = now_s();
	int r = load_run(&run->load, mo->dir, run->end_fd, &res);

	it->load_s = now_s() - start;
	counters_take(mo, it);
	return result_judge(run, r, &res);
}

static int image_read(struct run *run, struct mounting *mo, struct iteration *it, double start)
{
	struct cli *c = run->c;
	int r = run->profile ? morsel_profile_image(run->profile, mo->img, &c->err) : 0;

	if (r >= 0)
		r = mount_begin(mo);
	if (r < 0) {
		if (mo->r < 0)
			c->err = mo->err;
		return run_failed(run, "mounting", r);
	}
	it->ready_s = now_s() - start;
	r = mounted_read(run, mo, it);
	it->seconds = now_s() - start;
	if (it->number == run->repeat || r)
		run_recorded_end(run);
	mount_end(mo);
	if (!r && mo->r < 0 && mo->r != -ECANCELED) {
		c->err = mo->err;
		r = run_failed(run, "mounting", mo->r);
	}
	return r;
}

int run_lazy(struct run *run, struct iteration *it)
{
	struct mounting mo = {.prefetch = run->prefetch, .news_fd = -1};
	double start = now_s();
	int r = morsel_image_open(run->m, run_reference(run), &mo.img, &run->c->err);

	if (r < 0)
		return run_failed(run, "opening", r);
	run_know(run, morsel_image_digest(mo.img));
	snprintf(mo.dir, sizeof(mo.dir), "%s/mnt", run->temporary);
	r = image_read(run, &mo, it, start);
	if (mo.news_fd >= 0)
		close(mo.news_fd);
	morsel_image_close(mo.img);
	return r;
}
