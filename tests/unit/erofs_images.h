/* SPDX-License-Identifier: MIT */
/* Images at the edges of the format, for the tests of writer and reader and of those who judge
 * them. */
#ifndef MORSEL_TESTS_EROFS_IMAGES_H
#define MORSEL_TESTS_EROFS_IMAGES_H

#include "layer_text.h"

#define IMAGE_LAYERS_MOST 500

struct image {
	struct buf bytes[IMAGE_LAYERS_MOST];
	struct layer_index layers[IMAGE_LAYERS_MOST];
	uint32_t n;
};

static inline void image_fini(struct image *m)
{
	for (uint32_t i = 0; i < m->n; i++)
		buf_fini(&m->bytes[i]);
	m->n = 0;
}

static inline void image_add_text(struct image *m, const char *text)
{
	layer_from_text(text, &m->bytes[m->n], &m->layers[m->n]);
	m->n++;
}

static inline struct layer_builder *image_begin(void)
{
	struct layer_builder *b;

	MUST(layer_builder_new(LAYER_GZIP, UINT32_MAX, &b) >= 0);
	return b;
}

static inline void image_end(struct image *m, struct layer_builder *b)
{
	layer_done(b, &m->bytes[m->n], &m->layers[m->n]);
	m->n++;
	layer_builder_free(b);
}

static inline void image_entry(struct layer_builder *b, uint32_t mode, const char *path,
			       const char *link)
{
	struct layer_entry e = {.mode = mode, .size = S_ISREG(mode) ? 1 : 0};

	layer_add(b, e, path, strlen(path), link, link ? strlen(link) : 0, NULL);
}

static inline void image_nothing(struct image *m)
{
	image_add_text(m, "");
}

static inline void image_no_layers(struct image *m)
{
	m->n = 0;
}

static inline void image_one_xattr(struct image *m)
{
	image_add_text(m, "f a x=user.k:v");
}

static inline void image_kinds(struct image *m)
{
	image_add_text(
		m,
		"d / m=1777 u=3 g=4 t=5 ns=6\nf f m=4755 s=5000\nf empty s=0\nd d m=2700\n"
		"l l d/x\nc null r=1:3\nc max r=4095:1048575\nb b r=0:0\nb sda r=8:1\n"
		"c mid r=300:511\np p m=600\nf u u=4294967294 g=4294967294\nf u16 u=65535 g=65536");
}

static inline void image_times(struct image *m)
{
	image_add_text(m,
		       "f before t=-2 ns=500000000\nf year2120 t=4733510400 ns=999999999\nf zero\n"
		       "f second t=1\nf y2038 t=2147483648\nd d t=-1 ns=1\nl l x t=-86400");
}

static inline void image_layers(struct image *m)
{
	image_add_text(m, "d d\nf d/a s=4096\nf d/b s=4097\nf d/c s=1");
	image_add_text(m, "w d/b\nf d/a s=12288\nf e s=8191");
	image_add_text(m, ""); /* a device of no bytes */
	image_add_text(m, "f d/n s=100000\nh d/h d/n\nh g d/n\nf d/empty s=0");
}

static inline void image_many_links(struct image *m)
{
	struct layer_builder *b = image_begin();
	char path[32];

	image_entry(b, S_IFREG | 0644, "first", NULL);
	for (int i = 0; i < 302; i++) {
		struct layer_entry e = {.flags = ENTRY_HARDLINK};
		int n = snprintf(path, sizeof(path), "link%03d", i);

		layer_add(b, e, path, (size_t)n, "first", 5, NULL);
	}
	image_end(m, b);
}

