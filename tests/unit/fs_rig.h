/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the FUSE layer share: an image described as text, whose contents come from a
 * blob in memory through a real cache and reader, mounted for real and served by a thread.
 */
#ifndef MORSEL_TESTS_FS_RIG_H
#define MORSEL_TESTS_FS_RIG_H

#include "cache_rig.h"

#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "fs/fs.h"
#include "fs/mountinfo.h"
#include "image/erofs_write.h"
#include "layer_text.h"

#define FS_CHUNK 65536u
#define FS_SPAN 100000u
#define FS_EXTENTS_MOST 64

struct fs_extent { /* what is not zero on the device */
	uint64_t dev_off, len, blob_off;
};

struct fs_rig {
	struct rig g;
	struct rig_layer rl; /* without a device: see extents */
	struct fs_extent extents[FS_EXTENTS_MOST];
	unsigned n_extents;
	struct layer *l;
	struct reader *r;
	struct layer_index index;
	struct tree *tree;
	struct buf image;
	struct erofs erofs;
	struct fs_params p; /* may be changed before fs_rig_mount() */
	char mnt[100];
	struct fs *fs;
	pthread_t thread;
	sem_t is_ready;
	int result; /* of fs_serve() */
	bool serving;
};

static inline uint64_t fs_now(void)
{
	return seam_real()->monotonic_ns(seam_real());
}

static inline void fs_sleep_ms(uint64_t ms)
{
	seam_real()->sleep_until(seam_real(), fs_now() + ms * NS_PER_MS);
}

/* Skips the test that calls it, with the reason, where mounts are not possible. */
#define FS_NEED_ROOT()                                                                             \
	do {                                                                                       \
		int need_fd_ = open("/dev/fuse", O_RDWR | O_CLOEXEC);                              \
		if (geteuid() || need_fd_ < 0) {                                                   \
			print_message("skipped: needs root and /dev/fuse\n");                      \
			skip();                                                                    \
		}                                                                                  \
		close(need_fd_);                                                                   \
	} while (0)

/* ---- the image ---- */

/* Files with "sparse" in their names have data around two thirds of their size only. */
static inline void fs_extent_add(struct fs_rig *s, const struct layer_entry *e, const char *path)
{
	struct fs_extent x = {.dev_off = e->data_off, .len = e->size};
	const struct fs_extent *last = s->n_extents ? &s->extents[s->n_extents - 1] : NULL;

	if (strstr(path, "sparse")) {
		x.dev_off += (e->size * 2 / 3 & ~UINT64_C(4095)) - FS_CHUNK;
		x.len = 2 * FS_CHUNK;
	}
	x.blob_off = last ? last->blob_off + last->len : 0;
	assert_true(s->n_extents < FS_EXTENTS_MOST);
	s->extents[s->n_extents++] = x;
}

static inline void fs_chunks_add(struct layer_builder *b, const struct fs_extent *x,
				 const uint8_t *blob)
{
	for (uint64_t at = 0; at < x->len; at += FS_CHUNK) {
		uint64_t in = x->blob_off + at;
		struct layer_chunk c = {.dev_off = x->dev_off + at,
					.len = (uint32_t)min_u64(FS_CHUNK, x->len - at),
					.span = (uint32_t)(in / FS_SPAN),
					.span_off = in % FS_SPAN};
		struct digest d;

		c.span_last = (uint32_t)((in + c.len - 1) / FS_SPAN);
		digest_of(DIGEST_SHA256, blob + in, c.len, &d);
		memcpy(c.digest, d.bytes, 32);
		MUST(layer_builder_add_chunk(b, &c) >= 0);
	}
}

static inline void fs_blob_make(struct fs_rig *s, struct layer_builder *b)
{
	const struct fs_extent *last = s->n_extents ? &s->extents[s->n_extents - 1] : NULL;
	uint64_t bytes = last ? last->blob_off + last->len : 1;

	s->rl.blob.data = malloc(bytes);
	MUST(s->rl.blob.data);
	rig_fill(s->rl.blob.data, bytes, 5);
	for (uint64_t at = 0; at < bytes; at += FS_SPAN) {
		struct layer_span span = {
			.in_off = at, .in_end = min_u64(at + FS_SPAN, bytes), .out_off = at};

		MUST(layer_builder_add_span(b, &span, NULL, 0) >= 0);
	}
	for (unsigned i = 0; i < s->n_extents; i++)
		fs_chunks_add(b, &s->extents[i], s->rl.blob.data);
	layer_builder_header(b)->blob_bytes = bytes;
	digest_of(DIGEST_SHA256, s->rl.blob.data, bytes, &s->rl.digest);
	layer_key_make(&s->rl.digest, ANCHOR_BLOB, &s->rl.digest, &s->rl.key);
	s->rl.blob.base =
		(struct blob){.ops = &fake_blob_ops, .size = bytes, .digest = s->rl.digest};
	s->rl.blob.piece = 16384;
	s->rl.blob.corrupt_at = -1;
}

