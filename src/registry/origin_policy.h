/* SPDX-License-Identifier: MIT */
/*
 * Where a request may go and where a credential may go with it. Servers say where to go next
 * (redirects, token realms, upload locations, foreign URLs), and servers lie; so nobody but these
 * functions decides, every send asks them, and they are fuzzed.
 *
 *   - A credential goes to the origin it is for (scheme, host and port), or to that origin's
 *     accepted token realm, and nowhere else.
 *   - A redirect takes at most 5 hops, never from https to http.
 *   - Loopback, link-local and private addresses are only for registries that are there
 *     themselves: literal addresses are judged in the URL, names when they are resolved.
 *
 * Policy: does no I/O, remembers nothing. Pinning a realm on its first use is the caller's.
 */
#ifndef MORSEL_REGISTRY_ORIGIN_POLICY_H
#define MORSEL_REGISTRY_ORIGIN_POLICY_H

#include <sys/socket.h>
#include "registry/url.h"

#define REDIRECT_HOPS_MAX 5

/* How near an address is. */
enum address_class {
	ADDRESS_UNKNOWN, /* a name that has not been resolved yet */
	ADDRESS_PUBLIC,
	ADDRESS_PRIVATE,    /* 10/8, 172.16/12, 192.168/16, 100.64/10, fc00::/7, ... */
	ADDRESS_LINK_LOCAL, /* 169.254/16 (cloud metadata), fe80::/10 */
	ADDRESS_LOOPBACK,   /* 127/8, ::1, "localhost" */
	ADDRESS_NOWHERE,    /* 0/8, ::, multicast, reserved: never dialled */
};

/* IPv4 inside IPv6 (mapped, NAT64, 6to4) is judged as the IPv4 address. Other families:
 * ADDRESS_NOWHERE. */
enum address_class address_classify(const struct sockaddr *addr, socklen_t len);
/* By the text of the host alone: a literal address, "localhost" and "*.localhost"; every other
 * name is ADDRESS_UNKNOWN. */
enum address_class origin_classify(const struct origin *o);
const char *address_class_name(enum address_class c); /* for error texts: "private", ... */

/* May we dial target, a resolved address, on behalf of a registry that is itself at an address of
 * class registry? To be asked for every socket (CURLOPT_OPENSOCKETFUNCTION) of redirect targets and
 * token realms; not for the registry's own host, which the user named, and not when a proxy
 * resolves names.
 *   public: always            private: registry is private or loopback
 *   link-local: registry is   loopback: registry is
 */
bool address_allowed(enum address_class target, enum address_class registry);

/* May a request that came from `from` (the registry, or an earlier hop) go on to `to`? hop counts
 * from 1. registry_class: where the registry's connection ended, or origin_classify() of it.
 * 0 or -EPERM. */
int redirect_check(const struct origin *registry, enum address_class registry_class,
		   const struct origin *from, const struct origin *to, unsigned hop,
		   struct error *err);

enum { REALM_PIN = 1 };

/* May the registry's credential be offered to this token realm? 0: yes (same host, or a built-in
 * pair); REALM_PIN: a host of its own that is legal; the caller accepts it on first use, says so,
 * remembers it and refuses any other for this registry from then on; -EPERM. */
int realm_check(const struct origin *registry, const struct origin *realm, struct error *err);

enum purpose {
	REGISTRY_REQUEST, /* /v2/... on the registry itself */
	TOKEN_REQUEST,	  /* the realm of a Bearer challenge */
	REDIRECT,	  /* a Location anybody answered with */
	FOREIGN_URL,	  /* "urls" of a descriptor */
	UPLOAD_LOCATION,  /* where an upload goes on */
};

enum secret_kind {
	SECRET_BASIC,	 /* user and password */
	SECRET_IDENTITY, /* an OAuth2 refresh token: for the realm only */
	SECRET_BEARER,	 /* a short-lived token: for the registry only */
};

struct credential_scope {
	enum secret_kind kind;
	struct origin registry; /* the origin it was configured for, or issued for */
	bool has_realm;
	struct origin realm; /* accepted by realm_check(), and pinned if that said so */
};

/* THE decision. false: send the request without it, or not at all. */
bool may_send_credential(const struct credential_scope *owner, const struct origin *target,
			 enum purpose purpose);

#endif
