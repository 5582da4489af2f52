/* SPDX-License-Identifier: MIT */
/*
 * What could stand where the cursor is. Words in; out, a line each: "CANDIDATE" or
 * "CANDIDATE<tab>what it is", all of which begin with what is there already; and for the shell
 *
 *     :files, :dirs   names of files, directories are due as well
 *     :nospace        the candidates are not the end of the word
 *
 * What an argument is comes from the verb's usage ("REF PATH..."), what an option takes from the
 * table of options. Says nothing when something is wrong.
 */
#include "cli/complete.h"

#include <ctype.h>
#include <dirent.h>
#include <mntent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Neither a line's end nor what we say to the shell can be in a name. */
static bool is_sayable(const char *name)
{
	if (*name == ':')
		return false;
	for (const char *p = name; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			return false;
	return true;
}

void offer(const struct completion *k, const char *prefix, const char *name, const char *more,
	   const char *what)
{
	char *text;

	if (asprintf(&text, "%s%s%s", prefix, name, more) < 0)
		return;
	if (!strncmp(text, k->word, strlen(k->word)) && is_sayable(text))
		printf("%s%s%s\n", text, what ? "\t" : "", what ? what : "");
	free(text);
}

static void offer_all(const struct completion *k, const char *prefix, const char *const *values)
{
	for (; values && *values; values++) {
		offer(k, prefix, *values, "", NULL);
		if ((*values)[strlen(*values) - 1] == '=')
			puts(":nospace");
	}
}

void offer_files(const struct completion *k, const char *prefix, bool dirs_only)
{
	const char *path = k->word + strlen(prefix), *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("");
	char *before = NULL;
	DIR *d = dir ? opendir(*dir ? dir : ".") : NULL;
	struct dirent *e;

	if (d && asprintf(&before, "%s%s", prefix, dir) < 0)
		before = NULL;
	puts(":nospace");
	while (before && (e = readdir(d))) {
		struct stat st;
		bool is_dir = !fstatat(dirfd(d), e->d_name, &st, 0) && S_ISDIR(st.st_mode);

		if (*e->d_name != '.' && (is_dir || !dirs_only))
			offer(k, before, e->d_name, is_dir ? "/" : "", NULL);
	}
	if (d)
		closedir(d);
	free(before);
	free(dir);
}

static void offer_option_value(const struct completion *k, const struct option_info *o,
			       const char *prefix)
{
	bool dir = !strcmp(o->arg, "DIR");

	if (o->values)
		offer_all(k, prefix, o->values);
	else if ((dir || !strcmp(o->arg, "FILE")) && *prefix)
		offer_files(k, prefix, dir);
	else if (dir || !strcmp(o->arg, "FILE"))
		puts(dir ? ":dirs" : ":files");
}

static void offer_options(const struct completion *k)
{
	size_t n = strlen(k->word);
	bool open = false;

	for (int i = 0; i < OPT_COUNT; i++) {
		const struct option_info *o = option_of(k->verb, i);
		bool takes_value = o && o->arg && !o->optional;

		if (!o)
			continue;
		offer(k, "--", o->name, takes_value ? "=" : "", o->help);
		open = open || (takes_value && (n < 2 || !strncmp(o->name, k->word + 2, n - 2)));
	}
	if (open)
		puts(":nospace");
}

/* "--pull" or "--pull=..."; NULL: there is none, or it is a flag. */
static const struct option_info *option_named(const struct completion *k, const char *text)
{
	size_t n = strcspn(text, "=");

	for (int i = 0; i < OPT_COUNT && n > 2 && !strncmp(text, "--", 2); i++) {
		const struct option_info *o = option_of(k->verb, i);

		if (o && o->arg && strlen(o->name) == n - 2 && !strncmp(o->name, text + 2, n - 2))
			return o;
	}
	return NULL;
}

/* ---- arguments ---- */

static void offer_verbs(const struct completion *k)
{
	const struct verb *v;

	for (size_t i = 0; (v = verb_get(i)); i++)
		offer(k, "", v->name, "", v->summary);
}

static void offer_mounts(const struct completion *k)
{
	FILE *f = setmntent("/proc/self/mounts", "re");
	struct mntent *m;

	while (f && (m = getmntent(f)))
		if (!strcmp(m->mnt_type, "fuse.morsel"))
			offer(k, "", m->mnt_dir, "", m->mnt_fsname);
	if (f)
		endmntent(f);
	puts(":dirs");
}

/* The k-th argument's word in "[-z] REF PATH... DEST", without brackets and dots. */
static bool usage_argument(const char *usage, int k, char ret[static 80])
{
	int at = 0;

	for (const char *p = usage + strspn(usage, " "); *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " "), from = strspn(p, "["), len;

		len = strcspn(p + from, " ].");
		if (!strncmp(p, "[-", 2) || !strncmp(p, "[OPTION", 7)) {
			p += n;
			continue;
		}
		snprintf(ret, 80, "%.*s", (int)len, p + from);
		if (at++ == k || memmem(p, n, "...", 3))
			return true;
		p += n;
	}
	return false;
}

static void offer_choices(const struct completion *k, char *choices)
{
	char *save = NULL;

	for (char *p = strtok_r(choices, "|", &save); p; p = strtok_r(NULL, "|", &save))
		offer(k, "", p, "", NULL);
}

static void offer_argument(const struct completion *k, int nth)
{
	char what[80];

	if (!usage_argument(k->verb->usage, nth, what))
		return;
	if (strchr(what, '|'))
		offer_choices(k, what);
	else if (!strcmp(what, "VERB"))
		offer_verbs(k);
	else if (!strcmp(what, "REF"))
		offer_refs(k, false);
	else if (!strcmp(what, "REPO"))
		offer_refs(k, true);
	else if (!strcmp(what, "PATH"))
		offer_paths(k);
	else if (!strcmp(what, "DIR") && !strstr(k->verb->usage, "REF")) /* umount, stat */
		offer_mounts(k);
	else if (!strcmp(what, "DIR")) {
		if (nth && strstr(k->verb->usage, "DIR... REF")) /* push: it may be the last */
			offer_refs(k, false);
		puts(":dirs");
	} else if (!strcmp(what, "DEST") || !strcmp(what, "FILE"))
		puts(":files");
	else if (islower((unsigned char)what[0])) /* "report" */
		offer(k, "", what, "", NULL);
}

void complete_words(struct cli *c, char **words, int n)
{
	struct completion k = {.c = c, .word = words[n - 1], .words = words, .n = n};
	const struct option_info *o;
	bool only_arguments = false;
	int nth = 0;

	if (n == 1) {
		offer_verbs(&k);
		return;
	}
	k.verb = verb_lookup(words[0]);
	if (!k.verb)
		return;
	for (int i = 1; i < n - 1; i++) {
		o = only_arguments ? NULL : option_named(&k, words[i]);
		if (o && !o->optional && !strchr(words[i], '=') && i == n - 2) {
			offer_option_value(&k, o, "");
			return;
		}
		if (o && !o->optional && !strchr(words[i], '='))
			i++; /* its value */
		else if (!strcmp(words[i], "--"))
			only_arguments = true;
		else if (only_arguments || *words[i] != '-')
			nth++;
	}
	o = option_named(&k, k.word);
	if (!only_arguments && o && strchr(k.word, '=')) {
		char *prefix = strndup(k.word, strcspn(k.word, "=") + 1);

		if (prefix)
			offer_option_value(&k, o, prefix);
		free(prefix);
	} else if (!only_arguments && *k.word == '-')
		offer_options(&k);
	else
		offer_argument(&k, nth);
}
