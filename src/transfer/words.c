/* SPDX-License-Identifier: MIT */
#include "transfer/words.h"

#include <errno.h>

static int json_words(const char *text, const char *option, json_t **ret, struct error *err)
{
	json_auto_t *words = json_loads(text, 0, NULL);
	json_t *w;
	size_t i;

	json_array_foreach (words, i, w)
		if (!json_is_string(w)) {
			json_decref(words);
			words = NULL;
			break;
		}
	if (!json_is_array(words))
		return error_set(err, -EINVAL, "%s: not a JSON array of strings: %s", option, text);
	*ret = steal_ptr(words);
	return 0;
}

/* One word at *at, unquoted into out. False: a quote has no end. */
static bool word_take(const char **at, char *out)
{
	char quote = 0;
	const char *p = *at;

	for (; *p && (quote || !strchr(" \t\n", *p)); p++) {
		if (!quote && (*p == '\'' || *p == '"'))
			quote = *p;
		else if (quote && *p == quote)
			quote = 0;
		else if (*p == '\\' && quote != '\'' && p[1])
			*out++ = *++p;
		else
			*out++ = *p;
	}
	*out = 0;
	*at = p;
	return !quote;
}

int words_parse(const char *text, const char *option, json_t **ret, struct error *err)
{
	_cleanup_(freep) char *word = malloc(strlen(text) + 1);
	json_auto_t *words = json_array();
	const char *at = text + strspn(text, " \t\n");

	if (!word || !words)
		return -ENOMEM;
	if (*at == '[')
		return json_words(at, option, ret, err);
	for (; *at; at += strspn(at, " \t\n")) {
		if (!word_take(&at, word))
			return error_set(err, -EINVAL, "%s: a quote without an end: %s", option,
					 text);
		if (json_array_append_new(words, json_string(word)) < 0)
			return error_set(err, -EINVAL, "%s: not UTF-8", option);
	}
	*ret = steal_ptr(words);
	return 0;
}
