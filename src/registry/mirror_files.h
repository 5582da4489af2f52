/* SPDX-License-Identifier: MIT */
/*
 * Which sites a repository has, by what is configured on this machine:
 *
 *   registries.conf   $CONTAINERS_REGISTRIES_CONF, else ~/.config/containers/registries.conf, else
 *                     /etc/containers/registries.conf; then *.conf of /etc/containers/
 *                     registries.conf.d and ~/.config/containers/registries.conf.d (not with the
 *                     variable)
 *   hosts.toml        in HOST_PORT_, HOST:PORT, HOST or _default below $MORSEL_HOSTS_DIR, else
 * below
 *                     ~/.config/containerd/certs.d, then /etc/containerd/certs.d
 *   *.crt, *.cert, *.key   in HOST[:PORT] below ~/.config/containers/certs.d,
 *                     /etc/containers/certs.d, /etc/docker/certs.d, and where hosts.toml would be
 *
 * Mirrors of registries.conf come first, then those of hosts.toml, last the registry. Files that
 * can't be read or used are errors: they may say where not to go.
 */
#ifndef MORSEL_REGISTRY_MIRROR_FILES_H
#define MORSEL_REGISTRY_MIRROR_FILES_H

#include "base/seam.h"
#include "registry/ref.h"
#include "registry/registries_conf.h"

/* Read once, for all references. */
int registries_conf_load(const struct seam *seam, struct registries_conf *ret, struct error *err);

/* The sites of a reference, the registry itself last. -EPERM: blocked; -EBADMSG, -EACCES, ... */
int sites_of_ref(const struct seam *seam, const struct registries_conf *c, const struct ref *ref,
		 struct site_list *ret, struct error *err);

/* Adds the files that certs.d directories have for the site's host. */
int site_certificates(const struct seam *seam, struct site *s, struct error *err);

#endif
