/* SPDX-License-Identifier: MIT */
#include "cli/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BIG_BYTES ((size_t)64 << 20)
#define MIDDLE_BYTES 4096u
#define MIDDLE_FILES 200
#define TINY_FILES 2000

int temporary_make(struct cli *c, char ret[static PATH_MAX])
{
	const char *base = getenv("TMPDIR");
	int r;

	snprintf(ret, PATH_MAX, "%s/morsel-profile-XXXXXX", base && *base ? base : "/tmp");
	if (mkdtemp(ret))
		return 0;
	r = -errno;
	snprintf(c->err.text, sizeof(c->err.text), "%s: can't make a temporary directory: %s", ret,
		 strerror(-r));
	ret[0] = 0;
	return fail(c, r);
}

static int removed(int r)
{
	return r < 0 && errno != ENOENT ? -errno : 0; /* the other process removes, too */
}

/* Directories of images may be read-only: to their owner, unless he is root, their files stay. */
static int entry_remove(const FTSENT *e)
{
	switch (e->fts_info) {
	case FTS_D:
		if ((e->fts_statp->st_mode & 0700) != 0700)
			chmod(e->fts_accpath, 0700);
		return 0;
	case FTS_DNR: /* comes in place of FTS_DP */
	case FTS_DP:
		return removed(rmdir(e->fts_accpath));
	case FTS_ERR:
		return -e->fts_errno;
	default:
		return removed(unlink(e->fts_accpath));
	}
}

void temporary_remove(const char *dir, bool tell)
{
	char *const roots[] = {(char *)dir, NULL};
	FTS *tree = *dir ? fts_open(roots, FTS_PHYSICAL | FTS_XDEV, NULL) : NULL;
	FTSENT *e;

	while (tree && (e = fts_read(tree))) {
		int r = entry_remove(e);

		if (r < 0 && tell)
			fprintf(stderr, "morsel: %s: can't remove it, so %s stays: %s\n",
				e->fts_path, dir, strerror(-r));
		tell = tell && r >= 0;
	}
	if (tree)
		fts_close(tree);
}

/* The same noise on every machine. */
static uint64_t noise(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int file_make(int dir, const char *name, size_t n, uint64_t *state)
{
	static const struct timespec times[2] = {{.tv_sec = 0}, {.tv_sec = 0}};
	uint64_t block[8192];
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644), r = 0;

	if (fd < 0)
		return -errno;
	memset(block, 0, sizeof(block));
	while (n && r >= 0) {
		size_t want = n < sizeof(block) ? n : sizeof(block);
		ssize_t w;

		for (size_t i = 0; state && i < (want + 7) / 8; i++)
			block[i] = noise(state);
		w = write(fd, block, want);
		if (w < 0)
			r = -errno;
		else
			n -= (size_t)w;
	}
	if (r >= 0 && (futimens(fd, times) < 0 || fchmod(fd, 0644) < 0))
		r = -errno;
	close(fd);
	return r;
}

static int files_make(int root, const char *sub, unsigned files, size_t n, uint64_t *state)
{
	char name[32];
	int dir, r = 0;

	if (mkdirat(root, sub, 0755) < 0)
		return -errno;
	dir = openat(root, sub, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	for (unsigned i = 0; i < files && r >= 0; i++) {
		snprintf(name, sizeof(name), "%04u", i);
		r = file_make(dir, name, n ? n : 1 + i % 64, state);
	}
	close(dir);
	return r;
}

static int payload_fill(int root)
{
	uint64_t state = 20240501;
	int r = file_make(root, "random.bin", BIG_BYTES, &state);

	if (r >= 0)
		r = file_make(root, "zeros.bin", BIG_BYTES, NULL);
	if (r >= 0)
		r = files_make(root, "small", MIDDLE_FILES, MIDDLE_BYTES, &state);
	return r < 0 ? r : files_make(root, "tiny", TINY_FILES, 0, &state);
}

int payload_make(const char *dir)
{
	int root, r;

	if (mkdir(dir, 0755) < 0)
		return -errno;
	root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return -errno;
	r = payload_fill(root);
	close(root);
	return r;
}
