/* SPDX-License-Identifier: MIT */
#include "registry/proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>

#include "registry/conf.h"
#include "registry/origin_policy.h"

static const char *either(const char *upper, const char *lower, const char **ret_variable)
{
	const char *v = upper ? conf_env(upper) : NULL;

	*ret_variable = v ? upper : lower;
	return v ? v : conf_env(lower);
}

void proxy_settings_read(struct proxy_settings *ret)
{
	const char *upper = conf_env("REQUEST_METHOD") ? NULL : "HTTP_PROXY", *ignored;

	ret->https = either("HTTPS_PROXY", "https_proxy", &ret->https_variable);
	ret->http = either(upper, "http_proxy", &ret->http_variable);
	ret->no_proxy = either("NO_PROXY", "no_proxy", &ignored);
}

/* ---- what is said of a proxy ---- */

static const char *variable_of(const struct proxy_settings *p, const char *proxy)
{
	return proxy == p->https ? p->https_variable : p->http_variable;
}

/* "scheme://host[:port]", without user and password. */
static void proxy_show(const char *proxy, char out[static 100])
{
	const char *sep = strstr(proxy, "://"), *host = sep ? sep + 3 : proxy;
	size_t len = strcspn(host, "/?#");
	const char *at = memrchr(host, '@', len);
	int scheme = (int)(host - proxy);

	if (at) {
		len -= (size_t)(at + 1 - host);
		host = at + 1;
	}
	snprintf(out, 100, "%.*s%.*s", scheme, proxy, (int)len, host);
}

int proxy_check(const struct proxy_settings *p, const char *proxy, struct error *err)
{
	static const char *const schemes[] = {"http",	 "https",  "socks4",
					      "socks4a", "socks5", "socks5h"};
	const char *sep = strstr(proxy, "://");
	size_t n = sep ? (size_t)(sep - proxy) : 0, i = 0;
	char shown[100];

	if (!*proxy)
		return 0;
	while (sep && i < ARRAY_SIZE(schemes) &&
	       (strlen(schemes[i]) != n || strncasecmp(proxy, schemes[i], n) != 0))
		i++;
	if (i < ARRAY_SIZE(schemes) && !strchr("/?#:", (sep ? sep + 3 : proxy)[0]))
		return 0;
	proxy_show(proxy, shown);
	return error_set(err, -EUCLEAN,
			 "the proxy \"%s\" of $%s can't be used: it is not "
			 "[http|https|socks4|socks4a|socks5|socks5h://]HOST[:PORT]",
			 shown, variable_of(p, proxy));
}

static bool may_be_why(const struct attempt *at)
{
	if (at->fault != TRANSFER_ANSWERED)
		return at->fault != TRANSFER_OURS;
	return at->status == 407 || (at->status >= 502 && at->status <= 504);
}

void proxy_note(const struct proxy_settings *p, const char *proxy, const struct attempt *at,
		char *where, size_t n)
{
	size_t len = strlen(where);
	char shown[100];

	if (!*proxy || !may_be_why(at))
		return;
	proxy_show(proxy, shown);
	snprintf(where + len, n - len, " through the proxy %s of $%s", shown,
		 variable_of(p, proxy));
}

/* ---- which ---- */

/* An address in network order, and how many bits it has; 0: it is a name. */
static unsigned address_parse(const char *text, uint8_t ret[static 16])
{
	char plain[HOST_MAX];
	size_t n = strlen(text);

	if (inet_pton(AF_INET, text, ret) == 1)
		return 32;
	if (n > 2 && n < sizeof(plain) && *text == '[' && text[n - 1] == ']') {
		memcpy(plain, text + 1, n - 2);
		plain[n - 2] = 0;
		text = plain;
	}
	return inet_pton(AF_INET6, text, ret) == 1 ? 128 : 0;
}

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned rest = bits % 8;

	return !memcmp(a, b, bits / 8) && (!rest || !((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)));
}

bool proxy_item_matches(const char *item, size_t n, const struct origin *target)
{
	uint8_t a[16], b[16];
	char text[HOST_MAX], *slash, *colon;
	unsigned have = address_parse(target->host, a), bits, want;
	size_t host_len = strlen(target->host);

	if (!n || n >= sizeof(text))
		return false;
	memcpy(text, item, n);
	text[n] = 0;
	if (!strcmp(text, "*"))
		return true;
	slash = strchr(text, '/');
	if (slash) {
		*slash = 0;
		bits = address_parse(text, b);
		want = (unsigned)strtoul(slash + 1, NULL, 10);
		return bits && bits == have && want <= bits && same_bits(a, b, want);
	}
	bits = address_parse(text, b);
	if (bits)
		return bits == have && same_bits(a, b, bits);
	colon = strrchr(text, ':');
	if (colon && !strchr(colon, ']')) {
		if (strtoul(colon + 1, NULL, 10) != target->port)
			return false;
		*colon = 0;
		bits = address_parse(text, b);
		if (bits)
			return bits == have && same_bits(a, b, bits);
	}
	n = strlen(text);
	if (*text == '.')
		return host_len > n && !strcasecmp(target->host + host_len - n, text);
	return !strcasecmp(target->host, text) ||
	       (host_len > n + 1 && target->host[host_len - n - 1] == '.' &&
		!strcasecmp(target->host + host_len - n, text));
}

const char *proxy_choose(const struct proxy_settings *p, const struct origin *target)
{
	const char *proxy = target->https ? p->https : p->http, *item = p->no_proxy;

	if (!proxy || origin_classify(target) == ADDRESS_LOOPBACK)
		return "";
	while (item && *item) {
		size_t n = strcspn(item, ", \t");

		if (proxy_item_matches(item, n, target))
			return "";
		item += n + strspn(item + n, ", \t");
	}
	return proxy;
}
