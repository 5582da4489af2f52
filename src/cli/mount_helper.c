/* SPDX-License-Identifier: MIT */
/*
 * mount.morsel: what mount(8) says, in the words of "morsel mount". mount(8) runs
 *
 *     mount.morsel REF DIR [-fnsv] [-N NAMESPACE] [-o OPTION,...] [-t TYPE]
 *
 * and, where only mount.fuse3 is found, that runs "morsel REF DIR -o OPTION,...". Of what is in
 * /etc/fstab, mount(8) keeps x-*, noauto, suid, dev and defaults to itself and adds rw; mount.fuse3
 * adds dev,suid whether they were there or not. So rw, suid and dev say nothing here, and what they
 * would say has names of its own: allow_suid, allow_dev.
 *
 * "mount -a" leaves alone what it finds mounted by source and type. An image that the kernel has
 * mounted shows others than fstab has: there mounting again is left to us to recognise.
 */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#define ARGS_MAX 128

struct helper {
	const struct verb *verb; /* mount */
	char *args[ARGS_MAX];	 /* owned; NULL-terminated */
	int n;
	bool fake, sloppy;
	bool exec; /* the last of exec and noexec that was given */
};

/* They say how images are mounted anyway, or are for others. */
static bool means_nothing(const char *name)
{
	static const char *const names[] = {
		"ro",	      "rw",	     "nosuid",	      "nodev",	  "suid",	"dev",
		"defaults",   "auto",	     "noauto",	      "user",	  "nouser",	"users",
		"owner",      "group",	     "_netdev",	      "nofail",	  "async",	"sync",
		"dirsync",    "atime",	     "noatime",	      "diratime", "nodiratime", "relatime",
		"norelatime", "strictatime", "nostrictatime", "lazytime", "nolazytime", "silent",
		"loud",	      "mand",	     "nomand",	      "iversion", "noiversion", "symfollow",
	};

	if (!strncasecmp(name, "x-", 2) || !strncmp(name, "comment=", 8))
		return true;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static int refuse(const char *what, const char *text)
{
	fprintf(stderr, "morsel: %s \"%s\"; see mount.morsel(8)\n", what, text);
	return 2;
}

static int arg_add(struct helper *h, const char *prefix, const char *text)
{
	if (h->n == ARGS_MAX - 1)
		return refuse("too many options at", text);
	if (asprintf(&h->args[h->n], "%s%s", prefix, text) < 0)
		return 1;
	h->n++;
	return 0;
}

/* "cache_dir=/x": the name's length; its "_" are made "-". */
static size_t name_normalise(char *option)
{
	size_t n = strcspn(option, "=");

	for (size_t i = 0; i < n; i++)
		if (option[i] == '_')
			option[i] = '-';
	return n;
}

static int option_translate(struct helper *h, char *option)
{
	const struct option_info *info;
	size_t n;

	if (!*option || means_nothing(option))
		return 0;
	if (!strcmp(option, "exec") || !strcmp(option, "noexec")) {
		h->exec = *option == 'e';
		return 0;
	}
	n = name_normalise(option);
	if (!strcmp(option, "allow-suid") || !strcmp(option, "allow-dev"))
		return arg_add(h, "--", option + strlen("allow-"));
	info = option_of_mount(h->verb, option, n);
	if (info && info->arg && !info->optional && option[n] != '=')
		return refuse("a value is missing after the mount option", option);
	if (info && !info->arg && option[n] == '=')
		return refuse("no value is expected in the mount option", option);
	if (info)
		return arg_add(h, "--", option);
	if (!strcmp(option, "remount"))
		return refuse("unmount and mount again; a mount is not changed by", option);
	return h->sloppy ? 0 : refuse("there is no mount option", option);
}

/* Splits at commas, except those in quotes or behind a backslash; takes these off. */
static int options_translate(struct helper *h, const char *text)
{
	char *own = strdup(text), *out = own, *option = own;
	bool quoted = false;
	int r = own ? 0 : 1;

	for (const char *p = text; !r; p++) {
		if (*p == '\\' && p[1])
			*out++ = *++p;
		else if (*p == '"')
			quoted = !quoted;
		else if (*p && (quoted || *p != ','))
			*out++ = *p;
		else {
			*out++ = 0;
			r = option_translate(h, option);
			option = out;
			if (!*p)
				break;
		}
	}
	free(own);
	return r;
}

static int letter_apply(struct helper *h, int ch)
{
	switch (ch) {
	case 'f':
		h->fake = true;
		return 0;
	case 's':
		h->sloppy = true;
		return 0;
	case 'v':
		return arg_add(h, "--", "verbose");
	case 'n':
	case 't':
	case 'o': /* once the letters are known */
		return 0;
	case 'N':
		return refuse("mount in another namespace with nsenter(1), not with -N", optarg);
	case ':':
		return refuse("an argument is missing after", (const char[]){'-', (char)optopt, 0});
	default:
		return refuse("unknown option", (const char[]){'-', (char)optopt, 0});
	}
}

static int helper_translate(struct helper *h, int argc, char **argv)
{
	static const char letters[] = ":fnsvrwN:o:t:";
	int ch, r = arg_add(h, "", "mount");

	optind = 1;
	while (!r && (ch = getopt(argc, argv, letters)) >= 0)
		r = ch == 'r' || ch == 'w' ? 0 : letter_apply(h, ch);
	optind = 1;
	while (!r && (ch = getopt(argc, argv, letters)) >= 0)
		if (ch == 'o')
			r = options_translate(h, optarg);
	if (!r && argc - optind != 2)
		r = refuse("REF and DIR are expected after", argv[0]);
	if (!r && !h->exec)
		r = arg_add(h, "--", "noexec");
	if (!r)
		r = arg_add(h, "", "--");
	for (int i = optind; !r && i < argc; i++)
		r = arg_add(h, "", argv[i]);
	return r;
}

/* ---- mounted already ---- */

static bool is_text(const json_t *o, const char *key, const char *want)
{
	const char *have = json_string_value(json_object_get(o, key));

	return have && want ? !strcmp(have, want) : !have && !want;
}

/* What a user of the mount would notice, as the kernel has it. */
static bool flags_match(const struct cli *c, const struct mntent *m, bool fuse)
{
	return option_given(c, OPT_SUID) == !hasmntopt(m, "nosuid") &&
	       option_given(c, OPT_DEV) == !hasmntopt(m, "nodev") &&
	       option_given(c, OPT_NOEXEC) == !!hasmntopt(m, "noexec") &&
	       (!fuse || option_given(c, OPT_ALLOW_OTHER) == !!hasmntopt(m, "allow_other"));
}

static bool kernel_flags_match(const struct cli *c, const char *dir, bool fuse)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	bool match = false;
	struct mntent *m;

	while (f && (m = getmntent(f)))
		if (!strcmp(m->mnt_dir, dir)) /* the last one is on top */
			match = flags_match(c, m, fuse);
	if (f)
		endmntent(f);
	return match;
}

