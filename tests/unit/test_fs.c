/* SPDX-License-Identifier: MIT */
/* What a mounted image looks like: names, attributes, directories, and that nothing can change. */
#include "fs_rig.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/xattr.h>

static const char kinds[] =
	"d / m=751 u=1 g=2 t=5 ns=6\nd dir m=1777 t=100\nf dir/a s=10 t=-2 ns=500000000\n"
	"f dir/b s=70000 m=4755 u=4294967294 g=65536 t=4733510400 ns=999999999\n"
	"f empty s=0\nl link dir/a\nl dangling /no/such/place u=7\nh dir/hard dir/b\n"
	"h other dir/b\np fifo m=600\nb block r=8:1 m=660\nc char r=4095:1048575\n"
	"d deep\nd deep/er\nd deep/er/still\nf deep/er/still/f s=1\n";

/* ---- the tree ---- */

static void compare_stat(const struct stat *st, const struct tree_inode *want, uint64_t root_nid)
{
	uint64_t ino = want->nid == root_nid ? 1 : want->nid == 1 ? root_nid : want->nid;

	assert_int_equal(st->st_ino, ino);
	assert_int_equal(st->st_mode, want->mode);
	assert_int_equal(st->st_nlink, want->nlink);
	assert_int_equal(st->st_uid, want->uid);
	assert_int_equal(st->st_gid, want->gid);
	if (!S_ISDIR(want->mode))
		assert_int_equal(st->st_size, want->size);
	assert_int_equal(st->st_mtim.tv_sec, want->mtime_s);
	assert_int_equal(st->st_mtim.tv_nsec, want->mtime_ns);
	assert_int_equal(st->st_ctim.tv_sec, want->mtime_s);
	assert_int_equal(st->st_blocks, align_up((uint64_t)st->st_size, 4096) / 512);
	assert_int_equal(st->st_blksize, 4096);
	if (S_ISCHR(want->mode) || S_ISBLK(want->mode))
		assert_true(st->st_rdev == makedev(want->rdev_major, want->rdev_minor));
}

static void compare_node(struct fs_rig *s, int parent, const struct tree_node *n)
{
	char name[256], link[4097];
	struct stat st;

	memcpy(name, n->name, n->name_len);
	name[n->name_len] = 0;
	assert_int_equal(fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH), 0);
	compare_stat(&st, n->inode, s->erofs.root_nid);
	if (S_ISLNK(n->inode->mode)) {
		assert_int_equal(readlinkat(parent, name, link, sizeof(link)), n->inode->size);
		assert_memory_equal(link, n->inode->link, n->inode->size);
	}
}

/* In the order of the image, "." and ".." among them. */
static void compare_dir(struct fs_rig *s, int fd, const struct tree_node *n)
{
	DIR *d = fdopendir(dup(fd));
	uint32_t at = 0, dots = 0;
	struct dirent *e;

	assert_non_null(d);
	while ((e = readdir(d))) {
		const struct tree_node *c;

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
			dots++;
			continue;
		}
		assert_true(at < n->n_children);
		c = n->children[at++];
		assert_int_equal(strlen(e->d_name), c->name_len);
		assert_memory_equal(e->d_name, c->name, c->name_len);
		assert_int_equal(e->d_type, IFTODT(c->inode->mode));
		if (c->inode->nid != 1)
			assert_int_equal(e->d_ino, c->inode->nid);
	}
	assert_int_equal(at, n->n_children);
	assert_int_equal(dots, 2);
	closedir(d);
}

