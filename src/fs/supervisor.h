/* SPDX-License-Identifier: MIT */
/*
 * The process that outlives servers. See supervisor.c.
 */
#ifndef MORSEL_FS_SUPERVISOR_H
#define MORSEL_FS_SUPERVISOR_H

#include "base/log.h"
#include "base/seam.h"
#include "fs/handover.h"

struct supervise_params {
	const struct seam *seam;
	const struct log *log;
	/* In a child: serves, with h in fs_params; its result is the child's exit code. */
	int (*serve)(void *userdata, struct morsel_handover *h);
	void (*ready)(void *userdata); /* in the caller: the mount answers, the first time */
	void *userdata;
};

/* Forks servers until one ends by itself, a signal to end comes, or one dies too often; nothing is
 * mounted then any more. The caller has one thread. 0 with the last server's exit code; -errno with
 * a text when it was killed and nobody takes its place. */
int fs_supervise(const struct supervise_params *p, int *ret_exit_code, struct error *err);

#endif
