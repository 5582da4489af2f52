/* SPDX-License-Identifier: MIT */
/*
 * Two locks. Who has the layout open holds oci-layout shared: so long nobody takes temporary files
 * for left behind, or undoes a layout that somebody else is filling. The directory itself is locked
 * while index.json is read, changed and replaced.
 *
 * A blob is written under a name that only its writer knows, beside the directories of blobs, and
 * renamed once its digest is right. A layout that was begun here and has no index in the end is
 * taken away.
 */
#include "registry/layout_write.h"

#include <errno.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/dir.h"
#include "base/json.h"

#define INDEX_MAX ((size_t)4 << 20)
#define INDEX_TYPE "application/vnd.oci.image.index.v1+json"
#define REF_NAME "org.opencontainers.image.ref.name"
#define TEMP_PREFIX ".tmp-"
#define TEMP_MAX 40

struct layout_writer {
	const struct seam *seam;
	char *path;
	int fd;
	int use_fd; /* oci-layout, locked (shared) while the layout is in use */
	bool made_dir, made_layout, tagged;
};

struct layout_blob {
	struct layout_writer *w;
	int fd;
	uint64_t size;
	struct hasher *hasher;
	char temp[TEMP_MAX]; /* "" once it is renamed */
};

/* ---- files ---- */

static void temp_name(const struct seam *s, const char *dir, char out[static TEMP_MAX])
{
	uint64_t nonce;

	s->random(s, &nonce, sizeof(nonce));
	snprintf(out, TEMP_MAX, "%s" TEMP_PREFIX "%016llx", dir, (unsigned long long)nonce);
}

static void blob_name(const struct digest *d, char out[static DIGEST_TEXT_MAX + 32])
{
	char hex[DIGEST_TEXT_MAX];

	digest_format_hex(d, hex);
	snprintf(out, DIGEST_TEXT_MAX + 32, "blobs/%s/%s", digest_algo_name(d->algo), hex);
}

static int dir_make(struct layout_writer *w, const char *name, struct error *err)
{
	if (!mkdirat(w->fd, name, 0777) || errno == EEXIST)
		return 0;
	return error_set_errno(err, -errno, "%s: can't make %s", w->path, name);
}

/* What is there stays: those who have locked it lock out those who come later. true: it is ours. */
static int rename_first(struct layout_writer *w, const char *temp, const char *name, bool *ret_ours)
{
	int r = linkat(w->fd, temp, w->fd, name, 0) < 0 ? -errno : 0;

	*ret_ours = r != -EEXIST;
	if (r == -EPERM || r == -EOPNOTSUPP) /* there are no hardlinks here */
		return w->seam->renameat(w->seam, w->fd, temp, w->fd, name);
	w->seam->unlinkat(w->seam, w->fd, temp, 0);
	return r == -EEXIST ? 0 : r;
}

/* Small files: whole or not at all. ret_ours: only when there is none yet; NULL: in any case. */
static int file_put(struct layout_writer *w, const char *name, const void *data, size_t n,
		    bool *ret_ours, struct error *err)
{
	const struct seam *s = w->seam;
	_cleanup_(closep) int fd = -1;
	char temp[TEMP_MAX];
	int r;

	temp_name(s, "", temp);
	fd = s->openat(s, w->fd, temp, O_WRONLY | O_CREAT | O_EXCL, 0666);
	if (fd < 0)
		return error_set_errno(err, fd, "%s: can't write %s", w->path, name);
	r = seam_pwrite_full(s, fd, data, n, 0);
	if (r >= 0)
		r = s->fsync(s, fd);
	if (r >= 0)
		r = ret_ours ? rename_first(w, temp, name, ret_ours)
			     : s->renameat(s, w->fd, temp, w->fd, name);
	if (r >= 0)
		return 0;
	s->unlinkat(s, w->fd, temp, 0);
	return error_set_errno(err, r, "%s: can't write %s", w->path, name);
}

/* ---- the layout ---- */

