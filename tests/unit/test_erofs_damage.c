/* SPDX-License-Identifier: MIT */
/* Images that were damaged on purpose: the reader says -EBADMSG, and reads nothing outside. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "erofs_check.h"
#include "image/erofs_format.h"

static const char layer[] =
	"d big\nd d\nf d/sub\nf f s=5000\nf x x=user.a:b x=user.c:d\nl l target\n"
	"c null r=1:3\np p\nd inline\nf inline/a\nf inline/b";

struct fixture {
	struct buf layer, image;
	uint8_t *copy; /* of the image: what is damaged; exactly as long, so that ASan watches its
			  end */
	struct erofs fs;
};

/* big/ has 300 names, which take more than a block. */
static void fixture_init(struct fixture *f)
{
	struct layer_builder *b;
	struct layer_index ix;
	char path[64], *own = strdup(layer), *save, *line;

	*f = (struct fixture){0};
	MUST(layer_builder_new(LAYER_GZIP, 1000, &b) >= 0);
	for (line = strtok_r(own, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		layer_text_line(b, line);
	for (int i = 0; i < 300; i++) {
		int n = sprintf(path, "big/name%03d", i);

		layer_add(b, (struct layer_entry){.mode = S_IFIFO | 0644}, path, (size_t)n, NULL, 0,
			  NULL);
	}
	layer_done(b, &f->layer, &ix);
	check_layers(&ix, 1, NULL, &f->image);
	layer_builder_free(b);
	free(own);
	f->copy = malloc(f->image.len);
	MUST(f->copy);
	memcpy(f->copy, f->image.data, f->image.len);
}

static void fixture_fini(struct fixture *f)
{
	buf_fini(&f->layer);
	buf_fini(&f->image);
	free(f->copy);
}

static void restore(struct fixture *f)
{
	memcpy(f->copy, f->image.data, f->image.len);
	MUST(!erofs_open(f->copy, f->image.len, &f->fs, NULL));
}

static void put(struct fixture *f, uint64_t off, size_t size, uint64_t value)
{
	MUST(off + size <= f->image.len);
	memcpy(f->copy + off, &value, size);
	le32_put(f->copy + EROFS_SB + SB_CHECKSUM, erofs_checksum(f->copy));
}

static struct erofs_inode find(struct fixture *f, const char *path)
{
	struct erofs_inode ino;
	uint64_t nid;

	MUST(!erofs_inode_get(&f->fs, f->fs.root_nid, &ino));
	while (*path) {
		size_t n = strcspn(path, "/");

		MUST(!erofs_lookup(&f->fs, &ino, path, n, &nid) &&
		     !erofs_inode_get(&f->fs, nid, &ino));
		path += n + (path[n] == '/');
	}
	return ino;
}

static void superblock(void **state)
{
	static const struct {
		unsigned off, size;
		uint64_t value;
		const char *text;
	} cases[] = {
		{SB_MAGIC, 4, 0, "not an EROFS image"},
		{SB_BLKSZBITS, 1, 9, "not an EROFS image"},
		{SB_BLKSZBITS, 1, 255, "not an EROFS image"},
		{SB_EXTSLOTS, 1, 1, "not an EROFS image"},
		{SB_DIRBLKBITS, 1, 1, "not an EROFS image"},
		{SB_COMPAT, 4, 0, "features"},
		{SB_COMPAT, 4, 7, "features"},
		{SB_INCOMPAT, 4, 4, "features"},
		{SB_INCOMPAT, 4, 0x1c, "features"},
		{SB_BLOCKS, 4, 0, "cut off"},
		{SB_BLOCKS, 4, 1, "cut off"},
		{SB_BLOCKS, 4, 0xffffffff, "cut off"},
		{SB_EXTRA_DEVICES, 2, 0xffff, "cut off"},
		{SB_DEVT_SLOTOFF, 2, 0xffff, "cut off"},
		{SB_ROOT_NID, 2, 0, "no root"},
		{SB_ROOT_NID, 2, 0xffff, "no root"},
		{SB_META_BLKADDR, 4, 0xffffffff, "no root"},
	};
	_cleanup_(fixture_fini) struct fixture f;

	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;

		restore(&f);
		put(&f, EROFS_SB + cases[i].off, cases[i].size, cases[i].value);
		assert_int_equal(erofs_open(f.copy, f.image.len, &f.fs, &err), -EBADMSG);
		assert_non_null(strstr(err.text, cases[i].text));
	}
	restore(&f);
	put(&f, EROFS_SB + SB_ROOT_NID, 2, find(&f, "f").nid);
	assert_int_equal(erofs_open(f.copy, f.image.len, &f.fs, NULL), -EBADMSG);
}

static void lengths_and_checksum(void **state)
{
	_cleanup_(fixture_fini) struct fixture f;
	struct error err = ERROR_INIT;
	struct erofs fs;

	fixture_init(&f);
	for (size_t n = 0; n < f.image.len; n += n < 2000 || n > 4000 ? 1 : 500) {
		uint8_t *exact = malloc(n + 1);

		assert_non_null(exact);
		memcpy(exact, f.image.data, n);
		assert_int_equal(erofs_open(exact, n, &fs, NULL), -EBADMSG);
		free(exact);
	}
	f.copy[EROFS_SB + SB_UUID] ^= 1;
	assert_int_equal(erofs_open(f.copy, f.image.len, &fs, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "checksum"));
}

static void inodes(void **state)
{
	static const struct {
		const char *path;
		unsigned off, size;
		uint64_t value;
	} cases[] = {
		{"f", INO_FORMAT, 2, 8},      /* compact */
		{"f", INO_FORMAT, 2, 0x19},   /* a newer kernel's bit */
		{"f", INO_FORMAT, 2, 0x8009}, /* unknown bits */
		{"f", INO_FORMAT, 2, 3},      /* compressed */
		{"f", INO_FORMAT, 2, 0xb},    /* no such layout */
		{"f", INO_FORMAT, 2, 1},      /* a plain file: its contents would be here */
		{"f", INO_FORMAT, 2, 5},      /* an inline one */
		{"f", INO_MODE, 2, 0},
		{"f", INO_MODE, 2, 0177777},
		{"f", INO_MODE, 2, 040755}, /* a directory in chunks */
		{"f", INO_SIZE, 8, 0},	    /* chunks of nothing */
		{"f", INO_SIZE, 8, UINT64_C(1) << 63},
		{"f", INO_SIZE, 8, (UINT64_C(1) << 43) + 1}, /* more than one chunk */
		{"f", INO_U, 4, 0x20},
		{"f", INO_U, 4, 0x1f},
		{"f", INO_U, 4, 0x7f},
		{"f", INO_MTIME_NS, 4, 1000000000},
		{"p", INO_FORMAT, 2, 9}, /* a fifo in chunks */
		{"p", INO_FORMAT, 2, 5}, /* an inline one, without a tail */
		{"null", INO_FORMAT, 2, 9},
		{"inline", INO_SIZE, 8, 4095}, /* a tail that leaves the block */
		{"inline", INO_SIZE, 8, 4096}, /* no tail */
		{"inline", INO_SIZE, 8, (UINT64_C(1) << 62) + 1},
		{"inline", INO_FORMAT, 2, 9},
		{"big", INO_U, 4, 0xffffffff}, /* blocks past the end */
		{"big", INO_SIZE, 8, 1 << 20},
		{"l", INO_FORMAT, 2, 9},
		{"l", INO_SIZE, 8, UINT64_C(1) << 40},
	};
	_cleanup_(fixture_fini) struct fixture f;
	struct erofs_inode ino;

	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		restore(&f);
		ino = find(&f, cases[i].path);
		put(&f, ino.off + cases[i].off, cases[i].size, cases[i].value);
		if (erofs_inode_get(&f.fs, ino.nid, &ino) != -EBADMSG)
			fail_msg("case %zu: %s", i, cases[i].path);
	}
	restore(&f);
	assert_int_equal(erofs_inode_get(&f.fs, f.image.len / 32, &ino), -EBADMSG);
	assert_int_equal(erofs_inode_get(&f.fs, f.image.len / 32 - 1, &ino), -EBADMSG);
	assert_int_equal(erofs_inode_get(&f.fs, UINT64_MAX, &ino), -EBADMSG);
	assert_int_equal(erofs_inode_get(&f.fs, UINT64_MAX / 32 + 1, &ino), -EBADMSG);
	assert_int_equal(erofs_inode_get(&f.fs, (UINT64_C(1) << 59) + f.fs.root_nid, &ino),
			 -EBADMSG);
	assert_int_equal(erofs_inode_get(&f.fs, 0, &ino), -EBADMSG);
}

