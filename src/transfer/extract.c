/* SPDX-License-Identifier: MIT */
/*
 * Threads take directories from a stack, deepest first, so that few of them are half made at a
 * time and their files are read in about the order in which layers have them. Small files of one
 * directory are made by one thread, as the kernel locks it anyhow; where contents are large, or far
 * away, others go on with the rest. Hardlinks come when all files are there, attributes of
 * directories when nothing will be made in them any more.
 */
#include "transfer/extract_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define THREADS_LOCAL_MIN 4u
#define THREADS_REMOTE 16u /* the contents are far away: more requests under way */
#define BATCH_LOCAL_BYTES ((uint64_t)4 << 20)
#define BATCH_REMOTE_BYTES ((uint64_t)64 << 10)
#define PROGRESS_NS (100 * NS_PER_MS)

/* ---- failing ---- */

int extract_fail(struct extract *x, int code, const struct error *err)
{
	pthread_mutex_lock(&x->lock);
	if (!x->result) {
		x->result = code;
		x->err = *err;
	}
	atomic_store(&x->stop, true);
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	return code;
}

int extract_fail_at(struct extract *x, int code, uint32_t node, const char *what)
{
	struct error err = ERROR_INIT;
	char path[PATH_LEN_MAX + 1];

	plan_path(&x->plan, node, path);
	error_set_errno(&err, code, "%.300s%s%.300s: %s", x->dest, *path ? "/" : "", path, what);
	return extract_fail(x, code, &err);
}

int extract_stopped(struct extract *x)
{
	struct error err = ERROR_INIT;

	if (atomic_load_explicit(&x->stop, memory_order_relaxed))
		return -ECANCELED;
	if (!x->o->cancel || !atomic_load_explicit(x->o->cancel, memory_order_relaxed))
		return 0;
	error_set(&err, -ECANCELED, "interrupted");
	return extract_fail(x, -ECANCELED, &err);
}

void extract_leave_out(struct extract *x, enum extract_kind kind, uint32_t node)
{
	struct extract_left_out *l = &x->res->left_out[kind];
	char path[PATH_LEN_MAX + 1];

	plan_path(&x->plan, node, path);
	pthread_mutex_lock(&x->lock);
	if (l->n_names < EXTRACT_NAMES_MAX &&
	    (l->names[l->n_names] = strdup(*path ? path : ".")) != NULL)
		l->n_names++;
	l->n++;
	pthread_mutex_unlock(&x->lock);
}

void extract_result_fini(struct extract_result *r)
{
	for (int k = 0; k < EXTRACT_KINDS; k++)
		for (uint32_t i = 0; i < r->left_out[k].n_names; i++)
			free(r->left_out[k].names[i]);
	*r = (struct extract_result){0};
}

/* ---- one directory ---- */

static void todo_push(struct extract *x, uint32_t dir, uint32_t from)
{
	pthread_mutex_lock(&x->lock);
	x->todo[x->n_todo++] = (struct extract_todo){dir, from};
	pthread_cond_signal(&x->changed);
	pthread_mutex_unlock(&x->lock);
}

/* Blocks while there may be more. false: there is none, or something failed. */
static bool todo_pop(struct extract *x, struct extract_todo *ret)
{
	bool some;

	pthread_mutex_lock(&x->lock);
	x->busy--;
	while (!x->n_todo && x->busy && !x->result)
		pthread_cond_wait(&x->changed, &x->lock);
	some = x->n_todo && !x->result;
	if (some) {
		*ret = x->todo[--x->n_todo];
		x->busy++;
	} else
		pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	return some;
}

/* Its directories first, so that other threads find work; in reverse, so that the first is next. */
static int subdirectories_make(struct extract *x, const struct plan_node *dir, int fd)
{
	for (uint32_t i = dir->children + dir->n_children; i-- > dir->children;) {
		const struct plan_node *node = &x->plan.nodes[i];
		char name[NAME_LEN_MAX + 1];

		if (!node->kept || !node->is_dir)
			continue;
		plan_name(&x->plan, i, name);
		if (mkdirat(fd, name, 0700) < 0)
			return extract_fail_at(x, -errno, i, "can't make the directory");
		if (node->n_children)
			todo_push(x, i, 0);
	}
	return 0;
}

/* What is neither a directory nor another name of a file that is made elsewhere. */
static bool is_file(const struct plan *p, uint32_t i)
{
	return p->nodes[i].kept && !p->nodes[i].is_dir && p->nodes[i].first == i;
}

/* The child before which this thread stops. */
static uint32_t batch_end(const struct extract *x, const struct plan_node *dir, uint32_t from)
{
	struct erofs_inode ino;
	uint64_t bytes = 0;

	for (; from < dir->n_children && bytes < x->batch_bytes; from++)
		if (is_file(&x->plan, dir->children + from) &&
		    !erofs_inode_get(x->o->fs, x->plan.nodes[dir->children + from].nid, &ino) &&
		    S_ISREG(ino.mode))
			bytes += ino.size;
	return from;
}