/* Of all but a layout that another process begins this moment. */
static bool is_empty(int dir_fd)
{
	_cleanup_(closedirp) DIR *d = dir_open(dir_fd, ".");
	const struct dirent *e;
	bool empty = d;

	while (empty && (e = dir_next(d)))
		empty = !strcmp(e->d_name, "blobs") || !strcmp(e->d_name, "oci-layout") ||
			!strncmp(e->d_name, TEMP_PREFIX, sizeof(TEMP_PREFIX) - 1);
	return empty;
}

static int layout_check(struct layout_writer *w, const char *text, size_t len, struct error *err)
{
	_cleanup_(json_decrefp) json_t *doc = NULL;
	const char *version;
	int r = json_parse(text, len, 4096, "oci-layout", &doc, err);

	if (r >= 0)
		r = json_get_string(doc, "imageLayoutVersion", "oci-layout", &version, err);
	if (r < 0)
		return r;
	if (r || strncmp(version, "1.", 2) != 0)
		return error_set(err, -ENOTSUP, "%s: OCI layout version \"%s\" is not known",
				 w->path, r ? "" : version);
	return 0;
}

static int layout_begin(struct layout_writer *w, struct error *err)
{
	static const char text[] = "{\"imageLayoutVersion\":\"1.0.0\"}";

	if (!is_empty(w->fd))
		return error_set(err, -EEXIST,
				 "%s: not an OCI image layout, and not empty: name a new directory",
				 w->path);
	w->made_layout = true;
	return file_put(w, "oci-layout", text, sizeof(text) - 1, &w->made_layout, err);
}

/* Blobs that this user's killed processes were writing: for who alone uses the layout. */
static void left_remove(const struct layout_writer *w)
{
	_cleanup_(closedirp) DIR *d = dir_open(w->fd, "blobs");
	const struct dirent *e;
	struct stat st;

	while (d && (e = dir_next(d)))
		if (!strncmp(e->d_name, TEMP_PREFIX, sizeof(TEMP_PREFIX) - 1) &&
		    !fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) &&
		    S_ISREG(st.st_mode) && st.st_uid == geteuid())
			unlinkat(dirfd(d), e->d_name, 0);
}

static int use_begin(struct layout_writer *w, struct error *err)
{
	w->use_fd = w->seam->openat(w->seam, w->fd, "oci-layout", O_RDONLY | O_NOFOLLOW, 0);
	if (w->use_fd < 0)
		return error_set_errno(err, w->use_fd, "%s: can't open oci-layout", w->path);
	if (!flock(w->use_fd, LOCK_EX | LOCK_NB))
		left_remove(w);
	while (flock(w->use_fd, LOCK_SH) < 0)
		if (errno != EINTR)
			return error_set_errno(err, -errno, "%s: can't lock the layout", w->path);
	return 0;
}

int layout_writer_open(const struct seam *seam, const char *path, struct layout_writer **ret,
		       struct error *err)
{
	_cleanup_(layout_writer_closep) struct layout_writer *w = calloc(1, sizeof(*w));
	_cleanup_(freep) char *text = NULL;
	size_t len;
	int r;

	if (!w)
		return -ENOMEM;
	*w = (struct layout_writer){.seam = seam, .path = strdup(path), .fd = -1, .use_fd = -1};
	if (!w->path)
		return -ENOMEM;
	if (!mkdir(path, 0777))
		w->made_dir = true;
	else if (errno != EEXIST)
		return error_set_errno(err, -errno, "%s: can't make the layout directory", path);
	w->fd = seam->openat(seam, AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0);
	if (w->fd < 0)
		return error_set_errno(err, w->fd, "%s: can't open the layout directory", path);
	r = seam_read_file(seam, w->fd, "oci-layout", 4096, &text, &len);
	if (r == -ENOENT)
		r = layout_begin(w, err);
	else if (r < 0)
		r = error_set_errno(err, r, "%s: can't read oci-layout", path);
	else
		r = layout_check(w, text, len, err);
	if (r >= 0)
		r = use_begin(w, err);
	if (r >= 0)
		r = dir_make(w, "blobs", err);
	if (r >= 0)
		r = dir_make(w, "blobs/sha256", err);
	if (r < 0)
		return r;
	*ret = steal_ptr(w);
	return 0;
}

