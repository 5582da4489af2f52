/* SPDX-License-Identifier: MIT */
/*
 * A profile for a Pyroscope server: POST /ingest with a form of two parts, the profile and what its
 * sample types mean.
 */
#include <stdio.h>

#include "lib/context.h"
#include "lib/file_read.h"
#include "registry/post.h"

/* Longer than chance could make it stand in a compressed profile. */
#define BOUNDARY "morsel-5c7d1e40-9b1f-4a2c-8f6e-2d0b7a93c1e8"

/* Of all our profiles; a server looks up those that it finds in one. */
static const char types[] =
	"{\"samples\":{\"units\":\"samples\",\"sampled\":true},"
	"\"cpu\":{\"units\":\"nanoseconds\",\"sampled\":true},"
	"\"time\":{\"units\":\"nanoseconds\",\"sampled\":true},"
	"\"alloc_objects\":{\"units\":\"objects\"},\"alloc_space\":{\"units\":\"bytes\"},"
	"\"inuse_objects\":{\"units\":\"objects\",\"aggregation\":\"average\"},"
	"\"inuse_space\":{\"units\":\"bytes\",\"aggregation\":\"average\"},"
	"\"opens\":{\"units\":\"objects\"},\"reads\":{\"units\":\"objects\"},"
	"\"bytes\":{\"units\":\"bytes\"},\"fetched_bytes\":{\"units\":\"bytes\"},"
	"\"wait\":{\"units\":\"nanoseconds\"}}";

static int part_append(struct buf *form, const char *name, const char *file, const char *type,
		       const void *data, size_t n)
{
	int r = buf_printf(form,
			   "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"; "
			   "filename=\"%s\"\r\nContent-Type: %s\r\n\r\n",
			   name, file, type);

	if (r >= 0)
		r = buf_append(form, data, n);
	return r < 0 ? r : buf_append_str(form, "\r\n");
}

static int form_make(const struct buf *profile, struct buf *form)
{
	int r = part_append(form, "profile", "profile.pprof", "application/octet-stream",
			    profile->data, profile->len);

	if (r >= 0)
		r = part_append(form, "sample_type_config", "sample_type_config.json",
				"application/json", types, strlen(types));
	return r < 0 ? r : buf_append_str(form, "--" BOUNDARY "--\r\n");
}

int morsel_profile_send(const char *url, const char *name, const char *file, int64_t from_s,
			int64_t until_s, struct morsel_error *ret_err)
{
	_cleanup_(buf_fini) struct buf profile = BUF_INIT_MAX(FILE_READ_MAX), form = BUF_INIT;
	struct error err = ERROR_INIT;
	char from[24], until[24];
	const char *const query[] = {"name",	   name,     "from",  from,	 "until",
				     until,	   "format", "pprof", "spyName", "morsel",
				     "sampleRate", "100",    NULL};
	struct post p = {.seam = seam_real(),
			 .user_agent = "morsel/" MORSEL_VERSION,
			 .url = url,
			 .path = "/ingest",
			 .query = query,
			 .content_type = "multipart/form-data; boundary=" BOUNDARY};
	int r = file ? file_read(file, &profile, &err) : 0;

	snprintf(from, sizeof(from), "%lld", (long long)from_s);
	snprintf(until, sizeof(until), "%lld", (long long)until_s);
	if (r >= 0 && file)
		r = form_make(&profile, &form);
	p.body = form.data;
	p.body_len = form.len;
	if (r >= 0)
		r = post_send(&p, &err);
	return error_publish(r, &err, ret_err);
}
