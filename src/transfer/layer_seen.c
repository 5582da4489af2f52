/* SPDX-License-Identifier: MIT */
#include "transfer/layer_seen.h"

#include <errno.h>

#include "cache/members.h"
#include "transfer/layer_before.h"
#include "transfer/tar_encode.h"

#define LABEL "layer\0\0" /* no codec is described by this: the keys of pieces are others */

/* ---- the look ---- */

struct looking {
	struct hasher *hasher;
	struct buf header;
	bool text;
};

static void text_add(struct hasher *h, const char *text)
{
	hasher_update(h, text ? text : "", text ? strlen(text) + 1 : 1);
}

static int look_entry(void *userdata, const struct tar_header *h, int fd, struct error *err)
{
	struct looking *l = userdata;
	int r;

	l->text = l->text && layer_header_is_text(h);
	l->header.len = 0;
	r = tar_header_encode(h, &l->header);
	if (r >= 0)
		hasher_update(l->hasher, l->header.data, l->header.len);
	return r;
}

/* What else decides on the bytes. */
static void params_add(struct hasher *h, const struct layer_params *p, const struct layer_source *s)
{
	uint64_t numbers[] = {p->compression, (uint64_t)p->level, p->chunk_size, s->n_first,
			      s->extra_len};

	hasher_update(h, numbers, sizeof(numbers));
	text_add(h, s->prefix);
	text_add(h, s->extra_name);
	hasher_update(h, s->extra_data, s->extra_len);
	for (size_t i = 0; i < s->n_first; i++)
		text_add(h, s->first[i]);
}

int layer_look(const struct layer_params *p, const struct layer_source *source,
	       struct layer_look *ret, struct error *err)
{
	_cleanup_(ignore_freep) struct ignore_list *ignore = NULL;
	_cleanup_(hasher_freep) struct hasher *hasher = NULL;
	struct looking l = {.header = BUF_INIT, .text = true};
	char prefix[PATH_LEN_MAX + 1];
	int r = layer_source_prefix(source, prefix, err);

	if (r >= 0)
		r = layer_source_ignore(source, &ignore, err);
	if (r >= 0)
		r = hasher_new(DIGEST_SHA256, &hasher);
	if (r < 0)
		return r;
	l.hasher = hasher;
	params_add(hasher, p, source);
	r = layer_walk_beforehand(source, prefix, ignore, p->cancel, look_entry, &l, err);
	buf_fini(&l.header);
	if (r < 0)
		return r;
	*ret = (struct layer_look){.text = l.text};
	hasher_final(hasher, &ret->digest);
	return 0;
}

/* ---- what it became ---- */

/* Packs are not read in the order in which they were written: what contradicts an earlier one gets
 * the next number. */
static int key_of(struct members *m, const struct layer_look *look, uint64_t number,
		  uint8_t key[static MEMBER_KEY_BYTES])
{
	struct fingerprint *f;
	int r = members_fingerprint(m, &f);

	if (r < 0)
		return r;
	fingerprint_add(f, LABEL, sizeof(LABEL));
	fingerprint_add(f, look->digest.bytes, 32);
	fingerprint_add(f, &number, sizeof(number));
	fingerprint_end(f, key);
	fingerprint_free(f);
	return 0;
}

/* Of this number. */
static int seen_get(struct members *m, const struct layer_look *look, uint64_t number,
		    struct digest *ret, uint64_t *ret_size)
{
	_cleanup_(buf_fini) struct buf size = BUF_INIT;
	uint8_t key[MEMBER_KEY_BYTES], sum[MEMBER_NOTE_BYTES];
	int r = key_of(m, look, number, key);

	if (r >= 0)
		r = members_get(m, key, sum, &size);
	if (r)
		return r;
	if (size.len != sizeof(*ret_size))
		return CACHE_MISS;
	memcpy(ret_size, size.data, sizeof(*ret_size));
	*ret = (struct digest){.algo = DIGEST_SHA256};
	memcpy(ret->bytes, sum, sizeof(sum));
	return 0;
}

/* The last one, and how many there are. */
static int last_get(struct members *m, const struct layer_look *look, struct digest *ret,
		    uint64_t *ret_size, uint64_t *ret_n)
{
	uint64_t n = 0;
	int r;

	while (!(r = seen_get(m, look, n, ret, ret_size)))
		n++;
	*ret_n = n;
	return r < 0 ? r : n ? 0 : CACHE_MISS;
}

int layer_seen_get(struct members *m, const struct layer_look *look, struct digest *ret,
		   uint64_t *ret_size)
{
	uint64_t n;

	return last_get(m, look, ret, ret_size, &n);
}

void layer_seen_put(struct members *m, const struct layer_look *look, const struct digest *d,
		    uint64_t size)
{
	uint8_t key[MEMBER_KEY_BYTES];
	struct digest last;
	uint64_t last_size, n;
	int r = last_get(m, look, &last, &last_size, &n);

	if (!r && digest_equal(&last, d) && last_size == size)
		return;
	if (r >= 0 && key_of(m, look, n, key) >= 0)
		members_put(m, key, d->bytes, &size, sizeof(size));
}