/* Every length there is, the text telling its own. Every 16th has an xattr in front. */
static inline void image_symlinks(struct image *m)
{
	struct layer_builder *b = image_begin();
	struct buf xattr = BUF_INIT;
	char path[32], text[4096];

	xattr_put(&xattr, "security.k", 10, "0123456789", 10);
	for (int i = 1; i <= 4095; i++) {
		struct layer_entry e = {.mode = S_IFLNK | 0777};
		int n = snprintf(path, sizeof(path), "l%04d", i);

		memset(text, 'a' + i % 26, sizeof(text));
		text[0] = (char)('A' + i / 160);
		e.xattr_count = i % 16 == 0;
		layer_add(b, e, path, (size_t)n, text, (size_t)i, e.xattr_count ? &xattr : NULL);
	}
	/* Too long to stand inline; 64 bytes each, from an odd slot on, so that some start at a
	 * block's last slot. */
	for (int i = 0; i < 200; i++) {
		struct layer_entry e = {.mode = S_IFLNK | 0777, .xattr_count = i == 0};
		int n = snprintf(path, sizeof(path), "m%04d", i);

		layer_add(b, e, path, (size_t)n, text, 4090, i ? NULL : &xattr);
	}
	image_end(m, b);
	buf_fini(&xattr);
}

/* Directories of every size around one, two and three blocks. */
static inline void image_dir_sizes(struct image *m)
{
	struct layer_builder *b = image_begin();
	char path[600];

	for (int size = 200; size<12800; size += size % 4096> 3700 || size % 4096 < 400 ? 1 : 97) {
		int left = size - 27; /* "." and ".." */

		for (int i = 0; left > 0; i++) {
			int n = left > 300 ? 240 : left > 267 ? 130 : left - 12;

			if (n < 4)
				break;
			snprintf(path, sizeof(path), "d%05d/%04d%0*d", size, i, n - 4, 0);
			path[7 + n] = 0;
			image_entry(b, S_IFREG | 0644, path, NULL);
			left -= 12 + n;
		}
	}
	image_end(m, b);
}

static inline void image_names(struct image *m)
{
	struct layer_builder *b = image_begin();
	char path[300];

	for (int c = 1; c < 256; c++)
		if (c != '/') {
			int n = snprintf(path, sizeof(path), "one/%c", c);

			if (c != '.')
				image_entry(b, S_IFREG | 0644, path, NULL);
			snprintf(path + n, sizeof(path) - (size_t)n, "%c", c);
			if (c != '.')
				image_entry(b, S_IFDIR | 0755, path, NULL);
			memset(path + 4, c, 255);
			path[4 + 255] = 0;
			image_entry(b, S_IFIFO | 0644, path, NULL);
		}
	image_entry(b, S_IFREG | 0644, "two/...", NULL);
	image_entry(b, S_IFREG | 0644, "two/..a", NULL);
	image_entry(b, S_IFREG | 0644, "two/.-", NULL);
	image_entry(b, S_IFREG | 0644, "two/.a", NULL);
	image_entry(b, S_IFREG | 0644, "two/-", NULL);
	image_entry(b, S_IFREG | 0644, "two/..\n", NULL);
	image_end(m, b);
}

static inline void image_big_dir(struct image *m)
{
	struct layer_builder *b = image_begin();
	char path[300];

	for (int i = 0; i < 5000; i++) {
		snprintf(path, sizeof(path), "big/%d%0*d", i * 7919 % 5000, 1 + i % 240, 0);
		image_entry(b, i % 10 ? S_IFREG | 0644 : S_IFDIR | 0755, path, NULL);
	}
	image_end(m, b);
}

static inline void image_deep(struct image *m)
{
	struct layer_builder *b = image_begin();
	char path[2048];

	memset(path, '/', sizeof(path));
	for (int i = 0; i < 1024; i++)
		path[2 * i] = 'd';
	path[2047] = 0;
	image_entry(b, S_IFDIR | 0700, path, NULL);
	image_end(m, b);
}

static inline void image_many_layers(struct image *m)
{
	char text[64];

	for (int i = 0; i < 500; i++) {
		snprintf(text, sizeof(text), "f f%d s=%d\nf same s=%d", i, i * 100, i + 1);
		image_add_text(m, text);
	}
}

static inline void xattr_file(struct layer_builder *b, const char *path, uint32_t mode,
			      const struct buf *xattrs, uint16_t count)
{
	struct layer_entry e = {.mode = mode, .xattr_count = count};

	layer_add(b, e, path, strlen(path), "to", S_ISLNK(mode) ? 2 : 0, xattrs);
}

