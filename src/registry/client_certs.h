/* SPDX-License-Identifier: MIT */
/*
 * Client certificates with their keys, and which of them a server is shown: the first one that
 * comes from an issuer it names, as docker and podman have it; else the very first. (libcurl takes
 * one pair, whatever the server says.)
 *
 * Immutable once loaded: connections of all threads share it. Does not look for files: who calls
 * knows the directories. Never asks for a passphrase.
 */
#ifndef MORSEL_REGISTRY_CLIENT_CERTS_H
#define MORSEL_REGISTRY_CLIENT_CERTS_H

#include "base/error.h"
#include "base/seam.h"

struct client_certs;

/* files: a certificate (with its intermediates), its key, and so on, in PEM; NULL-terminated.
 * -EBADMSG: one is damaged, encrypted, or not the other's; and the errors of conf_read(). */
int client_certs_load(const struct seam *seam, char *const *files, struct client_certs **ret,
		      struct error *err);
void client_certs_free(struct client_certs *c); /* accepts NULL */
DEFINE_CLEANUP(struct client_certs *, client_certs_free)

/* Tells OpenSSL: ssl_ctx is an SSL_CTX, made for connections that c outlives. */
void client_certs_use(struct client_certs *c, void *ssl_ctx);

#endif
