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
#include "registry/helper.h"
#include "registry/helper_reply.h"

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

	if (creds_parse(json, strlen(json), CREDS_DOCKER, "conf", &c, &err) < 0)
		fail_msg("%s: %s", json, err.text);
	return c;
}

static void lookups(void **state)
{
	static const struct {
		const char *json, *host, *path;
		int outcome;
		enum credential_kind kind;
		const char *user, *secret;
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
		const char *key = NULL;
		int r = creds_lookup(c, cases[i].host, cases[i].path, &cred, &key, &err);

		if (r != cases[i].outcome)
			fail_msg("%s for %s: %d instead of %d", cases[i].json, cases[i].host, r,
				 cases[i].outcome);
		assert_null(strstr(err.text, "SECRET"));
		assert_true(!r == (key != NULL));
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

static void helpers(void **state)
{
#define HUB "https://index.docker.io/v1/"
	static const struct {
		const char *json, *host;
		int outcome;
		const char *name, *key, *server;
	} cases[] = {
		{"{}", "q.io", CREDS_NONE},
		{"{\"credsStore\":\"\"}", "q.io", CREDS_NONE},
		{"{\"credsStore\":\"pass\"}", "q.io", 0, "pass", NULL, "q.io"},
		{"{\"credsStore\":\"pass\"}", "docker.io", 0, "pass", NULL, HUB},
		{"{\"credHelpers\":{\"q.io\":\"gcloud\"},\"credsStore\":\"pass\"}", "q.io", 0,
		 "gcloud", "q.io", "q.io"},
		{"{\"credHelpers\":{\"q.io\":\"gcloud\"},\"credsStore\":\"pass\"}", "r.io:5000", 0,
		 "pass", NULL, "r.io:5000"},
		{"{\"credHelpers\":{\"q.io\":\"gcloud\"}}", "r.io", CREDS_NONE},
		{"{\"credHelpers\":{\"q.io\":\"\"}}", "q.io", CREDS_NONE},
		{"{\"credHelpers\":{\"" HUB "\":\"x\"}}", "docker.io", 0, "x", HUB, HUB},
		{"{\"credHelpers\":{\"docker.io\":\"x\"}}", "registry-1.docker.io", 0, "x",
		 "docker.io", HUB},
		{"{\"credHelpers\":{\"q.io\":1}}", "q.io", -EBADMSG},
		{"{\"credHelpers\":{\"q.io\":1}}", "r.io", CREDS_NONE},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(creds_freep) struct creds *c = parse(cases[i].json);
		struct error err = ERROR_INIT;
		struct creds_helper h;
		int r = creds_helper(c, cases[i].host, &h, &err);

		if (r != cases[i].outcome)
			fail_msg("%s for %s: %d instead of %d", cases[i].json, cases[i].host, r,
				 cases[i].outcome);
		if (r)
			continue;
		assert_string_equal(h.name, cases[i].name);
		assert_string_equal(h.server, cases[i].server);
		assert_int_equal(h.key != NULL, cases[i].key != NULL);
		if (h.key)
			assert_string_equal(h.key, cases[i].key);
	}
}

static void houses_differ(void **state)
{
	static const char json[] = "{\"credsStore\":\"s\",\"credHelpers\":{\"h.io\":\"h\"}}",
			  flat[] = "{\"q.io\":{\"auth\":\"" USER_PASS "\"}}";
	struct credential cred = {0};
	struct creds_helper h;
	struct creds *c;
	const char *key;

	assert_int_equal(creds_parse(json, strlen(json), CREDS_PODMAN, "x", &c, NULL), 0);
	assert_int_equal(creds_helper(c, "q.io", &h, NULL), CREDS_NONE);
	assert_int_equal(creds_helper(c, "h.io", &h, NULL), 0);
	creds_free(c);
	assert_int_equal(creds_parse(flat, strlen(flat), CREDS_DOCKERCFG, "x", &c, NULL), 0);
	assert_int_equal(creds_helper(c, "q.io", &h, NULL), CREDS_NONE);
	assert_int_equal(creds_lookup(c, "q.io", NULL, &cred, &key, NULL), 0);
	credential_fini(&cred);
	creds_free(c);
}

static void helper_answers(void **state)
{
	static const struct {
		const char *out;
		bool failed;
		int outcome;
		enum credential_kind kind;
		const char *user, *secret;
	} cases[] = {
		{"{\"ServerURL\":\"q\",\"Username\":\"u\",\"Secret\":\"s\"}\n", false, 0,
		 CREDENTIAL_BASIC, "u", "s"},
		{"{\"Username\":\"<token>\",\"Secret\":\"s\"}", false, 0, CREDENTIAL_IDENTITY, "",
		 "s"},
		{"{\"Username\":\"u\",\"Secret\":\"\"}", false, CREDS_NONE},
		{"{}", false, CREDS_NONE},
		{"  credentials not found in native keychain\n", true, CREDS_NONE},
		{"credentials not found in native keychain\n", false, -EBADMSG},
		{"the keyring is locked\n", true, -EACCES},
		{"", true, -EACCES},
		{"", false, -EBADMSG},
		{"[]", false, -EBADMSG},
		{"{\"Username\":1,\"Secret\":\"SECRET\"}", false, -EBADMSG},
		{"{\"Username\":\"u\",\"Secret\":\"SECRET", false, -EBADMSG},
		{"{\"Username\":\"u:v\",\"Secret\":\"SECRET\"}", false, -EBADMSG},
		{"{\"Username\":\"u\",\"Secret\":\"SECRET\\r\\nX: y\"}", false, -EBADMSG},
	};
	static const struct {
		const char *name;
		bool ok;
	} names[] = {{"pass", true},  {"ecr-login", true}, {"a.b_C-9", true}, {"", false},
		     {"..", false},   {"a/b", false},	   {"../x", false},   {"a b", false},
		     {"a\nb", false}, {"$(x)", false}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct error err = ERROR_INIT;
		struct credential cred = {0};
		int r = helper_reply_parse(cases[i].out, strlen(cases[i].out), cases[i].failed,
					   "helper x", &cred, &err);

		if (r != cases[i].outcome)
			fail_msg("%s: %d instead of %d", cases[i].out, r, cases[i].outcome);
		assert_null(strstr(err.text, "SECRET"));
		if (r < 0)
			assert_non_null(strstr(err.text, "helper x"));
		if (r)
			continue;
		assert_int_equal(cred.kind, cases[i].kind);
		assert_string_equal(cred.username, cases[i].user);
		assert_string_equal(cred.secret, cases[i].secret);
		credential_fini(&cred);
	}
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (helper_name_ok(names[i].name) != names[i].ok)
			fail_msg("%s", names[i].name);
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

		assert_int_equal(
			creds_parse(cases[i], strlen(cases[i]), CREDS_DOCKER, "conf", &c, &err),
			-EBADMSG);
		assert_null(c);
		assert_non_null(strstr(err.text, "conf"));
	}
}

/* ---- which file ---- */

struct places {
	char root[64];
	char where[2048]; /* of the last lookup */
	char error[768];
};

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
	unsetenv("REGISTRY_AUTH_FILE");
	unsetenv("DOCKER_CONFIG");
	unsetenv("XDG_CONFIG_HOME");
	unsetenv("SUDO_UID");
	unsetenv("DOCKER_AUTH_CONFIG");
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

/* The user found for q.io, or "none", or the negative errno as a number. */
static const char *who(struct places *p, const char *authfile, const char *want_file)
{
	static char text[128];
	_cleanup_(creds_store_freep) struct creds_store *s = NULL;
	_cleanup_(buf_fini) struct buf where = BUF_INIT;
	struct error err = ERROR_INIT;
	struct credential cred = {0};
	int r = creds_store_open(seam_real(), authfile, &s, &err);

	if (!r)
		r = creds_store_lookup(s, "q.io", "a", NULL, &cred, &where, &err);
	if (r < 0)
		snprintf(text, sizeof(text), "%d", r);
	else
		snprintf(text, sizeof(text), "%s", r == CREDS_NONE ? "none" : cred.username);
	snprintf(p->where, sizeof(p->where), "%s", buf_str(&where));
	snprintf(p->error, sizeof(p->error), "%s", err.text);
	if (want_file)
		assert_non_null(strstr(p->where, want_file));
	credential_fini(&cred);
	return text;
}

/* A helper in $PATH that answers with this and exits with that. */
static void put_helper(const struct places *p, const char *name, const char *says, int rc)
{
	char text[512], file[128], path[256];

	snprintf(text, sizeof(text),
		 "#!/bin/sh\nread -r s\nls /proc/$$/fd | wc -l >>%s/fds\n"
		 "printf '%%s %%s\\n' \"$1\" \"$s\" >>%s/asked\necho '%s'\nexit %d\n",
		 p->root, p->root, says, rc);
	snprintf(file, sizeof(file), "bin/docker-credential-%s", name);
	put(p, file, text);
	snprintf(path, sizeof(path), "%s/%s", p->root, file);
	assert_int_equal(chmod(path, 0755), 0);
	snprintf(path, sizeof(path), "relative:%s/bin:/usr/bin:/bin", p->root);
	setenv("PATH", path, 1);
}

static void helpers_are_asked(void **state)
{
	struct places *p = *state;
	char asked[256] = "", path[128];
	FILE *f;

	put(p, "home/.docker/config.json",
	    "{\"auths\":{\"q.io\":{\"username\":\"inline\",\"password\":\"p\"}},"
	    "\"credHelpers\":{\"q.io\":\"good\"},\"credsStore\":\"store\"}");
	put_helper(p, "good", "{\"Username\":\"helped\",\"Secret\":\"s\"}", 0);
	assert_string_equal(who(p, NULL, "docker-credential-good"), "helped");
	assert_non_null(strstr(p->where, "credHelpers \"q.io\""));
	snprintf(path, sizeof(path), "%s/asked", p->root);
	f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(asked, sizeof(asked), f));
	fclose(f);
	assert_string_equal(asked, "get q.io\n");
	/* one that knows nothing hides nothing */
	put_helper(p, "good", "credentials not found in native keychain", 1);
	assert_string_equal(who(p, NULL, "key \"q.io\""), "inline");
	put_helper(p, "good", "the keyring is locked", 1);
	assert_string_equal(who(p, NULL, NULL), "-13");
	assert_non_null(strstr(p->error, "the keyring is locked"));
	assert_non_null(strstr(p->error, "config.json"));
	put(p, "home/.docker/config.json", "{\"credHelpers\":{\"q.io\":\"absent\"}}");
	assert_string_equal(who(p, NULL, NULL), "-13");
	assert_non_null(strstr(p->error, "docker-credential-absent is not in $PATH"));
	put(p, "home/.docker/config.json", "{\"credHelpers\":{\"q.io\":\"../bin/x\"}}");
	assert_string_equal(who(p, NULL, NULL), "-1");
	/* a store that was left behind by something removed */
	put(p, "home/.docker/config.json", "{\"credsStore\":\"absent\"}");
	assert_string_equal(who(p, NULL, "docker-credential-absent"), "none");
	/* podman ignores credsStore */
	put_helper(p, "good", "{\"Username\":\"helped\",\"Secret\":\"s\"}", 0);
	put(p, "home/.docker/config.json", "{\"credsStore\":\"good\"}");
	assert_string_equal(who(p, NULL, "credsStore"), "helped");
	snprintf(path, sizeof(path), "%s/home/.docker/config.json", p->root);
	assert_string_equal(who(p, path, NULL), "none");
}