static void compare_tree(struct fs_rig *s, int parent, const struct tree_node *n)
{
	char name[256];
	int fd;

	compare_node(s, parent, n);
	if (!S_ISDIR(n->inode->mode))
		return;
	memcpy(name, n->name, n->name_len);
	name[n->name_len] = 0;
	fd = openat(parent, *name ? name : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(fd >= 0);
	compare_dir(s, fd, n);
	for (uint32_t i = 0; i < n->n_children; i++)
		compare_tree(s, fd, n->children[i]);
	close(fd);
}

static void the_tree_is_the_images(void **state)
{
	struct fs_rig s;
	int root;

	FS_NEED_ROOT();
	fs_rig_init(&s, kinds, 0);
	fs_rig_mount(&s);
	root = open(s.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(root >= 0);
	for (int pass = 0; pass < 2; pass++) /* cold, then from the kernel's caches */
		compare_tree(&s, root, s.tree->root);
	close(root);
	fs_rig_fini(&s);
}

/* By name first, so that no listing has told the kernel anything. */
static void names_one_by_one(void **state)
{
	struct fs_rig s;
	struct stat a, b;
	uint64_t lookups;
	char name[1100];

	FS_NEED_ROOT();
	fs_rig_init(&s, kinds, 0);
	fs_rig_mount(&s);
	assert_int_equal(stat(fs_path(&s, "deep/er/still/f"), &a), 0);
	assert_int_equal(stat(fs_path(&s, "deep/er/../er/./still/../../../dir/b"), &a), 0);
	assert_int_equal(stat(fs_path(&s, "other"), &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	assert_int_equal(a.st_nlink, 3);
	assert_int_equal(stat(fs_path(&s, "link"), &b), 0);
	assert_int_equal(b.st_size, 10);
	assert_int_equal(stat(fs_path(&s, "dangling"), &b), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(stat(fs_path(&s, "empty/x"), &b), -1);
	assert_int_equal(errno, ENOTDIR);
	assert_int_equal(stat(fs_path(&s, "absent"), &b), -1);
	assert_int_equal(errno, ENOENT);
	/* What was asked once, also in vain, is not asked again. */
	lookups = counter_get(&s.g.counters.lookups);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(stat(fs_path(&s, "absent"), &b), -1);
		assert_int_equal(stat(fs_path(&s, "deep/er/still/f"), &b), 0);
	}
	assert_int_equal(counter_get(&s.g.counters.lookups), lookups);
	for (int n = 255; n <= 1025; n += n == 255 ? 1 : 769) { /* 255, 256, 1025 */
		memset(name, 'n', (size_t)n);
		name[n] = 0;
		assert_int_equal(stat(fs_path(&s, "."), &b), 0);
		assert_int_equal(faccessat(open(s.mnt, O_PATH | O_CLOEXEC), name, F_OK, 0), -1);
		assert_int_equal(errno, n == 255 ? ENOENT : ENAMETOOLONG);
	}
	for (int fd = 3; fd < 256; fd++) /* the O_PATH ones above keep the mount busy */
		if (fcntl(fd, F_GETFL) >= 0 && fcntl(fd, F_GETFL) & O_PATH)
			close(fd);
	fs_rig_fini(&s);
}

/* ---- directories ---- */

struct kernel_dirent { /* getdents64 */
	uint64_t ino;
	int64_t off;
	unsigned short reclen;
	unsigned char type;
	char name[];
};

static char *many_names(unsigned n)
{
	struct buf b = BUF_INIT;

	assert_int_equal(buf_append_str(&b, "d big\n"), 0);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(buf_printf(&b, "f big/%u-%0*u s=0\n", i, (int)(1 + i % 200), 0),
				 0);
	assert_non_null(buf_str(&b));
	return (char *)b.data;
}

/* Names and positions of all entries, read with a buffer of this size. */
static unsigned list(int fd, size_t buf_bytes, uint64_t *hash, int64_t *offs)
{
	char *buf = malloc(buf_bytes);
	unsigned n = 0;
	long got;

	*hash = 0;
	while ((got = syscall(SYS_getdents64, fd, buf, buf_bytes)) > 0)
		for (long at = 0; at < got; n++) {
			struct kernel_dirent *e = (struct kernel_dirent *)(buf + at);

			for (const char *p = e->name; *p; p++)
				*hash = *hash * 31 + (unsigned char)*p;
			if (offs)
				offs[n] = e->off;
			at += e->reclen;
		}
	assert_int_equal(got, 0);
	free(buf);
	return n;
}

static void a_big_directory_in_small_pieces(void **state)
{
	_cleanup_(freep) char *text = many_names(5000);
	uint64_t want, hash;
	struct fs_rig s;

	FS_NEED_ROOT();
	fs_rig_init(&s, text, 0);
	for (int cold = 0; cold < 3; cold++) {
		static const size_t sizes[] = {280, 1000, 65536};
		int fd;

		fs_rig_mount(&s);
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
			fd = fs_open(&s, "big", O_RDONLY | O_DIRECTORY);
			assert_int_equal(list(fd, sizes[(i + (size_t)cold) % 3], &hash, NULL),
					 5002);
			if (!cold && !i)
				want = hash;
			assert_true(hash == want);
			close(fd);
		}
		fs_rig_umount(&s);
	}
	fs_rig_fini(&s);
}

static void positions_in_a_directory(void **state)
{
	_cleanup_(freep) char *text = many_names(1000);
	int64_t *offs = calloc(1100, sizeof(*offs));
	uint64_t seed = 9, hash;
	struct fs_rig s;
	unsigned n;
	int fd;

	FS_NEED_ROOT();
	fs_rig_init(&s, text, 0);
	fs_rig_mount(&s);
	fd = fs_open(&s, "big", O_RDONLY | O_DIRECTORY);
	n = list(fd, 65536, &hash, offs);
	assert_int_equal(n, 1002);
	for (int i = 0; i < 200; i++) {
		unsigned k = (unsigned)(rig_random(&seed) % n);
		char buf[400];
		long got;

		assert_int_equal(lseek(fd, offs[k], SEEK_SET), offs[k]);
		got = syscall(SYS_getdents64, fd, buf, sizeof(buf));
		if (k == n - 1)
			assert_int_equal(got, 0);
		else {
			assert_true(got > 0);
			assert_int_equal(((struct kernel_dirent *)buf)->off, offs[k + 1]);
		}
	}
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	assert_int_equal(list(fd, 300, &hash, NULL), 1002);
	close(fd);
	free(offs);
	fs_rig_fini(&s);
}

/* ---- file handles, as NFS servers use them ---- */

struct handle {
	struct file_handle h;
	unsigned char bytes[128];
};

static void handles(void **state)
{
	static const char *const names[] = {".", "dir", "dir/b", "deep/er/still/f", "fifo", "link"};
	struct handle h[ARRAY_SIZE(names)];
	struct fs_rig s;
	struct stat a, b;
	int id, root, fd;

	FS_NEED_ROOT();
	fs_rig_init(&s, kinds, 0);
	fs_rig_mount(&s);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		h[i].h.handle_bytes = sizeof(h[i].bytes);
		assert_int_equal(
			name_to_handle_at(AT_FDCWD, fs_path(&s, names[i]), &h[i].h, &id, 0), 0);
	}
	for (int forgotten = 0; forgotten < 2; forgotten++) {
		root = open(s.mnt, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
			assert_int_equal(lstat(fs_path(&s, names[i]), &a), 0);
			if (forgotten) {
				fd = open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
				assert_int_equal(write(fd, "2", 1), 1);
				close(fd);
			}
			fd = open_by_handle_at(root, &h[i].h, O_PATH | O_CLOEXEC);
			if (fd < 0)
				fail_msg("%s, forgotten %d: %s", names[i], forgotten,
					 strerror(errno));
			assert_int_equal(fstat(fd, &b), 0);
			assert_true(a.st_ino == b.st_ino && a.st_mode == b.st_mode);
			close(fd);
		}
		close(root);
	}
	fs_rig_fini(&s);
}

/* ---- xattrs ---- */

static const char with_xattrs[] =
	"f f s=1 x=user.one:1 x=security.capability:capable x=trusted.overlay.opaque:y "
	"x=trusted.keep:k x=user.none:\nf plain s=1\nd d x=user.dir:value\n";

static void xattrs(void **state)
{
	char list_[200], value[20];
	struct fs_rig s;

	FS_NEED_ROOT();
	fs_rig_init(&s, with_xattrs, 0);
	for (int suid = 0; suid < 2; suid++) {
		const char *f;
		ssize_t n;

		s.p.suid = suid;
		fs_rig_mount(&s);
		f = fs_path(&s, "f");
		n = listxattr(f, NULL, 0);
		assert_true(n > 0);
		assert_int_equal(listxattr(f, list_, (size_t)n), n);
		assert_int_equal(listxattr(f, list_, (size_t)n - 1), -1);
		assert_int_equal(errno, ERANGE);
		assert_int_equal(memmem(list_, (size_t)n, "security.capability", 20) != NULL, suid);
		assert_null(memmem(list_, (size_t)n, "overlay", 7));
		assert_non_null(memmem(list_, (size_t)n, "trusted.keep", 13));
		assert_int_equal(getxattr(f, "user.one", value, sizeof(value)), 1);
		assert_int_equal(*value, '1');
		assert_int_equal(getxattr(f, "user.one", NULL, 0), 1);
		assert_int_equal(getxattr(f, "user.none", value, sizeof(value)), 0);
		assert_int_equal(getxattr(f, "security.capability", value, 3), -1);
		assert_int_equal(errno, suid ? EINVAL : ENODATA); /* not a real one */
		assert_int_equal(getxattr(f, "trusted.overlay.opaque", value, 20), -1);
		assert_int_equal(errno, ENODATA);
		assert_int_equal(getxattr(f, "user.absent", value, 20), -1);
		assert_int_equal(errno, ENODATA);
		assert_int_equal(listxattr(fs_path(&s, "plain"), list_, sizeof(list_)), 0);
		assert_int_equal(getxattr(fs_path(&s, "d"), "user.dir", value, 20), 5);
		fs_rig_umount(&s);
	}
	fs_rig_fini(&s);
}

static void an_image_without_xattrs(void **state)
{
	struct fs_rig s;
	char value[20];

	FS_NEED_ROOT();
	fs_rig_init(&s, kinds, 0);
	fs_rig_mount(&s);
	assert_int_equal(getxattr(fs_path(&s, "dir/a"), "user.x", value, 20), -1);
	assert_int_equal(errno, ENOTSUP); /* what the kernel makes of "never ask again" */
	assert_int_equal(listxattr(fs_path(&s, "dir/a"), value, 20), -1);
	assert_int_equal(errno, ENOTSUP);
	fs_rig_fini(&s);
}

/* ---- the whole ---- */

static void statfs_tells_the_truth(void **state)
{
	struct statvfs st;
	struct fs_rig s;

	FS_NEED_ROOT();
	fs_rig_init(&s, kinds, 0);
	s.p.used_bytes = 4096 * 1234;
	fs_rig_mount(&s);
	assert_int_equal(statvfs(s.mnt, &st), 0);
	assert_int_equal(st.f_bsize, 4096);
	assert_int_equal(st.f_blocks, 1234);
	assert_int_equal(st.f_bfree, 0);
	assert_int_equal(st.f_bavail, 0);
	assert_int_equal(st.f_files, s.erofs.inode_count);
	assert_int_equal(st.f_ffree, 0);
	assert_int_equal(st.f_namemax, 255);
	assert_int_equal(st.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV),
			 ST_RDONLY | ST_NOSUID | ST_NODEV);
	fs_rig_umount(&s);
	s.p.used_bytes = 0;
	s.p.suid = s.p.dev = true;
	fs_rig_mount(&s);
	assert_int_equal(statvfs(s.mnt, &st), 0);
	assert_int_equal(st.f_blocks, s.erofs.blocks + s.index.header.device_bytes / 4096);
	assert_int_equal(st.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV), ST_RDONLY);
	fs_rig_fini(&s);
}