/* Xattrs that leave the image with the inode at its very end. */
static void inode_at_the_end(void **state)
{
	_cleanup_(fixture_fini) struct fixture f;
	struct erofs_inode ino;
	uint64_t nid, found;

	fixture_init(&f);
	restore(&f);
	nid = f.image.len / 32 - 2;
	ino = find(&f, "p");
	memcpy(f.copy + nid * 32, f.copy + ino.off, 64);
	assert_int_equal(erofs_inode_get(&f.fs, nid, &ino), 0);
	put(&f, nid * 32 + INO_XATTR_ICOUNT, 2, 1);
	assert_int_equal(erofs_inode_get(&f.fs, nid, &ino), -EBADMSG);
	ino = find(&f, "f");
	memcpy(f.copy + nid * 32, f.copy + ino.off, 64); /* no room for the chunk */
	assert_int_equal(erofs_inode_get(&f.fs, nid, &ino), -EBADMSG);
	ino = find(&f, "l");
	memcpy(f.copy + nid * 32, f.copy + ino.off, 64); /* nor for the text */
	assert_int_equal(erofs_inode_get(&f.fs, nid, &ino), -EBADMSG);
	nid--; /* a directory of 4 bytes, the last ones */
	ino = find(&f, "inline");
	memcpy(f.copy + nid * 32, f.copy + ino.off, 64);
	put(&f, nid * 32 + INO_SIZE, 8, 4);
	put(&f, nid * 32 + INO_XATTR_ICOUNT, 2, 5);
	assert_int_equal(erofs_inode_get(&f.fs, nid, &ino), 0);
	assert_int_equal(ino.data_pos, f.image.len - 4);
	assert_int_equal(erofs_lookup(&f.fs, &ino, "a", 1, &found), -EBADMSG);
}

