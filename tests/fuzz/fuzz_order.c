/* SPDX-License-Identifier: MIT */
/* What decodes is in bounds, merges, and is encoded to the same bytes. */
#include "cache/order.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t key[ORDER_KEY_BYTES] = "an image's key, of 32 characters";
	static const uint64_t n_spans[] = {1000, 5, 70000};
	_cleanup_(order_fini) struct order o = ORDER_INIT;
	_cleanup_(order_fini) struct order own = ORDER_INIT;
	_cleanup_(buf_fini) struct buf b = BUF_INIT;

	if (order_decode(data, size, key, n_spans, ARRAY_SIZE(n_spans), &o) < 0)
		return 0;
	if (order_encode(&o, key, &b) < 0 || b.len != size || memcmp(b.data, data, size))
		abort();
	order_add(&own, 0, 10, 20);
	order_add(&own, 2, 69999, 1);
	order_add(&own, 0, 0, 5);
	if (order_merge(&own, &o) < 0)
		abort();
	for (size_t i = 0; i < own.n; i++)
		if (!own.runs[i].n || own.runs[i].layer >= ARRAY_SIZE(n_spans) ||
		    own.runs[i].first + (uint64_t)own.runs[i].n > n_spans[own.runs[i].layer])
			abort();
	return 0;
}