static void refused(const char *what, long r)
{
	if (r != -1 || errno != EROFS)
		fail_msg("%s: %s", what, r == -1 ? strerror(errno) : "done");
}

static void nothing_can_be_changed(void **state)
{
	static const char *const names[] = {"dir/a", "dir", "fifo", "block"};
	char new[300], name[300];
	struct fs_rig s;

	FS_NEED_ROOT();
	fs_rig_init(&s, kinds, 0);
	fs_rig_mount(&s);
	strcpy(new, fs_path(&s, "new"));
	refused("open", open(new, O_CREAT | O_WRONLY, 0600));
	refused("tmpfile", open(s.mnt, O_TMPFILE | O_RDWR, 0600));
	refused("write", open(fs_path(&s, "dir/a"), O_WRONLY));
	refused("rdwr", open(fs_path(&s, "dir/a"), O_RDWR));
	refused("trunc", open(fs_path(&s, "dir/a"), O_RDONLY | O_TRUNC));
	refused("mkdir", mkdir(new, 0700));
	refused("mknod", mknod(new, S_IFREG | 0600, 0));
	refused("mkfifo", mkfifo(new, 0600));
	refused("symlink", symlink("x", new));
	refused("rmdir", rmdir(fs_path(&s, "deep/er/still")));
	refused("truncate", truncate(fs_path(&s, "dir/a"), 0));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct timeval t[2] = {{1, 1}, {2, 2}};

		strcpy(name, fs_path(&s, names[i]));
		refused("chmod", chmod(name, 0777));
		refused("chown", chown(name, 1, 1));
		refused("lchown", lchown(name, 1, 1));
		refused("utimes", utimes(name, t));
		refused("utimensat", utimensat(AT_FDCWD, name, NULL, AT_SYMLINK_NOFOLLOW));
		refused("rename", rename(name, new));
		refused("exchange",
			syscall(SYS_renameat2, AT_FDCWD, name, AT_FDCWD, fs_path(&s, "other"), 2));
		refused("setxattr", setxattr(name, "trusted.x", "y", 1, 0));
		refused("removexattr", removexattr(name, "trusted.x"));
		if (i < 2) /* writing to devices and fifos does not write to the filesystem */
			refused("access", access(name, W_OK));
		if (strcmp(names[i], "dir")) {
			refused("unlink", unlink(name));
			refused("link", link(name, new));
		} else
			refused("rmdir", rmdir(name));
	}
	fs_rig_fini(&s);
}

