/* SPDX-License-Identifier: MIT */
/*
 * Takes a table of contents out of its wrapping as the bytes arrive. eStargz: a gzip member that
 * holds a tar archive whose first file is "stargz.index.json". zstd:chunked: zstd frames. What
 * comes out is the JSON, byte for byte, which is what the manifest's TOC digest is over. Neither
 * reads the JSON nor hashes it. Bounded, pure.
 */
#ifndef MORSEL_IMAGE_TOC_UNWRAP_H
#define MORSEL_IMAGE_TOC_UNWRAP_H

#include "base/error.h"

#define TOC_RAW_MAX (UINT64_C(512) << 20)

struct toc_unwrap;
/* json() gets its bytes in order; < 0 stops. */
int toc_unwrap_new(int (*json)(void *userdata, const void *data, size_t n), void *userdata,
		   struct toc_unwrap **ret);
/* raw_len: what the frames have to give, to the byte. */
int toc_unwrap_new_zstd(uint64_t raw_len, int (*json)(void *userdata, const void *data, size_t n),
			void *userdata, struct toc_unwrap **ret);
/* -EBADMSG, -E2BIG. Bytes after eStargz's file are ignored. */
int toc_unwrap_feed(struct toc_unwrap *u, const void *data, size_t n, struct error *err);
/* -EBADMSG when the JSON was not complete. */
int toc_unwrap_finish(struct toc_unwrap *u, struct error *err);
void toc_unwrap_free(struct toc_unwrap *u);
DEFINE_CLEANUP(struct toc_unwrap *, toc_unwrap_free)

#endif
