/* SPDX-License-Identifier: MIT */
/* What the lab's own checks came to, for programs and people: TAP version 13 and JUnit's XML.  Pure.
 *
 * Output of a guest is text of a stranger: made valid for its format, and no more of it shown than REPORT_SHOWN bytes.
 */
#ifndef CMD_TESTREPORT_H
#define CMD_TESTREPORT_H

#include <stdbool.h>
#include <glib.h>

#define REPORT_SHOWN 4096

struct test_result {
	const char *name, *vm;
	const char *hint; /* NULL: none */
	char *command;    /* as a line for a shell */
	char *failure;    /* one line; NULL: it passed */
	bool broken;      /* it could not be run to its end, which is no verdict on the lab */
	char *out, *err;  /* what it wrote, valid UTF-8 */
	gint64 took_us;
};
void test_result_clear(struct test_result *r);

/* Bytes of a guest as text: invalid UTF-8 replaced, cut to its last REPORT_SHOWN bytes.  Caller frees. */
char *report_text(const guint8 *bytes, gsize len);

/* One test point, "ok 1 - name" and the YAML block of a failure; number from 1. */
void report_tap(GString *s, unsigned number, const struct test_result *r);
/* The whole document; results is an array of struct test_result. */
void report_junit(GString *s, const char *suite, const struct test_result *results, unsigned n,
		  gint64 took_us);

#endif
