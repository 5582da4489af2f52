/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the cache share: a cache in a directory of its own, layers whose "compressed"
 * bytes are the contents themselves, and a blob in memory that counts, delays, fails and lies.
 */
#ifndef MORSEL_TESTS_CACHE_RIG_H
#define MORSEL_TESTS_CACHE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include "cache/layer_impl.h"
#include "cache/reader.h"

#define MS NS_PER_MS

/* ---- deterministic bytes ---- */

static inline uint64_t rig_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline void rig_fill(uint8_t *p, size_t n, uint64_t seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (uint8_t)(rig_random(&seed) | 1); /* never zero: holes are told from data */
}

/* ---- a blob in memory ---- */

struct fake_blob {
	struct blob base; /* first */
	uint8_t *data;
	_Atomic uint64_t reads, bytes, fresh_reads;
	_Atomic uint64_t delay_ns;   /* before the first byte */
	_Atomic int fail;	     /* < 0: every read ends so */
	_Atomic uint64_t fail_after; /* bytes delivered before that */
	_Atomic int64_t corrupt_at;  /* >= 0: this byte is sent wrong ... */
	_Atomic bool corrupt_fresh;  /* ... also when asked for a fresh copy */
	_Atomic uint64_t piece;	     /* bytes per call of the sink */
	_Atomic bool stubborn;	     /* takes its time whatever the caller's deadline says */
};

static inline int fake_blob_send(struct fake_blob *b, uint64_t off, uint64_t n, bool fresh,
				 blob_sink_fn sink, void *userdata)
{
	int64_t bad = atomic_load(&b->corrupt_at);
	uint8_t *copy = malloc(n);
	int r;

	memcpy(copy, b->data + off, n);
	if (bad >= (int64_t)off && bad < (int64_t)(off + n) &&
	    (!fresh || atomic_load(&b->corrupt_fresh)))
		copy[bad - (int64_t)off] ^= 0x10;
	r = sink(userdata, copy, n);
	free(copy);
	return r;
}

static inline int fake_blob_read(struct blob *base, uint64_t off, uint64_t len,
				 const struct blob_read_options *o, blob_sink_fn sink,
				 void *userdata, struct error *err)
{
	struct fake_blob *b = (struct fake_blob *)base;
	const struct seam *s = seam_real();
	uint64_t end = s->monotonic_ns(s) + atomic_load(&b->delay_ns), sent = 0;

	atomic_fetch_add(&b->reads, 1);
	if (o->fresh)
		atomic_fetch_add(&b->fresh_reads, 1);
	while (s->monotonic_ns(s) < end) {
		if (o->cancel && atomic_load(o->cancel))
			return -ECANCELED;
		if (o->deadline_ns && s->monotonic_ns(s) >= o->deadline_ns &&
		    !atomic_load(&b->stubborn))
			return error_set(err, -ETIMEDOUT, "fake blob: too late");
		s->sleep_until(s, min_u64(end, s->monotonic_ns(s) + 5 * MS));
	}
	while (sent < len) {
		uint64_t n = min_u64(len - sent, atomic_load(&b->piece));
		int r = atomic_load(&b->fail);

		if (r < 0 && sent >= atomic_load(&b->fail_after))
			return error_set(err, r, "fake blob: told to fail");
		r = fake_blob_send(b, off + sent, n, o->fresh, sink, userdata);
		if (r < 0)
			return r;
		sent += n;
		atomic_fetch_add(&b->bytes, n);
	}
	if (o->cost) {
		o->cost->requests++;
		o->cost->wire_bytes += len;
		o->cost->first_byte_ns += atomic_load(&b->delay_ns);
		o->cost->transfer_ns += len; /* 1 GB/s */
	}
	return 0;
}

static inline void fake_blob_close(struct blob *b)
{
}

static const struct blob_ops fake_blob_ops = {.read = fake_blob_read, .close = fake_blob_close};

/* ---- a format that only copies ---- */

