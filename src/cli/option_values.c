/* SPDX-License-Identifier: MIT */
/* Words of options, as values. */
#include "cli/cli.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int parse_size(const char *text, uint64_t *ret)
{
	static const char units[] = "KMGTP";
	const char *unit;
	char *end;
	unsigned shift = 0;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *text == '-')
		return -EINVAL;
	if (*end) {
		unit = strchr(units, *end >= 'a' ? *end - 32 : *end);
		if (!unit || (end[1] && strcasecmp(end + 1, "b") && strcasecmp(end + 1, "ib")))
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -EINVAL;
	*ret = (uint64_t)n << shift;
	return 0;
}

int parse_duration(const char *text, uint64_t *ret_ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = {{"", 1e9}, {"s", 1e9}, {"ms", 1e6}, {"m", 60e9}, {"h", 3600e9}};
	char *end;
	double n;

	errno = 0;
	n = strtod(text, &end);
	if (errno || end == text || !(n > 0))
		return -EINVAL;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (!strcmp(end, units[i].name) && n * units[i].ns < 1e18) {
			*ret_ns = (uint64_t)(n * units[i].ns);
			return *ret_ns ? 0 : -EINVAL;
		}
	return -EINVAL;
}

int parse_bool(const char *text, bool if_empty, bool *ret)
{
	if (!*text)
		*ret = if_empty;
	else if (!strcmp(text, "1") || !strcasecmp(text, "true") || !strcasecmp(text, "yes"))
		*ret = true;
	else if (!strcmp(text, "0") || !strcasecmp(text, "false") || !strcasecmp(text, "no"))
		*ret = false;
	else
		return -EINVAL;
	return 0;
}

int parse_choice(const char *text, const char *const *names, int *ret)
{
	for (int i = 0; names[i]; i++)
		if (!strcmp(text, names[i])) {
			*ret = i;
			return 0;
		}
	return -EINVAL;
}