/* Nobody can use blobs without an index, unless another process is about to write one. */
static void layout_undo(struct layout_writer *w)
{
	static const char *const dirs[] = {"blobs/sha256", "blobs/sha512"};

	if (!faccessat(w->fd, "index.json", F_OK, 0) ||
	    (w->use_fd >= 0 && flock(w->use_fd, LOCK_EX | LOCK_NB) < 0))
		return;
	for (size_t i = 0; i < ARRAY_SIZE(dirs); i++) {
		_cleanup_(closedirp) DIR *d = dir_open(w->fd, dirs[i]);
		const struct dirent *e;

		while (d && (e = dir_next(d)))
			unlinkat(dirfd(d), e->d_name, 0);
		unlinkat(w->fd, dirs[i], AT_REMOVEDIR);
	}
	unlinkat(w->fd, "blobs", AT_REMOVEDIR);
	unlinkat(w->fd, "oci-layout", 0);
	if (w->made_dir)
		rmdir(w->path);
}

void layout_writer_close(struct layout_writer *w)
{
	if (!w)
		return;
	if (w->made_layout && !w->tagged && w->fd >= 0)
		layout_undo(w);
	closep(&w->use_fd);
	closep(&w->fd);
	free(w->path);
	free(w);
}

/* ---- blobs ---- */

bool layout_has(const struct layout_writer *w, const struct digest *d, int64_t size)
{
	char name[DIGEST_TEXT_MAX + 32];
	struct stat st;

	blob_name(d, name);
	return !fstatat(w->fd, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode) &&
	       (size < 0 || st.st_size == size);
}

int layout_blob_new(struct layout_writer *w, enum digest_algo algo, struct layout_blob **ret,
		    struct error *err)
{
	_cleanup_(layout_blob_freep) struct layout_blob *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return -ENOMEM;
	*b = (struct layout_blob){.w = w, .fd = -1};
	r = hasher_new(algo, &b->hasher);
	if (r < 0)
		return r;
	temp_name(w->seam, "blobs/", b->temp);
	b->fd = w->seam->openat(w->seam, w->fd, b->temp, O_WRONLY | O_CREAT | O_EXCL, 0666);
	if (b->fd < 0) {
		b->temp[0] = 0;
		return error_set_errno(err, b->fd, "%s: can't write a blob", w->path);
	}
	*ret = steal_ptr(b);
	return 0;
}

int layout_blob_write(struct layout_blob *b, const void *data, size_t n, struct error *err)
{
	int r = seam_pwrite_full(b->w->seam, b->fd, data, n, b->size);

	if (r < 0)
		return error_set_errno(err, r, "%s: can't write a blob", b->w->path);
	hasher_update(b->hasher, data, n);
	b->size += n;
	return 0;
}

static int blob_publish(struct layout_blob *b, const struct digest *d, struct error *err)
{
	const struct seam *s = b->w->seam;
	char name[DIGEST_TEXT_MAX + 32];
	int r = s->fsync(s, b->fd);

	blob_name(d, name);
	if (r >= 0 && d->algo == DIGEST_SHA512)
		r = dir_make(b->w, "blobs/sha512", err);
	if (r >= 0)
		r = s->renameat(s, b->w->fd, b->temp, b->w->fd, name);
	if (r < 0)
		return error_set_errno(err, r, "%s: can't write a blob", b->w->path);
	b->temp[0] = 0;
	return 0;
}

int layout_blob_commit(struct layout_blob *b, const struct digest *want, int64_t size,
		       struct error *err)
{
	char g[DIGEST_TEXT_MAX], w[DIGEST_TEXT_MAX];
	struct digest got;

	if (size >= 0 && (uint64_t)size != b->size)
		return error_set(err, -EBADMSG, "%s: a blob has %llu bytes, expected %lld",
				 b->w->path, (unsigned long long)b->size, (long long)size);
	hasher_final(b->hasher, &got);
	if (!digest_equal(&got, want)) {
		digest_format(&got, g);
		digest_format(want, w);
		return error_set(err, -EBADMSG, "%s: a blob is %s, expected %s", b->w->path, g, w);
	}
	return blob_publish(b, want, err);
}

