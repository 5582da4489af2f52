/* SPDX-License-Identifier: MIT */
/*
 * One POST to a URL that the user named, for who is no registry: a profile server. A user name and
 * password in the URL go to its own origin as Basic credentials and are shown nowhere. Nothing is
 * followed or repeated.
 */
#ifndef MORSEL_REGISTRY_POST_H
#define MORSEL_REGISTRY_POST_H

#include <stdatomic.h>
#include "base/seam.h"
#include "registry/url.h"

struct post {
	const struct seam *seam;
	const char *user_agent;
	const char *url;  /* "http[s]://[USER:PASSWORD@]HOST[:PORT][/PATH]" */
	const char *path; /* put behind it, "/ingest"; or NULL */
	/* Pairs for the query, name and value in turn, NULL at the end; or NULL. */
	const char *const *query;
	const char *content_type;
	const void *body; /* NULL: only the URL is judged, nothing is sent */
	size_t body_len;
	const atomic_bool *cancel; /* or NULL */
};

/* 0: the answer is 2xx. -EINVAL: no such URL; -EACCES: 401 or 403; -ENOENT: 404; -EPROTO: another
 * answer; network errors. The texts name the URL without its credentials. */
int post_send(const struct post *p, struct error *err);

#endif
