/* SPDX-License-Identifier: MIT */
/* The tar walk on what GNU tar and Python's tarfile write, whole and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "image/tar.h"

/* The archive that a shell command prints, or false when the program is not there. */
static bool archive_by(const char *command, struct buf *ret)
{
	FILE *f = popen(command, "re");
	uint8_t piece[65536];
	size_t n;

	*ret = BUF_INIT;
	assert_non_null(f);
	while ((n = fread(piece, 1, sizeof(piece), f)))
		assert_int_equal(buf_append(ret, piece, n), 0);
	return !pclose(f) && ret->len;
}

/* One line an entry: type, mode, owner, time, size, name, link, xattrs, digest of the contents
 * with their holes. */
struct listing {
	struct buf text, contents;
	bool open;
};

static void contents_close(struct listing *l)
{
	char hex[DIGEST_TEXT_MAX];
	struct digest d;

	if (l->open) {
		digest_of(DIGEST_SHA256, l->contents.data, l->contents.len, &d);
		digest_format_hex(&d, hex);
		assert_int_equal(buf_printf(&l->text, " %.8s", hex), 0);
	}
	l->contents.len = 0;
	l->open = false;
}

static int on_entry(void *userdata, const struct tar_entry *e)
{
	struct listing *l = userdata;

	contents_close(l);
	if (l->text.len)
		assert_int_equal(buf_append_str(&l->text, "\n"), 0);
	assert_int_equal(buf_printf(&l->text, "%o %u:%u %lld.%09u %llu %s", e->meta.mode,
				    e->meta.uid, e->meta.gid, (long long)e->meta.mtime_s,
				    e->meta.mtime_ns, (unsigned long long)e->meta.size, e->path),
			 0);
	if (e->link_len)
		assert_int_equal(buf_printf(&l->text, " %s%.*s",
					    e->meta.flags & ENTRY_HARDLINK ? "=" : "-> ",
					    (int)e->link_len, e->link),
				 0);
	if (e->meta.flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK))
		assert_int_equal(buf_printf(&l->text, " %s",
					    e->meta.flags & ENTRY_WHITEOUT ? "gone" : "opaque"),
				 0);
	for (size_t i = 0; i < e->xattr_len; i++)
		assert_int_equal(buf_printf(&l->text, "%s%02x", i ? "" : " x=", e->xattrs[i]), 0);
	if (S_ISREG(e->meta.mode) && !(e->meta.flags & ENTRY_HARDLINK)) {
		assert_true(e->meta.size < 64u << 20);
		l->contents.len = 0;
		assert_int_equal(buf_reserve(&l->contents, e->meta.size), 0);
		if (e->meta.size)
			memset(l->contents.data, 0, e->meta.size);
		l->contents.len = e->meta.size;
		l->open = true;
	}
	return 0;
}

static int on_data(void *userdata, uint64_t off, const void *data, size_t n, uint64_t stream_off)
{
	struct listing *l = userdata;

	assert_true(l->open && off + n <= l->contents.len);
	memcpy(l->contents.data + off, data, n);
	return 0;
}

static int on_end(void *userdata)
{
	return 0;
}

static int list_pieces(const struct buf *tar, size_t piece, struct listing *l, struct error *err)
{
	const struct tar_callbacks cb = {
		.entry = on_entry, .data = on_data, .end_entry = on_end, .userdata = l};
	_cleanup_(tar_walk_freep) struct tar_walk *w = NULL;
	int r = tar_walk_new(&cb, &w);

	*l = (struct listing){0};
	for (size_t at = 0; at < tar->len && r >= 0; at += piece)
		r = tar_walk_feed(w, tar->data + at, min_u64(piece, tar->len - at), err);
	if (r >= 0)
		r = tar_walk_finish(w, err);
	contents_close(l);
	return r;
}

static void listing_fini(struct listing *l)
{
	buf_fini(&l->text);
	buf_fini(&l->contents);
}

/* What the walk says, the same in all slicings; freed by the caller. */
static char *list(const struct buf *tar)
{
	static const size_t pieces[] = {1, 511, 513};
	struct error err = ERROR_INIT;
	struct listing whole, sliced;
	char *text;

	if (list_pieces(tar, SIZE_MAX, &whole, &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		assert_int_equal(list_pieces(tar, pieces[i], &sliced, &err), 0);
		assert_string_equal(buf_str(&sliced.text), buf_str(&whole.text));
		listing_fini(&sliced);
	}
	text = strdup(buf_str(&whole.text));
	listing_fini(&whole);
	return text;
}

#define TARFILE                                                                                    \
	"exec 2>&1; PYTHONDONTWRITEBYTECODE=1 exec python3 -c '"                                   \
	"import io,sys,tarfile\n"                                                                  \
	"t=tarfile.open(fileobj=sys.stdout.buffer,mode=\"w|\",format=tarfile.%s,"                  \
	"errors=\"surrogateescape\")\n"                                                            \
	"def add(name,data=b\"\",**k):\n"                                                          \
	"  i=tarfile.TarInfo(name);i.size=len(data);i.mtime=1600000000\n"                          \
	"  for a,v in k.items(): setattr(i,a,v)\n"                                                 \
	"  t.addfile(i,io.BytesIO(data))\n"                                                        \
	"%s\n"                                                                                     \
	"t.close()'"

static char *list_python(const char *format, const char *program)
{
	_cleanup_(freep) char *command = NULL;
	struct buf tar;
	char *text;

	assert_true(asprintf(&command, TARFILE, format, program) > 0);
	if (!archive_by(command, &tar))
		skip();
	text = list(&tar);
	buf_fini(&tar);
	return text;
}

static void plain_entries_of_each_format(void **state)
{
	static const char *const formats[] = {"USTAR_FORMAT", "GNU_FORMAT", "PAX_FORMAT"};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		_cleanup_(freep) char *got = list_python(
			formats[i],
			"add(\"d\",type=b\"5\",mode=0o1777)\n"
			"add(\"d/f\",b\"hello\",uid=1000,gid=2000,mode=0o4755)\n"
			"add(\"/abs/./x/../l\",type=b\"2\",linkname=\"../f\",mode=0o777)\n"
			"add(\"h\",type=b\"1\",linkname=\"./d/f\")\n"
			"add(\"c\",type=b\"3\",devmajor=4095,devminor=255)\n"
			"add(\"p\",type=b\"6\")\n"
			"add(\"d/.wh.gone\")\n"
			"add(\"d/.wh..wh..opq\")\n"
			"add(\"b\\udcff\",b\"x\"*1024)\n");

		assert_string_equal(got, "41777 0:0 1600000000.000000000 0 d\n"
					 "104755 1000:2000 1600000000.000000000 5 d/f 2cf24dba\n"
					 "120777 0:0 1600000000.000000000 4 abs/l -> ../f\n"
					 "100644 0:0 1600000000.000000000 0 h =d/f\n"
					 "20644 0:0 1600000000.000000000 0 c\n"
					 "10644 0:0 1600000000.000000000 0 p\n"
					 "0 0:0 0.000000000 0 d/gone gone\n"
					 "0 0:0 0.000000000 0 d opaque\n"
					 "100644 0:0 1600000000.000000000 1024 b\xff 49abd65b");
	}
}