bool mount_is_there(const struct cli *c, const char *dir)
{
	const char *wanted = c->values[OPT_BACKEND];
	char *json = NULL;
	json_t *o;
	bool there;

	if (morsel_mount_stat(dir, &json, NULL) < 0)
		return false;
	o = json_loads(json, 0, NULL);
	free(json);
	there = is_text(o, "mountpoint", dir) && is_text(o, "reference", c->args[0]) &&
		is_text(o, "platform", c->options.platform) &&
		((wanted && !strcmp(wanted, "auto")) ||
		 is_text(o, "backend", wanted ? wanted : "fuse")) &&
		kernel_flags_match(c, dir, is_text(o, "backend", "fuse"));
	json_decref(o);
	return there;
}

/* ---- the helper ---- */

/* mount(8)'s: 1 usage or permission, 2 system error, 8 interrupted, 32 not mounted. */
static int mount_exit_code(int code)
{
	switch (code) {
	case 0:
		return 0;
	case 1:
		return 2;
	case 2:
	case 4:
		return 1;
	case 130:
		return 8;
	default:
		return 32;
	}
}

int mount_helper(struct cli *c, const struct verb *mount, int argc, char **argv)
{
	struct helper h = {.verb = mount, .exec = true};
	int r;

	prctl(PR_SET_NAME, "morsel");
	c->again_is_done = true;
	if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
		puts("usage: mount.morsel REF DIR [-fnsv] [-o OPTION,...]; see mount.morsel(8)");
		return 0;
	}
	if (argc == 2 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")))
		return verb_run(c, verb_lookup("version"), 1, argv, false);
	r = helper_translate(&h, argc, argv);
	if (!r)
		r = verb_run(c, mount, h.n, h.args, h.fake);
	for (int i = 0; i < h.n; i++)
		free(h.args[i]);
	return mount_exit_code(r);
}