static inline int copy_decode(const struct layer_index *ix, uint64_t first, uint64_t last,
			      const void *in, size_t in_len, uint64_t chunk_first,
			      uint64_t chunk_last, const struct chunk_sink *sink)
{
	uint64_t base = ix->spans[first].in_off;

	if (in_len != ix->spans[last].in_end - base)
		return -EINVAL;
	for (uint64_t i = chunk_first; i <= chunk_last; i++) {
		const struct layer_chunk *c = &ix->chunks[i];
		uint64_t at = ix->spans[c->span].in_off + c->span_off - base;
		int r;

		if (at + c->len > in_len)
			return -EBADMSG;
		r = sink->chunk(sink->userdata, i, (const uint8_t *)in + at, c->len);
		if (r < 0)
			return r;
	}
	return 0;
}

static const struct layer_format copy_format = {
	.id = LAYER_GZIP, .name = "gzip", .decode = copy_decode};

/* ---- a layer ---- */

struct rig_layer {
	struct digest digest;
	struct layer_key key;
	struct buf tables;
	struct fake_blob blob;
	uint8_t *device;
	uint64_t device_bytes, n_chunks;
};

struct rig_shape {
	uint64_t file_bytes, n_files;
	uint32_t chunk_bytes, span_bytes;
	uint64_t seed;
};

/* Files of file_bytes, cut into chunks; their contents, one after the other, are the blob, which is
 * cut into spans without regard to chunks. */
static inline void rig_layer_init(struct rig_layer *rl, const struct rig_shape *sh)
{
	struct layer_builder *b;
	uint64_t blob_bytes = sh->file_bytes * sh->n_files, stride = align_up(sh->file_bytes, 4096);

	*rl = (struct rig_layer){0};
	rl->device_bytes = stride * sh->n_files;
	rl->device = calloc(1, rl->device_bytes);
	rl->blob.data = malloc(blob_bytes);
	rig_fill(rl->blob.data, blob_bytes, sh->seed);
	assert_int_equal(layer_builder_new(LAYER_GZIP, 1000000, &b), 0);
	for (uint64_t at = 0; at < blob_bytes; at += sh->span_bytes) {
		struct layer_span s = {.in_off = at,
				       .in_end = min_u64(at + sh->span_bytes, blob_bytes),
				       .out_off = at};

		assert_int_equal(layer_builder_add_span(b, &s, NULL, 0), 0);
	}
	for (uint64_t f = 0; f < sh->n_files; f++) {
		char path[32];
		struct layer_entry e = {
			.mode = S_IFREG | 0644, .size = sh->file_bytes, .data_off = f * stride};

		snprintf(path, sizeof(path), "file%06llu", (unsigned long long)f);
		assert_int_equal(
			layer_builder_add_entry(b, &e, path, strlen(path), NULL, 0, NULL, 0), 0);
		memcpy(rl->device + f * stride, rl->blob.data + f * sh->file_bytes, sh->file_bytes);
		for (uint64_t at = 0; at < sh->file_bytes; at += sh->chunk_bytes) {
			uint64_t in = f * sh->file_bytes + at;
			struct layer_chunk c = {
				.dev_off = f * stride + at,
				.len = (uint32_t)min_u64(sh->chunk_bytes, sh->file_bytes - at),
				.span = (uint32_t)(in / sh->span_bytes),
				.span_off = in % sh->span_bytes};
			struct digest d;

			c.span_last = (uint32_t)((in + c.len - 1) / sh->span_bytes);
			digest_of(DIGEST_SHA256, rl->blob.data + in, c.len, &d);
			memcpy(c.digest, d.bytes, 32);
			assert_int_equal(layer_builder_add_chunk(b, &c), 0);
			rl->n_chunks++;
		}
	}
	layer_builder_header(b)->device_bytes = rl->device_bytes;
	layer_builder_header(b)->blob_bytes = blob_bytes;
	assert_int_equal(layer_builder_write_buf(b, &rl->tables), 0);
	layer_builder_free(b);
	digest_of(DIGEST_SHA256, rl->blob.data, blob_bytes, &rl->digest);
	layer_key_make(&rl->digest, ANCHOR_BLOB, &rl->digest, &rl->key);
	rl->blob.base =
		(struct blob){.ops = &fake_blob_ops, .size = blob_bytes, .digest = rl->digest};
	rl->blob.piece = 16384;
	rl->blob.corrupt_at = -1;
}

