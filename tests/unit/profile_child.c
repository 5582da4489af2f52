/* SPDX-License-Identifier: MIT */
/* Profiles its own CPU use for a moment, into the file named by its argument. For
 * test_profile_symbols. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include "prof/session.h"

static volatile unsigned long sink;

static inline __attribute__((always_inline)) void spin_inlined(void)
{
	for (unsigned i = 0; i < 50000; i++)
		sink += i * sink + 1;
}

__attribute__((noinline, noclone)) static void spin(void)
{
	clock_t until = clock() + CLOCKS_PER_SEC / 5;

	while (clock() < until)
		spin_inlined();
}

int main(int argc, char **argv)
{
	struct error err = ERROR_INIT;
	struct prof_profiles out;
	struct prof_session *s;
	int fd;

	if (argc != 2 ||
	    prof_session_start(&(struct prof_session_options){.kinds = PROF_CPU}, &s, &err) < 0)
		return 1;
	spin();
	if (prof_session_stop(s, &out, &err) < 0)
		return 1;
	fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 ||
	    write(fd, out.profile[0].data, out.profile[0].len) != (ssize_t)out.profile[0].len)
		return 1;
	close(fd);
	prof_profiles_fini(&out);
	return 0;
}
