/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "erofs_check.h"
#include "erofs_images.h"
#include "image/erofs_paths.h"

static void edges(void **state)
{
	static struct image m;

	for (size_t i = 0; i < ARRAY_SIZE(edge_images); i++) {
		struct buf bytes = BUF_INIT;

		print_message("%s\n", edge_images[i].name);
		edge_images[i].make(&m);
		check_layers(m.layers, m.n, NULL, &bytes);
		buf_fini(&bytes);
		image_fini(&m);
	}
}

static void random_images(void **state)
{
	static struct image m;

	for (uint64_t seed = 1; seed <= 150; seed++) {
		struct buf bytes = BUF_INIT;

		image_random(&m, seed);
		check_layers(m.layers, m.n, NULL, &bytes);
		buf_fini(&bytes);
		image_fini(&m);
	}
}

/* Times that no kernel shows but the format holds. */
static void far_times(void **state)
{
	static struct image m;
	struct buf bytes = BUF_INIT;

	image_add_text(&m, "f a t=-9223372036854775808\nf b t=9223372036854775807 ns=999999999");
	check_layers(m.layers, m.n, NULL, &bytes);
	buf_fini(&bytes);
	image_fini(&m);
}

static void bytes_are_right(void **state)
{
	static const uint8_t inode[] = {
		/* format: extended, chunks; no xattrs; 0100644; size */
		9, 0, 0, 0, 0xa4, 0x81, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0,
		/* 8-byte indexes, chunks of 2^31 blocks; number; uid; gid */
		0x3f, 0, 0, 0, 2, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0,
		/* -1 s, 999999999 ns; one link */
		255, 255, 255, 255, 255, 255, 255, 255, 0xff, 0xc9, 0x9a, 0x3b, 1, 0, 0, 0,
		/* reserved */
		0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		/* the chunk: device 2, block 1 */
		0, 0, 2, 0, 1, 0, 0, 0};
	static const uint8_t dir[] = {/* nid, offset of the name, type */
				      44, 0, 0, 0, 0,  0, 0,  0, 36,  0,   2,	0,  44, 0,
				      0,  0, 0, 0, 0,  0, 37, 0, 2,   0,   48,	0,  0,	0,
				      0,  0, 0, 0, 39, 0, 1,  0, '.', '.', '.', 'a'};
	static struct image m;
	struct buf b = BUF_INIT;
	const uint8_t *p;

	image_add_text(&m, "");
	image_add_text(&m, "f a s=9\nf a s=5 u=7 g=8 t=-1 ns=999999999");
	check_layers(m.layers, m.n, NULL, &b);
	p = b.data;
	assert_int_equal(b.len, 4096);
	assert_int_equal(le32_get(p + 1024), 0xe0f5e1e2);
	assert_int_equal(le32_get(p + 1024 + 8), 3);
	assert_int_equal(p[1024 + 12], 12);
	assert_int_equal(le16_get(p + 1024 + 14), 1408 / 32);
	assert_int_equal(le64_get(p + 1024 + 16), 2);
	assert_int_equal(le32_get(p + 1024 + 36), 1);
	assert_int_equal(le32_get(p + 1024 + 44), 0);
	assert_memory_equal(p + 1024 + 48, check_uuid, 16);
	assert_memory_equal(p + 1024 + 64, "a volume's name", 16);
	assert_int_equal(le32_get(p + 1024 + 80), 0xc);
	assert_int_equal(le16_get(p + 1024 + 86), 2);
	assert_int_equal(le16_get(p + 1024 + 88), 9);
	assert_memory_equal(p + 1152 + 128, "layer 1\0", 8);
	assert_int_equal(le32_get(p + 1152 + 64), 0);
	assert_int_equal(le32_get(p + 1152 + 68), 1); /* uniaddr: after this image */
	assert_int_equal(le32_get(p + 1152 + 128 + 64), 2);
	assert_int_equal(le32_get(p + 1152 + 128 + 68), 1);
	assert_int_equal(p[1408], 5); /* the root: extended, inline */
	assert_int_equal(le64_get(p + 1408 + 8), sizeof(dir));
	assert_memory_equal(p + 1408 + 64, dir, sizeof(dir));
	assert_memory_equal(p + 48 * 32, inode, sizeof(inode));
	buf_fini(&b);
	image_fini(&m);
}