static void programs_and_other_ways_to_read(void **state)
{
	static const char text[] = "d d\nf d/x s=200000\n";
	uint8_t *want = malloc(200000);
	struct fs_rig s;
	int fd, pipe_fds[2], out;
	void *map;

	FS_NEED_ROOT();
	fs_rig_init(&s, text, 0);
	fs_rig_mount(&s);
	fs_expect(&s, s.extents[0].dev_off, want, 200000);
	fd = fs_open(&s, "d/x", O_RDONLY);
	for (int flags = MAP_PRIVATE; flags; flags = flags == MAP_PRIVATE ? MAP_SHARED : 0) {
		map = mmap(NULL, 200000, PROT_READ, flags, fd, 0);
		assert_true(map != MAP_FAILED);
		assert_memory_equal(map, want, 200000);
		for (int i = 200000; i < 200704; i++) /* behind the end */
			assert_int_equal(((uint8_t *)map)[i], 0);
		munmap(map, 200000);
	}
	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	assert_int_equal(splice(fd, NULL, pipe_fds[1], NULL, 50000, 0), 50000);
	out = memfd_create("out", MFD_CLOEXEC);
	assert_int_equal(splice(pipe_fds[0], NULL, out, NULL, 50000, 0), 50000);
	assert_int_equal(sendfile(out, fd, NULL, 150000), 150000);
	map = mmap(NULL, 200000, PROT_READ, MAP_PRIVATE, out, 0);
	assert_memory_equal(map, want, 200000);
	munmap(map, 200000);
	assert_int_equal(lseek(fd, 100, SEEK_DATA), 100);
	assert_int_equal(lseek(fd, 100, SEEK_HOLE), 200000);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	close(out);
	close(fd);
	free(want);
	fs_rig_fini(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		FS_TEST(the_tree_is_the_images),
		FS_TEST(names_one_by_one),
		FS_TEST(a_big_directory_in_small_pieces),
		FS_TEST(positions_in_a_directory),
		FS_TEST(handles),
		FS_TEST(xattrs),
		FS_TEST(an_image_without_xattrs),
		FS_TEST(statfs_tells_the_truth),
		FS_TEST(nothing_can_be_changed),
		FS_TEST(programs_and_other_ways_to_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
