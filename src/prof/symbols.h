/* SPDX-License-Identifier: MIT */
/*
 * What the addresses of this very process mean: function, file and line, with what the compiler
 * inlined, for the program and its libraries as they are mapped when symbols_new() is called. Found
 * in symbol tables, debug information in the file, in a separate debug file where gdb would look
 * for one, or in the copy that morsel carries inside (self_debug.h), which survives strip.
 *
 * What cannot be found is left to the viewer: the profile's mappings say by build id where to look.
 * One thread at a time.
 */
#ifndef MORSEL_PROF_SYMBOLS_H
#define MORSEL_PROF_SYMBOLS_H

#include "prof/pprof.h"

struct symbols;

/* After deadline_ns (CLOCK_MONOTONIC) nothing is looked up any more; 0 = never at all. */
int symbols_new(uint64_t deadline_ns, struct symbols **ret);
void symbols_free(struct symbols *s);
DEFINE_CLEANUP(struct symbols *, symbols_free)

/* The location of an address in this profile. One profile after the other: a location of the next
 * one begins only after symbols_mappings() has ended this one. */
uint64_t symbols_location(struct symbols *s, struct pprof *p, uintptr_t pc);
/* Writes the mappings of all locations. */
void symbols_mappings(struct symbols *s, struct pprof *p);

#endif
