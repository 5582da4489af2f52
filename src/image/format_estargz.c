/* SPDX-License-Identifier: MIT */
/* eStargz: a gzip blob of many members with a table of contents. A span is one member. */
#include "image/layer_format.h"

#include <errno.h>
#include <isa-l/igzip_lib.h>

#include "image/toc_format.h"

static int estargz_index(const struct index_source *in, const struct index_sink *out,
			 struct layer_builder *b, struct error *err)
{
	return toc_format_index(in, b, TOC_ESTARGZ, err);
}

/* Inflates members from in until out is full. ISA-L: measured twice zlib's speed on a stream, and
 * unlike libdeflate it can stop where the chunk ends, whatever else the member holds. */
static int members_inflate(void *userdata, const uint8_t *in, size_t in_len, uint8_t *out,
			   size_t out_len)
{
	struct inflate_state *z = userdata;

	if (in_len > UINT32_MAX)
		return -E2BIG;
	isal_inflate_init(z);
	z->crc_flag = ISAL_GZIP;
	z->next_in = (uint8_t *)in;
	z->avail_in = (uint32_t)in_len;
	z->next_out = out;
	z->avail_out = (uint32_t)out_len;
	while (z->avail_out) {
		uint32_t before = z->avail_in, room = z->avail_out;

		if (isal_inflate(z) != ISAL_DECOMP_OK)
			return -EBADMSG;
		if (z->block_state == ISAL_BLOCK_FINISH && z->avail_out) {
			isal_inflate_reset(z);
			z->crc_flag = ISAL_GZIP;
		}
		if (z->avail_in == before && z->avail_out == room)
			return -EBADMSG;
	}
	return 0;
}

static int estargz_decode(const struct layer_index *index, uint64_t first, uint64_t last,
			  const void *in, size_t in_len, uint64_t chunk_first, uint64_t chunk_last,
			  const struct chunk_sink *sink)
{
	_cleanup_(freep) struct inflate_state *z = malloc(sizeof(*z));
	const struct toc_unit_decoder decoder = {members_inflate, z};

	if (!z)
		return -ENOMEM;
	return toc_format_decode(index, first, last, in, in_len, chunk_first, chunk_last, &decoder,
				 sink);
}

const struct layer_format format_estargz = {.id = LAYER_ESTARGZ,
					    .name = "estargz",
					    .from_toc = true,
					    .index = estargz_index,
					    .decode = estargz_decode};
