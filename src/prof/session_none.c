/* SPDX-License-Identifier: MIT */
/* What a build without the profiler (meson -Dprofiler=false) has in place of session.c. */
#include "prof/session.h"

#include <errno.h>

int prof_session_start(const struct prof_session_options *o, struct prof_session **ret,
		       struct error *err)
{
	return error_set(err, -ENOTSUP,
			 "this morsel was built without its profiler (meson -Dprofiler=false)");
}

/* There is none to stop. */
int prof_session_stop(struct prof_session *s, struct prof_profiles *ret, struct error *err)
{
	*ret = (struct prof_profiles){0};
	return error_set(err, -ENOTSUP,
			 "this morsel was built without its profiler (meson -Dprofiler=false)");
}