/* A clock on which 30 s are over soon. */
static uint64_t fast_clock(const struct seam *s)
{
	return 200 * seam_real()->monotonic_ns(seam_real());
}

static void helpers_that_hang(void **state)
{
	struct places *p = *state;
	struct seam seam = *seam_real();
	struct error err = ERROR_INIT;
	struct credential cred = {0};
	atomic_bool cancel = true;

	seam.monotonic_ns = fast_clock;
	put_helper(p, "slow", "'; sleep 1000; echo '", 0);
	assert_int_equal(helper_ask(&seam, "slow", "q.io", NULL, &cred, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "docker-credential-slow"));
	assert_int_equal(helper_ask(seam_real(), "slow", "q.io", &cancel, &cred, NULL), -ECANCELED);
}

static void json_of_the_environment(void **state)
{
	struct places *p = *state;

	put(p, "run/containers/auth.json", ENTRY("q.io", "run"));
	setenv("DOCKER_AUTH_CONFIG", ENTRY("q.io", "env"), 1);
	assert_string_equal(who(p, NULL, "$DOCKER_AUTH_CONFIG, key \"q.io\""), "env");
	setenv("DOCKER_AUTH_CONFIG", ENTRY("r.io", "env"), 1);
	assert_string_equal(who(p, NULL, "auth.json"), "run");
	setenv("DOCKER_AUTH_CONFIG", "{\"auths\":", 1);
	assert_string_equal(who(p, NULL, NULL), "-117");
	assert_non_null(strstr(p->error, "$DOCKER_AUTH_CONFIG"));
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
	assert_string_equal(who(p, NULL, NULL), "-13"); /* there is no such helper */
	put(p, "xdg/containers/auth.json", "{}");
	assert_string_equal(who(p, NULL, NULL), "docker");
	put(p, "home/.dockercfg", "{\"q.io\":{\"username\":\"flat\",\"password\":\"p\"}}");
	point(p, "DOCKER_CONFIG", "dc");
	assert_string_equal(who(p, NULL, ".dockercfg"), "flat");
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
}

