/* SPDX-License-Identifier: MIT */
/*
 * Plain gzip, also of several members. No decoder can start in the middle of a stream by itself,
 * but at a deflate block border its whole state is a position, up to 7 bits of the byte before it,
 * and the last 32 KiB of output (zlib's examples/zran.c shows the technique). Such checkpoints are
 * taken about every SPAN_BYTES of output and become the layer's spans; a member's start is a
 * checkpoint without a window.
 *
 * Indexing overlaps inflating with hashing and writing: the inflated blocks go to a second thread
 * through a ring of buffers.
 */
#include "image/layer_format.h"

#include <errno.h>
#include <pthread.h>

#include "image/gzip_decode.h"
#include "image/gzip_stream.h"
#include "image/tar_index.h"

#define SPAN_BYTES (2u << 20)
#define IN_BYTES (256u << 10)
#define BLOCK_BYTES (512u << 10)
#define N_BLOCKS 4

/* ---- the second thread: diffID, tar, contents ---- */

struct block {
	uint8_t *data;
	size_t len;
	bool cut; /* a span ends behind it */
};

struct consumer {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct block blocks[N_BLOCKS]; /* a ring: [head, head + full) hold data */
	unsigned head, full;	       /* under lock, as done and result */
	bool done;
	int result;
	struct error err;
	struct hasher *hash;
	struct tar_index *ix;
};

