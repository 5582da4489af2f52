/* SPDX-License-Identifier: MIT */
/*
 * Layers whose contents are far away, when all of them are wanted: a few threads read devices from
 * front to back, which is the order of the blob. The cache then sees one stream a layer and
 * fetches it in few large requests, whatever order files are made in.
 */
#include "transfer/extract_impl.h"

struct fetcher {
	struct extract *x;
	uint32_t first; /* layer; then every FETCH_THREADS-th */
};

/* What goes wrong here goes wrong again for who writes the file, and is said there. */
static void layer_fetch(struct extract *x, uint32_t layer, uint8_t *buf)
{
	uint64_t end = layer_tables(x->o->layers[layer])->header.device_bytes;

	for (uint64_t off = 0; off < end; off += EXTRACT_PIECE) {
		struct error err = ERROR_INIT;

		if (atomic_load(&x->no_fetch) || extract_stopped(x) < 0 ||
		    reader_read(x->o->reader, layer, off, buf, min_u64(EXTRACT_PIECE, end - off),
				x->o->cancel, &err) < 0)
			return;
	}
}

static void *fetch_main(void *arg)
{
	struct fetcher *f = arg;
	uint8_t *buf = malloc(EXTRACT_PIECE);

	for (uint32_t i = f->first; buf && i < f->x->o->n_layers; i += FETCH_THREADS)
		if (!layer_is_complete(f->x->o->layers[i]))
			layer_fetch(f->x, i, buf);
	free(buf);
	free(f);
	return NULL;
}

void extract_fetch_start(struct extract *x)
{
	bool all = !x->o->include && !x->o->exclude && !*x->o->roots[0].name &&
		   x->o->roots[0].nid == x->o->fs->root_nid;

	for (; all && x->n_fetchers < FETCH_THREADS && x->n_fetchers < x->o->n_layers;
	     x->n_fetchers++) {
		struct fetcher *f = malloc(sizeof(*f));

		if (!f)
			return;
		*f = (struct fetcher){.x = x, .first = x->n_fetchers};
		if (thread_start(&x->fetchers[x->n_fetchers], "morsel-front", fetch_main, f) < 0) {
			free(f);
			return;
		}
	}
}

void extract_fetch_end(struct extract *x)
{
	atomic_store(&x->no_fetch, true);
	for (unsigned i = 0; i < x->n_fetchers; i++)
		pthread_join(x->fetchers[i], NULL);
	x->n_fetchers = 0;
}
