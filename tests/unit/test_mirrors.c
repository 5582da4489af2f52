/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include "base/seam.h"
#include "registry/health.h"
#include "registry/hosts_toml.h"
#include "registry/proxy.h"
#include "registry/registries_conf.h"
#include "registry/toml.h"

static void toml_becomes_json(void **state)
{
	static const char text[] =
		"b = 1\na = \"x\"\n[z]\nq = [true, 1.5]\n[host.\"https://h:1/p\"]\n"
		"d = 1979-05-27\n[a2]\n";
	json_t *doc = NULL;
	_cleanup_(freep) char *out = NULL;

	assert_int_equal(toml_parse(text, strlen(text), "t", &doc, NULL), 0);
	out = json_dumps(doc, JSON_COMPACT);
	assert_string_equal(out, "{\"b\":1,\"a\":\"x\",\"z\":{\"q\":[true,1.5]},"
				 "\"host\":{\"https://h:1/p\":{\"d\":\"1979-05-27\"}},\"a2\":{}}");
	json_decref(doc);
}

static void bad_toml(void **state)
{
	static const char *const cases[] = {
		"[", "a = ", "a = 1\na = 2\n", "a = \"\xff\"\n", "a = 1 b", "[[x]]\n[x]\n"};
	struct error err;
	json_t *doc = NULL;
	char *deep = malloc(600), *big = calloc(1, TOML_DOC_MAX + 1);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		err = ERROR_INIT;
		if (toml_parse(cases[i], strlen(cases[i]), "file.toml", &doc, &err) != -EBADMSG)
			fail_msg("%s", cases[i]);
		assert_non_null(strstr(err.text, "file.toml: line "));
	}
	assert_int_equal(toml_parse("a = 1\n\0b", 8, "t", &doc, NULL), -EBADMSG);
	strcpy(deep, "a = ");
	memset(deep + 4, '[', 100);
	memset(deep + 104, ']', 100);
	assert_int_equal(toml_parse(deep, 204, "t", &doc, NULL), -E2BIG);
	assert_int_equal(toml_parse(big, TOML_DOC_MAX + 1, "t", &doc, NULL), -E2BIG);
	memset(big, '\n', TOML_DOC_MAX);
	assert_int_equal(toml_parse(big, TOML_DOC_MAX, "t", &doc, NULL), 0);
	json_decref(doc);
	free(deep);
	free(big);
}

/* One line a site: "scheme host api repo tags digests mirror ns conf?". */
static void sites_text(const struct site_list *l, char *out, size_t n)
{
	static const char *const schemes[] = {"?", "http", "https"};

	*out = 0;
	for (size_t i = 0; i < l->n; i++) {
		const struct site *s = &l->sites[i];
		size_t at = strlen(out);

		snprintf(out + at, n - at, "%s %s%s %s%s%s%s%s%s ns=%s\n", schemes[s->scheme],
			 s->host, s->api, s->repo, s->is_mirror ? " mirror" : "",
			 s->tags ? " tags" : "", s->digests ? " digests" : "",
			 s->noverify ? " noverify" : "", s->plain_ok ? " plain" : "",
			 s->ns ? s->ns : "-");
	}
}