static int directory_fill(struct extract_worker *w, struct extract_todo todo)
{
	struct extract *x = w->x;
	const struct plan_node *dir = &x->plan.nodes[todo.dir];
	uint32_t end = batch_end(x, dir, todo.from);
	char path[PATH_LEN_MAX + 1];
	_cleanup_(closep) int fd = -1;
	int r;

	plan_path(&x->plan, todo.dir, path);
	fd = beneath_open(x->root_fd, path, O_PATH);
	if (fd < 0)
		return extract_fail_at(x, fd, todo.dir, "can't open the directory");
	r = todo.from ? 0 : subdirectories_make(x, dir, fd);
	if (r >= 0 && end < dir->n_children)
		todo_push(x, todo.dir, end);
	for (uint32_t i = dir->children + todo.from; i < dir->children + end && r >= 0; i++) {
		if (!is_file(&x->plan, i))
			continue;
		r = extract_stopped(x);
		if (r >= 0)
			r = extract_node_make(w, i, fd);
	}
	return r;
}

/* ---- threads ---- */

static int worker_init(struct extract_worker *w, struct extract *x)
{
	*w = (struct extract_worker){.x = x,
				     .buf = malloc(EXTRACT_PIECE),
				     .list = malloc(XATTR_INODE_MAX),
				     .value = malloc(XATTR_INODE_MAX)};
	return w->buf && w->list && w->value ? 0 : -ENOMEM;
}

static void worker_fini(struct extract_worker *w)
{
	free(w->buf);
	free(w->list);
	free(w->value);
}

static void thread_ends(struct extract *x)
{
	pthread_mutex_lock(&x->lock);
	x->running--;
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
}

static void *worker_main(void *arg)
{
	struct extract *x = arg;
	struct extract_worker w;
	struct extract_todo todo;

	if (worker_init(&w, x) < 0)
		extract_fail_at(x, -ENOMEM, 0, "can't start a thread");
	while (todo_pop(x, &todo))
		directory_fill(&w, todo);
	worker_fini(&w);
	thread_ends(x);
	return NULL;
}

/* Shows progress until all threads have ended. */
static void threads_wait(struct extract *x)
{
	const struct extract_options *o = x->o;

	pthread_mutex_lock(&x->lock);
	while (x->running) {
		uint64_t at = o->seam->monotonic_ns(o->seam) + PROGRESS_NS;
		struct timespec ts = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};
		struct extract_progress p = {.done_bytes = atomic_load(&x->done_bytes),
					     .total_bytes = x->plan.bytes,
					     .files_done = atomic_load(&x->files_done),
					     .files_total = x->plan.n_kept};

		pthread_cond_clockwait(&x->changed, &x->lock, CLOCK_MONOTONIC, &ts);
		if (o->seam->monotonic_ns(o->seam) < at)
			continue;
		pthread_mutex_unlock(&x->lock);
		if (o->progress && o->progress(o->userdata, &p) && !atomic_load(&x->stop)) {
			struct error err = ERROR_INIT;

			error_set(&err, -ECANCELED, "given up by the caller");
			extract_fail(x, -ECANCELED, &err);
		}
		pthread_mutex_lock(&x->lock);
	}
	pthread_mutex_unlock(&x->lock);
}

static bool is_local(const struct extract *x)
{
	for (uint32_t i = 0; i < x->o->n_layers; i++)
		if (!layer_is_complete(x->o->layers[i]))
			return false;
	return true;
}

static unsigned local_threads(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return (unsigned)max_u64(THREADS_LOCAL_MIN,
				 min_u64(cpus > 0 ? (uint64_t)cpus : 1, THREADS_REMOTE));
}

static int files_make(struct extract *x)
{
	pthread_t threads[THREADS_REMOTE];
	bool local = is_local(x);
	unsigned want = local ? local_threads() : THREADS_REMOTE, n = 0;

	x->batch_bytes = local ? BATCH_LOCAL_BYTES : BATCH_REMOTE_BYTES;
	x->todo[x->n_todo++] = (struct extract_todo){0, 0};
	x->busy = x->running = want; /* todo_pop() gives each one back first */
	while (n < want && thread_start(&threads[n], "morsel-extract", worker_main, x) >= 0)
		n++;
	pthread_mutex_lock(&x->lock);
	x->busy -= want - n;
	x->running -= want - n;
	pthread_cond_broadcast(&x->changed);
	pthread_mutex_unlock(&x->lock);
	if (!n)
		extract_fail_at(x, -EAGAIN, 0, "can't start a thread");
	extract_fetch_start(x);
	threads_wait(x);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	extract_fetch_end(x);
	return x->result;
}

/* ---- what comes after the files ---- */

