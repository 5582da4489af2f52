/* SPDX-License-Identifier: MIT */
/* Three lines: a registry's URL, a Location, a realm. Checks the rules themselves, written down a
 * second time and more bluntly. */
#include "registry/origin_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* A URL that was accepted means the same when it is read again, and has no user name. */
static void url_check(const struct url *u)
{
	struct url again = {0};
	const char *host = strstr(u->text, "//") + 2;
	char shown[ORIGIN_TEXT_MAX];

	must(url_parse(u->text, &again, NULL) == 0);
	must(origin_equal(&u->origin, &again.origin));
	must(!memchr(host, '@', strcspn(host, "/?#")));
	must(!strpbrk(url_redact(u->text, shown, sizeof(shown)), "?#"));
	must(u->origin.port && *u->origin.host && !strpbrk(u->origin.host, "/@?# %"));
	url_fini(&again);
}

static void redirect_rules(const struct origin *registry, const struct origin *to)
{
	for (int class = ADDRESS_UNKNOWN; class <= ADDRESS_NOWHERE; class ++) {
		enum address_class to_class = origin_classify(to);

		must(redirect_check(registry, class, registry, to, REDIRECT_HOPS_MAX + 1, NULL) <
		     0);
		if (redirect_check(registry, class, registry, to, 1, NULL) < 0)
			continue;
		must(!registry->https || to->https);
		if (class == ADDRESS_PUBLIC && to_class != ADDRESS_UNKNOWN &&
		    to_class != ADDRESS_PUBLIC)
			must(!strcmp(registry->host, to->host) ||
			     origin_classify(registry) == ADDRESS_LOOPBACK);
	}
}

static void credential_rules(const struct origin *registry, const struct origin *target,
			     const struct origin *realm)
{
	for (int kind = SECRET_BASIC; kind <= SECRET_BEARER; kind++) {
		struct credential_scope s = {kind, *registry, true, *realm};

		must(!may_send_credential(&s, target, FOREIGN_URL));
		for (int p = REGISTRY_REQUEST; p <= UPLOAD_LOCATION; p++) {
			if (!may_send_credential(&s, target, p))
				continue;
			must(target->https || !registry->https);
			if (p == TOKEN_REQUEST)
				must(kind != SECRET_BEARER && origin_equal(target, realm));
			else
				must(kind != SECRET_IDENTITY && origin_equal(target, registry));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	_cleanup_(freep) char *text = strndup((const char *)data, size);
	_cleanup_(url_fini) struct url registry = {0}, target = {0}, realm = {0};
	struct error err = ERROR_INIT;
	char shown[64], *save = NULL;
	char *line = strtok_r(text, "\n", &save);

	if (!line)
		return 0;
	url_redact(line, shown, sizeof(shown));
	if (url_parse(line, &registry, &err) < 0)
		return 0;
	url_check(&registry);
	line = strtok_r(NULL, "\n", &save);
	if (!line || url_resolve(&registry, line, &target, &err) < 0)
		return 0;
	url_check(&target);
	redirect_rules(&registry.origin, &target.origin);
	line = strtok_r(NULL, "\n", &save);
	if (!line || url_parse(line, &realm, &err) < 0)
		return 0;
	credential_rules(&registry.origin, &target.origin, &realm.origin);
	credential_rules(&registry.origin, &realm.origin, &realm.origin);
	if (url_add_query(&realm, "scope", line) == 0)
		url_check(&realm);
	return 0;
}
