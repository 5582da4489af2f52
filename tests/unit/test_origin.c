/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/un.h>
#include "registry/origin_policy.h"

static struct origin origin(const char *text)
{
	_cleanup_(url_fini) struct url u = {0};
	struct error err = ERROR_INIT;

	if (url_parse(text, &u, &err) < 0)
		fail_msg("%s", err.text);
	return u.origin;
}

static void addresses(void **state)
{
	static const struct {
		const char *text;
		enum address_class want;
	} cases[] = {
		{"8.8.8.8", ADDRESS_PUBLIC},
		{"9.255.255.255", ADDRESS_PUBLIC},
		{"10.0.0.0", ADDRESS_PRIVATE},
		{"10.255.255.255", ADDRESS_PRIVATE},
		{"11.0.0.0", ADDRESS_PUBLIC},
		{"100.63.255.255", ADDRESS_PUBLIC},
		{"100.64.0.0", ADDRESS_PRIVATE},
		{"100.127.255.255", ADDRESS_PRIVATE},
		{"100.128.0.0", ADDRESS_PUBLIC},
		{"126.255.255.255", ADDRESS_PUBLIC},
		{"127.0.0.1", ADDRESS_LOOPBACK},
		{"127.255.255.254", ADDRESS_LOOPBACK},
		{"128.0.0.0", ADDRESS_PUBLIC},
		{"169.253.255.255", ADDRESS_PUBLIC},
		{"169.254.169.254", ADDRESS_LINK_LOCAL},
		{"169.255.0.0", ADDRESS_PUBLIC},
		{"172.15.255.255", ADDRESS_PUBLIC},
		{"172.16.0.0", ADDRESS_PRIVATE},
		{"172.31.255.255", ADDRESS_PRIVATE},
		{"172.32.0.0", ADDRESS_PUBLIC},
		{"192.167.255.255", ADDRESS_PUBLIC},
		{"192.168.1.1", ADDRESS_PRIVATE},
		{"192.169.0.0", ADDRESS_PUBLIC},
		{"198.18.0.1", ADDRESS_PRIVATE},
		{"198.20.0.0", ADDRESS_PUBLIC},
		{"0.0.0.0", ADDRESS_NOWHERE},
		{"0.1.2.3", ADDRESS_NOWHERE},
		{"223.255.255.255", ADDRESS_PUBLIC},
		{"224.0.0.1", ADDRESS_NOWHERE},
		{"255.255.255.255", ADDRESS_NOWHERE},
		{"::", ADDRESS_NOWHERE},
		{"::1", ADDRESS_LOOPBACK},
		{"::7f00:1", ADDRESS_LOOPBACK},
		{"::ffff:127.0.0.1", ADDRESS_LOOPBACK},
		{"::ffff:10.0.0.1", ADDRESS_PRIVATE},
		{"::ffff:8.8.8.8", ADDRESS_PUBLIC},
		{"::ffff:0:169.254.169.254", ADDRESS_LINK_LOCAL},
		{"64:ff9b::7f00:1", ADDRESS_LOOPBACK},
		{"64:ff9b::808:808", ADDRESS_PUBLIC},
		{"64:ff9b:1::1", ADDRESS_PRIVATE},
		{"2002:a00:1::1", ADDRESS_PRIVATE},
		{"2002:808:808::1", ADDRESS_PUBLIC},
		{"fe80::1", ADDRESS_LINK_LOCAL},
		{"febf::1", ADDRESS_LINK_LOCAL},
		{"fec0::1", ADDRESS_PRIVATE},
		{"fc00::1", ADDRESS_PRIVATE},
		{"fdff::1", ADDRESS_PRIVATE},
		{"fe00::1", ADDRESS_PUBLIC},
		{"ff02::1", ADDRESS_NOWHERE},
		{"2001:4860:4860::8888", ADDRESS_PUBLIC},
	};
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		bool v6 = strchr(cases[i].text, ':');
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		struct sockaddr_in in = {.sin_family = AF_INET};
		enum address_class got;
		char url[80];
		struct origin o;

		assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, cases[i].text,
					   v6 ? (void *)&in6.sin6_addr : (void *)&in.sin_addr),
				 1);
		got = v6 ? address_classify((struct sockaddr *)&in6, sizeof(in6))
			 : address_classify((struct sockaddr *)&in, sizeof(in));
		if (got != cases[i].want)
			fail_msg("%s is %s", cases[i].text, address_class_name(got));
		snprintf(url, sizeof(url), v6 ? "http://[%s]/" : "http://%s/", cases[i].text);
		o = origin(url);
		if (origin_classify(&o) != cases[i].want)
			fail_msg("%s is %s", url, address_class_name(origin_classify(&o)));
	}
	assert_int_equal(address_classify((struct sockaddr *)&un, sizeof(un)), ADDRESS_NOWHERE);
	assert_int_equal(address_classify((struct sockaddr *)&un, 2), ADDRESS_NOWHERE);
}

