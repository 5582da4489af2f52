/* SPDX-License-Identifier: MIT */
#include "lib/report.h"

#include "base/utf8.h"

char *report_text(json_t *root)
{
	char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(12)) : NULL;

	json_decref(root);
	return text;
}

json_t *report_file_name(const char *name)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT;

	while (*name) {
		size_t n = utf8_length(name, SIZE_MAX);
		int r = n ? buf_append(&text, name, n)
			  : buf_printf(&text, "\\x%02x", (uint8_t)*name);

		if (r < 0)
			return NULL;
		name += n ? n : 1;
	}
	return json_stringn((char *)text.data, text.len);
}

json_t *report_seconds(uint64_t ns)
{
	return json_real((double)(ns / 1000) / 1e6);
}

void report_counters(json_t *obj, const struct counters *c)
{
#define X(name, text)                                                                              \
	json_object_set_new(obj, #name, json_integer((json_int_t)counter_get(&c->name)));
	COUNTERS(X)
#undef X
}

json_t *report_layer_descriptor(const struct manifest_layer *l)
{
	char text[DIGEST_TEXT_MAX];
	json_t *o = json_object();

	digest_format(&l->desc.digest, text);
	json_object_set_new(o, "digest", json_string(text));
	json_object_set_new(o, "media_type", json_string(l->desc.media_type));
	json_object_set_new(o, "size", json_integer(l->desc.size));
	if (l->has_toc) {
		digest_format(&l->toc_digest, text);
		json_object_set_new(o, "toc_digest", json_string(text));
	}
	return o;
}
