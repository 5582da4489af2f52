/* SPDX-License-Identifier: MIT */
/*
 * The last bytes of an eStargz blob: an empty gzip member whose extra field tells where the table
 * of contents starts. Layout: stargz-snapshotter's docs/estargz.md. Whether there is a table at
 * that place, it does not look. Pure.
 */
#ifndef MORSEL_IMAGE_ESTARGZ_FOOTER_H
#define MORSEL_IMAGE_ESTARGZ_FOOTER_H

#include "base/error.h"

enum estargz_footer_kind {
	ESTARGZ_FOOTER = 1,   /* 51 bytes */
	ESTARGZ_LEGACY,	      /* 47 bytes: stargz, without the subfield's header */
	ESTARGZ_EXTERNAL_TOC, /* 46 bytes: the table is in another image */
};

struct estargz_footer {
	enum estargz_footer_kind kind;
	uint32_t footer_bytes;
	uint64_t toc_off; /* 0 when external */
};

enum { ESTARGZ_NO_FOOTER = 1 };

/* tail: the last n bytes of a blob of blob_bytes. 0; ESTARGZ_NO_FOOTER also for an offset that
 * can't be: such a blob is gzip like any other. */
int estargz_footer_parse(const void *tail, size_t n, uint64_t blob_bytes,
			 struct estargz_footer *ret);

#endif