static void names(void **state)
{
	static const struct {
		const char *url;
		enum address_class want;
	} cases[] = {
		{"http://localhost:5000/", ADDRESS_LOOPBACK},
		{"http://LOCALHOST/", ADDRESS_LOOPBACK},
		{"http://reg.localhost/", ADDRESS_LOOPBACK},
		{"http://notlocalhost/", ADDRESS_UNKNOWN},
		{"http://localhost.example/", ADDRESS_UNKNOWN},
		{"http://registry/", ADDRESS_UNKNOWN},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct origin o = origin(cases[i].url);

		assert_int_equal(origin_classify(&o), cases[i].want);
	}
}

static void who_may_dial_whom(void **state)
{
	static const char table[ADDRESS_NOWHERE + 1][ADDRESS_NOWHERE + 2] = {
		/* registry: unknown public private link-local loopback nowhere */
		[ADDRESS_UNKNOWN] = "------",  [ADDRESS_PUBLIC] = "++++++",
		[ADDRESS_PRIVATE] = "--+-+-",  [ADDRESS_LINK_LOCAL] = "---+--",
		[ADDRESS_LOOPBACK] = "----+-", [ADDRESS_NOWHERE] = "------",
	};

	for (int target = 0; target <= ADDRESS_NOWHERE; target++)
		for (int registry = 0; registry <= ADDRESS_NOWHERE; registry++)
			assert_int_equal(address_allowed(target, registry),
					 table[target][registry] == '+');
}

