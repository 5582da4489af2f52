/* SPDX-License-Identifier: MIT */
/*
 * Preloaded (LD_PRELOAD), it makes every pread(2) of a regular file take 20 ms: what is done
 * quickly is slow enough then to be interrupted and looked at.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/uio.h>
#include <unistd.h>

#define SLOW(result, name, params, args)                                                           \
	result name params                                                                         \
	{                                                                                          \
		result(*real) params = (result(*) params)dlsym(RTLD_NEXT, #name);                  \
                                                                                                   \
		usleep(20000);                                                                     \
		return real args;                                                                  \
	}

SLOW(ssize_t, pread, (int fd, void *buf, size_t n, off_t off), (fd, buf, n, off))
SLOW(ssize_t, pread64, (int fd, void *buf, size_t n, off64_t off), (fd, buf, n, off))
SLOW(ssize_t, preadv2, (int fd, const struct iovec *v, int n, off_t off, int flags),
     (fd, v, n, off, flags))
SLOW(ssize_t, preadv64v2, (int fd, const struct iovec *v, int n, off64_t off, int flags),
     (fd, v, n, off, flags))