void layout_blob_free(struct layout_blob *b)
{
	if (!b)
		return;
	if (b->temp[0])
		b->w->seam->unlinkat(b->w->seam, b->w->fd, b->temp, 0);
	closep(&b->fd);
	hasher_free(b->hasher);
	free(b);
}

int layout_put(struct layout_writer *w, const struct digest *d, const void *data, size_t n,
	       struct error *err)
{
	char name[DIGEST_TEXT_MAX + 32];
	int r = 0;

	if (layout_has(w, d, (int64_t)n))
		return 0;
	blob_name(d, name);
	if (d->algo == DIGEST_SHA512)
		r = dir_make(w, "blobs/sha512", err);
	return r < 0 ? r : file_put(w, name, data, n, NULL, err);
}

/* ---- index.json ---- */

static int index_load(struct layout_writer *w, json_t **ret, struct error *err)
{
	_cleanup_(json_decrefp) json_t *root = NULL;
	_cleanup_(freep) char *text = NULL;
	json_t *manifests;
	size_t len;
	int r = seam_read_file(w->seam, w->fd, "index.json", INDEX_MAX, &text, &len);

	if (r == -ENOENT) {
		*ret = json_pack("{s:i, s:s, s:[]}", "schemaVersion", 2, "mediaType", INDEX_TYPE,
				 "manifests");
		return *ret ? 0 : -ENOMEM;
	}
	if (r < 0)
		return error_set_errno(err, r, "%s: can't read index.json", w->path);
	r = json_parse(text, len, INDEX_MAX, "index.json", &root, err);
	if (r < 0)
		return r;
	r = json_get_array(root, "manifests", "index.json", &manifests, err);
	if (r < 0)
		return r;
	if (r && json_object_set_new(root, "manifests", json_array()) < 0)
		return -ENOMEM;
	*ret = steal_ptr(root);
	return 0;
}

static bool has_name(const json_t *entry, const char *name)
{
	const json_t *a = json_object_get(entry, "annotations");
	const char *have = json_string_value(json_object_get(a, REF_NAME));

	return name && have ? !strcmp(name, have) : !name && !have;
}

static int index_set(json_t *index, const char *name, json_t *entry)
{
	json_t *manifests = json_object_get(index, "manifests"), *e;
	size_t i = 0;

	while ((e = json_array_get(manifests, i)))
		if (has_name(e, name))
			json_array_remove(manifests, i);
		else
			i++;
	return json_array_append_new(manifests, entry) < 0 ? -ENOMEM : 0;
}

static int index_update(struct layout_writer *w, const char *name, json_t *entry, struct error *err)
{
	_cleanup_(json_decrefp) json_t *index = NULL;
	_cleanup_(freep) char *text = NULL;
	int r = index_load(w, &index, err);

	if (r < 0) {
		json_decref(entry);
		return r;
	}
	r = index_set(index, name, entry);
	text = r < 0 ? NULL : json_dumps(index, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	r = file_put(w, "index.json", text, strlen(text), NULL, err);
	return r < 0 ? r : w->seam->fsync(w->seam, w->fd);
}

int layout_tag(struct layout_writer *w, const char *name, const char *media_type,
	       const char *artifact_type, const struct digest *d, uint64_t size, struct error *err)
{
	char digest[DIGEST_TEXT_MAX];
	json_t *entry;
	int r;

	digest_format(d, digest);
	entry = json_pack("{s:s, s:s, s:I}", "mediaType", media_type, "digest", digest, "size",
			  (json_int_t)size);
	if (entry && artifact_type)
		json_object_set_new(entry, "artifactType", json_string(artifact_type));
	if (entry && name)
		json_object_set_new(entry, "annotations", json_pack("{s:s}", REF_NAME, name));
	if (!entry)
		return error_set(err, -EINVAL, "%s: \"%s\" can't be a name in a layout", w->path,
				 name ? name : "");
	while (flock(w->fd, LOCK_EX) < 0)
		if (errno != EINTR) {
			r = -errno;
			json_decref(entry);
			return error_set_errno(err, r, "%s: can't lock the layout", w->path);
		}
	r = index_update(w, name, entry, err);
	flock(w->fd, LOCK_UN);
	w->tagged = w->tagged || r >= 0;
	return r;
}
