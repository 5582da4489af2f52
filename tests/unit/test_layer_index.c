/* SPDX-License-Identifier: MIT */
/* The validator: good tables pass, and each thing it promises fails when it alone is broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "layer_text.h"

/* Tables with one of everything, and pointers into them to damage. */
struct tables {
	struct buf bytes;
	struct layer_index_header *header;
	struct layer_entry *file, *dir, *symlink, *hardlink, *whiteout, *mark, *device;
	struct layer_chunk *chunks;
	struct layer_span *spans;
	uint8_t *heap;
};

static void chunk_put(struct layer_builder *b, uint64_t dev_off, uint32_t len, uint32_t span,
		      uint64_t span_off)
{
	struct layer_chunk c = {.dev_off = dev_off,
				.len = len,
				.span = span,
				.span_last = span,
				.span_off = span_off};

	assert_int_equal(layer_builder_add_chunk(b, &c), 0);
}

static void tables_make(struct tables *t)
{
	static const char *const lines[] = {"f dir/file s=10000 x=user.a:1 x=security.b:22",
					    "d dir m=700",
					    "l link dir/file",
					    "h other dir/file",
					    "w gone",
					    "o dir",
					    "c null r=1:3"};
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	static const uint8_t window[1000] = "window";
	struct layer_index_header *h;
	struct layer_index ix;

	*t = (struct tables){0};
	assert_int_equal(layer_builder_new(LAYER_GZIP, 100, &b), 0);
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
		char *line = strdup(lines[i]);

		layer_text_line(b, line);
		free(line);
	}
	chunk_put(b, 0, 4096, 0, 512);
	chunk_put(b, 4096, 5904, 1, 0);
	assert_int_equal(layer_builder_add_span(b, &(struct layer_span){.in_off = 0, .in_end = 501},
						NULL, 0),
			 0);
	assert_int_equal(layer_builder_add_span(
				 b,
				 &(struct layer_span){
					 .in_off = 500, .in_end = 900, .out_off = 4608, .bits = 3},
				 window, sizeof(window)),
			 0);
	h = layer_builder_header(b);
	h->blob_bytes = 900;
	layer_done(b, &t->bytes, &ix);
	t->header = (struct layer_index_header *)t->bytes.data;
	t->file = (struct layer_entry *)ix.entries;
	t->dir = t->file + 1;
	t->symlink = t->file + 2;
	t->hardlink = t->file + 3;
	t->whiteout = t->file + 4;
	t->mark = t->file + 5;
	t->device = t->file + 6;
	t->chunks = (struct layer_chunk *)ix.chunks;
	t->spans = (struct layer_span *)ix.spans;
	t->heap = (uint8_t *)ix.heap;
}

static int verdict(const struct tables *t, size_t len, uint64_t max_entries)
{
	struct error err = ERROR_INIT;
	struct layer_index ix;
	int r = layer_index_validate(t->bytes.data, len, max_entries, &ix, &err);

	assert_true(r >= 0 || (err.code == r && *err.text));
	return r;
}

