/* SPDX-License-Identifier: MIT */
#include "image/estargz_footer.h"

/* A gzip header with FEXTRA; flate's own bytes at 4..9 (time, flags, system) vary by writer. */
static bool is_empty_member(const uint8_t *p, size_t n, uint16_t extra)
{
	static const uint8_t end[] = {1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0};

	return p[0] == 0x1f && p[1] == 0x8b && p[2] == 8 && p[3] == 4 &&
	       le16_get(p + 10) == extra && n == 12u + extra + sizeof(end) &&
	       !memcmp(p + 12 + extra, end, sizeof(end));
}

/* Sixteen lower-case hex digits and "STARGZ". */
static bool parse_offset(const uint8_t *p, uint64_t *ret)
{
	uint64_t v = 0;

	for (int i = 0; i < 16; i++) {
		int d = p[i] >= '0' && p[i] <= '9'   ? p[i] - '0'
			: p[i] >= 'a' && p[i] <= 'f' ? p[i] - 'a' + 10
						     : -1;

		if (d < 0)
			return false;
		v = v << 4 | (uint64_t)d;
	}
	*ret = v;
	return !memcmp(p + 16, "STARGZ", 6);
}

static bool subfield(const uint8_t *p, uint16_t len)
{
	return p[0] == 'S' && p[1] == 'G' && le16_get(p + 2) == len;
}

int estargz_footer_parse(const void *tail, size_t n, uint64_t blob_bytes,
			 struct estargz_footer *ret)
{
	const uint8_t *end = (const uint8_t *)tail + n;
	struct estargz_footer f = {0};

	if (n >= 51 && is_empty_member(end - 51, 51, 26) && subfield(end - 39, 22) &&
	    parse_offset(end - 35, &f.toc_off))
		f = (struct estargz_footer){ESTARGZ_FOOTER, 51, f.toc_off};
	else if (n >= 47 && is_empty_member(end - 47, 47, 22) && parse_offset(end - 35, &f.toc_off))
		f = (struct estargz_footer){ESTARGZ_LEGACY, 47, f.toc_off};
	else if (n >= 46 && is_empty_member(end - 46, 46, 21) && subfield(end - 34, 17) &&
		 !memcmp(end - 30, "STARGZEXTERNALTOC", 17))
		f = (struct estargz_footer){ESTARGZ_EXTERNAL_TOC, 46, 0};
	else
		return ESTARGZ_NO_FOOTER;
	if (f.kind != ESTARGZ_EXTERNAL_TOC &&
	    (!f.toc_off || blob_bytes < f.footer_bytes || f.toc_off >= blob_bytes - f.footer_bytes))
		return ESTARGZ_NO_FOOTER;
	*ret = f;
	return 0;
}
