/* SPDX-License-Identifier: MIT */
#include "prof/pprof_drop.h"

#include <errno.h>

enum { STAYS = 1, GOES };

static bool is_plain(const char *names)
{
	return !names[strcspn(names, "\\^$.[](){}*+?")];
}

int pprof_drop_init(struct pprof_drop *d, const char *names, size_t n)
{
	*d = (struct pprof_drop){.n = n};
	if (!*names || !is_plain(names))
		return 0;
	d->names = names;
	d->known = calloc(n + 1, sizeof(*d->known));
	return d->known ? 0 : -ENOMEM;
}

static bool is_in(const char *names, const char *name)
{
	size_t len = strlen(name), n;

	for (; *names; names += n + (names[n] == '|')) {
		n = strcspn(names, "|");
		if (n && n == len && !memcmp(names, name, n))
			return true;
	}
	return false;
}

static bool goes(struct pprof_drop *d, const char *const *names, uint32_t name)
{
	if (name >= d->n)
		return false;
	if (!d->known[name])
		d->known[name] = is_in(d->names, names[name]) ? GOES : STAYS;
	return d->known[name] == GOES;
}

size_t pprof_drop_count(struct pprof_drop *d, const char *const *names, const uint32_t *frames,
			size_t n)
{
	bool some = false; /* a frame that stays */

	for (size_t i = n; d->names && i > 0; i--) {
		bool hit = goes(d, names, frames[i - 1]);

		if (hit && some)
			return i;
		some = some || !hit;
	}
	return 0;
}

void pprof_drop_fini(struct pprof_drop *d)
{
	free(d->known);
	*d = (struct pprof_drop){0};
}