static inline void xattr_single(struct layer_builder *b, const char *path, uint32_t mode,
				const char *name, const void *value, size_t n)
{
	struct buf x = BUF_INIT;

	xattr_put(&x, name, strlen(name), value, n);
	xattr_file(b, path, mode, &x, 1);
	buf_fini(&x);
}

static inline void image_xattrs(struct image *m)
{
	/* version 2; u:rwx, user 1000 r, g::r, mask rwx, o::r */
	static const uint8_t acl[] = {2,   0,	0,   0,	  1,   0,   7,	0,   255, 255, 255,
				      255, 2,	0,   4,	  0,   232, 3,	0,   0,	  4,   0,
				      4,   0,	255, 255, 255, 255, 16, 0,   7,	  0,   255,
				      255, 255, 255, 32,  0,   4,   0,	255, 255, 255, 255};
	static const uint8_t capability[] = {1, 0, 0, 2, 0, 4, 0, 0, 0, 0,
					     0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
	static uint8_t big[65536];
	struct layer_builder *b = image_begin();
	char path[32], name[300];
	struct buf x = BUF_INIT;

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 31 + i / 251);
	xattr_single(b, "acl", S_IFREG | 0674, "system.posix_acl_access", acl, sizeof(acl));
	xattr_single(b, "acldir", S_IFDIR | 0755, "system.posix_acl_default", acl, sizeof(acl));
	xattr_single(b, "cap", S_IFREG | 0755, "security.capability", capability,
		     sizeof(capability));
	xattr_single(b, "trusted", S_IFDIR | 0755, "trusted.any", "\0\n", 2);
	xattr_single(b, "link", S_IFLNK | 0777, "security.any", "v", 1);
	xattr_single(b, "fifo", S_IFIFO | 0644, "security.any", "v", 1);
	xattr_single(b, "largest", S_IFREG | 0644, "user.k", big, 65535);
	xattr_single(b, "too large", S_IFREG | 0644, "user.k", big, 65536);
	xattr_single(b, "foreign", S_IFREG | 0644, "system.other", "v", 1);
	xattr_single(b, "acl with more", S_IFREG | 0644, "system.posix_acl_access2", "v", 1);
	xattr_single(b, "bare prefix", S_IFREG | 0644, "user.", "v", 1);
	for (size_t n = 0; n <= 40; n++) { /* every padding, with what follows it */
		snprintf(path, sizeof(path), "value%02zu", n);
		xattr_single(b, path, S_IFREG | 0644, "user.k", big, n);
		snprintf(path, sizeof(path), "dir%02zu", n);
		xattr_single(b, path, S_IFDIR | 0755, "user.k", big, n * 100);
		snprintf(path, sizeof(path), "link%02zu", n);
		xattr_single(b, path, S_IFLNK | 0777, "security.k", big, 3900 + n * 4);
	}
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[256] = 0;
	xattr_single(b, "name256", S_IFREG | 0644, name, "v", 1);
	name[255] = 0;
	xattr_single(b, "name255", S_IFREG | 0644, name, "v", 1);
	for (int i = 0; i < 300; i++) {
		int n = snprintf(name, sizeof(name), "user.key%d", i);

		xattr_put(&x, name, (size_t)n, big, (size_t)i);
	}
	xattr_put(&x, "user.a\0b", 8, "v", 1);
	xattr_put(&x, "foreign", 7, "v", 1);
	xattr_file(b, "many", S_IFREG | 0644, &x, 302);
	buf_fini(&x);
	image_end(m, b);
}

static inline void image_big_files(struct image *m)
{
	image_add_text(m, "f gib3 s=3221225473\nf after s=10");
	image_add_text(m, "f tib s=1099511627776\nf after2 s=10");
}

/* ---- random ones ---- */

static inline uint32_t image_rng(uint64_t *s)
{
	*s = *s * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*s >> 33);
}