/* CRC-32C, bit by bit. */
static void checksum(void **state)
{
	static struct image m;
	struct buf b = BUF_INIT;
	uint32_t crc = 0xffffffff, want;

	image_add_text(&m, "f a");
	check_layers(m.layers, m.n, NULL, &b);
	want = le32_get(b.data + 1028);
	le32_put(b.data + 1028, 0);
	for (size_t i = 1024; i < 4096; i++) {
		crc ^= b.data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	assert_int_equal(crc, want);
	buf_fini(&b);
	image_fini(&m);
}

/* ---- limits ---- */

static int write_with_devices(uint64_t *device_bytes, uint32_t n, struct buf *ret,
			      struct error *err)
{
	struct layer_index *layers = calloc(n, sizeof(*layers));
	struct tree *t;
	int r;

	assert_non_null(layers);
	assert_int_equal(tree_merge(layers, n, 10, &t, err), 0);
	for (uint32_t i = 0; i < n && device_bytes; i++)
		layers[i].header.device_bytes = device_bytes[i];
	t->device_bytes = device_bytes ? device_bytes : t->device_bytes;
	r = check_write(t, ret, err);
	if (r >= 0)
		check_image(t, 0, ret->data, ret->len);
	tree_free(t);
	free(layers);
	return r;
}

/* All devices together have 2^32 - 1 blocks with the image's own. */
static void blocks_limit(void **state)
{
	uint64_t devices[4] = {DEVICE_MAX, DEVICE_MAX, DEVICE_MAX, DEVICE_MAX - 2 * 4096};
	struct error err = ERROR_INIT;
	struct buf b = BUF_INIT;

	assert_int_equal(write_with_devices(devices, 4, &b, &err), 0);
	b.len = 0;
	devices[3] += 4096;
	assert_int_equal(write_with_devices(devices, 4, &b, &err), -E2BIG);
	assert_int_equal(b.len, 0); /* nothing half-written */
	assert_non_null(strstr(err.text, "16 TiB"));
	err = ERROR_INIT;
	devices[3] = DEVICE_MAX;
	assert_int_equal(write_with_devices(devices, 4, &b, &err), -E2BIG);
	buf_fini(&b);
}

/* The root's nid has 16 bits, and the device table stands before it. */
static void root_nid_limit(void **state)
{
	struct error err = ERROR_INIT;
	struct buf b = BUF_INIT;

	assert_int_equal(write_with_devices(NULL, 16374, &b, &err), 0);
	b.len = 0;
	assert_int_equal(write_with_devices(NULL, 16375, &b, &err), -E2BIG);
	assert_non_null(strstr(err.text, "too many layers"));
	buf_fini(&b);
}

static void output_limit(void **state)
{
	static struct image m;
	struct error err = ERROR_INIT;
	struct buf b = BUF_INIT_MAX(8191);
	struct tree *t;

	image_big_dir(&m);
	assert_int_equal(tree_merge(m.layers, m.n, 10000, &t, &err), 0);
	assert_int_equal(check_write(t, &b, &err), -E2BIG);
	assert_int_equal(b.len, 0);
	tree_free(t);
	image_fini(&m);
	buf_fini(&b);
}

static bool may_have(const char *layer, const char *name, bool prefix)
{
	static struct image m;
	struct buf b = BUF_INIT;
	struct erofs fs;
	bool r;

	image_add_text(&m, layer);
	check_layers(m.layers, m.n, NULL, &b);
	assert_int_equal(erofs_open(b.data, b.len, &fs, NULL), 0);
	r = erofs_may_have_xattr(&fs, name, prefix);
	buf_fini(&b);
	image_fini(&m);
	return r;
}

/* Attributes are found, files and values of the same names are not. */
static void attributes_of_the_image(void **state)
{
	const char *cap = "security.capability", *overlay = "trusted.overlay.";

	assert_true(may_have("f a s=1\nf b s=1 x=user.a:1 x=security.capability:v", cap, false));
	assert_false(may_have("f capability s=1 x=user.a:1", cap, false));
	assert_false(may_have("f a s=1 x=user.capability:1", cap, false));
	assert_false(may_have("f a s=1 x=user.a:capability", cap, false));
	assert_false(may_have("f a s=1 x=security.capability2:1", cap, false));
	assert_true(may_have("d a x=trusted.overlay.opaque:y", overlay, true));
	assert_false(may_have("d a x=trusted.overlaid:y x=user.overlay.x:y", overlay, true));
	assert_false(may_have("f a s=1", cap, false));
}

static uint64_t nid_of(const struct erofs *fs, const char *path)
{
	uint64_t nid = fs->root_nid;

	while (*path) {
		struct erofs_inode dir;
		size_t n = strcspn(path, "/");

		MUST(erofs_inode_get(fs, nid, &dir) == 0);
		MUST(!n || erofs_lookup(fs, &dir, path, n, &nid) == 0);
		path += n + (path[n] == '/');
	}
	return nid;
}

static void paths_of_inodes(void **state)
{
	static const char *const paths[] = {"/",	"/usr/bin/env", "/usr",
					    "/usr/bin", "/lib",		"/last"};
	static struct image m;
	struct buf bytes = BUF_INIT;
	struct erofs_paths *found;
	uint64_t nids[ARRAY_SIZE(paths) + 2];
	struct erofs fs;

	image_add_text(&m, "d usr\nd usr/bin\nf usr/bin/env\nf usr/bin/other\nh zz usr/bin/env\n"
			   "l lib usr/lib\nf last\nf not-asked-for");
	check_layers(m.layers, m.n, NULL, &bytes);
	MUST(erofs_open(bytes.data, bytes.len, &fs, NULL) == 0);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		nids[i] = nid_of(&fs, paths[i]);
	nids[ARRAY_SIZE(paths)] = nids[1]; /* twice */
	nids[ARRAY_SIZE(paths) + 1] = UINT64_MAX;
	assert_int_equal(erofs_paths_new(&fs, nids, ARRAY_SIZE(nids), &found), 0);
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
		assert_string_equal(erofs_paths_get(found, nids[i]), paths[i]);
	assert_null(erofs_paths_get(found, UINT64_MAX));
	assert_null(erofs_paths_get(found, nid_of(&fs, "not-asked-for")));
	assert_int_equal(erofs_count_names(&fs), 8);
	erofs_paths_free(found);
	buf_fini(&bytes);
	image_fini(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(paths_of_inodes), cmocka_unit_test(edges),
		cmocka_unit_test(random_images),   cmocka_unit_test(far_times),
		cmocka_unit_test(bytes_are_right), cmocka_unit_test(checksum),
		cmocka_unit_test(blocks_limit),	   cmocka_unit_test(root_nid_limit),
		cmocka_unit_test(output_limit),	   cmocka_unit_test(attributes_of_the_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
