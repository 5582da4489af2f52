/* SPDX-License-Identifier: MIT */
/*
 * stat, inspect and cache: what the library reports as JSON, passed on as it is or as a table.
 */
#include "cli/cli.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static json_int_t int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static bool is_true(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

static const char *size_of(const json_t *o, const char *key, char buf[16])
{
	format_size((uint64_t)int_of(o, key), buf);
	return buf;
}

/* Prints the report as it is, or gives it to show(). Takes json over. */
static int report(struct cli *c, char *json, void (*show)(const json_t *o))
{
	json_t *o;

	if (c->json) {
		puts(json);
		free(json);
		return output_finish();
	}
	o = json_loads(json, 0, NULL);
	free(json);
	if (!o) {
		fputs("morsel: the report could not be read\n", stderr);
		return 1;
	}
	show(o);
	json_decref(o);
	return output_finish();
}

static void show_mount(const json_t *o)
{
	const json_t *lazy = json_object_get(o, "laziness"), *l;
	const json_t *index = json_object_get(o, "index"), *traffic = json_object_get(o, "traffic");
	const char *why = json_string_value(json_object_get(o, "last_error"));
	char a[16], b[16], s[16];
	size_t i;

	printf("reference  %s\ndigest     %s\nmountpoint %s\nbackend    %s (pid %" PRId64 ")\n",
	       text_of(o, "reference"), text_of(o, "digest"), text_of(o, "mountpoint"),
	       text_of(o, "backend"), (int64_t)int_of(o, "pid"));
	printf("layers     %" PRId64 ": %" PRId64 " lazy by their own index, %" PRId64
	       " indexed before, %" PRId64 " streamed now\n",
	       (int64_t)int_of(lazy, "layers"), (int64_t)int_of(lazy, "lazy"),
	       (int64_t)int_of(lazy, "indexed_before"), (int64_t)int_of(lazy, "streamed_now"));
	printf("opened     in %" PRId64 " ms, %" PRId64 " requests, %s fetched\n",
	       (int64_t)int_of(o, "open_ms"), (int64_t)int_of(index, "requests"),
	       size_of(index, "bytes_fetched", a));
	printf("since then %" PRId64 " requests, %s fetched, %s served\n",
	       (int64_t)int_of(o, "requests"), size_of(o, "bytes_fetched", a),
	       size_of(o, "bytes_served", b));
	printf("prefetch   %" PRId64 " of these requests, %s\n",
	       (int64_t)int_of(o, "prefetch_requests"), size_of(o, "prefetch_bytes", a));
	printf("in all     %" PRId64 " requests, %s received, with manifests and tokens\n",
	       (int64_t)int_of(traffic, "requests"), size_of(traffic, "bytes_received", a));
	printf("reads      %" PRId64 ": %" PRId64 " hits, %" PRId64
	       " waits (%.1f ms in all), %" PRId64 " errors\n",
	       (int64_t)int_of(o, "reads"), (int64_t)int_of(o, "hits"), (int64_t)int_of(o, "waits"),
	       (double)int_of(o, "wait_ns") / 1e6, (int64_t)int_of(o, "read_errors"));
	if (why)
		printf("last error %s\n", why);
	printf("\n%-12s %-5s %8s %15s %9s %8s %8s  %s\n", "FORMAT", "LAZY", "SIZE", "PRESENT",
	       "REQUESTS", "FETCHED", "SERVED", "LAYER");
	json_array_foreach (json_object_get(o, "layers"), i, l) {
		char present[40], p[16], t[16];

		snprintf(present, sizeof(present), "%s/%s", size_of(l, "present_bytes", p),
			 size_of(l, "total_bytes", t));
		printf("%-12s %-5s %8s %15s %9" PRId64 " %8s %8s  %.19s\n", text_of(l, "format"),
		       is_true(l, "lazy") ? "yes" : "no", size_of(l, "size", s), present,
		       (int64_t)int_of(l, "requests"), size_of(l, "bytes_fetched", a),
		       size_of(l, "bytes_served", b), text_of(l, "digest"));
	}
}

int cmd_stat(struct cli *c)
{
	char *json;
	int r;

	if (option_given(c, OPT_WATCH))
		return stat_watch(c);
	if (c->n_args > 1)
		return usage_error(c, "one mount at a time");
	r = morsel_mount_stat(c->args[0], &json, &c->err);
	return r < 0 ? fail(c, r) : report(c, json, show_mount);
}

static void show_image(const json_t *o)
{
	const json_t *l, *dropped;
	char s[16], p[16], t[16];
	size_t i;

	printf("reference  %s\ndigest     %s\nmedia type %s\nplatform   %s\ncreated    %s\n"
	       "layers     %zu, %s compressed, %" PRId64 " of them lazy\n\n",
	       text_of(o, "reference"), text_of(o, "digest"), text_of(o, "media_type"),
	       text_of(o, "platform"), text_of(o, "created"),
	       json_array_size(json_object_get(o, "layers")), size_of(o, "size", s),
	       (int64_t)int_of(o, "lazy_layers"));
	printf("%-12s %-5s %8s %8s %15s  %s\n", "FORMAT", "LAZY", "SIZE", "FILES", "PRESENT",
	       "LAYER");
	json_array_foreach (json_object_get(o, "layers"), i, l) {
		char present[40] = "-", files[24] = "-";

		if (is_true(l, "indexed")) {
			snprintf(present, sizeof(present), "%s/%s", size_of(l, "present_bytes", p),
				 size_of(l, "total_bytes", t));
			snprintf(files, sizeof(files), "%" PRId64, (int64_t)int_of(l, "entries"));
		}
		printf("%-12s %-5s %8s %8s %15s  %s\n", text_of(l, "format"),
		       is_true(l, "lazy") ? "yes" : "no", size_of(l, "size", s), files, present,
		       text_of(l, "digest"));
	}
	json_array_foreach (json_object_get(o, "layers"), i, l) {
		dropped = json_object_get(l, "dropped_xattrs");
		if (json_integer_value(dropped))
			printf("note: %" PRId64 " extended attributes of %.19s are not shown\n",
			       (int64_t)json_integer_value(dropped), text_of(l, "digest"));
	}
}

