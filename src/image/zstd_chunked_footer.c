/* SPDX-License-Identifier: MIT */
#include "image/zstd_chunked_footer.h"

#define MANIFEST_TYPE 1

bool zstd_chunked_position_fits(const struct zstd_chunked_position *p, uint64_t type,
				uint64_t blob_bytes)
{
	return type == MANIFEST_TYPE && p->len && p->raw_len && p->off > ZSTD_SKIPPABLE_HEADER &&
	       p->off < blob_bytes && p->len <= blob_bytes - p->off;
}

/* The tar-split data stands behind the table, in a frame of its own, or not at all. */
static bool tar_split_fits(const uint8_t *payload, const struct zstd_chunked_position *toc,
			   uint64_t end)
{
	uint64_t off = le64_get(payload + 32), len = le64_get(payload + 40);

	if (!len)
		return true;
	return off < end && len <= end - off && off >= ZSTD_SKIPPABLE_HEADER &&
	       off - ZSTD_SKIPPABLE_HEADER >= toc->off + toc->len;
}

/* "GNUlInUx" from containers/storage 1.50 on, "GnUlInUx" everywhere before. */
static bool is_magic(const uint8_t *p)
{
	return p[0] == 'G' && (p[1] == 'N' || p[1] == 'n') && !memcmp(p + 2, "UlInUx", 6);
}

int zstd_chunked_footer_parse(const void *tail, size_t n, uint64_t blob_bytes,
			      struct zstd_chunked_position *ret)
{
	static const struct {
		uint32_t bytes, magic_off;
	} kinds[] = {{64, 56}, {56, 32}, {40, 32}};
	const uint8_t *end = (const uint8_t *)tail + n;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		const uint8_t *p;
		uint64_t frame_bytes = kinds[i].bytes + ZSTD_SKIPPABLE_HEADER;
		struct zstd_chunked_position at;

		if (n < frame_bytes || blob_bytes < frame_bytes)
			continue;
		p = end - kinds[i].bytes;
		if (memcmp(p - 8, "\x50\x2a\x4d\x18", 4) || le32_get(p - 4) != kinds[i].bytes ||
		    !is_magic(p + kinds[i].magic_off))
			continue;
		at = (struct zstd_chunked_position){
			.off = le64_get(p), .len = le64_get(p + 8), .raw_len = le64_get(p + 16)};
		if (!zstd_chunked_position_fits(&at, le64_get(p + 24), blob_bytes - frame_bytes))
			return ZSTD_CHUNKED_NO_FOOTER;
		if (kinds[i].bytes == 64 && !tar_split_fits(p, &at, blob_bytes - frame_bytes))
			return ZSTD_CHUNKED_NO_FOOTER;
		*ret = at;
		return 0;
	}
	return ZSTD_CHUNKED_NO_FOOTER;
}