static void hosts_in_order(void **state)
{
	static const struct hosts_subject hub = {"docker.io", "registry-1.docker.io", "library/a",
						 "/dir"};
	static const struct {
		const char *text, *sites;
	} cases[] = {
		{"", "? registry-1.docker.io/v2 library/a tags digests ns=-\n"},
		{"server = \"https://docker.io\"",
		 "? registry-1.docker.io/v2 library/a tags digests ns=-\n"},
		{"server = \"https://registry-1.docker.io\"\ncapabilities = [\"resolve\"]\n",
		 "https registry-1.docker.io/v2 library/a tags ns=-\n"},
		{"server = \"http://other:5\"",
		 "http other:5/v2 library/a tags digests ns=docker.io\n"},
		{"[host.\"z.io\"]\n[host.\"http://b.io:1/x/\"]\ncapabilities = [\"pull\", "
		 "\"push\"]\n"
		 "[host.\"https://a.io/v2/p\"]\noverride_path = true\nskip_verify = true\n",
		 "? z.io/v2 library/a mirror tags digests ns=docker.io\n"
		 "http b.io:1/x/v2 library/a mirror digests ns=docker.io\n"
		 "https a.io/v2/p library/a mirror tags digests noverify ns=docker.io\n"
		 "? registry-1.docker.io/v2 library/a tags digests ns=-\n"},
		/* as containerd: no second /v2, and capabilities in any case */
		{"[host.\"https://a.io/v2\"]\ncapabilities = [\"Pull\", \"RESOLVE\"]\n"
		 "[host.\"https://b.io/p/v2//\"]\n[host.\"https://c.io/xv2\"]\n",
		 "https a.io/v2 library/a mirror tags digests ns=docker.io\n"
		 "https b.io/p/v2 library/a mirror tags digests ns=docker.io\n"
		 "https c.io/xv2/v2 library/a mirror tags digests ns=docker.io\n"
		 "? registry-1.docker.io/v2 library/a tags digests ns=-\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(site_list_fini) struct site_list l = {0};
		struct error err = ERROR_INIT;
		char text[1024];

		if (hosts_toml_parse(cases[i].text, strlen(cases[i].text), "h", &hub, &l, &err) < 0)
			fail_msg("%s: %s", cases[i].text, err.text);
		sites_text(&l, text, sizeof(text));
		assert_string_equal(text, cases[i].sites);
	}
}

static void details_of_a_host(void **state)
{
	static const char text[] =
		"[host.\"https://m\"]\nca = [\"a.pem\", \"/b.pem\"]\nclient = [[\"c\", \"/k\"], "
		"[\"d\", \"e\"]]\ndial_timeout = \"1.5s\"\n[host.\"https://m\".header]\n"
		"X-B = \"1\"\nX-A = [\"2\", \"\"]\n[host.\"https://n\"]\nca = \"x\"\n"
		"client = \"both.pem\"\n";
	static const struct hosts_subject s = {"q.io", "q.io", "r", "/dir"};
	_cleanup_(site_list_fini) struct site_list l = {0};

	assert_int_equal(hosts_toml_parse(text, strlen(text), "h", &s, &l, NULL), 0);
	assert_int_equal(l.n, 3);
	assert_string_equal(l.sites[0].ca[0], "/dir/a.pem");
	assert_string_equal(l.sites[0].ca[1], "/b.pem");
	assert_string_equal(l.sites[0].clients[0], "/dir/c");
	assert_string_equal(l.sites[0].clients[1], "/k");
	assert_string_equal(l.sites[0].clients[2], "/dir/d");
	assert_string_equal(l.sites[0].clients[3], "/dir/e");
	assert_null(l.sites[0].clients[4]);
	assert_int_equal(l.sites[0].dial_ns, 1500 * NS_PER_MS);
	assert_string_equal(l.sites[0].headers[0], "X-B: 1");
	assert_string_equal(l.sites[0].headers[1], "X-A: 2");
	assert_string_equal(l.sites[0].headers[2], "X-A;");
	assert_null(l.sites[0].headers[3]);
	assert_string_equal(l.sites[1].clients[0], "/dir/both.pem");
	assert_string_equal(l.sites[1].clients[1], "/dir/both.pem");
	assert_null(l.sites[2].ca);
}

static void bad_hosts(void **state)
{
	static const char *const cases[] = {
		"host = 1",
		"server = 1",
		"server = \"ftp://x\"",
		"server = \"http://u:p@x\"",
		"server = \"http://x/../y\"",
		"server = \"http://x?y\"",
		"server = \"http://x:99999\"",
		"[host.\"\"]\n",
		"[host]\n\"http://x\" = 1\n",
		"[host.\"http://x\"]\ncapabilities = \"pull\"\n",
		"[host.\"http://x\"]\ncapabilities = [1]\n",
		"[host.\"http://x\"]\nca = 1\n",
		"[host.\"http://x\"]\nca = [1]\n",
		"[host.\"http://x\"]\nclient = [[1]]\n",
		"[host.\"http://x\"]\noverride_path = \"yes\"\n",
		"[host.\"http://x\"]\ndial_timeout = 3\n",
		"[host.\"http://x\"]\nheader = 1\n",
		"[host.\"http://x\".header]\nX = \"SECRET\\r\\nY: z\"\n",
		"[host.\"http://x\".header]\n\"X Y\" = \"SECRET\"\n",
		"[host.\"http://x\".header]\nContent-Length = \"0\"\n",
	};
	static const struct hosts_subject s = {"q.io", "q.io", "r", "/dir"};
	char many[4096] = "";

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(site_list_fini) struct site_list l = {0};
		struct error err = ERROR_INIT;
		int r = hosts_toml_parse(cases[i], strlen(cases[i]), "h.toml", &s, &l, &err);

		if (r != -EBADMSG)
			fail_msg("%s: %d", cases[i], r);
		assert_non_null(strstr(err.text, "h.toml"));
		assert_null(strstr(err.text, "SECRET"));
	}
	for (int i = 0; i < SITES_MAX; i++)
		sprintf(many + strlen(many), "[host.\"http://h%d\"]\n", i);
	{
		_cleanup_(site_list_fini) struct site_list l = {0};

		assert_int_equal(hosts_toml_parse(many, strlen(many), "h", &s, &l, NULL), -EBADMSG);
	}
}

