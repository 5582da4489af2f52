/* SPDX-License-Identifier: MIT */
/*
 * What others say about our images: fsck.erofs, and Linux, which mounts them file-backed with the
 * layers as devices. The mounts are never attached anywhere: they are gone with their descriptor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "erofs_check.h"
#include "erofs_images.h"

#define FILL_MAX (UINT64_C(16) << 20) /* bytes; bigger devices stay zero */

extern char **environ;

struct files {
	char dir[512];
	uint32_t n;
};

/* On the build directory's filesystem: Linux takes no image on tmpfs or overlayfs. */
static void files_init(struct files *f)
{
	const char *build = getenv("MORSEL_BUILD_DIR");

	snprintf(f->dir, sizeof(f->dir), "%s/test-erofs-XXXXXX", build ? build : ".");
	assert_non_null(mkdtemp(f->dir));
	f->n = 0;
}

static const char *file_path(const struct files *f, int device, char out[600])
{
	if (device < 0)
		snprintf(out, 600, "%s/image", f->dir);
	else
		snprintf(out, 600, "%s/%d", f->dir, device);
	return out;
}

static void files_clear(struct files *f)
{
	char path[600];

	for (int i = -1; i < (int)f->n; i++)
		unlink(file_path(f, i, path));
	f->n = 0;
}

static void files_fini(struct files *f)
{
	files_clear(f);
	rmdir(f->dir);
}

/* The bytes of a device tell where they are. */
static void content(uint32_t layer, uint64_t off, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t word = ((off + i) / 8 + 1) * UINT64_C(0x9e3779b97f4a7c15) + layer;

		out[i] = (uint8_t)(word >> (32 + (off + i) % 4 * 8));
	}
}

static void file_write(const char *path, const void *data, size_t n, uint64_t size)
{
	_cleanup_(closep) int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, n), n);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
}

static void files_write(struct files *f, const struct tree *t, const struct buf *image)
{
	char path[600];

	file_write(file_path(f, -1, path), image->data, image->len, image->len);
	for (f->n = 0; f->n < t->n_layers; f->n++) {
		uint64_t size = t->device_bytes[f->n];
		size_t n = size <= FILL_MAX ? size : 0;
		uint8_t *data = malloc(n + 1);

		assert_non_null(data);
		content(f->n, 0, data, n);
		file_write(file_path(f, (int)f->n, path), data, n, size);
		free(data);
	}
}

/* ---- fsck.erofs ---- */

static bool have_fsck(void)
{
	return !access("/usr/bin/fsck.erofs", X_OK);
}

