/* SPDX-License-Identifier: MIT */
/* What parses is what would be written: a record that was read is formatted to the same bytes. */
#include "cache/ref_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(buf_fini) struct buf again = BUF_INIT;
	_cleanup_(freep) char *name = NULL;
	struct cache_ref ref;

	if (ref_record_parse((const char *)data, size, &name, &ref) < 0)
		return 0;
	if (ref_record_format(name, &ref, &again) < 0 || again.len > size)
		abort();
	if (again.len == size && memcmp(again.data, data, size))
		abort();
	return 0;
}