static void what_pax_adds(void **state)
{
	_cleanup_(freep) char *got = list_python(
		"PAX_FORMAT", "add(\"a/\"*200+\"f\",mtime=-1.25,uid=4294967294)\n"
			      "add(\"l\",type=b\"2\",linkname=\"t\"*300,mtime=12345678901)\n"
			      "add(\"x\",pax_headers={\"SCHILY.xattr.user.a\":\"1\\n=2\\0\","
			      "\"comment\":\"c\"})\n");
	char want[2048], deep[401], target[301];

	for (size_t i = 0; i < 400; i++)
		deep[i] = i % 2 ? '/' : 'a';
	deep[400] = 0;
	memset(target, 't', 300);
	target[300] = 0;
	snprintf(want, sizeof(want),
		 "100644 4294967294:0 -2.750000000 0 %sf e3b0c442\n"
		 "120644 0:0 12345678901.000000000 300 l -> %s\n"
		 "100644 0:0 1600000000.000000000 0 x "
		 "x=0600000005000000757365722e61310a3d3200 e3b0c442",
		 deep, target);
	assert_string_equal(got, want);
}

static void what_gnu_adds(void **state)
{
	_cleanup_(freep) char *got =
		list_python("GNU_FORMAT", "add(\"a\"*255,type=b\"1\",linkname=\"b/\"*100+\"c\")\n"
					  "add(\"f\",mtime=-2,uid=3000000)\n");
	char want[2048], name[256], target[201];

	memset(name, 'a', 255);
	name[255] = 0;
	for (size_t i = 0; i < 200; i++)
		target[i] = i % 2 ? '/' : 'b';
	target[200] = 0;
	snprintf(want, sizeof(want),
		 "100644 0:0 1600000000.000000000 0 %s =%sc\n"
		 "100644 3000000:0 -2.000000000 0 f e3b0c442",
		 name, target);
	assert_string_equal(got, want);
}

/* A file with holes: n pieces of data, the last one at its end or before it. */
#define HOLES                                                                                      \
	"exec 2>&1; d=$(mktemp -d) && cd $d && python3 -c '"                                       \
	"import sys\n"                                                                             \
	"n=int(sys.argv[1])\n"                                                                     \
	"f=open(\"holes\",\"wb\")\n"                                                               \
	"for i in range(n): f.seek(i*65536+(i%%3)*4096); f.write(bytes([i%%255+1])*(4096+i))\n"    \
	"f.truncate(n*65536+int(sys.argv[2]))' %d %d && "                                          \
	"tar -c --mtime=@0 --owner=0 --group=0 --mode=644 %s holes; r=$?; cd /; rm -rf $d; exit "  \
	"$r"

static char *list_holes(int n, int behind, const char *flags)
{
	_cleanup_(freep) char *command = NULL;
	struct buf tar;
	char *text;

	assert_true(asprintf(&command, HOLES, n, behind, flags) > 0);
	if (!archive_by(command, &tar))
		skip();
	assert_true(!strstr(flags, "sparse") || tar.len < (size_t)n * 65536);
	text = list(&tar);
	buf_fini(&tar);
	return text;
}

static void sparse_files_of_each_format(void **state)
{
	static const char *const formats[] = {"--sparse --format=gnu",
					      "--sparse --format=pax --sparse-version=0.0",
					      "--sparse --format=pax --sparse-version=0.1",
					      "--sparse --format=pax --sparse-version=1.0"};
	static const int pieces[] = {1, 3, 4, 5, 25, 26, 60}; /* 4 fit the header, 21 a block */

	for (size_t k = 0; k < ARRAY_SIZE(pieces); k++) {
		int behind = k % 2 ? 0 : 100000;
		_cleanup_(freep) char *plain = list_holes(pieces[k], behind, "--format=gnu");

		for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
			_cleanup_(freep) char *got = list_holes(pieces[k], behind, formats[i]);

			assert_string_equal(got, plain);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_entries_of_each_format),
		cmocka_unit_test(what_pax_adds),
		cmocka_unit_test(what_gnu_adds),
		cmocka_unit_test(sparse_files_of_each_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
