/* SPDX-License-Identifier: MIT */
/* Files of traces and profiles, for src/prof/report.h. */
#include "morsel.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/context.h"
#include "lib/file_read.h"
#include "prof/report.h"

static int file_add(struct report *r, const char *path, struct error *err)
{
	_cleanup_(buf_fini) struct buf b = BUF_INIT_MAX(FILE_READ_MAX);
	int e = file_read(path, &b, err);

	return e < 0 ? e : report_add(r, path, b.data, b.len, err);
}

/* The fetches of the run whose reads these are: NULL when it is no trace of reads. */
static char *fetches_of(const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char *s;

	if (strncmp(name, "access_", 7) || !strstr(name, ".jsonl"))
		return NULL;
	return asprintf(&s, "%.*sfetches_%s", (int)(name - path), path, name + 7) < 0 ? NULL : s;
}

static bool is_given(const char *const *files, size_t n, const char *path)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(files[i], path))
			return true;
	return false;
}

/* Traces for other viewers are left out, so that a whole directory can be given; when there is
 * nothing else the last of them is the error. */
static int files_add(struct report *r, const char *const *files, size_t n, morsel_report_note *note,
		     void *userdata, struct error *ret_err)
{
	struct error left_out = ERROR_INIT, err = ERROR_INIT;
	int e = 0;

	for (size_t i = 0; i < n && e >= 0; i++) {
		_cleanup_(freep) char *fetches = fetches_of(files[i]);

		err = ERROR_INIT;
		e = file_add(r, files[i], &err);
		if (e == -ENOTSUP) {
			if (note && left_out.code)
				note(userdata, left_out.text);
			left_out = err;
			e = 0;
		} else if (e >= 0 && fetches && !is_given(files, n, fetches) &&
			   !access(fetches, R_OK))
			e = file_add(r, fetches, &err);
	}
	if (e >= 0 && !r->n_files) {
		e = -ENOTSUP;
		err = left_out;
	} else if (note && left_out.code)
		note(userdata, left_out.text);
	if (e < 0)
		*ret_err = err;
	return e;
}

int morsel_profile_report(const char *const *files, size_t n, enum morsel_report kind,
			  morsel_report_note *note, void *userdata, char **ret, size_t *ret_len,
			  struct morsel_error *ret_err)
{
	_cleanup_(report_fini) struct report r = REPORT_INIT;
	_cleanup_(buf_fini) struct buf b = BUF_INIT;
	struct error err = ERROR_INIT;
	int e = n ? files_add(&r, files, n, note, userdata, &err)
		  : error_set(&err, -EINVAL, "a report wants a trace or a profile");

	if (e >= 0)
		e = kind == MORSEL_REPORT_TEXT ? report_tables(&r, &b) : report_page(&r, &b);
	if (e >= 0 && !buf_str(&b))
		e = -ENOMEM;
	if (e < 0)
		return error_publish(e, &err, ret_err);
	*ret_len = b.len;
	*ret = (char *)steal_ptr(b.data);
	return 0;
}