static int read_all(struct fixture *f, const struct erofs_inode *dir)
{
	struct erofs_dirent d = {0};
	int r;

	while (!(r = erofs_readdir(&f->fs, dir, d.next, &d)))
		;
	return r;
}

/* Entries by themselves, with none checked before them. What comes back does not matter. */
static void poke(struct fixture *f, const struct erofs_inode *dir)
{
	static const char *const names[] = {"", "\1", ".", "..", "a", "b", "c", "name150", "\377"};
	struct erofs_dirent d;
	uint64_t nid;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		erofs_lookup(&f->fs, dir, names[i], strlen(names[i]), &nid);
	for (uint64_t cookie = 0; cookie < 3 * 4096; cookie++)
		erofs_readdir(&f->fs, dir, cookie, &d);
}

static void directories(void **state)
{
	/* inline: ".", "..", "a", "b" with their names at 48, 49, 51, 52 */
	static const struct {
		unsigned off, size;
		uint64_t value;
		bool lookup_too; /* fails as well, for every name */
	} cases[] = {
		{8, 2, 0, true},	{8, 2, 11, true},	    {8, 2, 13, true},
		{8, 2, 53, true},	{8, 2, 0xffff, true},	    {8, 2, 60, true},
		{8, 2, 65532, true},	{50, 1, 0, false},	    {12 + 8, 2, 48, false},
		{12 + 8, 2, 47, false}, {12 + 8, 2, 54, false},	    {12 + 8, 2, 53, false},
		{24 + 8, 2, 0, false},	{36 + 8, 2, 0xffff, false}, {48, 1, '/', false},
		{49, 1, 0, false},	{51, 1, '/', false},	    {52, 1, 0, false},
		{52, 1, '/', false},
	};
	_cleanup_(fixture_fini) struct fixture f;
	struct erofs_inode dir;
	struct erofs_dirent d;
	uint64_t nid;

	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		restore(&f);
		dir = find(&f, "inline");
		put(&f, dir.data_pos + cases[i].off, cases[i].size, cases[i].value);
		if (read_all(&f, &dir) != -EBADMSG)
			fail_msg("case %zu: readdir", i);
		poke(&f, &dir);
		if (cases[i].lookup_too && (erofs_lookup(&f.fs, &dir, "a", 1, &nid) != -EBADMSG ||
					    erofs_lookup(&f.fs, &dir, "zz", 2, &nid) != -EBADMSG))
			fail_msg("case %zu: lookup", i);
	}
	restore(&f);
	dir = find(&f, "inline");
	assert_int_equal(erofs_readdir(&f.fs, &dir, 4, &d), -EBADMSG); /* cookies of nothing */
	assert_int_equal(erofs_readdir(&f.fs, &dir, 4095, &d), -EBADMSG);
	assert_int_equal(erofs_readdir(&f.fs, &dir, 4096, &d), EROFS_END);
	assert_int_equal(erofs_readdir(&f.fs, &dir, UINT64_MAX, &d), EROFS_END);
	put(&f, dir.off + INO_SIZE, 8, 11); /* less than an entry */
	assert_int_equal(erofs_inode_get(&f.fs, dir.nid, &dir), 0);
	assert_int_equal(read_all(&f, &dir), -EBADMSG);
	assert_int_equal(erofs_lookup(&f.fs, &dir, "a", 1, &nid), -EBADMSG);
	/* names that lie among the entries */
	restore(&f);
	dir = find(&f, "inline");
	put(&f, dir.data_pos + 36, 8, UINT64_C(0x6161616161616161));
	put(&f, dir.data_pos + 12 + 8, 2, 36);
	put(&f, dir.data_pos + 24 + 8, 2, 44);
	assert_int_equal(erofs_readdir(&f.fs, &dir, 1, &d), -EBADMSG);
	/* an offset that is no whole number of entries, with what could be a name there */
	restore(&f);
	put(&f, dir.data_pos + 8, 2, 13);
	memset(f.copy + dir.data_pos + 13, 'x', 40);
	assert_int_equal(read_all(&f, &dir), -EBADMSG);
	/* a name that would run on past the end of the image */
	restore(&f);
	dir = find(&f, "big");
	assert_int_equal(((uint64_t)dir.start_block + 1) * 4096, f.image.len);
	memset(f.copy + f.image.len - 200, 'x', 200);
	put(&f, (uint64_t)dir.start_block * 4096 + 12 + 8, 2, 65535);
	poke(&f, &dir);
	restore(&f);
	put(&f, (uint64_t)dir.start_block * 4096 + 8, 2,
	    0); /* the first block; lookups may not need it */
	assert_int_equal(read_all(&f, &dir), -EBADMSG);
	assert_int_equal(erofs_lookup(&f.fs, &dir, "name000", 7, &nid), -EBADMSG);
}

