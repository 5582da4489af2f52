/* SPDX-License-Identifier: MIT */
#include "fs/supervisor.h"
#include "lib/context.h"

const char *morsel_handover_digest(const struct morsel_handover *h)
{
	return h->s.mounted ? h->s.image : NULL;
}

void morsel_supervise_options_init(struct morsel_supervise_options *o)
{
	*o = (struct morsel_supervise_options){.size = sizeof(*o)};
}

static void supervise_log(void *userdata, enum log_level level, const char *line)
{
	const struct morsel_supervise_options *o = userdata;

	o->log(o->userdata, (enum morsel_log_level)level, line);
}

int morsel_supervise(const struct morsel_supervise_options *o, int *ret_exit_code,
		     struct morsel_error *ret_err)
{
	struct error err = ERROR_INIT;
	struct morsel_supervise_options own;
	const struct log log = {.level = LOG_INFO, .write = supervise_log, .userdata = &own};
	struct supervise_params p;
	int r;

	morsel_supervise_options_init(&own);
	if (o->size <= sizeof(own))
		memcpy(&own, o, o->size);
	if (!own.serve) {
		r = error_set(&err, -EINVAL, "there is nothing to supervise");
		return error_publish(r, &err, ret_err);
	}
	p = (struct supervise_params){.seam = seam_real(),
				      .log = own.log ? &log : NULL,
				      .serve = own.serve,
				      .ready = own.ready,
				      .userdata = own.userdata};
	r = fs_supervise(&p, ret_exit_code, &err);
	return error_publish(r, &err, ret_err);
}
