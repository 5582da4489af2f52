/* SPDX-License-Identifier: MIT */
#include "image/layer_format.h"

const struct layer_format *layer_format_lookup(enum layer_format_id id)
{
	static const struct layer_format *const formats[] = {
		&format_estargz, &format_zstd_chunked, &format_gzip, &format_zstd, &format_tar};

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (formats[i]->id == id)
			return formats[i];
	return NULL;
}