static void symlinks(void **state)
{
	_cleanup_(fixture_fini) struct fixture f;
	struct erofs_inode l;
	char text[4096];
	size_t n;

	fixture_init(&f);
	restore(&f);
	l = find(&f, "l");
	put(&f, l.data_pos + 3, 1, 0);
	assert_int_equal(erofs_readlink(&f.fs, &l, text, &n), -EBADMSG);
	put(&f, l.off + INO_FORMAT, 2, 1); /* plain, in the first block of the image */
	put(&f, l.off + INO_U, 4, 0);
	put(&f, l.off + INO_SIZE, 8, 4096);
	assert_int_equal(erofs_inode_get(&f.fs, l.nid, &l), 0);
	assert_int_equal(erofs_readlink(&f.fs, &l, text, &n), -EBADMSG);
	memset(f.copy + f.image.len - 4096, 'x', 4096);
	put(&f, l.off + INO_U, 4, f.image.len / 4096 - 1);
	assert_int_equal(erofs_inode_get(&f.fs, l.nid, &l), 0);
	assert_int_equal(erofs_readlink(&f.fs, &l, text, &n), -EBADMSG);
	put(&f, l.off + INO_SIZE, 8, 4095);
	assert_int_equal(erofs_inode_get(&f.fs, l.nid, &l), 0);
	assert_int_equal(erofs_readlink(&f.fs, &l, text, &n), 0);
	put(&f, l.off + INO_SIZE, 8, 0);
	assert_int_equal(erofs_inode_get(&f.fs, l.nid, &l), 0);
	assert_int_equal(erofs_readlink(&f.fs, &l, text, &n), -EBADMSG);
}

