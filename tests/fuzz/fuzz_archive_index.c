/* SPDX-License-Identifier: MIT */
/* Whatever is indexed lies within the file, and every name leads to a file or to a plain no. */
#include <errno.h>
#include "registry/archive_index.h"

struct bytes {
	const uint8_t *data;
	size_t size;
};

static int read_bytes(void *userdata, uint64_t off, void *buf, size_t n)
{
	const struct bytes *b = userdata;

	if (off > b->size || n > b->size - off)
		abort();
	memcpy(buf, b->data + off, n);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes b = {data, size};
	struct archive_input in = {.read = read_bytes, .userdata = &b, .size = size};
	struct archive_index ix = {0};
	struct error err = ERROR_INIT;
	int r = archive_index_read(&in, &ix, &err);

	for (size_t i = 0; r >= 0 && i < ix.n; i++) {
		const struct archive_member *m = &ix.members[i], *found = NULL;

		if (m->off > size || m->size > size - m->off || m->name[0] == '/' ||
		    strstr(m->name, "//"))
			abort();
		r = archive_index_find(&ix, m->name, &found);
		if (!r && (found->kind != MEMBER_FILE || found->size > size))
			abort();
		if (r < 0 && r != -ENOENT && r != -ELOOP && r != -EINVAL)
			abort();
		r = 0;
	}
	archive_index_fini(&ix);
	return 0;
}
