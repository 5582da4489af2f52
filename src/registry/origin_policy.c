/* SPDX-License-Identifier: MIT */
#include "registry/origin_policy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>

struct net {
	uint8_t prefix[16];
	uint8_t bits;
	uint8_t class; /* enum address_class */
};

/* First match wins; what is in no row is public. */
static const struct net nets_v4[] = {
	{{0}, 8, ADDRESS_NOWHERE},
	{{10}, 8, ADDRESS_PRIVATE},
	{{100, 64}, 10, ADDRESS_PRIVATE},
	{{127}, 8, ADDRESS_LOOPBACK},
	{{169, 254}, 16, ADDRESS_LINK_LOCAL},
	{{172, 16}, 12, ADDRESS_PRIVATE},
	{{192, 0, 0}, 24, ADDRESS_PRIVATE},
	{{192, 168}, 16, ADDRESS_PRIVATE},
	{{198, 18}, 15, ADDRESS_PRIVATE},
	{{224}, 3, ADDRESS_NOWHERE}, /* multicast, reserved, broadcast */
};

static const struct net nets_v6[] = {
	{{[15] = 1}, 128, ADDRESS_LOOPBACK},
	{{0}, 128, ADDRESS_NOWHERE},
	{{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, ADDRESS_PRIVATE},
	{{0xfe, 0x80}, 10, ADDRESS_LINK_LOCAL},
	{{0xfe, 0xc0}, 10, ADDRESS_PRIVATE},
	{{0xfc}, 7, ADDRESS_PRIVATE},
	{{0xff}, 8, ADDRESS_NOWHERE},
};

/* Where IPv6 addresses carry an IPv4 address that a router or the kernel unpacks. */
static const struct {
	uint8_t prefix[12];
	uint8_t bits, v4_at;
} carriers[] = {
	{{[10] = 0xff, [11] = 0xff}, 96, 12}, /* mapped */
	{{0x00, 0x64, 0xff, 0x9b}, 96, 12},   /* NAT64 */
	{{0}, 96, 12},			      /* compatible */
	{{0x20, 0x02}, 16, 2},		      /* 6to4 */
	{{[8] = 0xff, [9] = 0xff}, 96, 12},   /* translated: ::ffff:0:a.b.c.d */
};

static bool prefix_match(const uint8_t *addr, const uint8_t *prefix, unsigned bits)
{
	unsigned rest = bits % 8;

	if (memcmp(addr, prefix, bits / 8) != 0)
		return false;
	return !rest || (addr[bits / 8] ^ prefix[bits / 8]) >> (8 - rest) == 0;
}

static enum address_class v4_classify(const uint8_t addr[4])
{
	for (size_t i = 0; i < ARRAY_SIZE(nets_v4); i++)
		if (prefix_match(addr, nets_v4[i].prefix, nets_v4[i].bits))
			return nets_v4[i].class;
	return ADDRESS_PUBLIC;
}

static enum address_class v6_classify(const uint8_t addr[16])
{
	for (size_t i = 0; i < ARRAY_SIZE(nets_v6); i++)
		if (prefix_match(addr, nets_v6[i].prefix, nets_v6[i].bits))
			return nets_v6[i].class;
	for (size_t i = 0; i < ARRAY_SIZE(carriers); i++)
		if (prefix_match(addr, carriers[i].prefix, carriers[i].bits))
			return v4_classify(addr + carriers[i].v4_at);
	return ADDRESS_PUBLIC;
}

enum address_class address_classify(const struct sockaddr *addr, socklen_t len)
{
	if (len >= sizeof(struct sockaddr_in) && addr->sa_family == AF_INET) {
		struct sockaddr_in in;

		memcpy(&in, addr, sizeof(in));
		return v4_classify((const uint8_t *)&in.sin_addr);
	}
	if (len >= sizeof(struct sockaddr_in6) && addr->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, addr, sizeof(in6));
		return v6_classify(in6.sin6_addr.s6_addr);
	}
	return ADDRESS_NOWHERE;
}

enum address_class origin_classify(const struct origin *o)
{
	size_t n = strlen(o->host);
	char text[HOST_MAX];
	uint8_t addr[16];