static void chunks(void **state)
{
	static const struct {
		unsigned off, size;
		uint64_t value;
		int want;
	} cases[] = {
		{2, 2, 0, -EBADMSG}, /* the image itself is no device */
		{2, 2, 2, -EBADMSG},
		{2, 2, 0xffff, -EBADMSG},
		{4, 4, 0xfffffffe, -EBADMSG},
		{4, 4, 3,
		 -EBADMSG}, /* 5000 bytes, of which only the first block is on the device */
		{4, 4, 0xffffffff, EROFS_HOLE},
	};
	_cleanup_(fixture_fini) struct fixture f;
	struct erofs_inode file;
	uint64_t off, len, device_bytes;
	uint32_t device;
	char tag[65];

	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		restore(&f);
		assert_int_equal(erofs_device(&f.fs, 0, &device_bytes, tag), 0);
		assert_int_equal(device_bytes, 6 * 4096);
		file = find(&f, "f");
		put(&f, file.data_pos + cases[i].off, cases[i].size,
		    i == 4 ? device_bytes / 4096 - 1 : cases[i].value);
		assert_int_equal(erofs_map(&f.fs, &file, 0, 1, &device, &off, &len), cases[i].want);
	}
	assert_int_equal(erofs_map(&f.fs, &file, 10, 8192, &device, &off, &len), EROFS_HOLE);
	assert_int_equal(len, 4990);
	restore(&f);
	put(&f, file.off + INO_SIZE, 8, 6 * 4096);
	assert_int_equal(erofs_inode_get(&f.fs, file.nid, &file), 0);
	assert_int_equal(erofs_map(&f.fs, &file, 0, 1, &device, &off, &len), -EBADMSG);
}

static void xattrs(void **state)
{
	/* header 12; entry 4, "a", "b", 2 of padding; entry 4, "c", "d", 2 of padding */
	static const struct {
		unsigned off, size;
		uint64_t value;
	} cases[] = {
		{4, 1, 1},	/* shared ones */
		{13, 1, 9},	/* no such namespace */
		{12, 1, 255},	/* a name that is too long */
		{14, 2, 65535}, /* a value that is */
		{14, 2, 12},	{22, 2, 4},
	};
	_cleanup_(fixture_fini) struct fixture f;
	struct erofs_inode x;
	char list[64], value[8];
	size_t n;

	fixture_init(&f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		restore(&f);
		x = find(&f, "x");
		assert_int_equal(x.xattr_bytes, 28);
		put(&f, x.off + EROFS_INODE + cases[i].off, cases[i].size, cases[i].value);
		if (erofs_listxattr(&f.fs, &x, list, sizeof(list), &n) != -EBADMSG ||
		    erofs_getxattr(&f.fs, &x, "user.absent", value, sizeof(value), &n) != -EBADMSG)
			fail_msg("case %zu", i);
	}
	restore(&f);
	put(&f, x.off + EROFS_INODE + 16, 1, 0); /* a name with a NUL: no list can hold it */
	assert_int_equal(erofs_listxattr(&f.fs, &x, list, sizeof(list), &n), -EBADMSG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(superblock),  cmocka_unit_test(lengths_and_checksum),
		cmocka_unit_test(inodes),      cmocka_unit_test(inode_at_the_end),
		cmocka_unit_test(directories), cmocka_unit_test(symlinks),
		cmocka_unit_test(chunks),      cmocka_unit_test(xattrs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