static inline void fs_layer_make(struct fs_rig *s, const char *text)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	_cleanup_(freep) char *own = strdup(text);
	char *save, *line;

	MUST(own && layer_builder_new(LAYER_GZIP, UINT32_MAX, &b) >= 0);
	for (line = strtok_r(own, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		layer_text_line(b, line);
	for (uint64_t i = 0, n = layer_builder_header(b)->n_entries; i < n; i++) {
		struct layer_entry *e = layer_builder_entry(b, i);
		char path[256], type[2];

		/* The i-th line is the i-th entry. */
		const char *at = text;
		for (uint64_t k = 0; k < i; k++)
			at = strchr(at, '\n') + 1;
		MUST(sscanf(at, "%1s %255s", type, path) == 2);
		if (S_ISREG(e->mode) && e->size)
			fs_extent_add(s, e, path);
	}
	fs_blob_make(s, b);
	layer_done(b, &s->rl.tables, &s->index);
}

static inline void fs_image_make(struct fs_rig *s)
{
	static const uint8_t uuid[16] = "a test's own id";
	const char *tag = "layer";
	struct erofs_params params = {.uuid = uuid, .device_tags = &tag, .volume_name = "test"};
	struct error err = ERROR_INIT;

	if (tree_merge(&s->index, 1, UINT32_MAX, &s->tree, &err) < 0 ||
	    erofs_write(s->tree, &params, &s->image, &err) < 0 ||
	    erofs_open(s->image.data, s->image.len, &s->erofs, &err) < 0)
		fail_msg("%s", err.text);
}

static inline char *fs_rig_report(void *userdata, const char *request)
{
	char *text = NULL;

	return asprintf(&text, "{\"asked\": \"%s\"}\n", request) < 0 ? NULL : text;
}

/* Where a test that fails leaves a mount behind. */
static char fs_rig_last_mnt[100];

static inline int fs_rig_teardown(void **state)
{
	while (*fs_rig_last_mnt && !umount2(fs_rig_last_mnt, MNT_DETACH))
		;
	rmdir(fs_rig_last_mnt);
	*fs_rig_last_mnt = 0;
	return 0;
}

#define FS_TEST(f) cmocka_unit_test_teardown(f, fs_rig_teardown)

static inline void fs_rig_init(struct fs_rig *s, const char *text, uint64_t deadline_ns)
{
	memset(s, 0, sizeof(*s));
	rig_init(&s->g);
	snprintf(s->mnt, sizeof(s->mnt), "%s-mnt", s->g.dir);
	strcpy(fs_rig_last_mnt, s->mnt);
	assert_int_equal(mkdir(s->mnt, 0755), 0);
	fs_layer_make(s, text);
	fs_image_make(s);
	assert_int_equal(rig_stage(s->g.c, &s->rl, false, &s->l, NULL), 0);
	s->r = rig_reader_of(&s->g, s->l, &s->rl, deadline_ns);
	sem_init(&s->is_ready, 0, 0);
	s->p = (struct fs_params){.seam = seam_real(),
				  .log = &s->g.log.log,
				  .image = &s->erofs,
				  .reader = s->r,
				  .counters = &s->g.counters,
				  .mountpoint = s->mnt,
				  .fsname = "an image",
				  .control = fs_rig_report};
}

/* The bytes of a device range. */
static inline void fs_expect(const struct fs_rig *s, uint64_t dev_off, uint8_t *out, uint64_t n)
{
	memset(out, 0, n);
	for (unsigned i = 0; i < s->n_extents; i++) {
		const struct fs_extent *x = &s->extents[i];
		uint64_t from = max_u64(dev_off, x->dev_off);
		uint64_t to = min_u64(dev_off + n, x->dev_off + x->len);

		if (from < to)
			memcpy(out + (from - dev_off),
			       s->rl.blob.data + x->blob_off + (from - x->dev_off), to - from);
	}
}

static inline const struct tree_inode *fs_inode(const struct fs_rig *s, const char *name)
{
	const struct tree_node *root = s->tree->root;

	for (uint32_t i = 0; i < root->n_children; i++)
		if (strlen(name) == root->children[i]->name_len &&
		    !memcmp(root->children[i]->name, name, strlen(name)))
			return root->children[i]->inode;
	fail_msg("no %s in the test's own image", name);
	return NULL;
}

/* ---- the mount ---- */

static inline void fs_rig_ready(void *userdata)
{
	struct fs_rig *s = userdata;

	sem_post(&s->is_ready);
}

static inline void *fs_rig_thread(void *arg)
{
	struct fs_rig *s = arg;

	s->result = fs_serve(s->fs, fs_rig_ready, s, NULL);
	return NULL;
}

static inline void fs_rig_mount(struct fs_rig *s)
{
	struct error err = ERROR_INIT;
	struct timespec until;

	if (fs_mount(&s->p, &s->fs, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(pthread_create(&s->thread, NULL, fs_rig_thread, s), 0);
	s->serving = true;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	assert_int_equal(sem_timedwait(&s->is_ready, &until), 0);
}

/* After somebody ended it. */
static inline void fs_rig_join(struct fs_rig *s)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	assert_int_equal(pthread_timedjoin_np(s->thread, NULL, &until), 0);
	s->serving = false;
	fs_free(s->fs);
	s->fs = NULL;
}

static inline bool fs_is_mounted(const char *dir)
{
	struct mount_info m;

	return mountinfo_lookup(dir, &m) >= 0;
}

static inline void fs_rig_umount(struct fs_rig *s)
{
	fs_stop(s->fs);
	fs_rig_join(s);
	assert_int_equal(s->result, 0);
	assert_false(fs_is_mounted(s->mnt));
}

static inline void fs_rig_fini(struct fs_rig *s)
{
	if (s->serving)
		fs_rig_umount(s);
	reader_free(s->r);
	layer_close(s->l);
	tree_free(s->tree);
	buf_fini(&s->image);
	rig_layer_fini(&s->rl);
	sem_destroy(&s->is_ready);
	assert_int_equal(rmdir(s->mnt), 0);
	rig_fini(&s->g);
}

static inline const char *fs_path(const struct fs_rig *s, const char *name)
{
	static _Thread_local char paths[4][600];
	static _Thread_local unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, 600, "%s/%s", s->mnt, name);
	return path;
}

static inline int fs_open(const struct fs_rig *s, const char *name, int flags)
{
	int fd = open(fs_path(s, name), flags | O_CLOEXEC);

	if (fd < 0)
		fail_msg("%s: %s", name, strerror(errno));
	return fd;
}

#endif