static void *consumer_run(void *arg)
{
	struct consumer *c = arg;

	pthread_mutex_lock(&c->lock);
	for (;;) {
		struct block *b;
		int r = c->result;

		while (!c->full && !c->done)
			pthread_cond_wait(&c->wake, &c->lock);
		if (!c->full)
			break;
		b = &c->blocks[c->head];
		pthread_mutex_unlock(&c->lock);
		if (r >= 0) {
			hasher_update(c->hash, b->data, b->len);
			r = tar_index_feed(c->ix, b->data, b->len, &c->err);
			if (r >= 0 && b->cut)
				r = tar_index_cut(c->ix);
		}
		pthread_mutex_lock(&c->lock);
		c->result = r;
		c->head = (c->head + 1) % N_BLOCKS;
		c->full--;
		pthread_cond_signal(&c->wake);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

/* The next free block, once there is one; or the consumer's error. */
static int consumer_next(struct consumer *c, struct block **ret)
{
	int r;

	pthread_mutex_lock(&c->lock);
	while (c->full == N_BLOCKS)
		pthread_cond_wait(&c->wake, &c->lock);
	*ret = &c->blocks[(c->head + c->full) % N_BLOCKS];
	(*ret)->len = 0;
	(*ret)->cut = false;
	r = c->result;
	pthread_mutex_unlock(&c->lock);
	return r;
}

static void consumer_push(struct consumer *c)
{
	pthread_mutex_lock(&c->lock);
	c->full++;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

static int consumer_start(struct consumer *c)
{
	pthread_mutex_init(&c->lock, NULL);
	pthread_cond_init(&c->wake, NULL);
	for (unsigned i = 0; i < N_BLOCKS; i++)
		if (!(c->blocks[i].data = malloc(BLOCK_BYTES)))
			return -ENOMEM;
	return -pthread_create(&c->thread, NULL, consumer_run, c);
}

static int consumer_stop(struct consumer *c)
{
	pthread_mutex_lock(&c->lock);
	c->done = true;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	return c->result;
}

static void consumer_fini(struct consumer *c)
{
	for (unsigned i = 0; i < N_BLOCKS; i++)
		free(c->blocks[i].data);
	pthread_cond_destroy(&c->wake);
	pthread_mutex_destroy(&c->lock);
}

/* ---- indexing ---- */

struct gzip_index {
	const struct index_source *in;
	struct layer_builder *b;
	struct consumer c;
	struct gzip_stream *stream;
	uint8_t *input; /* IN_BYTES; what is left of it is at next */
	const uint8_t *next;
	size_t left;
	struct block *block;
	uint8_t window[GZIP_WINDOW]; /* ring: the last output of this member */
	size_t window_at, window_len;
	uint64_t in_total, out_total, span_out;
	bool in_member, eof;
	struct error *err;
};

/* Whole buffers, so that the borders that are found do not depend on the pieces that come. */
static int refill(struct gzip_index *g)
{
	if (g->left || g->eof)
		return 0;
	while (g->left < IN_BYTES && !g->eof) {
		ssize_t n = g->in->read(g->in->userdata, g->input + g->left, IN_BYTES - g->left);

		if (n < 0)
			return (int)n;
		g->eof = !n;
		g->left += (size_t)n;
	}
	g->next = g->input;
	g->in_total += g->left;
	return 0;
}

static uint64_t in_pos(const struct gzip_index *g)
{
	return g->in_total - g->left;
}

static void window_push(struct gzip_index *g, const uint8_t *p, size_t n)
{
	if (n >= GZIP_WINDOW) {
		memcpy(g->window, p + n - GZIP_WINDOW, GZIP_WINDOW);
		g->window_at = 0;
		g->window_len = GZIP_WINDOW;
		return;
	}
	for (size_t first = min_u64(n, GZIP_WINDOW - g->window_at); n;) {
		memcpy(g->window + g->window_at, p, first);
		g->window_at = (g->window_at + first) % GZIP_WINDOW;
		p += first;
		n -= first;
		g->window_len = min_u64(GZIP_WINDOW, g->window_len + first);
		first = n;
	}
}

static void block_flush(struct gzip_index *g)
{
	if (g->block && (g->block->len || g->block->cut))
		consumer_push(&g->c);
	g->block = NULL;
}

static int block_cut(struct gzip_index *g)
{
	int r = g->block ? 0 : consumer_next(&g->c, &g->block);

	if (r < 0)
		return r;
	g->block->cut = true;
	block_flush(g);
	return 0;
}

static int span_add(struct gzip_index *g, uint64_t in_off, int bits)
{
	struct layer_span *prev = layer_builder_last_span(g->b);
	struct layer_span s = {.in_off = in_off,
			       .in_end = UINT64_MAX,
			       .out_off = g->out_total,
			       .bits = (uint8_t)bits};
	uint8_t linear[GZIP_WINDOW];
	size_t at = g->window_len < GZIP_WINDOW ? 0 : g->window_at;
	int r = 0;

	if (prev) {
		prev->in_end = in_off + (bits ? 1 : 0);
		r = block_cut(g);
	}
	if (r < 0)
		return r;
	memcpy(linear, g->window + at, g->window_len - at);
	memcpy(linear + (g->window_len - at), g->window, at);
	g->span_out = g->out_total;
	return layer_builder_add_span(g->b, &s, linear, g->window_len);
}

/* A new member: a checkpoint that needs no window. Many small members share a span. */
static int member_begin(struct gzip_index *g)
{
	uint64_t at = in_pos(g);

	gzip_stream_begin(g->stream);
	g->window_len = g->window_at = 0;
	g->in_member = true;
	if (layer_builder_last_span(g->b) && g->out_total - g->span_out < SPAN_BYTES / 8)
		return 0;
	return span_add(g, at, 0);
}

/* After the last member only zeros may follow. */
static int trailer_check(struct gzip_index *g)
{
	int r = 0;

	while (r >= 0 && (g->left || !g->eof)) {
		for (; g->left; g->left--)
			if (*g->next++)
				return error_set(
					g->err, -EBADMSG,
					"garbage after the end of the gzip data, at byte %llu",
					(unsigned long long)in_pos(g));
		r = refill(g);
	}
	return r;
}

static int border_reached(struct gzip_index *g, uint64_t bits_back)
{
	uint64_t at = in_pos(g) * 8 - bits_back;

	return span_add(g, at / 8, at % 8 ? 8 - (int)(at % 8) : 0);
}

/* Up to a block border, a full output block, or the end of the input. */
static int inflate_step(struct gzip_index *g)
{
	struct gzip_step x = {.in = g->next, .in_len = g->left};
	struct error why = ERROR_INIT;
	uint64_t at = in_pos(g);
	int r;

	if (!g->block && (r = consumer_next(&g->c, &g->block)) < 0)
		return r;
	x.out = g->block->data + g->block->len;
	x.room = BLOCK_BYTES - g->block->len;
	/* Right behind a member's header its start serves. */
	x.want_border = g->window_len && g->out_total - g->span_out >= SPAN_BYTES;
	r = gzip_stream_step(g->stream, &x, &why);
	if (r < 0)
		return error_set(g->err, r, "not valid gzip data at byte %llu: %s",
				 (unsigned long long)at, why.text);
	g->next += x.taken;
	g->left -= x.taken;
	window_push(g, x.out, x.got);
	g->block->len += x.got;
	g->out_total += x.got;
	if (g->block->len == BLOCK_BYTES)
		block_flush(g);
	if (x.event == GZIP_MEMBER_END)
		g->in_member = false;
	else if (x.event == GZIP_BORDER)
		return border_reached(g, x.border_bits);
	else if (g->eof && !x.taken && !x.got)
		return error_set(g->err, -EBADMSG, "the gzip data is cut off at byte %llu",
				 (unsigned long long)in_pos(g));
	return 0;
}

static int stream_run(struct gzip_index *g)
{
	int r = refill(g);

	while (r >= 0) {
		if (!g->in_member) {
			r = refill(g);
			if (r < 0 || (g->eof && !g->left))
				break;
			if (g->out_total || layer_builder_last_span(g->b)) {
				if (!*g->next) {
					r = trailer_check(g);
					break;
				}
			}
			r = member_begin(g);
			continue;
		}
		r = refill(g);
		if (r >= 0)
			r = inflate_step(g);
	}
	block_flush(g);
	return r;
}

static int index_complete(struct gzip_index *g)
{
	struct layer_index_header *h = layer_builder_header(g->b);
	struct layer_span *last = layer_builder_last_span(g->b);
	struct digest d;

	hasher_final(g->c.hash, &d);
	memcpy(h->diff_id, d.bytes, sizeof(h->diff_id));
	h->blob_bytes = g->in_total;
	if (last)
		last->in_end = g->in_total;
	return tar_index_finish(g->c.ix, g->err);
}

static int gzip_index(const struct index_source *in, const struct index_sink *out,
		      struct layer_builder *b, struct error *err)
{
	_cleanup_(freep) struct gzip_index *g = calloc(1, sizeof(*g));
	_cleanup_(freep) uint8_t *input = malloc(IN_BYTES);
	_cleanup_(hasher_freep) struct hasher *hash = NULL;
	_cleanup_(tar_index_freep) struct tar_index *ix = NULL;
	int r, rc;

	if (!g || !input)
		return -ENOMEM;
	g->in = in;
	g->b = b;
	g->err = err;
	g->input = input;
	r = gzip_stream_new(&g->stream);
	if (r >= 0)
		r = hasher_new(DIGEST_SHA256, &hash);
	if (r >= 0)
		r = tar_index_new(b, out, &ix);
	g->c.hash = hash;
	g->c.ix = ix;
	if (r >= 0)
		r = consumer_start(&g->c);
	if (r >= 0) {
		r = stream_run(g);
		rc = consumer_stop(&g->c);
		if (rc < 0 && g->c.err.code)
			error_set(err, rc, "%s", g->c.err.text);
		r = rc < 0 ? rc : r;
		if (r >= 0)
			r = index_complete(g);
	}
	gzip_stream_free(g->stream);
	consumer_fini(&g->c);
	return r;
}

const struct layer_format format_gzip = {
	.id = LAYER_GZIP, .name = "gzip", .index = gzip_index, .decode = gzip_decode};