static void bad_default_files_are_left_out(void **state)
{
	struct places *p = *state;
	char path[128];

	put(p, "run/containers/auth.json", "{");
	put(p, "home/.docker/config.json", ENTRY("q.io", "docker"));
	assert_string_equal(who(p, NULL, NULL), "docker");
	put(p, "home/.docker/config.json", "{}");
	assert_string_equal(who(p, NULL, "run/containers/auth.json"), "none");
	snprintf(path, sizeof(path), "%s/run/containers/auth.json", p->root);
	assert_string_equal(who(p, path, NULL), "-117"); /* named, so it is an error: EUCLEAN */
	snprintf(path, sizeof(path), "%s/run", p->root);
	assert_string_equal(who(p, path, NULL), "-21"); /* EISDIR */
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
	assert_non_null(strstr(p->where, "belongs to user 4711"));
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
		cmocka_unit_test(lookups),	  cmocka_unit_test(bad_files),
		cmocka_unit_test(helpers),	  cmocka_unit_test(houses_differ),
		cmocka_unit_test(helper_answers), STORE_TEST(helpers_are_asked),
		STORE_TEST(helpers_that_hang),	  STORE_TEST(json_of_the_environment),
		STORE_TEST(order_of_files),	  STORE_TEST(bad_default_files_are_left_out),
		STORE_TEST(links_are_followed),	  STORE_TEST(root_reads_only_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
