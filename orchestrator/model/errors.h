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
#include <stdbool.h>
#include <stdint.h>

struct jt_node;

/* Errors kept; beyond that they are only counted: a file of a million errors must not cost a gigabyte. */
#define LAB_ERRORS_MAX 1000

struct lab_error {
	uint32_t offset;       /* byte in the file; the order of the list */
	unsigned line, column; /* line 0: no position */
	char *pointer; /* JSON pointer (RFC 6901) of the value or member; "" is the whole file */
	char *text;
};

struct lab_errors {
	char *file;            /* as the user named it */
	GPtrArray *list;       /* of struct lab_error, in the order of the file */
	unsigned n_dropped;    /* beyond LAB_ERRORS_MAX */
	unsigned n_candidates; /* looked at so far: see lab_errors_nearest() */
	const char *text;      /* borrowed: see lab_errors_set_text() */
	size_t len;
	GArray *line_starts; /* of uint32_t; made when first needed */
};

struct lab_errors *lab_errors_new(const char *file);
void lab_errors_free(struct lab_errors *errors);

static inline unsigned lab_errors_count(const struct lab_errors *errors)
{
	return errors->list->len + errors->n_dropped;
}

/* "lab.json:12:17: error: …\n" for each, as one string.  Free with g_free(). */
char *lab_errors_format(const struct lab_errors *errors);

/* The same as a GError of code ORCH_ERROR_INVALID_LAB (no newline at the end); always returns FALSE.  Consumes errors. */
gboolean lab_errors_to_gerror(struct lab_errors *errors, GError **error);

/* --- for the modules that find errors ------------------------------------------------------------------------------- */

/* An error at the value, or at the key of a member. */
void lab_error_at(struct lab_errors *errors, const struct jt_node *node, const char *format, ...)
	G_GNUC_PRINTF(3, 4);
void lab_error_at_key(struct lab_errors *errors, const struct jt_node *node, const char *format,
		      ...) G_GNUC_PRINTF(3, 4);
/* At a byte, inside `node` (NULL: the root). */
void lab_error_at_offset(struct lab_errors *errors, uint32_t offset, const struct jt_node *node,
			 const char *format, ...) G_GNUC_PRINTF(4, 5);
/* Without a position. */
void lab_error_of_file(struct lab_errors *errors, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* The text that offsets mean from now on; borrowed until lab_errors_locate() or lab_errors_free(). */
void lab_errors_set_text(struct lab_errors *errors, const char *text, size_t len);

/* Sort by offset and fill in lines and columns.  Call once, when all errors are known and the text is still there. */
void lab_errors_locate(struct lab_errors *errors);

/* The line of one byte, for messages that point back ("first on line 8"). */
unsigned lab_errors_line(struct lab_errors *errors, uint32_t offset);

/* The nearest of the candidates to a misspelt name, or NULL where none is near enough: edit distance (with swaps) of at
 * most a third of the length, or the name is the beginning of a candidate.  NULL also once the file has used up its share
 * of such searches: they are quadratic, and a file may be all mistakes. */
const char *lab_errors_nearest(struct lab_errors *errors, const char *name,
			       const char *const *candidates, unsigned n);

#endif
