/* SPDX-License-Identifier: MIT */
/* A file that tells of mirrors, read as containerd's and as podman's. */
#include "registry/hosts_toml.h"
#include "registry/registries_conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void sites_check(const struct site_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		const struct site *s = &l->sites[i];

		if (!s->host || !*s->host || !s->api || !s->repo || strpbrk(s->host, "/@?# \r\n") ||
		    strpbrk(s->api, "@?# \r\n"))
			abort();
		for (char **h = s->headers; h && *h; h++)
			if (strpbrk(*h, "\r\n"))
				abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct hosts_subject hub = {"docker.io", "registry-1.docker.io", "library/a",
						 "/dir"};
	struct site_list hosts = {0}, route = {0};
	struct registries_conf c = {0};

	if (hosts_toml_parse((const char *)data, size, "hosts", &hub, &hosts, NULL) >= 0)
		sites_check(&hosts);
	if (registries_conf_add(&c, (const char *)data, size, "conf", NULL) >= 0 &&
	    registries_conf_route(&c, "docker.io", "library/a", size & 1, &route, NULL) == 0)
		sites_check(&route);
	site_list_fini(&hosts);
	site_list_fini(&route);
	registries_conf_fini(&c);
	return 0;
}
