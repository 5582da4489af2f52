/* SPDX-License-Identifier: MIT */
/*
 * Which proxy a request goes through, by the variables that docker and podman (Go) know:
 * HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in capitals or not. Loopback is never proxied.
 * Pure: variables come in as texts. Does not connect: libcurl does.
 */
#ifndef MORSEL_REGISTRY_PROXY_H
#define MORSEL_REGISTRY_PROXY_H

#include "registry/retry.h"
#include "registry/url.h"

/* A URL fit for messages, and the same with a proxy_note(). */
#define WHERE_URL_MAX 300
#define WHERE_MAX (WHERE_URL_MAX + 160)

struct proxy_settings { /* borrowed; NULL or "" = not set */
	const char *https, *http, *no_proxy;
	const char *https_variable, *http_variable; /* which they come from */
};

/* From the environment, in which its texts stay. HTTP_PROXY does not count in a CGI program, where
 * a client can set it. */
void proxy_settings_read(struct proxy_settings *ret);

/* The proxy's URL, or "" for none; never NULL. */
const char *proxy_choose(const struct proxy_settings *p, const struct origin *target);

/* Whether libcurl can use it at all. -EUCLEAN, naming the variable and never the password. */
int proxy_check(const struct proxy_settings *p, const char *proxy, struct error *err);
/* Where an attempt failed may be the proxy's fault, appends to where, of n bytes, which proxy of
 * which variable it went through; nothing for "". */
void proxy_note(const struct proxy_settings *p, const char *proxy, const struct attempt *at,
		char *where, size_t n);

/* An item of NO_PROXY: "*", an address, a network, host[:port] (and what is below it), .host (only
 * what is below it). */
bool proxy_item_matches(const char *item, size_t n, const struct origin *target);

#endif
