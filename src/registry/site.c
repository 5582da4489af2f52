/* SPDX-License-Identifier: MIT */
#include "registry/site.h"

#include <errno.h>

int strings_add(char ***list, const char *text)
{
	size_t n = 0;
	char **more;

	while (*list && (*list)[n])
		n++;
	more = reallocarray(*list, n + 2, sizeof(*more));
	if (!more)
		return -ENOMEM;
	*list = more;
	more[n] = strdup(text);
	more[n + 1] = NULL;
	return more[n] ? 0 : -ENOMEM;
}

static void strings_free(char **list)
{
	for (char **s = list; s && *s; s++)
		free(*s);
	free(list);
}

void site_fini(struct site *s)
{
	for (char **h = s->headers; h && *h; h++)
		explicit_bzero(*h, strlen(*h));
	strings_free(s->headers);
	strings_free(s->ca);
	strings_free(s->clients);
	free(s->host);
	free(s->api);
	free(s->repo);
	free(s->ns);
	free(s->conf);
	*s = (struct site){0};
}

struct site *site_add(struct site_list *l, const char *host, const char *repo)
{
	struct site *more =
		l->n < SITES_MAX ? reallocarray(l->sites, l->n + 1, sizeof(*more)) : NULL;
	struct site *s;

	if (!more)
		return NULL;
	l->sites = more;
	s = &more[l->n];
	*s = (struct site){
		.host = strdup(host),
		.api = strdup("/v2"),
		.repo = strdup(repo),
		.conf = strdup(""),
		.tags = true,
		.digests = true,
	};
	if (!s->host || !s->api || !s->repo || !s->conf) {
		site_fini(s);
		return NULL;
	}
	l->n++;
	return s;
}

int site_client_add(struct site *s, const char *cert, const char *key)
{
	int r = strings_add(&s->clients, cert);

	return r < 0 ? r : strings_add(&s->clients, key);
}

void site_list_fini(struct site_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		site_fini(&l->sites[i]);
	free(l->sites);
	*l = (struct site_list){0};
}

void site_list_take(struct site_list *to, struct site_list *from)
{
	size_t n = min_u64(from->n, SITES_MAX - to->n);
	struct site *more = n ? reallocarray(to->sites, to->n + n, sizeof(*more)) : NULL;

	if (more) {
		to->sites = more;
		memcpy(more + to->n, from->sites, n * sizeof(*more));
		to->n += n;
		memmove(from->sites, from->sites + n, (from->n - n) * sizeof(*more));
		from->n -= n;
	}
	site_list_fini(from);
}