static void fsck(const struct files *f, const char *name)
{
	char *argv[IMAGE_LAYERS_MOST + 4], log[600], line[256], image[600];
	char(*options)[620] = calloc(f->n + 1, sizeof(*options));
	posix_spawn_file_actions_t actions;
	int status, n = 0;
	char path[600];
	FILE *out;
	pid_t pid;

	assert_non_null(options);
	argv[n++] = strdup("fsck.erofs");
	for (uint32_t i = 0; i < f->n; i++) {
		snprintf(options[i], sizeof(options[i]), "--device=%s", file_path(f, (int)i, path));
		argv[n++] = options[i];
	}
	file_path(f, -1, image);
	argv[n++] = image;
	argv[n] = NULL;
	snprintf(log, sizeof(log), "%s/log", f->dir);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	assert_int_equal(posix_spawn(&pid, "/usr/bin/fsck.erofs", &actions, NULL, argv, environ),
			 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	out = fopen(log, "r");
	while (out && fgets(line, sizeof(line), out))
		if (status || strstr(line, "<W>") || strstr(line, "<E>"))
			print_message("fsck.erofs: %s: %s", name, line);
	if (out)
		fclose(out);
	unlink(log);
	posix_spawn_file_actions_destroy(&actions);
	free(argv[0]);
	free(options);
	if (status)
		fail_msg("fsck.erofs is not happy with \"%s\"", name);
}

/* ---- Linux ---- */

/* A mount's root directory, or -errno. */
static int mount_open(const struct files *f, uint32_t n_devices)
{
	_cleanup_(closep) int fs = fsopen("erofs", FSOPEN_CLOEXEC);
	char path[600];
	int r, fd;

	if (fs < 0)
		return -errno;
	r = fsconfig(fs, FSCONFIG_SET_STRING, "source", file_path(f, -1, path), 0);
	if (!r)
		r = fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0);
	for (uint32_t i = 0; i < n_devices && !r; i++)
		r = fsconfig(fs, FSCONFIG_SET_STRING, "device", file_path(f, (int)i, path), 0);
	if (!r)
		r = fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (r)
		return -errno;
	fd = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

/* A directory by its path from the mount's root, however long. */
static int dir_open(int root, const struct tree_node *n)
{
	const struct tree_node *way[PATH_DEPTH_MAX + 1];
	int fd = dup(root), depth = 0;
	char name[256];

	for (; n->parent != n; n = n->parent)
		way[depth++] = n;
	while (depth && fd >= 0) {
		int next;

		n = way[--depth];
		memcpy(name, n->name, n->name_len);
		name[n->name_len] = 0;
		next = openat(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		close(fd);
		fd = next;
	}
	MUST(fd >= 0);
	return fd;
}

static void kernel_stat(int dir, const char *name, const struct tree_inode *want)
{
	struct stat st;

	MUST(!fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH));
	MUST(st.st_ino == want->nid && st.st_mode == want->mode && st.st_nlink == want->nlink);
	MUST(st.st_uid == want->uid && st.st_gid == want->gid &&
	     (uint64_t)st.st_size == want->size);
	MUST(st.st_mtim.tv_sec == want->mtime_s && st.st_mtim.tv_nsec == want->mtime_ns);
	MUST(st.st_ctim.tv_sec == want->mtime_s && st.st_atim.tv_sec == want->mtime_s);
	if (S_ISCHR(want->mode) || S_ISBLK(want->mode))
		MUST(major(st.st_rdev) == want->rdev_major &&
		     minor(st.st_rdev) == want->rdev_minor);
}

static void kernel_xattrs(int dir, const char *name, const struct tree_inode *want)
{
	static char value[65536], list[65536];
	char path[300];
	struct layer_xattr x;
	uint32_t pos = 0;
	ssize_t n, at = 0;

	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	n = llistxattr(path, list, sizeof(list));
	MUST(n >= 0);
	while (check_next_xattr(want, &pos, &x)) {
		char *full = strndup(x.name, x.name_len);

		if (check_xattr_fits(&x)) {
			ssize_t got = lgetxattr(path, full, value, sizeof(value));

			if (!strncmp(full, "user.", 5) && !S_ISREG(want->mode) &&
			    !S_ISDIR(want->mode))
				MUST(got < 0 && errno == ENODATA); /* Linux's rule for user.* */
			else
				MUST(got == (ssize_t)x.value_len &&
				     !memcmp(value, x.value, x.value_len));
			MUST(n - at > x.name_len && !strcmp(list + at, full));
			at += x.name_len + 1;
		}
		free(full);
	}
	MUST(at == n);
}

static void kernel_content(int dir, const char *name, const struct tree_inode *want,
			   uint64_t device)
{
	_cleanup_(closep) int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	uint8_t *got, *expected;
	size_t n = want->size;

	MUST(fd >= 0);
	if (device > FILL_MAX)
		return;
	got = malloc(n + 1);
	expected = malloc(n + 1);
	MUST(got && expected);
	content(want->layer, want->data_off, expected, n);
	MUST(read(fd, got, n + 1) == (ssize_t)n);
	MUST(!memcmp(got, expected, n));
	free(got);
	free(expected);
}

static void kernel_dir(int dir, const struct tree_node *want)
{
	_cleanup_(closep) int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	struct dirent *e;
	uint32_t n = 0, dots = 0;
	struct stat st;

	MUST(d);
	fd = -1;
	while ((e = readdir(d))) {
		const struct tree_node *c;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
			MUST(e->d_ino == (e->d_name[1] ? want->parent : want)->inode->nid ||
			     want->parent == want);
			dots++;
			continue;
		}
		MUST(n < want->n_children);
		c = want->children[n++]; /* the format's order is the kernel's */
		MUST(strlen(e->d_name) == c->name_len && !memcmp(e->d_name, c->name, c->name_len));
		MUST(e->d_ino == c->inode->nid && e->d_type == IFTODT(c->inode->mode));
	}
	MUST(n == want->n_children && dots == 2);
	closedir(d);
	MUST(fstatat(dir, "no such name", &st, 0) < 0 && errno == ENOENT);
}

