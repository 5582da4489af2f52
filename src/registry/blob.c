/* SPDX-License-Identifier: MIT */
#include "registry/blob.h"

#include <errno.h>

int blob_read(struct blob *b, uint64_t off, uint64_t len, const struct blob_read_options *o,
	      blob_sink_fn sink, void *userdata, struct error *err)
{
	static const struct blob_read_options none;
	char name[DIGEST_TEXT_MAX];

	if (off > b->size || len > b->size - off) {
		digest_format(&b->digest, name);
		return error_set(err, -EINVAL, "blob %s: bytes %llu+%llu are not in its %llu", name,
				 (unsigned long long)off, (unsigned long long)len,
				 (unsigned long long)b->size);
	}
	if (!len)
		return 0;
	return b->ops->read(b, off, len, o ? o : &none, sink, userdata, err);
}

struct fill {
	uint8_t *at;
};

static int fill_sink(void *userdata, const void *data, size_t n)
{
	struct fill *f = userdata;

	memcpy(f->at, data, n);
	f->at += n;
	return 0;
}

int blob_read_buf(struct blob *b, uint64_t off, uint64_t len, const struct blob_read_options *o,
		  void *buf, struct error *err)
{
	struct fill f = {.at = buf};

	return blob_read(b, off, len, o, fill_sink, &f, err);
}

bool blob_has_other(struct blob *b, uint32_t avoid)
{
	return b->ops->has_other && b->ops->has_other(b, avoid);
}

bool blob_is_here(struct blob *b)
{
	return b->ops->is_here && b->ops->is_here(b, false);
}

void blob_forget(struct blob *b)
{
	if (b->ops->is_here)
		b->ops->is_here(b, true);
}

void blob_close(struct blob *b)
{
	if (b)
		b->ops->close(b);
}
