/* SPDX-License-Identifier: MIT */
/*
 * This process as libdwfl sees it: its modules, from /proc/self/maps. Looks up no address:
 * symbols.h does.
 */
#ifndef MORSEL_PROF_SELF_H
#define MORSEL_PROF_SELF_H

#include <elfutils/libdwfl.h>

/* with_debug: debug information may be looked for; else symbols and unwind tables of the mapped
 * files are all there is. NULL = failed. dwfl_end() ends it. */
Dwfl *self_open(bool with_debug);
/* Looks again, for what was loaded since. */
int self_report(Dwfl *dwfl);

#endif
