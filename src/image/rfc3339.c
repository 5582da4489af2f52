/* SPDX-License-Identifier: MIT */
#include "image/rfc3339.h"

#include <errno.h>

static int digits(const char **s, const char *end, int n, int *ret)
{
	int v = 0;

	for (; n; n--, (*s)++) {
		if (*s >= end || **s < '0' || **s > '9')
			return -EBADMSG;
		v = v * 10 + (**s - '0');
	}
	*ret = v;
	return 0;
}

static int literal(const char **s, const char *end, char c)
{
	if (*s >= end || **s != c)
		return -EBADMSG;
	(*s)++;
	return 0;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar; years start in March. */
static int64_t days_of(int y, int m, int d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = y - era * 400;
	doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

int rfc3339_parse(const char *s, size_t n, int64_t *ret_s, uint32_t *ret_ns)
{
	const char *end = s + n;
	int y, mo, d, h, mi, sec, zh = 0, zm = 0, sign = 0;
	uint32_t ns = 0, unit = 100000000;

	if (digits(&s, end, 4, &y) || literal(&s, end, '-') || digits(&s, end, 2, &mo) ||
	    literal(&s, end, '-') || digits(&s, end, 2, &d) || literal(&s, end, 'T') ||
	    digits(&s, end, 2, &h) || literal(&s, end, ':') || digits(&s, end, 2, &mi) ||
	    literal(&s, end, ':') || digits(&s, end, 2, &sec))
		return -EBADMSG;
	if (s < end && *s == '.')
		for (s++; s < end && *s >= '0' && *s <= '9'; s++, unit /= 10)
			ns += (uint32_t)(*s - '0') * unit;
	if (s < end && (*s == '+' || *s == '-')) {
		sign = *s++ == '-' ? -1 : 1;
		if (digits(&s, end, 2, &zh) || literal(&s, end, ':') || digits(&s, end, 2, &zm))
			return -EBADMSG;
	} else if (literal(&s, end, 'Z'))
		return -EBADMSG;
	if (s != end || mo < 1 || mo > 12 || d < 1 || d > 31 || h > 23 || mi > 59 || sec > 60)
		return -EBADMSG;
	*ret_s =
		days_of(y, mo, d) * 86400 + h * 3600 + mi * 60 + sec - sign * (zh * 3600 + zm * 60);
	*ret_ns = ns;
	return 0;
}
