/* SPDX-License-Identifier: MIT */
/*
 * podman's registries.conf, version 2: which registry stands for a prefix of references, and which
 * mirrors it has. Several files make one table: a later entry for a prefix replaces an earlier one.
 *
 * Pure and fuzzed. Short names, search lists and signatures are not its subject: a name without a
 * host is docker.io's here.
 */
#ifndef MORSEL_REGISTRY_REGISTRIES_CONF_H
#define MORSEL_REGISTRY_REGISTRIES_CONF_H

#include "base/json.h"
#include "registry/site.h"

struct registries_conf {
	json_t *rules; /* prefix -> {"what", "entry"}; owned; NULL = none */
};

/* Adds a file's entries. what names it in errors. -EBADMSG, -E2BIG, -ENOMEM. */
int registries_conf_add(struct registries_conf *c, const char *text, size_t len, const char *what,
			struct error *err);
void registries_conf_fini(struct registries_conf *c);

enum { REGISTRIES_NONE = 1 };

/* Where host/repo is to be had: mirrors first, the registry last, appended to ret. by_digest: the
 * reference names a digest. REGISTRIES_NONE: no entry has its prefix; -EPERM: it is blocked. */
int registries_conf_route(const struct registries_conf *c, const char *host, const char *repo,
			  bool by_digest, struct site_list *ret, struct error *err);

#endif