int cmd_inspect(struct cli *c)
{
	struct morsel *m;
	char *json;
	int r = context_new(c, &m);

	if (r)
		return r;
	r = morsel_inspect(m, c->args[0], &json, &c->err);
	r = r < 0 ? fail(c, r) : report(c, json, show_image);
	context_free(m);
	return r;
}

static void show_cache_info(const json_t *o)
{
	const json_t *kind;
	const char *name;
	char a[16], b[16];

	printf("directory  %s\nused       %s of %s\n\n%-8s %8s %8s\n", text_of(o, "cache_dir"),
	       size_of(o, "bytes", a), size_of(o, "limit", b), "KIND", "ITEMS", "SIZE");
	json_object_foreach ((json_t *)json_object_get(o, "kinds"), name, kind)
		printf("%-8s %8" PRId64 " %8s\n", name, (int64_t)int_of(kind, "items"),
		       size_of(kind, "bytes", a));
}

static void show_cache_items(const json_t *o)
{
	const json_t *it;
	char size[16], date[32];
	size_t i;

	printf("%-6s %-12s %8s  %-16s  %s\n", "KIND", "FORMAT", "SIZE", "USED", "NAME");
	json_array_foreach (json_object_get(o, "items"), i, it) {
		time_t used = int_of(it, "used");
		struct tm tm;

		if (!used || !gmtime_r(&used, &tm) ||
		    !strftime(date, sizeof(date), "%Y-%m-%d %H:%M", &tm))
			strcpy(date, "-");
		printf("%-6s %-12s %8s  %-16s  %s%s\n", text_of(it, "kind"), text_of(it, "format"),
		       size_of(it, "bytes", size), date, text_of(it, "name"),
		       is_true(it, "ok") ? "" : "  DAMAGED, removed");
	}
}

static int cache_freed(struct cli *c, int r, uint64_t bytes)
{
	char text[16];

	if (r < 0)
		return fail(c, r);
	format_size(bytes, text);
	if (c->json)
		printf("{\"freed\": %" PRIu64 "}\n", bytes);
	else if (!c->quiet)
		printf("freed %s\n", text);
	return output_finish();
}

static int cache_prune(struct cli *c, struct morsel *m)
{
	uint64_t target = c->options.cache_bytes ? c->options.cache_bytes : UINT64_C(10) << 30;
	uint64_t freed = 0;
	int r;

	if (c->n_args > 1 && parse_size(c->args[1], &target) < 0)
		return usage_error(c, "\"%s\" is not a size", c->args[1]);
	r = morsel_cache_prune(m, target, &freed, &c->err);
	return cache_freed(c, r, freed);
}

static int cache_verify(struct cli *c, struct morsel *m)
{
	int r;
	char *json;
	json_t *o;
	json_int_t damaged;

	r = morsel_cache_verify(m, &json, &c->err);
	progress_stop(c);
	if (r < 0)
		return fail(c, r);
	o = json_loads(json, 0, NULL);
	damaged = int_of(o, "damaged");
	json_decref(o);
	r = report(c, json, show_cache_items);
	if (damaged)
		fprintf(stderr,
			"morsel: %" PRId64
			" items of the cache were damaged and have been removed; they are fetched "
			"again when needed\n",
			(int64_t)damaged);
	return r ? r : damaged ? 6 : 0;
}

static int cache_run(struct cli *c, struct morsel *m)
{
	const char *what = c->args[0];
	uint64_t freed = 0;
	char *json;
	int r;

	if (!strcmp(what, "prune"))
		return cache_prune(c, m);
	if (!strcmp(what, "verify"))
		return cache_verify(c, m);
	if (!strcmp(what, "clear")) {
		r = morsel_cache_clear(m, &freed, &c->err);
		return cache_freed(c, r, freed);
	}
	if (!strcmp(what, "info")) {
		r = morsel_cache_info(m, &json, &c->err);
		return r < 0 ? fail(c, r) : report(c, json, show_cache_info);
	}
	r = morsel_cache_list(m, &json, &c->err);
	return r < 0 ? fail(c, r) : report(c, json, show_cache_items);
}

int cmd_cache(struct cli *c)
{
	static const char *const known[] = {"info", "ls", "verify", "clear", "prune"};
	bool found = false;
	struct morsel *m;
	int r;

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		found = found || !strcmp(c->args[0], known[i]);
	if (!found || (c->n_args > 1 && strcmp(c->args[0], "prune")))
		return usage_error(c, "usage: morsel cache %s", c->verb->usage);
	r = context_new(c, &m);
	if (r)
		return r;
	r = cache_run(c, m);
	context_free(m);
	return r;
}
