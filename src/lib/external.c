/* SPDX-License-Identifier: MIT */
/* Finding the table of contents of an eStargz layer that keeps it in another image. */
#include "lib/layers.h"

#include "image/external_toc.h"

static int toc_ref(const struct ref *image, struct ref **ret, struct error *err)
{
	_cleanup_(buf_fini) struct buf text = BUF_INIT;
	int r;

	if (image->kind != REF_REGISTRY)
		r = buf_printf(&text, "%s%s:%s" EXTERNAL_TOC_TAG_SUFFIX, ref_scheme(image),
			       image->path, image->tag);
	else
		r = buf_printf(&text, "%s/%s:%s" EXTERNAL_TOC_TAG_SUFFIX, image->host, image->path,
			       image->tag);
	if (r < 0 || !buf_str(&text))
		return -ENOMEM;
	return ref_parse((const char *)text.data, ret, err);
}

int external_toc_open(struct morsel *m, const struct ref *image, const struct digest *layer,
		      struct blob **ret, struct error *err)
{
	_cleanup_(source_closep) struct source *source = NULL;
	_cleanup_(ref_freep) struct ref *ref = NULL;
	struct source_document doc = {0};
	struct descriptor d = {0};
	int r;

	if (!image->tag) /* by digest alone there is no name to derive its from */
		return EXTERNAL_TOC_NONE;
	r = toc_ref(image, &ref, err);
	if (r >= 0)
		r = source_open(m->registry, ref, &source, err);
	if (r >= 0)
		r = source_resolve(source, &doc, err);
	if (r >= 0)
		r = external_toc_find(doc.body.data, doc.body.len, layer, &d, err);
	source_document_fini(&doc);
	if (!r)
		r = source_blob(source, &d.digest, (uint64_t)d.size, ret, err);
	descriptor_fini(&d);
	return r;
}
