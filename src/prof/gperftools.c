/* SPDX-License-Identifier: MIT */
/*
 * The library takes the signal only while nobody else has it, looks when it is loaded, and keeps
 * it. So the signal is free while it is loaded; its handler is noted, and put in place for as long
 * as it profiles.
 */
#include "prof/gperftools.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/seam.h"

#define LIBRARY "libprofiler.so.0"
#define FILE_MAX (UINT64_C(1) << 30)

struct gperftools {
	int fd; /* of the file it writes, which has no name */
	struct sigaction before;
};

/* Loaded once, for ever. */
static struct {
	bool loaded;
	int (*start)(const char *file);
	void (*stop)(void);
	struct sigaction handler;
} library;

static int library_load(struct error *err)
{
	struct sigaction before;
	void *lib;

	if (library.loaded)
		return 0;
	sigaction(SIGPROF, &(struct sigaction){.sa_handler = SIG_DFL}, &before);
	lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	sigaction(SIGPROF, &before, &library.handler);
	if (!lib)
		return error_set(err, -ENOTSUP,
				 "the gperftools engine needs " LIBRARY
				 " (Debian: libgoogle-perftools4): %s",
				 dlerror());
	library.start = (int (*)(const char *))dlsym(lib, "ProfilerStart");
	library.stop = (void (*)(void))dlsym(lib, "ProfilerStop");
	if (!library.start || !library.stop) {
		dlclose(lib);
		return error_set(err, -ENOTSUP, LIBRARY " is not Google's profiler");
	}
	library.loaded = true;
	return 0;
}

static void gperftools_free(struct gperftools *g)
{
	closep(&g->fd);
	free(g);
}
DEFINE_CLEANUP(struct gperftools *, gperftools_free)

int gperftools_start(struct gperftools **ret, struct error *err)
{
	_cleanup_(gperftools_freep) struct gperftools *g = calloc(1, sizeof(*g));
	char path[64];
	int r;

	if (!g)
		return -ENOMEM;
	g->fd = -1;
	r = library_load(err);
	if (r < 0)
		return r;
	g->fd = memfd_create("morsel-cpu", MFD_CLOEXEC);
	if (g->fd < 0)
		return -errno;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", g->fd);
	sigaction(SIGPROF, &library.handler, &g->before);
	if (!library.start(path)) {
		sigaction(SIGPROF, &g->before, NULL);
		return error_set(err, -ENOTSUP,
				 LIBRARY
				 " does not start: perhaps it is profiling already (CPUPROFILE)");
	}
	*ret = steal_ptr(g);
	return 0;
}

static void gperftools_end(struct gperftools *g)
{
	library.stop();
	/* A tick may still be on its way, and would kill without a handler. */
	if (g->before.sa_handler != SIG_DFL)
		sigaction(SIGPROF, &g->before, NULL);
}

int gperftools_stop(struct gperftools *gperftools, struct stacks *ret, uint64_t *ret_period_ns,
		    struct error *err)
{
	_cleanup_(gperftools_freep) struct gperftools *g = gperftools;
	struct stat st;
	void *data;
	int r;

	gperftools_end(g);
	if (fstat(g->fd, &st) || st.st_size <= 0 || (uint64_t)st.st_size > FILE_MAX)
		return error_set(err, -EBADMSG, LIBRARY " left no profile");
	data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, g->fd, 0);
	if (data == MAP_FAILED)
		return -errno;
	r = gperftools_parse(data, (size_t)st.st_size, ret, ret_period_ns, err);
	munmap(data, (size_t)st.st_size);
	return r;
}

/*
 * Words: 0, 3, 0, period in microseconds, 0; then for each stack its count, how many addresses, and
 * those, leaf first; at the end 0, 1, 0. What follows is a copy of /proc/self/maps.
 */
int gperftools_parse(const void *data, size_t n, struct stacks *ret, uint64_t *ret_period_ns,
		     struct error *err)
{
	const uintptr_t *w = data, *end = w + n / sizeof(*w);
	struct stack s = {0};

	if (n / sizeof(*w) < 5 || w[0] || w[1] < 3 || w[1] > 64 || w[2] || !w[3] ||
	    w[3] > NS_PER_S || (size_t)(end - w) < 2 + w[1])
		return error_set(err, -EBADMSG,
				 "the profile of " LIBRARY " begins in an unknown way");
	*ret_period_ns = w[3] * 1000;
	for (w += 2 + w[1]; end - w >= 2; w += s.n) {
		uint64_t count = *w++, frames = *w++, ns;

		if (!count)
			return 0;
		if (frames > (size_t)(end - w) || mul_overflows(count, *ret_period_ns, &ns))
			break;
		s.n = min_u64(frames, PROF_DEPTH);
		for (size_t i = 0; i < s.n; i++)
			s.pcs[i] = w[i] -
				   (i > 0); /* of callers, the call rather than what follows it */
		stacks_add(ret, stacks_id(ret, &s), ns);
		w += frames - s.n;
	}
	return error_set(err, -EBADMSG, "the profile of " LIBRARY " is cut short");
}
