/* SPDX-License-Identifier: MIT */
/* Whatever parses has a normal form that parses to itself, and a host that can be dialled. */
#include "registry/ref.h"
#include "registry/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void normal_check(const struct ref *ref)
{
	_cleanup_(ref_freep) struct ref *again = NULL;
	struct buf a = BUF_INIT, b = BUF_INIT;
	struct error err = ERROR_INIT;
	const char *text;

	if (ref_format(ref, &a) < 0 || !(text = buf_str(&a)) || ref_parse(text, &again, &err) < 0 ||
	    ref_format(again, &b) < 0)
		abort();
	if (a.len != b.len || memcmp(a.data, b.data, a.len) != 0)
		abort();
	buf_fini(&a);
	buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = strndup((const char *)data, size);
	_cleanup_(ref_freep) struct ref *ref = NULL;
	struct error err = ERROR_INIT;
	struct origin origin;

	if (ref_parse(text, &ref, &err) < 0)
		return 0;
	normal_check(ref);
	if (ref->kind == REF_REGISTRY && origin_of_host(ref->api_host, true, &origin, &err) < 0)
		abort();
	return 0;
}
