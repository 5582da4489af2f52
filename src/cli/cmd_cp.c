/* SPDX-License-Identifier: MIT */
#include "cli/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- failing ---- */

static void text_clean(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

int copy_fail_image(struct copy *cp, int code, const struct morsel_error *err)
{
	pthread_mutex_lock(&cp->lock);
	if (!cp->result) {
		cp->result = code;
		cp->c->err = *err;
		if (code == -ECANCELED)
			snprintf(cp->c->err.text, sizeof(cp->c->err.text), "interrupted");
	}
	pthread_mutex_unlock(&cp->lock);
	return code;
}

int copy_fail(struct copy *cp, int code, const char *path, const char *what)
{
	struct morsel_error err = {.code = code};

	snprintf(err.text, sizeof(err.text), "%.300s%s%.300s: %s: %s", cp->dest, *path ? "/" : "",
		 path, what, strerror(-code));
	text_clean(err.text);
	return copy_fail_image(cp, code, &err);
}

static bool is_stopped(struct copy *cp)
{
	bool stopped;

	if (morsel_cancelled(cp->m))
		copy_fail_image(cp, -ECANCELED, &(struct morsel_error){.code = -ECANCELED});
	pthread_mutex_lock(&cp->lock);
	stopped = cp->result < 0;
	pthread_mutex_unlock(&cp->lock);
	return stopped;
}

/* ---- the plan ---- */

static int node_add(struct copy *cp, char *path, const struct morsel_stat *st)
{
	if (cp->n == cp->cap) {
		size_t cap = cp->cap ? 2 * cp->cap : 256;
		struct copy_node *more = reallocarray(cp->nodes, cap, sizeof(*more));

		if (!more) {
			free(path);
			return -ENOMEM;
		}
		cp->nodes = more;
		cp->cap = cap;
	}
	cp->nodes[cp->n] = (struct copy_node){.path = path, .st = *st, .first = cp->n};
	cp->n++;
	return 0;
}

struct children {
	struct copy *cp;
	const char *path; /* of the directory at the destination */
};

static int child_add(void *userdata, const char *name, const struct morsel_stat *st)
{
	struct children *ch = userdata;
	char *path;

	if (asprintf(&path, "%s%s%s", ch->path, *ch->path ? "/" : "", name) < 0)
		return -ENOMEM;
	return node_add(ch->cp, path, st);
}

/* Adds what is below the nodes from start on, generation by generation. from: the image's path of
 * the first, whose path at the destination has len bytes. */
static int tree_plan(struct copy *cp, const char *from, size_t start, size_t len)
{
	for (size_t i = start; i < cp->n; i++) {
		struct children ch = {.cp = cp};
		char *path, *at;
		int r;

		if (!S_ISDIR(cp->nodes[i].st.mode))
			continue;
		ch.path = cp->nodes[i].path; /* on the heap of its own: the array may move */
		at = cp->nodes[i].path + len;
		if (asprintf(&path, "%s/%s", from, at + strspn(at, "/")) < 0)
			return -ENOMEM;
		r = morsel_image_list(cp->img, path, child_add, &ch, &cp->c->err);
		free(path);
		if (r < 0)
			return r;
	}
	return 0;
}

static int by_inode(const void *a, const void *b, void *nodes)
{
	size_t i = *(const size_t *)a, j = *(const size_t *)b;
	const struct copy_node *x = (const struct copy_node *)nodes + i;
	const struct copy_node *y = (const struct copy_node *)nodes + j;

	if (x->st.ino != y->st.ino)
		return x->st.ino < y->st.ino ? -1 : 1;
	return i < j ? -1 : i > j;
}

/* Finds the names that share an inode, of everything that is copied. */
static int links_plan(struct copy *cp)
{
	size_t *order = malloc((cp->n + 1) * sizeof(*order)), n = 0;

	if (!order)
		return -ENOMEM;
	for (size_t i = 0; i < cp->n; i++)
		if (!S_ISDIR(cp->nodes[i].st.mode) && cp->nodes[i].st.nlink > 1)
			order[n++] = i;
	qsort_r(order, n, sizeof(*order), by_inode, cp->nodes);
	for (size_t i = 1; i < n; i++)
		if (cp->nodes[order[i]].st.ino == cp->nodes[order[i - 1]].st.ino)
			cp->nodes[order[i]].first = cp->nodes[order[i - 1]].first;
	free(order);
	for (size_t i = 0; i < cp->n; i++)
		if (S_ISREG(cp->nodes[i].st.mode) && cp->nodes[i].first == i)
			cp->total_bytes += cp->nodes[i].st.size;
	return 0;
}

/* The last component, without slashes behind it; "" where that is the directory itself. */
static char *base_name(const char *path)
{
	size_t end = strlen(path), start;

	while (end && path[end - 1] == '/')
		end--;
	for (start = end; start && path[start - 1] != '/';)
		start--;
	if ((end - start == 1 && path[start] == '.') ||
	    (end - start == 2 && !memcmp(path + start, "..", 2)))
		start = end;
	return strndup(path + start, end - start);
}

static int path_plan(struct copy *cp, const char *path, const char *as)
{
	struct morsel_stat st;
	char *name = as ? strdup(as) : base_name(path);
	size_t start = cp->n;
	int r = name ? morsel_image_stat(cp->img, path, 0, &st, &cp->c->err) : -ENOMEM;

	for (size_t i = 0; i < start && r >= 0; i++)
		if (!strchr(cp->nodes[i].path, '/') &&
		    (!*cp->nodes[i].path || !*name || !strcmp(cp->nodes[i].path, name))) {
			snprintf(cp->c->err.text, sizeof(cp->c->err.text),
				 "%.300s: another path is copied to %.200s/%.200s already", path,
				 cp->dest, name);
			text_clean(cp->c->err.text);
			r = -EINVAL;
		}
	if (r < 0) {
		free(name);
		return r;
	}
	r = node_add(cp, name, &st);
	return r < 0 ? r : tree_plan(cp, path, start, strlen(cp->nodes[start].path));
}

/* ---- the work ---- */

static void *copy_thread(void *arg)
{
	struct copy *cp = arg;
	struct copy_parent parent = COPY_PARENT_INIT;
	char *buf = malloc(COPY_PIECE);
	size_t i;

	if (!buf)
		copy_fail(cp, -ENOMEM, "", "can't copy");
	while (buf && (i = atomic_fetch_add(&cp->next, 1)) < cp->n) {
		struct copy_node *node = &cp->nodes[i];

		if (S_ISDIR(node->st.mode) || node->first != i)
			continue;
		if (is_stopped(cp) || copy_file(cp, &parent, node, buf) < 0)
			break;
	}
	free(buf);
	copy_parent_fini(&parent);
	pthread_mutex_lock(&cp->lock);
	cp->running--;
	pthread_cond_signal(&cp->ended);
	pthread_mutex_unlock(&cp->lock);
	return NULL;
}

static void progress_show(struct copy *cp)
{
	struct morsel_progress p = {.phase = "copy",
				    .done_bytes = atomic_load(&cp->done_bytes),
				    .total_bytes = cp->total_bytes,
				    .layers_done = (uint32_t)atomic_load(&cp->files_done),
				    .layers_total = (uint32_t)cp->n};

	if (cp->c->options.progress)
		cp->c->options.progress(cp->c, &p);
}

static void files_make(struct copy *cp)
{
	pthread_t threads[COPY_THREADS];
	unsigned n = 0;

	for (; n < COPY_THREADS && n < cp->n; n++) {
		pthread_mutex_lock(&cp->lock);
		cp->running++;
		pthread_mutex_unlock(&cp->lock);
		if (!pthread_create(&threads[n], NULL, copy_thread, cp))
			continue;
		pthread_mutex_lock(&cp->lock);
		cp->running--;
		pthread_mutex_unlock(&cp->lock);
		if (!n)
			copy_fail(cp, -EAGAIN, "", "can't start a thread");
		break;
	}
	pthread_mutex_lock(&cp->lock);
	while (cp->running) {
		struct timespec ts;

		clock_gettime(CLOCK_MONOTONIC, &ts);
		ts.tv_nsec += 100000000;
		ts.tv_sec += ts.tv_nsec / 1000000000;
		ts.tv_nsec %= 1000000000;
		pthread_cond_clockwait(&cp->ended, &cp->lock, CLOCK_MONOTONIC, &ts);
		pthread_mutex_unlock(&cp->lock);
		progress_show(cp);
		pthread_mutex_lock(&cp->lock);
	}
	pthread_mutex_unlock(&cp->lock);
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

static int copy_all(struct copy *cp)
{
	struct copy_parent parent = COPY_PARENT_INIT;

	for (size_t i = 0; i < cp->n && !is_stopped(cp); i++)
		if (S_ISDIR(cp->nodes[i].st.mode))
			copy_directory_make(cp, &parent, &cp->nodes[i]);
	if (!is_stopped(cp))
		files_make(cp);
	for (size_t i = 0; i < cp->n && !is_stopped(cp); i++)
		if (cp->nodes[i].first != i)
			copy_link(cp, &parent, &cp->nodes[i]);
	/* deepest first; also after a failure, so that no directory keeps a mode of our own */
	for (size_t i = cp->n; i-- > 0;)
		if (S_ISDIR(cp->nodes[i].st.mode) && cp->nodes[i].made)
			copy_directory_finish(cp, &parent, &cp->nodes[i]);
	copy_parent_fini(&parent);
	progress_clear(cp->c);
	if (cp->devices && !cp->c->quiet) {
		text_clean(cp->device_names);
		fprintf(stderr,
			"morsel: warning: %zu device%s left out, making them needs root: %s\n",
			cp->devices, cp->devices == 1 ? "" : "s", cp->device_names);
	}
	return cp->result;
}

/* ---- the destination ---- */

/* DEST is a directory, or the new name of the only path. *ret_as: that name, owned, or NULL. */
static int dest_open(struct copy *cp, int n_paths, char **ret_as)
{
	char *dir, *slash, *end;

	*ret_as = NULL;
	cp->dest_fd = open(cp->dest, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cp->dest_fd >= 0)
		return 0;
	if (errno != ENOENT && errno != ENOTDIR)
		return copy_fail(cp, -errno, "", "can't open the directory");
	if (n_paths > 1) {
		struct morsel_error err = {.code = -EINVAL};

		snprintf(err.text, sizeof(err.text),
			 "%.300s: not a directory, which several files need", cp->dest);
		text_clean(err.text);
		return copy_fail_image(cp, -EINVAL, &err);
	}
	dir = cp->dest_dir = strdup(cp->dest);
	if (!dir)
		return -ENOMEM;
	for (end = dir + strlen(dir); end > dir + 1 && end[-1] == '/';)
		*--end = 0;
	slash = strrchr(dir, '/');
	*ret_as = strdup(slash ? slash + 1 : dir);
	if (slash)
		slash[slash == dir] = 0;
	cp->dest_fd = open(slash ? dir : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (cp->dest_fd < 0)
		return copy_fail(cp, -errno, "", "can't open its directory");
	cp->dest = slash ? dir : ".";
	return *ret_as && **ret_as ? 0 : copy_fail(cp, -EINVAL, "", "not a name");
}

static int cp_run(struct copy *cp)
{
	int n_paths = cp->c->n_args - 2, r;
	char *as;

	cp->dest = cp->c->args[cp->c->n_args - 1];
	r = dest_open(cp, n_paths, &as);
	for (int i = 0; i < n_paths && r >= 0; i++)
		r = path_plan(cp, cp->c->args[1 + i], as);
	free(as);
	if (r >= 0)
		r = links_plan(cp);
	return r < 0 ? r : copy_all(cp);
}

int cmd_cp(struct cli *c)
{
	struct copy cp = {.c = c, .dest_fd = -1};
	int r = image_new(c, &cp.m, &cp.img);

	if (r)
		return r;
	pthread_mutex_init(&cp.lock, NULL);
	pthread_cond_init(&cp.ended, NULL);
	r = cp_run(&cp);
	if (r < 0)
		r = fail(c, r);
	for (size_t i = 0; i < cp.n; i++)
		free(cp.nodes[i].path);
	free(cp.nodes);
	if (cp.dest_fd >= 0)
		close(cp.dest_fd);
	free(cp.dest_dir);
	pthread_cond_destroy(&cp.ended);
	pthread_mutex_destroy(&cp.lock);
	morsel_image_close(cp.img);
	morsel_free(cp.m);
	return r;
}
