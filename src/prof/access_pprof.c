/* SPDX-License-Identifier: MIT */
/* Paths as stacks: each component is a frame, a directory's with its slash. */
#include "prof/pprof.h"
#include "prof/trace_write.h"

#include <stdio.h>

#define DEPTH_MAX 64 /* deeper ones end in the whole rest of the path */
#define MAPPING 1

static const struct pprof_type types[] = {{"opens", "count"},
					  {"reads", "count"},
					  {"bytes", "bytes"},
					  {"fetched_bytes", "bytes"},
					  {"wait", "nanoseconds"}};

/* "/usr/bin/env" -> "env", "bin/", "usr/", "/": leaf first. */
static size_t path_frames(struct pprof *p, const char *path, uint64_t ret[static DEPTH_MAX])
{
	uint64_t frames[DEPTH_MAX];
	char name[4096], whole[4096];
	const char *at = path;
	size_t n = 0;

	while (*at && n < DEPTH_MAX) {
		size_t len = n == DEPTH_MAX - 1 ? strlen(at) : strcspn(at, "/");

		len += at[len] == '/';
		snprintf(name, sizeof(name), "%.*s", (int)len, at);
		at += len;
		snprintf(whole, sizeof(whole), "%.*s", (int)(at - path), path);
		frames[n++] = pprof_frame(p, MAPPING, name, whole, whole);
	}
	for (size_t i = 0; i < n; i++)
		ret[i] = frames[n - 1 - i];
	return n;
}

static const char *path_of(const struct access_row *row, const struct trace_names *names)
{
	if (row->ino)
		return names->path(names->userdata, row->image, row->ino);
	return row->prefetch ? "(prefetch)" : "(other)";
}

static void row_put(struct pprof *p, const struct access_row *row, const struct trace_names *names)
{
	const int64_t values[] = {(int64_t)row->opens, (int64_t)row->reads, (int64_t)row->bytes,
				  (int64_t)row->fetched_bytes, (int64_t)row->wait_ns};
	uint64_t frames[DEPTH_MAX], dev_off;
	struct pprof_label labels[5];
	struct process who = {0};
	size_t n_labels = 0;
	uint32_t layer;

	labels[n_labels++] = (struct pprof_label){.key = "image",
						  .str = names->image(names->userdata, row->image)};
	labels[n_labels++] = (struct pprof_label){.key = "op",
						  .str = row->ino	 ? "read"
							 : row->prefetch ? "prefetch"
									 : "other"};
	if (row->ino && names->where(names->userdata, row->image, row->ino, 0, &layer, &dev_off))
		labels[n_labels++] = (struct pprof_label){
			.key = "layer", .str = names->layer(names->userdata, row->image, layer)};
	if (row->ino)
		names->process(names->userdata, row->process, &who);
	if (who.pid) {
		labels[n_labels++] = (struct pprof_label){.key = "pid", .num = who.pid};
		labels[n_labels++] = (struct pprof_label){.key = "command", .str = who.command};
	}
	pprof_sample(p, frames, path_frames(p, path_of(row, names), frames), values, labels,
		     n_labels);
}

int access_write_pprof(const struct access_row *rows, size_t n, const struct trace_names *names,
		       int64_t start_ns, int64_t duration_ns, struct buf *ret)
{
	const struct pprof_options o = {.types = types,
					.n_types = ARRAY_SIZE(types),
					.default_type = "wait",
					.time_ns = start_ns,
					.duration_ns = duration_ns};
	_cleanup_(pprof_freep) struct pprof *p = NULL;
	int r = pprof_new(&o, &p);

	if (r < 0)
		return r;
	pprof_mapping(p, &(struct pprof_mapping){.id = MAPPING,
						 .file = "morsel",
						 .has_functions = true,
						 .has_filenames = true});
	for (size_t i = 0; i < n; i++)
		row_put(p, &rows[i], names);
	return pprof_finish(p, ret);
}
