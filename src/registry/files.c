/* SPDX-License-Identifier: MIT */
#include "registry/files.h"

#include <errno.h>
#include <sys/stat.h>

#include "registry/archive_index.h"

struct files {
	const struct seam *seam;
	char *what;
	int fd; /* the directory, or the archive */
	bool is_archive;
	struct archive_index index;
};

static int files_new(const struct seam *seam, const char *what, int fd, struct files **ret)
{
	struct files *f = calloc(1, sizeof(*f));

	if (f)
		*f = (struct files){.seam = seam, .what = strdup(what), .fd = fd};
	if (!f || !f->what) {
		free(f);
		close(fd);
		return -ENOMEM;
	}
	*ret = f;
	return 0;
}

void files_free(struct files *f)
{
	if (!f)
		return;
	archive_index_fini(&f->index);
	closep(&f->fd);
	free(f->what);
	free(f);
}

int files_open_directory(const struct seam *seam, const char *path, const char *what,
			 struct files **ret, struct error *err)
{
	int fd = seam->openat(seam, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);

	if (fd < 0)
		return error_set_errno(err, fd, "%s: can't open the layout directory", what);
	return files_new(seam, what, fd, ret);
}

/* ---- archives ---- */

static int archive_pread(void *userdata, uint64_t off, void *buf, size_t n)
{
	struct files *f = userdata;

	return seam_pread_full(f->seam, f->fd, buf, n, off);
}

static const char *compressor_of(const uint8_t *magic)
{
	if (magic[0] == 0x1f && magic[1] == 0x8b)
		return "gzip";
	if (!memcmp(magic, "\x28\xb5\x2f\xfd", 4))
		return "zstd";
	if (!memcmp(magic,
		    "\xfd"
		    "7zXZ",
		    5))
		return "xz";
	return memcmp(magic, "BZh", 3) ? NULL : "bzip2";
}

static int archive_load(struct files *f, uint64_t size, struct error *err)
{
	struct archive_input in = {.read = archive_pread, .userdata = f, .size = size};
	struct error why = ERROR_INIT;
	uint8_t magic[6] = {0};
	const char *compressor;
	int r = size < sizeof(magic) ? 0 : seam_pread_full(f->seam, f->fd, magic, sizeof(magic), 0);

	compressor = r < 0 ? NULL : compressor_of(magic);
	if (compressor)
		return error_set(
			err, -ENOTSUP,
			"%s: the archive is compressed with %s; members are read in place, "
			"so decompress it first (%s -d)",
			f->what, compressor, compressor);
	if (r >= 0)
		r = archive_index_read(&in, &f->index, &why);
	if (r >= 0)
		return 0;
	return why.code ? error_set(err, r, "%s: %s", f->what, why.text)
			: error_set_errno(err, r, "%s: can't read the archive", f->what);
}

int files_open_archive(const struct seam *seam, const char *path, const char *what,
		       struct files **ret, struct error *err)
{
	_cleanup_(files_freep) struct files *f = NULL;
	struct stat st;
	int fd = seam->openat(seam, AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0), r;

	if (fd < 0)
		return error_set_errno(err, fd, "%s: can't open the archive", what);
	r = files_new(seam, what, fd, &f);
	if (r < 0)
		return r;
	f->is_archive = true;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s: not a regular file; an archive is one", what);
	r = archive_load(f, (uint64_t)st.st_size, err);
	if (r < 0)
		return r;
	*ret = steal_ptr(f);
	return 0;
}

static int archive_find(struct files *f, const char *name, struct file_place *ret,
			struct error *err)
{
	const struct archive_member *m;
	int r = archive_index_find(&f->index, name, &m);

	if (r == -ENOENT)
		return r;
	if (r < 0)
		return error_set(err, -EBADMSG,
				 "%s: %s is not a file of the archive, nor a link to one", f->what,
				 name);
	*ret = (struct file_place){
		.fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 3), .off = m->off, .size = m->size};
	return ret->fd < 0 ? error_set_errno(err, -errno, "%s", f->what) : 0;
}

/* ---- both ---- */

int files_find(struct files *f, const char *name, struct file_place *ret, struct error *err)
{
	_cleanup_(closep) int fd = -1;
	struct stat st;

	if (f->is_archive)
		return archive_find(f, name, ret, err);
	fd = f->seam->openat(f->seam, f->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (fd == -ENOENT)
		return fd;
	if (fd < 0)
		return error_set_errno(err, fd, "%s: can't open %s", f->what, name);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_set(err, -EBADMSG, "%s: %s is not a regular file", f->what, name);
	*ret = (struct file_place){.size = (uint64_t)st.st_size};
	ret->fd = steal_fd(&fd);
	return 0;
}

int file_place_read(const struct seam *seam, const struct file_place *p, size_t max_bytes,
		    struct buf *ret, const char *what, const char *name, struct error *err)
{
	int r;

	if (p->size > max_bytes)
		return error_set(err, -E2BIG, "%s: a document of %llu bytes, the limit is %zu",
				 what, (unsigned long long)p->size, max_bytes);
	r = buf_reserve(ret, p->size);
	if (r >= 0)
		r = seam_pread_full(seam, p->fd, ret->data, p->size, p->off);
	if (r < 0)
		return error_set_errno(err, r == -ENODATA ? -EBADMSG : r, "%s: can't read %s", what,
				       name);
	ret->len = p->size;
	return 0;
}

int files_read(struct files *f, const char *name, size_t max_bytes, struct buf *ret,
	       struct error *err)
{
	struct file_place p;
	int r = files_find(f, name, &p, err);

	if (r < 0)
		return r;
	r = file_place_read(f->seam, &p, max_bytes, ret, f->what, name, err);
	close(p.fd);
	return r;
}