static int link_make(struct extract *x, struct beneath *from, struct beneath *to, uint32_t i)
{
	struct plan_node *node = &x->plan.nodes[i];
	char path[PATH_LEN_MAX + 1], target[PATH_LEN_MAX + 1];
	const char *name, *target_name;
	int r;

	if (x->plan.nodes[node->first].absent) {
		node->absent = true;
		extract_leave_out(x, EXTRACT_DEVICES, i);
		return 0;
	}
	plan_path(&x->plan, i, path);
	plan_path(&x->plan, node->first, target);
	r = beneath_parent(from, target, &target_name);
	if (r >= 0)
		r = beneath_parent(to, path, &name);
	if (r >= 0 && linkat(from->fd, target_name, to->fd, name, 0) < 0)
		r = -errno;
	return r < 0 ? extract_fail_at(x, r, i, "can't make the link") : 0;
}

static int links_make(struct extract *x)
{
	struct beneath from = BENEATH_INIT(x->root_fd), to = BENEATH_INIT(x->root_fd);
	int r = 0;

	for (uint32_t i = 0; i < x->plan.n && r >= 0; i++) {
		if (!x->plan.nodes[i].kept || x->plan.nodes[i].first == i)
			continue;
		r = extract_stopped(x);
		if (r >= 0)
			r = link_make(x, &from, &to, i);
	}
	beneath_fini(&from);
	beneath_fini(&to);
	return r;
}

/* Deepest first: a directory's mode may keep its owner out. */
static int directories_finish(struct extract *x, int root_fd)
{
	struct extract_worker w;
	int r = worker_init(&w, x);

	if (r < 0)
		extract_fail_at(x, r, 0, "can't set attributes");
	for (uint32_t i = x->plan.n; i-- > 0 && r >= 0;) {
		char path[PATH_LEN_MAX + 1];
		int fd;

		if (!x->plan.nodes[i].kept || !x->plan.nodes[i].is_dir || x->plan.nodes[i].absent)
			continue;
		plan_path(&x->plan, i, path);
		fd = beneath_open(root_fd, path, O_RDONLY);
		if (fd < 0) {
			r = extract_fail_at(x, fd, i, "can't open the directory");
			break;
		}
		r = extract_directory_finish(&w, i, fd);
		close(fd);
	}
	worker_fini(&w);
	return r;
}

static void result_count(struct extract *x)
{
	struct extract_result *res = x->res;

	for (uint32_t i = 0; i < x->plan.n; i++) {
		const struct plan_node *node = &x->plan.nodes[i];
		struct erofs_inode ino;

		if (!node->kept || node->absent)
			continue;
		if (node->is_dir)
			res->directories++;
		else if (!erofs_inode_get(x->o->fs, node->nid, &ino) && S_ISREG(ino.mode))
			res->files++;
		else
			res->others++;
	}
	res->bytes = x->plan.bytes;
	res->cloned_bytes = atomic_load(&x->cloned_bytes);
}

/* ---- all of it ---- */

static int tree_make(struct extract *x, struct place *pl)
{
	struct error err = ERROR_INIT;
	struct stat st;
	int r;

	if (fstat(pl->stage.fd, &st) < 0)
		return extract_fail_at(x, -errno, 0, "can't open the directory");
	x->root_fd = pl->stage.fd;
	x->uid = st.st_uid;
	x->gid = st.st_gid;
	r = files_make(x);
	if (r >= 0)
		r = links_make(x);
	if (r >= 0 && !pl->merge)
		r = directories_finish(x, pl->stage.fd);
	if (r >= 0)
		r = extract_stopped(x);
	if (r < 0)
		return r;
	r = place_commit(pl, &x->plan, &err);
	if (r < 0)
		return extract_fail(x, r, &err);
	stage_clear(&pl->stage);
	return pl->merge ? directories_finish(x, pl->dest_fd) : 0;
}

int extract_run(const struct extract_options *o, const char *dest, struct extract_result *ret,
		struct error *err)
{
	struct extract x = {.o = o, .dest = dest, .res = ret};
	struct place pl = PLACE_INIT(dest);
	int r;

	*ret = (struct extract_result){0};
	r = plan_make(o, &x.plan, err);
	if (r < 0)
		return r;
	x.todo = malloc(((size_t)x.plan.n + 1) * sizeof(*x.todo));
	r = x.todo ? place_open(&pl, dest, o, err) : -ENOMEM;
	if (r >= 0)
		r = place_check_merge(&pl, &x.plan, err);
	if (r >= 0) {
		pthread_mutex_init(&x.lock, NULL);
		pthread_cond_init(&x.changed, NULL);
		r = tree_make(&x, &pl);
		if (r < 0)
			error_set(err, x.result ? x.result : r, "%s", x.err.text);
		pthread_cond_destroy(&x.changed);
		pthread_mutex_destroy(&x.lock);
	}
	place_fini(&pl);
	if (r >= 0)
		result_count(&x);
	free(x.todo);
	plan_fini(&x.plan);
	return x.result ? x.result : r;
}
