/* SPDX-License-Identifier: MIT */
/* Traces of strangers, and what is made of them. */
#include "prof/report.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf text = BUF_INIT, page = BUF_INIT;
	struct report r = REPORT_INIT;
	struct error err = ERROR_INIT;

	if (report_add(&r, "access_x.jsonl", data, size, &err) >= 0) {
		assert(report_tables(&r, &text) >= 0);
		assert(report_page(&r, &page) >= 0);
	}
	buf_fini(&text);
	buf_fini(&page);
	report_fini(&r);
	return 0;
}
