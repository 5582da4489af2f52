/* SPDX-License-Identifier: MIT */
/*
 * The whole of a blob as it arrives from its beginning, in a file without a name: what a server
 * sends that answers a request for a range with everything. One thread fills it, any number read
 * from it, also what is still to come.
 *
 * Verifies nothing; its bytes are as the network's.
 */
#ifndef MORSEL_REGISTRY_SPOOL_H
#define MORSEL_REGISTRY_SPOOL_H

#include <pthread.h>
#include "base/seam.h"
#include "registry/blob.h"

struct spool {
	const struct seam *seam;
	pthread_mutex_t lock;
	pthread_cond_t news;
	int fd;	       /* -1: there is none; under lock, as all below */
	uint64_t size; /* of the blob */
	uint64_t have; /* bytes [0, have) are in it */
	bool filling;
	uint32_t served; /* places whose bytes these are */
};

void spool_init(struct spool *s, const struct seam *seam, uint64_t size);
void spool_fini(struct spool *s);
/* Whoever gets true fills it, from *ret_have on, and says spool_end(). open gives a file, or < 0.
 */
bool spool_begin(struct spool *s, int (*open)(void *userdata, uint64_t bytes), void *userdata,
		 uint64_t *ret_have);
/* For the one who fills it: bytes from off on, of which those are taken that are news. < 0: it is
 * given up; goes on without. */
int spool_put(struct spool *s, uint64_t off, const void *data, size_t n, uint32_t served);
void spool_end(struct spool *s);

bool spool_is_filling(struct spool *s);
bool spool_is_complete(struct spool *s);
void spool_drop(struct spool *s); /* unless it is being filled */

enum { SPOOL_HAS_NOT = 1 };
/* Delivers [*at, end) as far as it is there or comes, and moves *at. 0; SPOOL_HAS_NOT: the rest
 * must come from elsewhere; -ETIMEDOUT, -ECANCELED, what sink returned, -EIO. */
int spool_read(struct spool *s, uint64_t *at, uint64_t end, const struct blob_read_options *o,
	       blob_sink_fn sink, void *userdata);

#endif
