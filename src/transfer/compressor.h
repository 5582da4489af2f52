/* SPDX-License-Identifier: MIT */
/*
 * Makes compressed pieces of raw ones, one thread's: takes them out of the member store where they
 * are known, and compresses and hashes the others. Does not put them into the store: that is done
 * in order, by one.
 */
#ifndef MORSEL_TRANSFER_COMPRESSOR_H
#define MORSEL_TRANSFER_COMPRESSOR_H

#include "transfer/batch.h"
#include "transfer/codec.h"

struct members;
struct compressor;
/* store: NULL, or for as long as the compressor lives. -ENOMEM. */
int compressor_new(enum codec_kind kind, int level, struct members *store, struct compressor **ret);
/* Appends to the batch's output, and fills in what the piece says of it. Adds to *hash_ns. -ENOMEM.
 */
int compressor_piece(struct compressor *c, struct batch *b, struct piece *p, uint64_t *hash_ns);
/* When all pieces of a batch are done: what it is known by. */
void compressor_identify(struct compressor *c, struct batch *b);
void compressor_free(struct compressor *c); /* accepts NULL */
DEFINE_CLEANUP(struct compressor *, compressor_free)

#endif
