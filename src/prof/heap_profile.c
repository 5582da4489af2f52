/* SPDX-License-Identifier: MIT */
#include "prof/heap_profile.h"

#include "prof/heap.h"

/* To whole numbers; an estimate that was added and taken away again may end a hair below zero. */
static int64_t whole(double d)
{
	return d < 0.5 ? 0 : (int64_t)(d + 0.5);
}

static void write_site(struct pprof *p, const struct heap_site *site, struct symbols *symbols)
{
	const int64_t values[] = {whole(site->alloc_objects), whole(site->alloc_bytes),
				  whole(site->inuse_objects), whole(site->inuse_bytes)};
	uint64_t at[PROF_DEPTH];

	for (size_t i = 0; i < site->n; i++)
		at[i] = symbols_location(symbols, p, site->pcs[i]);
	pprof_sample(p, at, site->n, values, NULL, 0);
}

int heap_profile(const struct heap_site *sites, size_t n, const char *default_type, int64_t time_ns,
		 int64_t duration_ns, struct symbols *symbols, struct pprof **ret)
{
	static const struct pprof_type types[] = {
		{"alloc_objects", "count"},
		{"alloc_space", "bytes"},
		{"inuse_objects", "count"},
		{"inuse_space", "bytes"},
	};
	const struct pprof_options o = {
		.types = types,
		.n_types = ARRAY_SIZE(types),
		.default_type = default_type,
		.period_type = {"space", "bytes"},
		.period = (int64_t)heap_period(),
		.time_ns = time_ns,
		.duration_ns = duration_ns,
		.drop_frames = "malloc|calloc|realloc|reallocarray|memalign|aligned_alloc|posix_"
			       "memalign|valloc|pvalloc",
	};
	struct pprof *p;
	int r = pprof_new(&o, &p);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		write_site(p, &sites[i], symbols);
	*ret = p;
	return 0;
}
