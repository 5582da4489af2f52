/* SPDX-License-Identifier: MIT */
#include "prof/session.h"

const char *prof_kind_name(enum prof_kind kind)
{
	switch (kind) {
	case PROF_CPU:
		return "cpu";
	case PROF_FGPROF:
		return "fgprof";
	case PROF_HEAP:
		return "heap";
	case PROF_ALLOCS:
		return "allocs";
	}
	return "?";
}

void prof_profiles_fini(struct prof_profiles *p)
{
	for (unsigned i = 0; i < PROF_KINDS; i++)
		buf_fini(&p->profile[i]);
}
