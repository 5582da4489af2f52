/* SPDX-License-Identifier: MIT */
/*
 * Reads again what a trace says was read. Each process of the trace is a thread here and reads in
 * the order recorded, as fast as it can; it begins when as much has been read as had been when it
 * began then. Since those that began earlier never wait for one that began later, all come to their
 * end, also with fewer threads than processes. The kernel is told not to read ahead: it did that
 * when the trace was made, and the reads are those that it made of it.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "lib/context.h"
#include "lib/file_read.h"
#include "prof/access_read.h"

#define THREADS_MAX 64
#define PIECE_BYTES ((size_t)256 << 10)

struct replayed { /* one process */
	uint32_t *reads;
	size_t n;
	int64_t start_ns;
	uint64_t needs; /* reads that were done when it began */
};

struct replay {
	struct access_log log;
	struct replayed *processes; /* by their start */
	size_t n;
	uint32_t *order; /* all reads, grouped by process */
	int root;
	pthread_mutex_t lock; /* all below */
	pthread_cond_t news;
	size_t next;
	uint64_t done, failed;
	struct error err; /* the first */
};

static void replay_fini(struct replay *rp)
{
	access_log_fini(&rp->log);
	free(rp->processes);
	free(rp->order);
	closep(&rp->root);
}

/* ---- the plan ---- */

static int by_time(const void *a, const void *b, void *userdata)
{
	const struct access_read *reads = userdata;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;
	int64_t x = reads[i].time_ns, y = reads[j].time_ns;

	return x != y ? (x > y) - (x < y) : (i > j) - (i < j);
}

static int by_process(const void *a, const void *b, void *userdata)
{
	const struct access_read *reads = userdata;
	uint32_t x = reads[*(const uint32_t *)a].process, y = reads[*(const uint32_t *)b].process;

	return x != y ? (x > y) - (x < y) : by_time(a, b, userdata);
}

static int by_start(const void *a, const void *b)
{
	int64_t x = ((const struct replayed *)a)->start_ns;
	int64_t y = ((const struct replayed *)b)->start_ns;

	return (x > y) - (x < y);
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void processes_find(struct replay *rp)
{
	const struct access_read *reads = rp->log.reads;

	for (size_t i = 0; i < rp->log.n_reads; i++) {
		const struct access_read *rd = &reads[rp->order[i]];

		if (!i || rd->process != reads[rp->order[i - 1]].process)
			rp->processes[rp->n++] =
				(struct replayed){.reads = &rp->order[i], .start_ns = rd->time_ns};
		rp->processes[rp->n - 1].n++;
	}
	qsort(rp->processes, rp->n, sizeof(*rp->processes), by_start);
}

/* ends: sorted, as the processes are by their start. */
static void needs_find(struct replay *rp, const int64_t *ends)
{
	size_t done = 0;

	for (size_t i = 0; i < rp->n; i++) {
		while (done < rp->log.n_reads && ends[done] < rp->processes[i].start_ns)
			done++;
		rp->processes[i].needs = done;
	}
}

static int plan(struct replay *rp)
{
	size_t n = rp->log.n_reads;
	_cleanup_(freep) int64_t *ends = calloc(n + 1, sizeof(*ends));

	rp->order = calloc(n + 1, sizeof(*rp->order));
	rp->processes = calloc(n + 1, sizeof(*rp->processes));
	if (!ends || !rp->order || !rp->processes)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		const struct access_read *rd = &rp->log.reads[i];
		uint64_t took = min_u64(rd->duration_ns, UINT64_C(1) << 57);

		rp->order[i] = (uint32_t)i;
		ends[i] = rd->time_ns + (int64_t)took;
	}
	qsort_r(rp->order, n, sizeof(*rp->order), by_process, rp->log.reads);
	qsort(ends, n, sizeof(*ends), by_value);
	processes_find(rp);
	needs_find(rp, ends);
	return 0;
}

/* ---- reading ---- */

/* Nothing but a file of this mount: a trace may come from anybody. */
static int file_open(int root, const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
			       .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS |
					  RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV};
	_cleanup_(closep) int fd = -1;
	struct stat st;

	path += strspn(path, "/");
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	return steal_fd(&fd);
}

