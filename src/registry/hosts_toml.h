/* SPDX-License-Identifier: MIT */
/*
 * containerd's hosts.toml: the mirrors of one registry, and how the registry itself is reached.
 * Pure and fuzzed; which file it is, mirror_files.h decides.
 */
#ifndef MORSEL_REGISTRY_HOSTS_TOML_H
#define MORSEL_REGISTRY_HOSTS_TOML_H

#include "registry/site.h"

struct hosts_subject {
	const char *ns;	  /* "docker.io": as in references */
	const char *host; /* where that is by default: "registry-1.docker.io" */
	const char *repo;
	const char *dir; /* of the file: relative names in it are meant from there */
};

/* Appends its hosts in the order of the file, and last the server. what names the file in errors,
 * which name the key but quote no header. -EBADMSG, -E2BIG, -ENOMEM. */
int hosts_toml_parse(const char *text, size_t len, const char *what, const struct hosts_subject *s,
		     struct site_list *ret, struct error *err);

/* "1.5s", "500ms", "1m30s": as Go writes durations. -EINVAL. */
int duration_parse(const char *text, uint64_t *ret_ns);

#endif
