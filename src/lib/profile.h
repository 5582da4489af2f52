/* SPDX-License-Identifier: MIT */
/*
 * Recordings of this process, also for those who ask over the control socket (profile_attach.c).
 * Takes no sample itself (prof/session.h) and opens no file: who asked gets the bytes.
 */
#ifndef MORSEL_LIB_PROFILE_H
#define MORSEL_LIB_PROFILE_H

#include "lib/image.h"

/* As the public functions of these names. */
int profile_start(const struct morsel_profile_options *o, struct morsel_profile **ret,
		  struct error *err);
int profile_image(struct morsel_profile *p, struct morsel_image *img, struct error *err);
int profile_stop(struct morsel_profile *p, struct error *err);

/* Serves "profile ..." from fd, a client's, until it is done, the client has enough, or end_fd is
 * readable. One at a time. */
void profile_serve(struct morsel_image *img, int fd, int end_fd, const char *request);

#endif
