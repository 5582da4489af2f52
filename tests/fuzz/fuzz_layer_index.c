/* SPDX-License-Identifier: MIT */
/* Tables that pass the validator must be safe to use as every reader uses them. */
#include "image/layer_index.h"

static volatile uint64_t sink;

static void touch(const uint8_t *p, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		sink += p[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct layer_index ix;
	uint64_t *copy = malloc(size + 8); /* aligned, as a mapping is */

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (layer_index_validate(copy, size, 1000, &ix, NULL) >= 0) {
		for (uint64_t i = 0; i < ix.header.n_entries; i++) {
			const struct layer_entry *e = &ix.entries[i];
			struct layer_xattr x;
			uint32_t pos = 0;

			touch(ix.heap + e->path_off, e->path_len);
			if (e->flags & (ENTRY_WHITEOUT | ENTRY_OPAQUE_MARK))
				continue;
			touch(ix.heap + e->link_off, e->link_len);
			if (e->flags & ENTRY_HARDLINK)
				continue;
			while (layer_entry_next_xattr(&ix, e, &pos, &x)) {
				touch((const uint8_t *)x.name, x.name_len);
				touch(x.value, x.value_len);
			}
		}
		for (uint64_t i = 0; i < ix.header.n_spans; i++)
			touch(ix.windows + ix.spans[i].window_off, ix.spans[i].window_len);
		for (uint64_t i = 0; i < ix.header.n_chunks; i++)
			if (layer_index_chunk_at(&ix, ix.chunks[i].dev_off) != i)
				__builtin_trap();
	}
	free(copy);
	return 0;
}