static void kernel_node(int dir, const struct tree *t, const struct tree_node *n)
{
	const struct tree_inode *want = n->inode;
	char name[256], link[4097];

	memcpy(name, n->name, n->name_len);
	name[n->name_len] = 0;
	kernel_stat(dir, name, want);
	kernel_xattrs(dir, n->name_len ? name : ".", want);
	if (S_ISREG(want->mode))
		kernel_content(dir, name, want, t->device_bytes[want->layer]);
	if (S_ISLNK(want->mode)) {
		MUST(readlinkat(dir, name, link, sizeof(link)) == (ssize_t)want->size);
		MUST(!memcmp(link, want->link, want->size));
	}
}

static void kernel_compare(int root, const struct tree *t)
{
	kernel_node(root, t, t->root);
	for (uint64_t i = 0; i < t->n_nodes; i++) {
		const struct tree_node *n = t->nodes[i];

		if (S_ISDIR(n->inode->mode)) {
			_cleanup_(closep) int dir = dir_open(root, n);

			kernel_dir(dir, n);
			for (uint32_t c = 0; c < n->n_children; c++)
				kernel_node(dir, t, n->children[c]);
		}
	}
}

/* ---- both ---- */

enum judge { FSCK, LINUX };

/* False: this machine can't mount such images; *why says what Linux said. */
static bool judge_image(const struct files *f, enum judge judge, const char *name,
			const struct tree *t, int *why)
{
	_cleanup_(closep) int root = -1;

	if (judge == FSCK) {
		fsck(f, name);
		return true;
	}
	root = mount_open(f, f->n);
	if (root < 0) {
		*why = root;
		return false;
	}
	kernel_compare(root, t);
	return true;
}

/* The first image, which has nothing, decides whether this machine can. */
static bool judge_all(enum judge judge, int *why)
{
	static struct image m;
	bool able = true;
	struct files f;

	files_init(&f);
	for (size_t i = 0; i < ARRAY_SIZE(edge_images) + 20 && able; i++) {
		bool edge = i < ARRAY_SIZE(edge_images);
		const char *name = edge ? edge_images[i].name : "random";
		struct buf bytes = BUF_INIT;
		struct tree *t;

		if (edge)
			edge_images[i].make(&m);
		else
			image_random(&m, 1000 + i);
		check_layers(m.layers, m.n, &t, &bytes);
		files_write(&f, t, &bytes);
		able = judge_image(&f, judge, name, t, why);
		if (!able && i)
			fail_msg("Linux does not mount \"%s\": %s", name, strerror(-*why));
		files_clear(&f);
		tree_free(t);
		buf_fini(&bytes);
		image_fini(&m);
	}
	files_fini(&f);
	return able;
}

static void fsck_is_clean(void **state)
{
	int why;

	if (!have_fsck()) {
		print_message("skipped: no /usr/bin/fsck.erofs\n");
		skip();
	}
	judge_all(FSCK, &why);
}

static void linux_agrees(void **state)
{
	int why;

	if (!judge_all(LINUX, &why)) {
		print_message("skipped: Linux does not mount file-backed EROFS here: %s\n",
			      strerror(-why));
		skip();
	}
}

/* Forgotten devices must fail, not read the image's own blocks as contents. */
static void forgotten_devices(void **state)
{
	static struct image m;
	struct buf bytes = BUF_INIT;
	struct files f;
	struct tree *t;
	int root, fd;
	char byte;

	files_init(&f);
	image_layers(&m);
	check_layers(m.layers, m.n, &t, &bytes);
	files_write(&f, t, &bytes);
	root = mount_open(&f, 0);
	if (root >= 0) {
		fd = openat(root, "e", O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0);
		assert_int_equal(read(fd, &byte, 1), -1);
		assert_int_equal(errno, EIO);
		close(fd);
		close(root);
	}
	files_fini(&f);
	tree_free(t);
	buf_fini(&bytes);
	image_fini(&m);
	if (root < 0) {
		print_message("skipped: Linux does not mount file-backed EROFS here: %s\n",
			      strerror(-root));
		skip();
	}
}

int main(void)
{
	/* fsck.erofs recurses, 8 KiB a directory. */
	const struct rlimit stack = {.rlim_cur = 64 << 20, .rlim_max = 64 << 20};
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fsck_is_clean),
		cmocka_unit_test(linux_agrees),
		cmocka_unit_test(forgotten_devices),
	};

	setrlimit(RLIMIT_STACK, &stack);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