	if (o->host[0] == '[' && n > 2) {
		memcpy(text, o->host + 1, n - 2);
		text[n - 2] = 0;
		return inet_pton(AF_INET6, text, addr) == 1 ? v6_classify(addr) : ADDRESS_NOWHERE;
	}
	if (inet_pton(AF_INET, o->host, addr) == 1)
		return v4_classify(addr);
	if (!strcmp(o->host, "localhost") || (n > 10 && !strcmp(o->host + n - 10, ".localhost")))
		return ADDRESS_LOOPBACK;
	return ADDRESS_UNKNOWN;
}

const char *address_class_name(enum address_class c)
{
	static const char *const names[] = {
		[ADDRESS_UNKNOWN] = "unknown",	 [ADDRESS_PUBLIC] = "public",
		[ADDRESS_PRIVATE] = "private",	 [ADDRESS_LINK_LOCAL] = "link-local",
		[ADDRESS_LOOPBACK] = "loopback", [ADDRESS_NOWHERE] = "reserved",
	};

	return names[c];
}

bool address_allowed(enum address_class target, enum address_class registry)
{
	switch (target) {
	case ADDRESS_PUBLIC:
		return true;
	case ADDRESS_PRIVATE:
		return registry == ADDRESS_PRIVATE || registry == ADDRESS_LOOPBACK;
	case ADDRESS_LINK_LOCAL:
	case ADDRESS_LOOPBACK:
		return registry == target;
	case ADDRESS_UNKNOWN:
	case ADDRESS_NOWHERE:
		break;
	}
	return false;
}

/* The host, by any of its ports. All names of loopback are one machine: this one. */
static bool same_host(const struct origin *a, const struct origin *b)
{
	return !strcmp(a->host, b->host) ||
	       (origin_classify(a) == ADDRESS_LOOPBACK && origin_classify(b) == ADDRESS_LOOPBACK);
}

int redirect_check(const struct origin *registry, enum address_class registry_class,
		   const struct origin *from, const struct origin *to, unsigned hop,
		   struct error *err)
{
	enum address_class to_class = origin_classify(to);
	char a[ORIGIN_TEXT_MAX], b[ORIGIN_TEXT_MAX];

	origin_format(from, a);
	origin_format(to, b);
	if (hop > REDIRECT_HOPS_MAX)
		return error_set(err, -EPERM, "%s: redirect to %s refused: more than %d in a row",
				 a, b, REDIRECT_HOPS_MAX);
	if (from->https && !to->https)
		return error_set(err, -EPERM,
				 "%s: redirect to %s refused: from https to plain http", a, b);
	if (to_class == ADDRESS_UNKNOWN || same_host(registry, to) ||
	    address_allowed(to_class, registry_class))
		return 0;
	return error_set(err, -EPERM,
			 "%s: redirect to %s refused: a %s address, which the registry is not at",
			 a, b, address_class_name(to_class));
}

static bool is_builtin_pair(const struct origin *registry, const struct origin *realm)
{
	return registry->https && realm->https && registry->port == 443 && realm->port == 443 &&
	       !strcmp(registry->host, "registry-1.docker.io") &&
	       !strcmp(realm->host, "auth.docker.io");
}

int realm_check(const struct origin *registry, const struct origin *realm, struct error *err)
{
	enum address_class realm_class = origin_classify(realm);
	char a[ORIGIN_TEXT_MAX], b[ORIGIN_TEXT_MAX];

	origin_format(registry, a);
	origin_format(realm, b);
	if (registry->https && !realm->https)
		return error_set(
			err, -EPERM,
			"%s: token server %s refused: plain http, while the registry speaks https",
			a, b);
	if (same_host(registry, realm) || is_builtin_pair(registry, realm))
		return 0;
	if (realm_class != ADDRESS_UNKNOWN && realm_class != ADDRESS_PUBLIC)
		return error_set(
			err, -EPERM,
			"%s: token server %s refused: a %s address that is not the registry's", a,
			b, address_class_name(realm_class));
	return REALM_PIN;
}

bool may_send_credential(const struct credential_scope *owner, const struct origin *target,
			 enum purpose purpose)
{
	switch (purpose) {
	case REGISTRY_REQUEST:
	case REDIRECT:
	case UPLOAD_LOCATION:
		return owner->kind != SECRET_IDENTITY && origin_equal(&owner->registry, target);
	case TOKEN_REQUEST:
		return owner->kind != SECRET_BEARER && owner->has_realm &&
		       origin_equal(&owner->realm, target) &&
		       realm_check(&owner->registry, target, NULL) >= 0;
	case FOREIGN_URL:
		break;
	}
	return false;
}