static void redirects(void **state)
{
	static const struct {
		const char *registry, *from, *to;
		enum address_class class;
		unsigned hop;
		bool ok;
	} cases[] = {
		{"https://r.example", "https://r.example", "https://cdn.example", ADDRESS_PUBLIC, 1,
		 true},
		{"https://r.example", "https://r.example", "https://cdn.example", ADDRESS_PUBLIC, 5,
		 true},
		{"https://r.example", "https://r.example", "https://cdn.example", ADDRESS_PUBLIC, 6,
		 false},
		{"https://r.example", "https://r.example", "http://cdn.example", ADDRESS_PUBLIC, 1,
		 false},
		{"https://r.example", "https://r.example", "http://r.example", ADDRESS_PUBLIC, 1,
		 false},
		{"http://r.example", "http://r.example", "https://cdn.example", ADDRESS_PUBLIC, 1,
		 true},
		{"http://r.example", "https://cdn.example", "http://r.example", ADDRESS_PUBLIC, 2,
		 false},
		{"https://r.example", "https://r.example", "https://127.0.0.1", ADDRESS_PUBLIC, 1,
		 false},
		{"https://r.example", "https://r.example", "https://localhost", ADDRESS_PRIVATE, 1,
		 false},
		{"https://r.example", "https://r.example", "https://10.0.0.1", ADDRESS_PUBLIC, 1,
		 false},
		{"https://r.example", "https://r.example", "https://10.0.0.1", ADDRESS_UNKNOWN, 1,
		 false},
		{"https://r.example", "https://r.example", "https://10.0.0.1", ADDRESS_PRIVATE, 1,
		 true},
		{"https://10.0.0.9", "https://10.0.0.9", "https://169.254.169.254", ADDRESS_PRIVATE,
		 1, false},
		{"https://r.example", "https://r.example", "https://0.0.0.0", ADDRESS_LOOPBACK, 1,
		 false},
		{"https://r.example", "https://r.example", "https://[::ffff:127.0.0.1]",
		 ADDRESS_PUBLIC, 1, false},
		{"http://localhost:5000", "http://localhost:5000", "http://127.0.0.1:9000",
		 ADDRESS_LOOPBACK, 1, true},
		{"http://localhost:5000", "http://localhost:5000", "http://[::1]:9000",
		 ADDRESS_UNKNOWN, 1, true},
		{"http://10.0.0.9:5000", "http://10.0.0.9:5000", "http://10.0.0.9:9000",
		 ADDRESS_UNKNOWN, 1, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct origin registry = origin(cases[i].registry);
		struct origin from = origin(cases[i].from), to = origin(cases[i].to);
		struct error err = ERROR_INIT;
		int r = redirect_check(&registry, cases[i].class, &from, &to, cases[i].hop, &err);

		if (r != (cases[i].ok ? 0 : -EPERM))
			fail_msg("case %zu, to %s: %d %s", i, cases[i].to, r, err.text);
		assert_int_equal(err.code, r);
	}
}

static void realms(void **state)
{
	static const struct {
		const char *registry, *realm;
		int want;
	} cases[] = {
		{"https://registry-1.docker.io", "https://auth.docker.io/token", 0},
		{"https://registry-1.docker.io", "https://auth.docker.io:444/token", REALM_PIN},
		{"https://registry-1.docker.io", "http://auth.docker.io/token", -EPERM},
		{"https://r.example", "https://auth.docker.io/token", REALM_PIN},
		{"https://r.example", "https://r.example/token", 0},
		{"https://r.example", "https://r.example:8443/token", 0},
		{"https://r.example", "http://r.example/token", -EPERM},
		{"https://r.example", "https://auth.example/token", REALM_PIN},
		{"http://r.example", "http://auth.example/token", REALM_PIN},
		{"http://r.example", "https://auth.example/token", REALM_PIN},
		{"https://r.example", "https://127.0.0.1/token", -EPERM},
		{"https://r.example", "https://localhost/token", -EPERM},
		{"https://r.example", "https://[fe80::1]/token", -EPERM},
		{"https://r.example", "https://169.254.169.254/token", -EPERM},
		{"https://r.example", "https://192.168.0.1/token", -EPERM},
		{"https://r.example", "https://0.0.0.0/token", -EPERM},
		{"https://r.example", "https://8.8.8.8/token", REALM_PIN},
		{"https://192.168.0.1", "https://192.168.0.1:8443/token", 0},
		{"https://192.168.0.1", "https://192.168.0.2/token", -EPERM},
		{"http://localhost:5000", "http://127.0.0.1:5001/token", 0},
		{"http://127.0.0.1:5000", "http://[::1]:5001/token", 0},
		{"https://127.0.0.1:5000", "http://127.0.0.1:5001/token", -EPERM},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct origin registry = origin(cases[i].registry), realm = origin(cases[i].realm);
		int r = realm_check(&registry, &realm, NULL);

		if (r != cases[i].want)
			fail_msg("%s for %s: %d", cases[i].realm, cases[i].registry, r);
	}
}

static void credentials(void **state)
{
	enum { BASIC = 1, IDENTITY = 2, BEARER = 4 };
	static const struct {
		const char *registry, *realm, *target;
		enum purpose purpose;
		unsigned who; /* the kinds that may go */
	} cases[] = {
		{"https://r.example", NULL, "https://r.example/v2/", REGISTRY_REQUEST,
		 BASIC | BEARER},
		{"https://r.example", NULL, "https://r.example:443/x", REDIRECT, BASIC | BEARER},
		{"https://r.example", NULL, "https://r.example:444/", REGISTRY_REQUEST, 0},
		{"https://r.example", NULL, "http://r.example/", REGISTRY_REQUEST, 0},
		{"https://r.example", NULL, "https://cdn.example/", REDIRECT, 0},
		{"https://r.example", NULL, "https://r.example:444/", REDIRECT, 0},
		{"https://r.example", NULL, "http://r.example:443/", REDIRECT, 0},
		{"https://r.example", NULL, "https://r.example.evil/", REDIRECT, 0},
		{"https://r.example", NULL, "https://sub.r.example/", REDIRECT, 0},
		{"https://r.example", NULL, "https://r.example/", UPLOAD_LOCATION, BASIC | BEARER},
		{"https://r.example", NULL, "https://up.example/", UPLOAD_LOCATION, 0},
		{"https://r.example", NULL, "https://r.example/", FOREIGN_URL, 0},
		{"https://r.example", NULL, "https://r.example/", TOKEN_REQUEST, 0},
		{"https://r.example", "https://a.example", "https://a.example/t", TOKEN_REQUEST,
		 BASIC | IDENTITY},
		{"https://r.example", "https://a.example", "https://a.example/t", REGISTRY_REQUEST,
		 0},
		{"https://r.example", "https://a.example", "https://a.example/t", REDIRECT, 0},
		{"https://r.example", "https://a.example", "https://b.example/t", TOKEN_REQUEST, 0},
		{"https://r.example", "https://a.example", "https://r.example/t", TOKEN_REQUEST, 0},
		{"https://r.example", "http://a.example", "http://a.example/t", TOKEN_REQUEST, 0},
		{"https://r.example", "https://10.0.0.1", "https://10.0.0.1/t", TOKEN_REQUEST, 0},
		{"http://localhost:5000", "http://localhost:5001", "http://localhost:5001/t",
		 TOKEN_REQUEST, BASIC | IDENTITY},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct credential_scope scope = {.registry = origin(cases[i].registry)};
		struct origin target = origin(cases[i].target);
		unsigned who = 0;

		if (cases[i].realm) {
			scope.has_realm = true;
			scope.realm = origin(cases[i].realm);
		}
		for (int kind = SECRET_BASIC; kind <= SECRET_BEARER; kind++) {
			scope.kind = kind;
			who |= may_send_credential(&scope, &target, cases[i].purpose) ? 1u << kind
										      : 0;
		}
		if (who != cases[i].who)
			fail_msg("case %zu, %s: %u", i, cases[i].target, who);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses),
		cmocka_unit_test(names),
		cmocka_unit_test(who_may_dial_whom),
		cmocka_unit_test(redirects),
		cmocka_unit_test(realms),
		cmocka_unit_test(credentials),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