static void durations(void **state)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1: none */
	} cases[] = {{"3s", 3000000000},
		     {"500ms", 500000000},
		     {"1m30s", 90000000000},
		     {"0.25s", 250000000},
		     {"10us", 10000},
		     {"1h", 3600000000000},
		     {"7ns", 7},
		     {"", -1},
		     {"3", -1},
		     {"s", -1},
		     {"-1s", -1},
		     {"3 s", -1},
		     {"99999999h", -1},
		     {"3x", -1},
		     {"1.s", 1000000000}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint64_t ns = 0;
		int r = duration_parse(cases[i].text, &ns);

		if (r < 0 ? cases[i].ns != -1 : (int64_t)ns != cases[i].ns)
			fail_msg("%s: %d %llu", cases[i].text, r, (unsigned long long)ns);
	}
}

static void routes_of_registries_conf(void **state)
{
	static const char conf[] =
		"unqualified-search-registries = [\"q.io\"]\n[aliases]\nx = \"y.io/x\"\n"
		"[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = "
		"\"m.io/hub\"\n[[registry.mirror]]\nlocation = \"d.io\"\npull-from-mirror = "
		"\"digest-only\"\n[[registry.mirror]]\nlocation = \"t.io\"\npull-from-mirror = "
		"\"tag-only\"\ninsecure = true\n"
		"[[registry]]\nprefix = \"q.io\"\nlocation = \"new.io:5/sub\"\ninsecure = true\n"
		"mirror-by-digest-only = true\n[[registry.mirror]]\nlocation = \"m.io\"\n"
		"[[registry]]\nlocation = \"q.io/bad\"\nblocked = true\n"
		"[[registry]]\nprefix = \"*.wild.io\"\n[[registry.mirror]]\nlocation = \"w.io\"\n";
	static const struct {
		const char *host, *repo;
		bool by_digest;
		int outcome;
		const char *sites;
	} cases[] = {
		{"none.io", "a", false, REGISTRIES_NONE, ""},
		{"docker.io", "library/a", false, 0,
		 "? m.io/v2 hub/library/a mirror tags digests ns=-\n"
		 "? d.io/v2 library/a mirror digests ns=-\n"
		 "? t.io/v2 library/a mirror tags digests noverify plain ns=-\n"
		 "? registry-1.docker.io/v2 library/a tags digests ns=-\n"},
		{"docker.io", "library/a", true, 0,
		 "? m.io/v2 hub/library/a mirror tags digests ns=-\n"
		 "? d.io/v2 library/a mirror digests ns=-\n"
		 "? registry-1.docker.io/v2 library/a tags digests ns=-\n"},
		{"q.io", "a/b", false, 0,
		 "? m.io/v2 a/b mirror digests ns=-\n"
		 "? new.io:5/v2 sub/a/b tags digests noverify plain ns=-\n"},
		{"q.io:1", "a", false, REGISTRIES_NONE, ""},
		{"q.iox", "a", false, REGISTRIES_NONE, ""},
		{"q.io", "bad", false, -EPERM, ""},
		{"q.io", "bad/x", false, -EPERM, ""},
		{"q.io", "badly", false, 0,
		 "? m.io/v2 badly mirror digests ns=-\n"
		 "? new.io:5/v2 sub/badly tags digests noverify plain ns=-\n"},
		{"a.wild.io", "x", false, 0,
		 "? w.io/v2 x mirror tags digests ns=-\n? a.wild.io/v2 x tags digests ns=-\n"},
		{"wild.io", "x", false, REGISTRIES_NONE, ""},
	};
	struct registries_conf c = {0};
	struct error err = ERROR_INIT;

	if (registries_conf_add(&c, conf, strlen(conf), "conf", &err) < 0)
		fail_msg("%s", err.text);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(site_list_fini) struct site_list l = {0};
		char text[1024];
		int r = registries_conf_route(&c, cases[i].host, cases[i].repo, cases[i].by_digest,
					      &l, NULL);

		if (r != cases[i].outcome)
			fail_msg("%s/%s: %d", cases[i].host, cases[i].repo, r);
		sites_text(&l, text, sizeof(text));
		if (r >= 0)
			assert_string_equal(text, cases[i].sites);
	}
	registries_conf_fini(&c);
}