/* Damages one thing, expects the code, and starts over. */
#define BROKEN(code, ...)                                                                          \
	do {                                                                                       \
		struct tables t;                                                                   \
                                                                                                   \
		tables_make(&t);                                                                   \
		__VA_ARGS__;                                                                       \
		if (verdict(&t, t.bytes.len, 100) != (code))                                       \
			fail_msg("%s", #__VA_ARGS__);                                              \
		buf_fini(&t.bytes);                                                                \
	} while (0)

static void good_tables(void **state)
{
	struct layer_index ix;
	struct layer_xattr x;
	struct tables t;
	uint32_t pos = 0;

	tables_make(&t);
	assert_int_equal(layer_index_validate(t.bytes.data, t.bytes.len, 7, &ix, NULL), 0);
	assert_true(layer_entry_next_xattr(&ix, t.file, &pos, &x));
	assert_memory_equal(x.name, "user.a", 6);
	assert_true(layer_entry_next_xattr(&ix, t.file, &pos, &x));
	assert_memory_equal(x.value, "22", 2);
	assert_int_equal(x.value_len, 2);
	assert_false(layer_entry_next_xattr(&ix, t.file, &pos, &x));
	assert_int_equal(layer_index_chunk_at(&ix, 0), 0);
	assert_int_equal(layer_index_chunk_at(&ix, 4095), 0);
	assert_int_equal(layer_index_chunk_at(&ix, 4096), 1);
	assert_int_equal(layer_index_chunk_at(&ix, 9999), 1);
	assert_int_equal(layer_index_chunk_at(&ix, 10000), 2);
	buf_fini(&t.bytes);
}

static void what_no_one_reads_may_be_anything(void **state)
{
	BROKEN(0, (void)0);
	BROKEN(0, t.whiteout->mode = UINT32_MAX);
	BROKEN(0, t.whiteout->link_off = UINT32_MAX);
	BROKEN(0, t.mark->xattr_off = UINT32_MAX);
	BROKEN(0, t.hardlink->mtime_ns = UINT32_MAX);
}

static void sizes_that_lie(void **state)
{
	struct tables t;

	tables_make(&t);
	for (size_t n = 0; n < t.bytes.len; n++)
		assert_int_equal(verdict(&t, n, 100), -EBADMSG);
	assert_int_equal(verdict(&t, t.bytes.len, 6), -E2BIG);
	assert_int_equal(buf_append(&t.bytes, "12345678", 8), 0);
	assert_int_equal(verdict(&t, t.bytes.len, 100), -EBADMSG);
	buf_fini(&t.bytes);
}

static void headers_that_lie(void **state)
{
	BROKEN(-EBADMSG, t.header->magic++);
	BROKEN(-EBADMSG, t.header->flags = 1);
	BROKEN(-EBADMSG, t.header->n_entries++);
	BROKEN(-EBADMSG, t.header->n_chunks = UINT64_MAX);
	BROKEN(-EBADMSG, t.header->n_spans = UINT64_MAX / 40 + 2);
	BROKEN(-EBADMSG, t.header->heap_bytes += 4);
	BROKEN(-EBADMSG, t.header->heap_bytes -= 8);
	BROKEN(-EBADMSG, t.header->window_bytes--);
	BROKEN(-EBADMSG, t.header->device_bytes++);
	BROKEN(-EBADMSG, t.header->device_bytes = 8192);
	BROKEN(-E2BIG, t.header->device_bytes = DEVICE_MAX + DEVICE_BLOCK);
	BROKEN(-E2BIG, t.header->n_entries = UINT64_MAX);
}

static void entries_that_lie(void **state)
{
	BROKEN(-EBADMSG, t.file->path_off = UINT32_MAX);
	BROKEN(-EBADMSG, t.file->path_off = (uint32_t)t.header->heap_bytes - 3);
	BROKEN(-EBADMSG, t.file->path_len = UINT16_MAX);
	BROKEN(-EBADMSG, t.heap[t.file->path_off + t.file->path_len - 1] = '/');
	BROKEN(-EBADMSG, t.heap[t.file->path_off] = '/');
	BROKEN(-EBADMSG, t.heap[t.file->path_off + 2] = 0);
	BROKEN(-EBADMSG, t.heap[t.file->path_off + 2] = '/'); /* "di//file" */
	BROKEN(-EBADMSG, memcpy(t.heap + t.file->path_off, "../", 3));
	BROKEN(-EBADMSG, memcpy(t.heap + t.file->path_off, "./", 2));
	BROKEN(-EBADMSG, memcpy(t.heap + t.file->path_off + 4, "a/..", 4));
	BROKEN(-EBADMSG, t.file->path_len = 0); /* the root is a directory */
	BROKEN(0, t.dir->path_len = 0);
	BROKEN(-EBADMSG, t.whiteout->path_len = 0);
	BROKEN(0, t.mark->path_len = 0);
	BROKEN(-EBADMSG, t.file->flags = 32);
	BROKEN(-EBADMSG, t.file->flags = ENTRY_OPAQUE);
	BROKEN(0, t.dir->flags = ENTRY_OPAQUE);
	BROKEN(-EBADMSG, t.file->reserved = 1);
	BROKEN(-EBADMSG, t.file->reserved2[0] = 1);
	BROKEN(-EBADMSG, t.file->reserved2[1] = 1);
	BROKEN(-EBADMSG, t.file->mode = S_IFSOCK | 0644);
	BROKEN(-EBADMSG, t.file->mode = 0644);
	BROKEN(-EBADMSG, t.file->mode |= 1u << 16);
	BROKEN(-EBADMSG, t.dir->mtime_ns = 1000000000);
	BROKEN(0, t.dir->mtime_ns = 999999999);
	BROKEN(-EBADMSG, t.symlink->size++);
	BROKEN(-EBADMSG, t.symlink->link_len--);
	BROKEN(-EBADMSG, t.symlink->link_off = UINT32_MAX);
	BROKEN(-EBADMSG, t.symlink->link_len = LINK_LEN_MAX + 1);
	BROKEN(-EBADMSG, t.heap[t.symlink->link_off + 1] = 0);
	BROKEN(-EBADMSG, t.heap[t.hardlink->link_off] = '/');
	BROKEN(-EBADMSG, t.hardlink->link_off = UINT32_MAX);
	BROKEN(-EBADMSG, t.file->data_off = 512);
	BROKEN(-EBADMSG, t.file->data_off = 4096);
	BROKEN(-EBADMSG, t.file->data_off = -(uint64_t)4096);
	BROKEN(-EBADMSG, t.file->size = 12289);
	BROKEN(0, t.file->size = 12288);
	BROKEN(-EBADMSG, t.file->size = UINT64_MAX);
}

static void xattrs_that_lie(void **state)
{
	BROKEN(-EBADMSG, t.file->xattr_off = UINT32_MAX);
	BROKEN(-EBADMSG, t.file->xattr_len--);
	BROKEN(-EBADMSG, t.file->xattr_len++);
	BROKEN(-EBADMSG, t.file->xattr_len = UINT32_MAX);
	BROKEN(-EBADMSG, t.file->xattr_count++);
	BROKEN(-EBADMSG, t.file->xattr_count--);
	BROKEN(-EBADMSG, le16_put(t.heap + t.file->xattr_off, UINT16_MAX));
	BROKEN(-EBADMSG, le32_put(t.heap + t.file->xattr_off + 4, UINT32_MAX));
	BROKEN(-EBADMSG, le32_put(t.heap + t.file->xattr_off + 4, 0));
}

static void chunks_that_lie(void **state)
{
	BROKEN(-EBADMSG, t.chunks[0].len = 0);
	BROKEN(-EBADMSG, t.header->device_bytes = DEVICE_MAX, t.chunks[1].len = CHUNK_MAX + 1);
	BROKEN(0, t.header->device_bytes = DEVICE_MAX, t.chunks[1].len = CHUNK_MAX);
	BROKEN(-EBADMSG, t.chunks[0].span = t.chunks[0].span_last = 1, t.chunks[0].span_off = 0,
	       t.chunks[1].span = t.chunks[1].span_last = 0, t.chunks[1].span_off = 1);
	BROKEN(-EBADMSG, t.chunks[1].len = 8193);
	BROKEN(0, t.chunks[1].len = 8192);
	BROKEN(-EBADMSG, t.chunks[1].dev_off = UINT64_MAX - 100);
	BROKEN(-EBADMSG, t.chunks[1].dev_off--);
	BROKEN(-EBADMSG, t.chunks[0].dev_off = 8192); /* not in order */
	BROKEN(-EBADMSG, t.chunks[1].span = t.chunks[1].span_last = 2);
	BROKEN(-EBADMSG, t.chunks[1].span_last = 2);
	BROKEN(0, t.chunks[0].span_last = 1);
	BROKEN(-EBADMSG, t.chunks[1].span_last = 0);
	BROKEN(-EBADMSG, t.chunks[0].span = t.chunks[0].span_last = 1); /* behind 1's start */
	BROKEN(-EBADMSG, t.chunks[0].span_off = UINT64_MAX);
	BROKEN(-EBADMSG, t.chunks[0].flags = 1);
	BROKEN(-EBADMSG, t.chunks[0].reserved[0] = 1);
	BROKEN(-EBADMSG, t.chunks[0].reserved[1] = 1);
	BROKEN(-EBADMSG, t.header->n_spans = 0);
}

static void spans_that_lie(void **state)
{
	BROKEN(-EBADMSG, t.spans[0].in_end = 0);
	BROKEN(-EBADMSG, t.spans[1].in_end = 901);
	BROKEN(-EBADMSG, t.header->blob_bytes = 899);
	BROKEN(-EBADMSG, t.spans[1].in_off = 499); /* more than one byte shared */
	BROKEN(0, t.spans[1].in_off = 501);
	BROKEN(-EBADMSG, t.spans[0].out_off = 4609);
	BROKEN(-EBADMSG, t.spans[1].bits = 8);
	BROKEN(0, t.spans[1].bits = 7);
	BROKEN(-EBADMSG, t.spans[1].reserved[0] = 1);
	BROKEN(-EBADMSG, t.spans[1].reserved[2] = 1);
	BROKEN(-EBADMSG, t.spans[1].window_off++);
	BROKEN(-EBADMSG, t.spans[1].window_len++);
	BROKEN(-EBADMSG, t.spans[1].window_off = UINT64_MAX);
	BROKEN(-EBADMSG, t.spans[1].window_len = UINT32_MAX);
}

/* A path of directories "d/d/.../d" or one long name: n bytes. */
static int path_verdict(size_t n, bool deep)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	struct layer_entry e = {.mode = S_IFDIR | 0755};
	struct buf bytes = BUF_INIT;
	static char path[8192];
	struct layer_index ix;
	int r;

	for (size_t i = 0; i < n; i++)
		path[i] = deep && i % 2 ? '/' : 'd';
	assert_int_equal(layer_builder_new(LAYER_GZIP, 1, &b), 0);
	assert_int_equal(layer_builder_add_entry(b, &e, path, n, NULL, 0, NULL, 0), 0);
	assert_int_equal(layer_builder_write_buf(b, &bytes), 0);
	r = layer_index_validate(bytes.data, bytes.len, 1, &ix, NULL);
	buf_fini(&bytes);
	return r;
}

