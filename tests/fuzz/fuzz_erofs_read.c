/* SPDX-License-Identifier: MIT */
/*
 * Any bytes as an image, with checksum and block count put right so that damage gets past the door.
 * Everything is asked of every inode that can be reached, and of those that can't.
 */
#include <errno.h>
#include <sys/stat.h>

#include "image/erofs_format.h"
#include "image/erofs_read.h"
#include "image/erofs_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define IMAGE_MAX (64u << 10)
#define STEPS_MAX 20000

struct walk {
	struct erofs fs;
	unsigned steps;
};

static void must(bool fine)
{
	if (!fine)
		abort();
}

static void xattrs(const struct walk *w, const struct erofs_inode *ino)
{
	static char list[65536], value[65536];
	size_t len, again, n;
	int r = erofs_listxattr(&w->fs, ino, NULL, 0, &len);

	must(r == 0 || r == -EBADMSG);
	if (r || len > sizeof(list))
		return;
	must(!len || !erofs_listxattr(&w->fs, ino, list, len, &again));
	must(!len || again == len);
	for (size_t at = 0; at < len && at < 4096; at += strlen(list + at) + 1) {
		r = erofs_getxattr(&w->fs, ino, list + at, value, sizeof(value), &n);
		must(!r && n <= 65535);
	}
}

static void directory(struct walk *w, const struct erofs_inode *dir)
{
	struct erofs_dirent d = {0};
	uint64_t nid;
	int r;

	while (w->steps++ < STEPS_MAX && !(r = erofs_readdir(&w->fs, dir, d.next, &d))) {
		must(d.name_len && d.name_len <= 255 && !memchr(d.name, '/', d.name_len) &&
		     !memchr(d.name, 0, d.name_len));
		r = erofs_lookup(&w->fs, dir, d.name, d.name_len, &nid);
		must(r == 0 || r == EROFS_NO_ENTRY || r == -EBADMSG);
	}
	r = erofs_readdir(&w->fs, dir, d.next + 1, &d);
	must(r == 0 || r == EROFS_END || r == -EBADMSG);
}

static void file(const struct walk *w, const struct erofs_inode *ino)
{
	const uint64_t offs[] = {0, ino->size / 2, ino->size - 1, ino->size, UINT64_MAX};
	uint64_t off, len, device_bytes;
	uint32_t device;
	char tag[65];
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(offs); i++) {
		r = erofs_map(&w->fs, ino, offs[i], UINT64_MAX, &device, &off, &len);
		must(r == 0 || r == EROFS_HOLE || r == -EBADMSG);
		if (r < 0)
			continue;
		must(len && offs[i] < ino->size && len <= ino->size - offs[i]);
		if (r)
			continue;
		must(!erofs_device(&w->fs, device, &device_bytes, tag));
		must(off <= device_bytes && len <= device_bytes - off);
	}
}

static void inode(struct walk *w, uint64_t nid)
{
	char text[4096];
	struct erofs_inode ino;
	uint64_t found;
	size_t n;
	int r = erofs_inode_get(&w->fs, nid, &ino);

	must(r == 0 || r == -EBADMSG);
	if (r)
		return;
	r = erofs_readlink(&w->fs, &ino, text, &n);
	must(r == -EBADMSG || r == -EINVAL || (!r && n && n <= 4095));
	if (S_ISDIR(ino.mode))
		directory(w, &ino);
	else
		must(erofs_lookup(&w->fs, &ino, "a", 1, &found) == -ENOTDIR);
	file(w, &ino);
	xattrs(w, &ino);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct walk w = {.steps = 0};
	uint8_t *image;

	if (size > IMAGE_MAX)
		return 0;
	image = malloc(size + !size);
	must(image);
	if (size)
		memcpy(image, data, size);
	if (size >= EROFS_BLOCK) {
		le32_put(image + EROFS_SB + SB_MAGIC, EROFS_MAGIC);
		le32_put(image + EROFS_SB + SB_BLOCKS, (uint32_t)(size / EROFS_BLOCK));
		le32_put(image + EROFS_SB + SB_CHECKSUM, erofs_checksum(image));
	}
	if (!erofs_open(image, size, &w.fs, NULL)) {
		inode(&w, w.fs.root_nid);
		for (uint64_t nid = 0; nid <= size / EROFS_SLOT + 1 && w.steps < STEPS_MAX; nid++)
			inode(&w, nid);
		inode(&w, UINT64_MAX);
	}
	free(image);
	return 0;
}
