/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <sys/stat.h>
#include "base/buf.h"
#include "base/sparse.h"

/* What reads back is what was written, whatever was there; *ret_blocks: of 4 KiB that it takes. */
static void sparse_check(const uint8_t *p, size_t n, uint64_t off, bool over, long blocks)
{
	const struct seam *s = seam_real();
	_cleanup_(freep) uint8_t *got = calloc(1, off + n + 1);
	_cleanup_(closep) int fd = memfd_create("sparse", MFD_CLOEXEC);
	uint64_t end = 0;
	struct stat st;

	if (over) {
		memset(got, 0xee, off + n);
		assert_int_equal(seam_pwrite_full(s, fd, got, off + n, 0), 0);
		assert_int_equal(sparse_overwrite(s, fd, p, n, off, 4 * SPARSE_BLOCK), 0);
	} else {
		assert_int_equal(sparse_write(s, fd, p, n, off, 4 * SPARSE_BLOCK, &end), 0);
		assert_true(end <= off + n);
		assert_int_equal(ftruncate(fd, (off_t)(off + n)), 0);
	}
	assert_int_equal(seam_pread_full(s, fd, got, off + n, 0), 0);
	assert_memory_equal(got + off, p, n);
	assert_int_equal(fstat(fd, &st), 0);
	if (blocks >= 0)
		assert_int_equal(st.st_blocks / 8, blocks);
}

static void sparse_keeps_zeros_as_holes(void **state)
{
	static uint8_t p[64 * SPARSE_BLOCK];
	size_t end;

	sparse_check(p, sizeof(p), 0, false, 0);
	sparse_check(p, sizeof(p), 0, true, 0);
	p[10 * SPARSE_BLOCK] = 1; /* ten blocks, one, 53 */
	sparse_check(p, sizeof(p), 0, false, 1);
	sparse_check(p, sizeof(p), 0, true, 1);
	p[13 * SPARSE_BLOCK + 4095] = 1; /* two blocks between are too few */
	sparse_check(p, sizeof(p), 0, false, 4);
	sparse_check(p, sizeof(p), 0, true, 4);
	p[63 * SPARSE_BLOCK + 5] = 1;
	sparse_check(p, 63 * SPARSE_BLOCK + 5, 0, false, 4); /* a short block of zeros at the end */
	sparse_check(p, 63 * SPARSE_BLOCK + 6, 0, false, 5);
	for (uint64_t off = 1; off < 9000; off += 1111) { /* blocks are the file's */
		sparse_check(p, sizeof(p), off, false, -1);
		sparse_check(p, sizeof(p), off, true, -1);
	}
	assert_int_equal(sparse_zeros(p, 3 * SPARSE_BLOCK, 0, 4 * SPARSE_BLOCK, &end),
			 3 * SPARSE_BLOCK);
	assert_int_equal(sparse_zeros(p + 1, 100, 1, 1, &end), 100); /* no block begins there */
	assert_int_equal(end, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sparse_keeps_zeros_as_holes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
