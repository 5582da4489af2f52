/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include "registry/creds_store.h"

/* base64 of "user:pass", "team:t", "a:b:c", ":", "user:pass\0\0" */
#define USER_PASS "dXNlcjpwYXNz"
#define TEAM_T "dGVhbTp0"
#define A_B_C "YTpiOmM="
#define COLON "Og=="
#define PADDED "dXNlcjpwYXNzAAA="

static struct creds *parse(const char *json)
{
	struct error err = ERROR_INIT;
	struct creds *c = NULL;

	if (creds_parse(json, strlen(json), "conf", &c, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	return c;
}

static void lookups(void **state)
{
	static const struct {
		const char *json, *host, *path;
		int outcome;
		enum credential_kind kind;
		const char *user, *secret; /* of CREDS_HELPER: user is the helper's name */
	} cases[] = {
		{"{}", "q.io", "a", CREDS_NONE},
		{"{\"auths\":null,\"credsStore\":\"\"}", "q.io", "a", CREDS_NONE},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS "\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "user", "pass"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS "\"}}}", "q.io", NULL, 0,
		 CREDENTIAL_BASIC, "user", "pass"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS "\"}}}", "q.io:443", "a",
		 CREDS_NONE},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS "\"}}}", "xq.io", "a", CREDS_NONE},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" A_B_C "\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "a", "b:c"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" COLON "\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "", ""},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" PADDED "\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "user", "pass"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"dXNlcj\\r\\npwYXNz\\n\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "user", "pass"},
		{"{\"auths\":{\"q.io\":{\"username\":\"u\",\"password\":\"p\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "u", "p"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS
		 "\",\"username\":\"u\",\"password\":\"p\"}}}",
		 "q.io", "a", 0, CREDENTIAL_BASIC, "user", "pass"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" COLON "\",\"identitytoken\":\"I\"}}}", "q.io",
		 "a", 0, CREDENTIAL_IDENTITY, "", "I"},
		{"{\"auths\":{\"q.io\":{\"registrytoken\":\"R\",\"identitytoken\":\"I\"}}}", "q.io",
		 "a", 0, CREDENTIAL_BEARER, "", "R"},
		/* markers are no entries */
		{"{\"auths\":{\"q.io\":{}}}", "q.io", "a", CREDS_NONE},
		{"{\"auths\":{\"q.io\":null}}", "q.io", "a", CREDS_NONE},
		{"{\"auths\":{\"q.io\":{},\"https://q.io/v2/\":{\"auth\":\"" TEAM_T "\"}}}", "q.io",
		 "a", 0, CREDENTIAL_BASIC, "team", "t"},
		/* keys that only mean the host */
		{"{\"auths\":{\"https://q.io\":{\"auth\":\"" TEAM_T "\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"http://q.io/any/path\":{\"auth\":\"" TEAM_T "\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"q.io/v1/\":{\"auth\":\"" TEAM_T "\"}}}", "q.io", "a", 0,
		 CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"q.io/v2\":{\"auth\":\"" TEAM_T "\"},\"q.io\":{\"auth\":\"" USER_PASS
		 "\"}}}",
		 "q.io", "a", 0, CREDENTIAL_BASIC, "user", "pass"},
		/* namespaces, most specific first */
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS
		 "\"},\"q.io/team\":{\"auth\":\"" TEAM_T "\"}}}",
		 "q.io", "team/app", 0, CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS
		 "\"},\"q.io/team\":{\"auth\":\"" TEAM_T "\"}}}",
		 "q.io", "team", 0, CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" USER_PASS
		 "\"},\"q.io/team\":{\"auth\":\"" TEAM_T "\"}}}",
		 "q.io", "teams/app", 0, CREDENTIAL_BASIC, "user", "pass"},
		{"{\"auths\":{\"q.io/team\":{\"auth\":\"" TEAM_T "\"}}}", "q.io", "other",
		 CREDS_NONE},
		{"{\"auths\":{\"q.io/team\":{\"auth\":\"" TEAM_T "\"}}}", "q.io", NULL, CREDS_NONE},
		/* the Hub has many names */
		{"{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"" TEAM_T "\"}}}",
		 "docker.io", "library/a", 0, CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"docker.io\":{\"auth\":\"" TEAM_T "\"}}}", "docker.io", "library/a",
		 0, CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"index.docker.io\":{\"auth\":\"" TEAM_T "\"}}}",
		 "registry-1.docker.io", "x/a", 0, CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"docker.io/x\":{\"auth\":\"" TEAM_T "\"}}}", "docker.io", "x/a", 0,
		 CREDENTIAL_BASIC, "team", "t"},
		/* helpers */
		{"{\"credsStore\":\"pass\"}", "q.io", "a", CREDS_HELPER, 0, "pass"},
		{"{\"credHelpers\":{\"q.io\":\"gcloud\"},\"credsStore\":\"pass\"}", "q.io", "a",
		 CREDS_HELPER, 0, "gcloud"},
		{"{\"credHelpers\":{\"q.io\":\"gcloud\"}}", "r.io", "a", CREDS_NONE},
		{"{\"credHelpers\":{\"https://index.docker.io/v1/\":\"x\"}}", "docker.io", "a",
		 CREDS_HELPER, 0, "x"},
		{"{\"auths\":{\"q.io\":{}},\"credsStore\":\"pass\"}", "q.io", "a", CREDS_HELPER, 0,
		 "pass"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"" TEAM_T "\"}},\"credsStore\":\"pass\"}", "q.io",
		 "a", 0, CREDENTIAL_BASIC, "team", "t"},
		/* broken entries hurt only who asks for them */
		{"{\"auths\":{\"q.io\":{\"auth\":\"!\"},\"r.io\":{\"auth\":\"" TEAM_T "\"}}}",
		 "r.io", "a", 0, CREDENTIAL_BASIC, "team", "t"},
		{"{\"auths\":{\"q.io\":{\"auth\":\"SECRET\"}}}", "q.io", "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":{\"auth\":\"U0VDUkVU\"}}}", "q.io", "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":{\"auth\":\"dTpTRUNSRVQKeA==\"}}}", "q.io", "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":{\"auth\":\"dTpTRQBDUkVU\"}}}", "q.io", "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":{\"auth\":\"AAAA\"}}}", "q.io", "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":{\"auth\":1}}}", "q.io", "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":\"SECRET\"}}", "q.io", "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":{\"username\":\"u:x\",\"password\":\"SECRET\"}}}", "q.io",
		 "a", -EBADMSG},
		{"{\"auths\":{\"q.io\":{\"identitytoken\":\"SECRET\\r\\n\"}}}", "q.io", "a",
		 -EBADMSG},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(creds_freep) struct creds *c = parse(cases[i].json);
		struct error err = ERROR_INIT;
		struct credential cred = {0};
		const char *helper = NULL;
		int r = creds_lookup(c, cases[i].host, cases[i].path, &cred, &helper, &err);

		if (r != cases[i].outcome)
			fail_msg("%s for %s: %d instead of %d", cases[i].json, cases[i].host, r,
				 cases[i].outcome);
		assert_null(strstr(err.text, "SECRET"));
		if (r == CREDS_HELPER)
			assert_string_equal(helper, cases[i].user);
		else
			assert_null(helper);
		if (r) {
			assert_null(cred.secret);
			continue;
		}
		assert_int_equal(cred.kind, cases[i].kind);
		assert_string_equal(cred.username, cases[i].user);
		assert_string_equal(cred.secret, cases[i].secret);
		credential_fini(&cred);
	}
}

static void bad_files(void **state)
{
	static const char *const cases[] = {
		"",
		"[]",
		"null",
		"{",
		"{\"auths\":[]}",
		"{\"auths\":1}",
		"{\"credsStore\":1}",
		"{\"credHelpers\":\"x\"}",
		"{\"auths\":{},\"auths\":{}}",
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct creds *c = NULL;

		assert_int_equal(creds_parse(cases[i], strlen(cases[i]), "conf", &c, &err),
				 -EBADMSG);
		assert_null(c);
		assert_non_null(strstr(err.text, "conf"));
	}
}

/* ---- which file ---- */

struct places {
	char root[64];
	char log[2048];
	struct log sink;
};

static void log_keep(void *userdata, enum log_level level, const char *line)
{
	struct places *p = userdata;
	size_t n = strlen(p->log);

	snprintf(p->log + n, sizeof(p->log) - n, "%s\n", line);
}

static void put(const struct places *p, const char *name, const char *text)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", p->root, name);
	for (char *s = path + strlen(p->root) + 1; (s = strchr(s, '/')); s++) {
		*s = 0;
		mkdir(path, 0700);
		*s = '/';
	}
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void point(const struct places *p, const char *variable, const char *name)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", p->root, name);
	setenv(variable, path, 1);
}

static int places_setup(void **state)
{
	struct places *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	strcpy(p->root, "/tmp/morsel-test-creds-XXXXXX");
	assert_non_null(mkdtemp(p->root));
	p->sink = (struct log){LOG_WARN, log_keep, p};
	unsetenv("REGISTRY_AUTH_FILE");
	unsetenv("DOCKER_CONFIG");
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("SUDO_UID");
	point(p, "HOME", "home");
	point(p, "XDG_RUNTIME_DIR", "run");
	*state = p;
	return 0;
}

static int places_teardown(void **state)
{
	struct places *p = *state;
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", p->root);
	free(p);
	return system(command);
}

#define ENTRY(host, user)                                                                          \
	"{\"auths\":{\"" host "\":{\"username\":\"" user "\",\"password\":\"p\"}}}"

/* The user found for q.io, or "none", or "helper", or the negative errno as a number. */
static const char *who(struct places *p, const char *authfile, const char *want_file)
{
	static char text[128];
	_cleanup_(creds_store_freep) struct creds_store *s = NULL;
	struct error err = ERROR_INIT;
	struct credential cred = {0};
	const char *helper = NULL, *file = NULL;
	int r = creds_store_open(seam_real(), &p->sink, authfile, &s, &err);

	if (!r)
		r = creds_store_lookup(s, "q.io", "a", &cred, &helper, &file, &err);
	if (r < 0)
		snprintf(text, sizeof(text), "%d", r);
	else
		snprintf(text, sizeof(text), "%s",
			 r == CREDS_NONE     ? "none"
			 : r == CREDS_HELPER ? "helper"
					     : cred.username);
	if (want_file)
		assert_non_null(file ? strstr(file, want_file) : NULL);
	credential_fini(&cred);
	return text;
}

static void order_of_files(void **state)
{
	struct places *p = *state;
	char path[128];

	assert_string_equal(who(p, NULL, NULL), "none");
	put(p, "home/.docker/config.json", ENTRY("q.io", "docker"));
	assert_string_equal(who(p, NULL, "home/.docker/config.json"), "docker");
	put(p, "home/.config/containers/auth.json", ENTRY("q.io", "config"));
	assert_string_equal(who(p, NULL, "home/.config/"), "config");
	put(p, "run/containers/auth.json", ENTRY("q.io", "run"));
	assert_string_equal(who(p, NULL, "run/containers/auth.json"), "run");
	/* a file that does not know the host hides nothing */
	put(p, "run/containers/auth.json", ENTRY("other.io", "x"));
	assert_string_equal(who(p, NULL, NULL), "config");
	point(p, "XDG_CONFIG_HOME", "xdg");
	assert_string_equal(who(p, NULL, NULL), "docker");
	put(p, "xdg/containers/auth.json", "{\"credHelpers\":{\"q.io\":\"h\"}}");
	assert_string_equal(who(p, NULL, NULL), "docker"); /* known beats only a helper knows */
	point(p, "DOCKER_CONFIG", "dc");
	assert_string_equal(who(p, NULL, "xdg/"), "helper");
	put(p, "dc/config.json", ENTRY("q.io", "dc"));
	assert_string_equal(who(p, NULL, NULL), "dc");
	/* one that is named excludes all others */
	point(p, "REGISTRY_AUTH_FILE", "named");
	assert_string_equal(who(p, NULL, NULL), "-2");
	put(p, "named", "{}");
	assert_string_equal(who(p, NULL, NULL), "none");
	put(p, "named2", ENTRY("q.io", "named2"));
	snprintf(path, sizeof(path), "%s/named2", p->root);
	assert_string_equal(who(p, path, "named2"), "named2");
	assert_string_equal(p->log, "");
}

static void bad_default_files_are_left_out(void **state)
{
	struct places *p = *state;
	char path[128];

	put(p, "run/containers/auth.json", "{");
	put(p, "home/.docker/config.json", ENTRY("q.io", "docker"));
	assert_string_equal(who(p, NULL, NULL), "docker");
	assert_non_null(strstr(p->log, "run/containers/auth.json"));
	snprintf(path, sizeof(path), "%s/run/containers/auth.json", p->root);
	assert_string_equal(who(p, path, NULL), "-74"); /* named, so it is an error: EBADMSG */
	snprintf(path, sizeof(path), "%s/run", p->root);
	assert_string_equal(who(p, path, NULL), "-1"); /* a directory: EPERM */
}

static void links_are_followed(void **state)
{
	struct places *p = *state;
	char path[128];

	put(p, "home/.docker/real", ENTRY("q.io", "linked"));
	snprintf(path, sizeof(path), "%s/home/.docker/config.json", p->root);
	assert_int_equal(symlink("real", path), 0);
	assert_string_equal(who(p, NULL, NULL), "linked");
}

static void root_reads_only_its_own(void **state)
{
	struct places *p = *state;
	char path[128];

	if (geteuid() != 0)
		skip();
	put(p, "home/.docker/config.json", ENTRY("q.io", "docker"));
	snprintf(path, sizeof(path), "%s/home/.docker/config.json", p->root);
	assert_int_equal(chown(path, 4711, 4711), 0);
	assert_string_equal(who(p, NULL, NULL), "none");
	assert_non_null(strstr(p->log, "belongs to user 4711"));
	assert_string_equal(who(p, path, NULL), "-1");
	setenv("SUDO_UID", "4711", 1);
	assert_string_equal(who(p, NULL, NULL), "docker");
	setenv("SUDO_UID", "47110", 1);
	assert_string_equal(who(p, NULL, NULL), "none");
	setenv("SUDO_UID", "4711x", 1);
	assert_string_equal(who(p, NULL, NULL), "none");
	setenv("SUDO_UID", "-1", 1);
	assert_string_equal(who(p, NULL, NULL), "none");
}

int main(void)
{
#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, places_setup, places_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lookups),	cmocka_unit_test(bad_files),
		STORE_TEST(order_of_files),	STORE_TEST(bad_default_files_are_left_out),
		STORE_TEST(links_are_followed), STORE_TEST(root_reads_only_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