static inline size_t random_name(uint64_t *s, char *out)
{
	size_t n = image_rng(s) % 4 ? 1 + image_rng(s) % 12 : 1 + image_rng(s) % 255;

	for (size_t i = 0; i < n; i++)
		do
			out[i] = (char)(image_rng(s) % 3 ? 'a' + image_rng(s) % 26
							 : 1 + image_rng(s) % 255);
		while (out[i] == '/' || (out[i] == '.' && n < 3));
	return n;
}

static inline void random_xattrs(uint64_t *s, struct layer_entry *e, struct buf *x)
{
	static const char *const prefixes[] = {"user.", "trusted.", "security.", "foreign."};
	char name[400], value[600];

	for (uint32_t i = 0, n = image_rng(s) % 4; i < n; i++) {
		int len = sprintf(name, "%s%u", prefixes[image_rng(s) % 4], i);

		memset(value, (int)image_rng(s), sizeof(value));
		xattr_put(x, name, (size_t)len, value,
			  image_rng(s) % (image_rng(s) % 4 ? 20 : sizeof(value)));
		e->xattr_count++;
	}
}

static inline void random_file(uint64_t *s, struct layer_builder *b, char (*dirs)[600],
			       uint32_t *n_dirs)
{
	static const uint32_t types[] = {S_IFREG, S_IFREG, S_IFREG, S_IFDIR,
					 S_IFLNK, S_IFBLK, S_IFIFO};
	const char *dir = dirs[image_rng(s) % *n_dirs];
	struct layer_entry e = {.mode = types[image_rng(s) % ARRAY_SIZE(types)] |
					image_rng(s) % 07777,
				.uid = image_rng(s),
				.gid = image_rng(s) % 70000,
				.mtime_s = (int64_t)image_rng(s) - 1000000000,
				.mtime_ns = image_rng(s) % 1000000000};
	char path[1024], link[4096];
	struct buf x = BUF_INIT;
	size_t n, link_len = 0;

	n = (size_t)sprintf(path, "%s", dir);
	n += random_name(s, path + n);
	path[n] = 0;
	if (S_ISREG(e.mode))
		e.size = image_rng(s) % 3 ? image_rng(s) % 20000 : 0;
	if (S_ISLNK(e.mode)) {
		link_len = 1 + image_rng(s) % (image_rng(s) % 4 ? 30 : 4095);
		memset(link, 'l', link_len);
	}
	if (S_ISBLK(e.mode)) {
		e.rdev_major = image_rng(s) % 4096;
		e.rdev_minor = image_rng(s) % 1048576;
	}
	if (image_rng(s) % 6 == 0)
		random_xattrs(s, &e, &x);
	layer_add(b, e, path, n, link, link_len, &x);
	if (S_ISDIR(e.mode) && *n_dirs < 40 && n < 300)
		sprintf(dirs[(*n_dirs)++], "%s/", path);
	buf_fini(&x);
}

static inline void image_random(struct image *m, uint64_t seed)
{
	char(*dirs)[600] = calloc(40, sizeof(*dirs));
	uint64_t s = seed * 77 + 1;
	uint32_t n_layers = 1 + image_rng(&s) % 3;

	MUST(dirs);
	while (m->n < n_layers) {
		struct layer_builder *b = image_begin();
		uint32_t n_dirs = 1;

		for (uint32_t i = 0, n = image_rng(&s) % 400; i < n; i++)
			random_file(&s, b, dirs, &n_dirs);
		image_end(m, b);
	}
	free(dirs);
}

static const struct {
	const char *name;
	void (*make)(struct image *m);
} edge_images[] = {
	{"nothing", image_nothing},
	{"no layers", image_no_layers},
	{"one xattr", image_one_xattr},
	{"kinds", image_kinds},
	{"times", image_times},
	{"layers", image_layers},
	{"many links", image_many_links},
	{"symlinks", image_symlinks},
	{"directory sizes", image_dir_sizes},
	{"names", image_names},
	{"big directory", image_big_dir},
	{"deep", image_deep},
	{"many layers", image_many_layers},
	{"xattrs", image_xattrs},
	{"big files", image_big_files},
};

#endif