static void limits_at_their_edges(void **state)
{
	assert_int_equal(path_verdict(NAME_LEN_MAX, false), 0);
	assert_int_equal(path_verdict(NAME_LEN_MAX + 1, false), -EBADMSG);
	assert_int_equal(path_verdict(2 * PATH_DEPTH_MAX - 1, true), 0);
	assert_int_equal(path_verdict(2 * PATH_DEPTH_MAX + 1, true), -EBADMSG);
}

static void the_builder_has_limits_too(void **state)
{
	_cleanup_(layer_builder_freep) struct layer_builder *b = NULL;
	static char text[PATH_LEN_MAX + 1];
	struct layer_entry e = {0};

	assert_int_equal(layer_builder_new(LAYER_GZIP, 2, &b), 0);
	assert_null(layer_builder_last_span(b));
	assert_int_equal(layer_builder_add_entry(b, &e, text, PATH_LEN_MAX + 1, NULL, 0, NULL, 0),
			 -E2BIG);
	assert_int_equal(layer_builder_add_entry(b, &e, "a", 1, text, LINK_LEN_MAX + 1, NULL, 0),
			 -E2BIG);
	assert_int_equal(layer_builder_add_entry(b, &e, "a", 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(layer_builder_add_entry(b, &e, "b", 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(layer_builder_add_entry(b, &e, "c", 1, NULL, 0, NULL, 0), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_tables),
		cmocka_unit_test(what_no_one_reads_may_be_anything),
		cmocka_unit_test(sizes_that_lie),
		cmocka_unit_test(headers_that_lie),
		cmocka_unit_test(entries_that_lie),
		cmocka_unit_test(xattrs_that_lie),
		cmocka_unit_test(chunks_that_lie),
		cmocka_unit_test(spans_that_lie),
		cmocka_unit_test(limits_at_their_edges),
		cmocka_unit_test(the_builder_has_limits_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
