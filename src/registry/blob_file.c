/* SPDX-License-Identifier: MIT */
#include "registry/blob_file.h"

#include <errno.h>

#define READ_BYTES (256u << 10)

struct blob_file {
	struct blob blob;
	const struct seam *seam;
	struct file_place place;
};

static int blob_file_read(struct blob *blob, uint64_t off, uint64_t len,
			  const struct blob_read_options *o, blob_sink_fn sink, void *userdata,
			  struct error *err)
{
	struct blob_file *b = (struct blob_file *)blob;
	_cleanup_(freep) uint8_t *buf = malloc(READ_BYTES);
	char name[DIGEST_TEXT_MAX];
	int r = 0;

	if (!buf)
		return -ENOMEM;
	while (len && r >= 0) {
		size_t n = min_u64(len, READ_BYTES);

		if (o->cancel && atomic_load(o->cancel))
			return error_set(err, -ECANCELED, "interrupted");
		r = seam_pread_full(b->seam, b->place.fd, buf, n, b->place.off + off);
		if (r < 0) {
			digest_format(&blob->digest, name);
			return error_set_errno(err, r == -ENODATA ? -EBADMSG : r,
					       "blob %s: can't read the file", name);
		}
		if (o->cost)
			o->cost->wire_bytes += n;
		r = sink(userdata, buf, n);
		off += n;
		len -= n;
	}
	return r;
}

static void blob_file_close(struct blob *blob)
{
	struct blob_file *b = (struct blob_file *)blob;

	closep(&b->place.fd);
	free(b);
}

int blob_file_new(const struct seam *seam, const struct file_place *p, const struct digest *d,
		  struct blob **ret)
{
	static const struct blob_ops ops = {.read = blob_file_read, .close = blob_file_close};
	struct blob_file *b = calloc(1, sizeof(*b));

	if (!b) {
		close(p->fd);
		return -ENOMEM;
	}
	*b = (struct blob_file){
		.blob = {.ops = &ops, .size = p->size, .digest = *d}, .seam = seam, .place = *p};
	*ret = &b->blob;
	return 0;
}