/* A later file's entry for the same prefix replaces the whole of the earlier one. */
static void later_files_win(void **state)
{
	static const char first[] = "[[registry]]\nlocation = \"q.io\"\nblocked = true\n",
			  second[] = "[[registry]]\nprefix = \"q.io\"\nlocation = \"r.io\"\n";
	_cleanup_(site_list_fini) struct site_list l = {0};
	struct registries_conf c = {0};

	assert_int_equal(registries_conf_route(&c, "q.io", "a", false, &l, NULL), REGISTRIES_NONE);
	assert_int_equal(registries_conf_add(&c, first, strlen(first), "1", NULL), 0);
	assert_int_equal(registries_conf_route(&c, "q.io", "a", false, &l, NULL), -EPERM);
	assert_int_equal(registries_conf_add(&c, second, strlen(second), "2", NULL), 0);
	assert_int_equal(registries_conf_route(&c, "q.io", "a", false, &l, NULL), 0);
	assert_int_equal(l.n, 1);
	assert_string_equal(l.sites[0].host, "r.io");
	registries_conf_fini(&c);
}

static void proxies(void **state)
{
	static const struct {
		const char *item, *host;
		uint16_t port;
		bool matches;
	} items[] = {
		{"*", "a.io", 443, true},
		{"a.io", "a.io", 443, true},
		{"A.io", "a.io", 443, true},
		{"a.io", "x.a.io", 443, true},
		{"a.io", "xa.io", 443, false},
		{".a.io", "a.io", 443, false},
		{".a.io", "x.a.io", 443, true},
		{"a.io:443", "a.io", 443, true},
		{"a.io:80", "a.io", 443, false},
		{"10.0.0.0/8", "10.1.2.3", 443, true},
		{"10.0.0.0/8", "11.1.2.3", 1, false},
		{"10.1.2.3", "10.1.2.3", 1, true},
		{"10.1.2.3:2", "10.1.2.3", 1, false},
		{"fc00::/7", "[fd00::1]", 1, true},
		{"10.0.0.0/99", "10.1.2.3", 1, false},
		{"[fd00::1]:5", "[fd00::1]", 5, true},
		{"", "a.io", 443, false},
	};
	const struct proxy_settings p = {"http://s", "http://p", "b.io, c.io"};
	struct origin o = {.https = true, .port = 443};

	for (size_t i = 0; i < ARRAY_SIZE(items); i++) {
		o.port = items[i].port;
		strcpy(o.host, items[i].host);
		if (proxy_item_matches(items[i].item, strlen(items[i].item), &o) !=
		    items[i].matches)
			fail_msg("%s %s", items[i].item, items[i].host);
	}
	strcpy(o.host, "a.io");
	assert_string_equal(proxy_choose(&p, &o), "http://s");
	o.https = false;
	assert_string_equal(proxy_choose(&p, &o), "http://p");
	strcpy(o.host, "c.io");
	assert_string_equal(proxy_choose(&p, &o), "");
	strcpy(o.host, "127.1.2.3");
	assert_string_equal(proxy_choose(&p, &o), "");
	strcpy(o.host, "localhost");
	assert_string_equal(proxy_choose(&p, &o), "");
	strcpy(o.host, "a.io");
	assert_string_equal(proxy_choose(&(struct proxy_settings){0}, &o), "");
}

