/* SPDX-License-Identifier: MIT */
/* The errors of one lab file, all of them, shaped so that editors jump to them:
 *
 *     lab.json:12:17: error: /vms/n2/nics/0/network: no network "lan2" (did you mean "lan1"?)
 *
 * Lines and columns count from 1; a column is a character (UTF-8 is decoded, a tab is one).  An error without a position
 * (the file cannot be read) has line 0 and prints as `lab.json: error: …`.
 */
#ifndef MODEL_ERRORS_H
#define MODEL_ERRORS_H

#include <glib.h>

/* Errors kept; beyond that they are only counted: a file of a million errors must not cost a gigabyte. */
#define LAB_ERRORS_MAX 1000

struct lab_error {
	unsigned offset;       /* byte in the file; the order of the list */
	unsigned line, column; /* line 0: no position */
	char *pointer; /* JSON pointer (RFC 6901) of the value or member; "" is the whole file */
	char *text;
};

struct lab_errors {
	char *file;         /* as the user named it */
	GPtrArray *list;    /* of struct lab_error, sorted by offset */
	unsigned n_dropped; /* beyond LAB_ERRORS_MAX */
};

struct lab_errors *lab_errors_new(const char *file);
void lab_errors_free(struct lab_errors *errors);

/* "lab.json:12:17: error: …\n" for each, as one string.  Free with g_free(). */
char *lab_errors_format(const struct lab_errors *errors);

/* The same as a GError of code ORCH_ERROR_INVALID_LAB (no trailing newline); always returns FALSE.  Consumes errors. */
gboolean lab_errors_to_gerror(struct lab_errors *errors, GError **error);
#endif