static int range_read(int fd, uint64_t off, uint64_t n, void *buf)
{
	while (n) {
		ssize_t r = pread(fd, buf, min_u64(n, PIECE_BYTES), (off_t)off);

		if (r < 0)
			return -errno;
		if (!r)
			return 0;
		off += (uint64_t)r;
		n -= (uint64_t)r;
	}
	return 0;
}

static void read_done(struct replay *rp, const char *path, int r)
{
	pthread_mutex_lock(&rp->lock);
	rp->done++;
	if (r < 0 && !rp->failed++)
		error_set_errno(&rp->err, r, "%s: can't read it again", path);
	pthread_cond_broadcast(&rp->news);
	pthread_mutex_unlock(&rp->lock);
}

static void path_text(const struct replay *rp, uint32_t id, char ret[static PATH_MAX])
{
	size_t n;
	const char *bytes = intern_get(&rp->log.paths, id, &n);

	n = min_u64(n, PATH_MAX - 1);
	memcpy(ret, bytes, n);
	ret[n] = 0;
}

static void process_replay(struct replay *rp, const struct replayed *p, void *buf)
{
	_cleanup_(closep) int fd = -1;
	uint32_t open_path = UINT32_MAX;
	char path[PATH_MAX] = "";

	for (size_t i = 0; i < p->n; i++) {
		const struct access_read *rd = &rp->log.reads[p->reads[i]];

		if (rd->path != open_path) {
			path_text(rp, rd->path, path);
			closep(&fd);
			fd = file_open(rp->root, path);
			open_path = rd->path;
		}
		read_done(rp, path, fd < 0 ? fd : range_read(fd, rd->offset, rd->length, buf));
	}
}

static void *replay_thread(void *userdata)
{
	struct replay *rp = userdata;
	_cleanup_(freep) void *buf = malloc(PIECE_BYTES);

	pthread_mutex_lock(&rp->lock);
	while (buf && rp->next < rp->n) {
		const struct replayed *p = &rp->processes[rp->next++];

		while (rp->done < p->needs)
			pthread_cond_wait(&rp->news, &rp->lock);
		pthread_mutex_unlock(&rp->lock);
		process_replay(rp, p, buf);
		pthread_mutex_lock(&rp->lock);
	}
	pthread_mutex_unlock(&rp->lock);
	return NULL;
}

static int replay_run(struct replay *rp, struct error *err)
{
	pthread_t threads[THREADS_MAX];
	size_t n = 0;

	while (n < min_u64(rp->n, THREADS_MAX) &&
	       !pthread_create(&threads[n], NULL, replay_thread, rp))
		n++;
	for (size_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	if (rp->next < rp->n)
		return -ENOMEM;
	if (!rp->failed)
		return 0;
	return error_set(err, rp->err.code, "%s (%llu of %llu reads failed)", rp->err.text,
			 (unsigned long long)rp->failed, (unsigned long long)rp->log.n_reads);
}

static int replay(struct replay *rp, const char *file, const char *dir, struct error *err)
{
	_cleanup_(buf_fini) struct buf b = BUF_INIT_MAX(FILE_READ_MAX);
	int r = file_read(file, &b, err);

	if (r >= 0)
		r = access_log_parse(&rp->log, b.data, b.len, file, err);
	if (r >= 0 && !rp->log.n_reads)
		r = error_set(err, -EINVAL, "%s: there are no reads in it", file);
	if (r < 0 || !dir)
		return r;
	rp->root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (rp->root < 0)
		return error_set_errno(err, -errno, "%s", dir);
	r = plan(rp);
	return r < 0 ? r : replay_run(rp, err);
}

int morsel_replay(const char *file, const char *dir, struct morsel_error *ret_err)
{
	struct replay rp = {
		.root = -1, .lock = PTHREAD_MUTEX_INITIALIZER, .news = PTHREAD_COND_INITIALIZER};
	struct error err = ERROR_INIT;
	int r = replay(&rp, file, dir, &err);

	replay_fini(&rp);
	return error_publish(r, &err, ret_err);
}
