/* SPDX-License-Identifier: MIT */
/* The checksum is mended first, so that what lies behind it is reached. */
#include "cache/layer_meta.h"

#include <isa-l/crc64.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t bytes[LAYER_META_BYTES], again[LAYER_META_BYTES];
	struct layer_key key;
	struct layer_meta m;
	uint64_t sum = 0;

	if (size != sizeof(bytes))
		return 0;
	memcpy(bytes, data, size);
	le64_put(bytes + size - 8, crc64_ecma_refl(0, bytes, size - 8));
	memcpy(key.hex, bytes + 8, 64);
	key.hex[64] = 0;
	if (layer_meta_decode(bytes, size, &key, &m) < 0)
		return 0;
	for (enum layer_table t = 0; t < TABLE_COUNT; t++) {
		if (layer_table_bytes(&m.header, t) > UINT64_MAX / 8)
			abort();
		sum += layer_table_bytes(&m.header, t);
	}
	layer_meta_encode(&m, again);
	if (layer_meta_decode(again, sizeof(again), &key, &m) < 0)
		abort();
	return sum == 1;
}