static void proxies_in_messages(void **state)
{
	static const struct {
		const char *proxy, *shown;
		bool ok;
	} cases[] = {
		{"http://p:1", "http://p:1", true},
		{"HTTPS://u:SECRET@p/x", "HTTPS://p", true},
		{"u:SECRET@[fd00::1]:3128", "[fd00::1]:3128", true},
		{"socks5h://p", "socks5h://p", true},
		{"socks://p", "socks://p", false},
		{"junk://u:SECRET@p", "junk://p", false},
		{"http://", "http://", false},
		{"://p", "://p", false},
		{"http:///p", "http://", false},
	};

	const struct attempt answered = {.fault = TRANSFER_ANSWERED, .status = 404};
	const struct attempt refused = {.fault = TRANSFER_CONNECT};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct proxy_settings p = {.https = cases[i].proxy,
						 .https_variable = "HTTPS_PROXY"};
		char where[200] = "x", want[200];
		struct error err = ERROR_INIT;
		int r = proxy_check(&p, p.https, &err);

		if (r != (cases[i].ok ? 0 : -EUCLEAN) || strstr(err.text, "SECRET"))
			fail_msg("%s: %d %s", cases[i].proxy, r, err.text);
		proxy_note(&p, p.https, &answered, where, sizeof(where));
		assert_string_equal(where, "x");
		proxy_note(&p, p.https, &refused, where, sizeof(where));
		snprintf(want, sizeof(want), "x through the proxy %s of $HTTPS_PROXY",
			 cases[i].shown);
		assert_string_equal(where, want);
	}
}

static void health_of_a_mirror(void **state)
{
	struct health h = {0};

	assert_int_equal(health_advise(&h, 0), HEALTH_PING);
	assert_int_equal(health_advise(&h, 0), HEALTH_WAIT);
	health_up(&h);
	assert_int_equal(health_advise(&h, 1), HEALTH_ASK);
	health_down(&h, 0);
	assert_int_equal(health_advise(&h, NS_PER_S - 1), HEALTH_LEAVE);
	assert_int_equal(health_advise(&h, NS_PER_S), HEALTH_PROBE);
	assert_int_equal(health_advise(&h, NS_PER_S), HEALTH_LEAVE); /* one looks */
	health_down(&h, NS_PER_S);
	assert_int_equal(health_advise(&h, 3 * NS_PER_S - 1), HEALTH_LEAVE);
	assert_int_equal(health_advise(&h, 3 * NS_PER_S), HEALTH_PROBE);
	/* there, but no use: the waits go on growing */
	health_up(&h);
	health_down(&h, 10 * NS_PER_S);
	assert_int_equal(health_advise(&h, 14 * NS_PER_S - 1), HEALTH_LEAVE);
	assert_int_equal(health_advise(&h, 14 * NS_PER_S), HEALTH_PROBE);
	health_up(&h);
	health_good(&h);
	health_down(&h, 20 * NS_PER_S);
	assert_int_equal(health_advise(&h, 21 * NS_PER_S), HEALTH_PROBE);
	for (int i = 0; i < 100; i++)
		health_down(&h, 0);
	assert_int_equal(health_advise(&h, 60 * NS_PER_S), HEALTH_PROBE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(toml_becomes_json),
		cmocka_unit_test(bad_toml),
		cmocka_unit_test(hosts_in_order),
		cmocka_unit_test(details_of_a_host),
		cmocka_unit_test(bad_hosts),
		cmocka_unit_test(durations),
		cmocka_unit_test(routes_of_registries_conf),
		cmocka_unit_test(later_files_win),
		cmocka_unit_test(proxies),
		cmocka_unit_test(proxies_in_messages),
		cmocka_unit_test(health_of_a_mirror),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
