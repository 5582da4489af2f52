/* SPDX-License-Identifier: MIT */
/* A profile of strangers: what is read must hold together. */
#include "prof/pprof_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	volatile size_t bytes = 0;
	struct profile p;

	if (profile_read(data, size, "input", &p, &err) >= 0) {
		assert(p.n_types && p.n_types <= PROFILE_TYPES_MAX && p.default_type < p.n_types);
		for (size_t i = 0; i < p.n_stacks; i++) {
			assert(p.stacks[i].first + p.stacks[i].n <= p.n_frames);
			for (size_t k = 0; k < p.stacks[i].n; k++)
				bytes += strlen(p.names[p.frames[p.stacks[i].first + k]]);
		}
		for (size_t i = 0; i < p.n_types; i++)
			bytes += strlen(p.types[i].type) + strlen(p.types[i].unit);
	}
	profile_fini(&p);
	return 0;
}