static inline void rig_layer_fini(struct rig_layer *rl)
{
	free(rl->device);
	free(rl->blob.data);
	buf_fini(&rl->tables);
}

static inline int rig_stage(struct cache *c, const struct rig_layer *rl, bool contents,
			    struct layer **ret, struct error *err)
{
	struct layer_stage *st;
	int r = layer_stage_new(c, &rl->key, &rl->digest, rl->blob.base.size, STAGE_DISK, &st, err);

	if (r < 0)
		return r;
	r = seam_pwrite_full(c->seam, layer_stage_table_fd(st), rl->tables.data, rl->tables.len, 0);
	for (uint64_t at = 0; contents && at < rl->device_bytes && r >= 0; at += 65536) {
		uint64_t n = min_u64(65536, rl->device_bytes - at);

		r = seam_pwrite_full(c->seam, layer_stage_data_fd(st), rl->device + at, n, at);
	}
	if (r < 0) {
		layer_stage_free(st);
		return r;
	}
	return layer_stage_commit(st, contents, 1000000, ret, err);
}

/* ---- a cache ---- */

static inline int rig_unlink(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void rig_rmtree(const char *dir)
{
	nftw(dir, rig_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

struct rig_log {
	struct log log;
	pthread_mutex_t lock;
	unsigned lines;
	char text[8192];
};

static inline void rig_log_write(void *userdata, enum log_level level, const char *line)
{
	struct rig_log *l = userdata;

	pthread_mutex_lock(&l->lock);
	l->lines++;
	if (strlen(l->text) + strlen(line) + 2 < sizeof(l->text)) {
		strcat(l->text, line);
		strcat(l->text, "\n");
	}
	pthread_mutex_unlock(&l->lock);
}

struct rig {
	char dir[64];
	struct seam seam;
	struct rig_log log;
	struct cache *c;
	struct work_pool *pool;
	struct counters counters;
};

static inline void rig_cache_open(struct rig *g, uint64_t size_bytes)
{
	struct cache_options o = {
		.seam = &g->seam, .log = &g->log.log, .dir = g->dir, .size_bytes = size_bytes};
	struct error err = ERROR_INIT;

	if (cache_open(&o, &g->c, &err) < 0)
		fail_msg("%s", err.text);
}

static inline void rig_init(struct rig *g)
{
	memset(g, 0, sizeof(*g));
	strcpy(g->dir, "/tmp/morsel-test-XXXXXX");
	assert_non_null(mkdtemp(g->dir));
	g->seam = *seam_real();
	pthread_mutex_init(&g->log.lock, NULL);
	g->log.log = (struct log){.level = LOG_DEBUG, .write = rig_log_write, .userdata = &g->log};
	rig_cache_open(g, 0);
	assert_int_equal(work_pool_new(8, "test", &g->pool), 0);
}

static inline void rig_fini(struct rig *g)
{
	work_pool_free(g->pool);
	cache_close(g->c);
	rig_rmtree(g->dir);
}

static inline struct reader *rig_reader_of(struct rig *g, struct layer *l, struct rig_layer *rl,
					   uint64_t deadline_ns)
{
	struct reader_layer layers = {
		.layer = l, .format = &copy_format, .blob = rl ? &rl->blob.base : NULL};
	struct reader_options o = {.seam = &g->seam,
				   .log = &g->log.log,
				   .counters = &g->counters,
				   .pool = g->pool,
				   .layers = &layers,
				   .n_layers = 1,
				   .deadline_ns = deadline_ns};
	struct reader *r;

	assert_int_equal(reader_new(&o, &r, NULL), 0);
	return r;
}

/* Reads a range and compares; returns the reader's word. */
static inline int rig_check(struct reader *r, const struct rig_layer *rl, uint64_t off,
			    uint64_t len)
{
	uint8_t *buf = malloc(len + 1);
	int e;

	memset(buf, 0xee, len);
	e = reader_read(r, 0, off, buf, len, NULL, NULL);
	if (e >= 0 && memcmp(buf, rl->device + off, len))
		fail_msg("wrong bytes in %llu+%llu", (unsigned long long)off,
			 (unsigned long long)len);
	free(buf);
	return e;
}

#endif
