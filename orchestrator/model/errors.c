/* SPDX-License-Identifier: MIT */
#include "model/errors.h"

#include <string.h>

#include "err.h"
#include "model/jsontree.h"

/* Names of more characters than this are not compared: no valid name is longer. */
#define NEAREST_LEN_MAX 63
/* Candidates looked at per file; at 63x63 steps each that is well below a tenth of a second. */
#define NEAREST_BUDGET 20000

#define NO_OFFSET UINT32_MAX

static void error_free(void *data)
{
	struct lab_error *e = data;

	g_free(e->pointer);
	g_free(e->text);
	g_free(e);
}

struct lab_errors *lab_errors_new(const char *file)
{
	struct lab_errors *errors = g_new0(struct lab_errors, 1);

	errors->file = g_strdup(file);
	errors->list = g_ptr_array_new_with_free_func(error_free);
	return errors;
}

void lab_errors_free(struct lab_errors *errors)
{
	if (!errors)
		return;
	if (errors->line_starts)
		g_array_unref(errors->line_starts);
	g_free(errors->file);
	g_ptr_array_unref(errors->list);
	g_free(errors);
}

static void G_GNUC_PRINTF(4, 0) add(struct lab_errors *errors, uint32_t offset,
				    const struct jt_node *node, const char *format, va_list ap)
{
	struct lab_error *e;

	if (errors->list->len >= LAB_ERRORS_MAX) {
		errors->n_dropped++;
		return;
	}
	e = g_new0(struct lab_error, 1);
	e->offset = offset;
	e->pointer = node ? jt_pointer(node) : g_strdup("");
	e->text = g_strdup_vprintf(format, ap);
	g_ptr_array_add(errors->list, e);
}

void lab_error_at(struct lab_errors *errors, const struct jt_node *node, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add(errors, node->offset, node, format, ap);
	va_end(ap);
}

void lab_error_at_key(struct lab_errors *errors, const struct jt_node *node, const char *format,
		      ...)
{
	va_list ap;

	va_start(ap, format);
	add(errors, node->key ? node->key_offset : node->offset, node, format, ap);
	va_end(ap);
}

void lab_error_at_offset(struct lab_errors *errors, uint32_t offset, const struct jt_node *node,
			 const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add(errors, offset, node, format, ap);
	va_end(ap);
}

void lab_error_of_file(struct lab_errors *errors, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	add(errors, NO_OFFSET, NULL, format, ap);
	va_end(ap);
}

/* By place, and at one place in the order of discovery: g_ptr_array_sort() is stable. */
static int compare(const void *a, const void *b)
{
	const struct lab_error *const *x = a, *const *y = b;

	return ((*x)->offset > (*y)->offset) - ((*x)->offset < (*y)->offset);
}

void lab_errors_set_text(struct lab_errors *errors, const char *text, size_t len)
{
	errors->text = text;
	errors->len = len;
}

/* One pass over the text serves all errors: they are sorted. */
void lab_errors_locate(struct lab_errors *errors)
{
	const char *text = errors->text;
	size_t i = text && g_str_has_prefix(text, "\xef\xbb\xbf") ? 3 : 0;
	unsigned line = 1, column = 1;

	g_ptr_array_sort(errors->list, compare);
	for (unsigned n = 0; n < errors->list->len; n++) {
		struct lab_error *e = errors->list->pdata[n];

		if (e->offset == NO_OFFSET)
			break;
		while (i < e->offset && i < errors->len) {
			gunichar c = g_utf8_get_char_validated(text + i, (gssize)(errors->len - i));

			/* Bytes that are no character are one column each. */
			i += c >= (gunichar)-2 ? 1 : (size_t)g_unichar_to_utf8(c, NULL);
			line += c == '\n';
			column = c == '\n' ? 1 : column + 1;
		}
		e->line = line;
		e->column = column;
	}
	errors->text = NULL;
}

static void find_lines(struct lab_errors *errors)
{
	uint32_t start;

	errors->line_starts = g_array_new(FALSE, FALSE, sizeof(uint32_t));
	for (const char *p = errors->text; p;) {
		start = (uint32_t)(p - errors->text);
		g_array_append_val(errors->line_starts, start);
		p = memchr(p, '\n', errors->len - start);
		p = p ? p + 1 : NULL;
	}
}

/* The number of lines that start at or before the byte. */
unsigned lab_errors_line(struct lab_errors *errors, uint32_t offset)
{
	unsigned low = 0, high;

	if (!errors->line_starts)
		find_lines(errors);
	high = errors->line_starts->len;
	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (g_array_index(errors->line_starts, uint32_t, middle) <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void format_one(const struct lab_errors *errors, const struct lab_error *e, GString *out)
{
	g_string_append(out, errors->file);
	if (e->line > 0)
		g_string_append_printf(out, ":%u:%u", e->line, e->column);
	g_string_append(out, ": error: ");
	if (e->pointer[0] != '\0')
		g_string_append_printf(out, "%s: ", e->pointer);
	g_string_append(out, e->text);
	g_string_append_c(out, '\n');
}

char *lab_errors_format(const struct lab_errors *errors)
{
	GString *out = g_string_new(NULL);

	for (unsigned i = 0; i < errors->list->len; i++)
		format_one(errors, errors->list->pdata[i], out);
	if (errors->n_dropped > 0)
		g_string_append_printf(out, "%s: error: and %u more errors\n", errors->file,
				       errors->n_dropped);
	return g_string_free(out, FALSE);
}

gboolean lab_errors_to_gerror(struct lab_errors *errors, GError **error)
{
	g_autofree char *text = lab_errors_format(errors);

	g_set_error_literal(error, ORCH_ERROR, ORCH_ERROR_INVALID_LAB, g_strchomp(text));
	lab_errors_free(errors);
	return FALSE;
}

/* Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.  Lengths are at most
 * NEAREST_LEN_MAX. */
static unsigned distance(const char *a, size_t la, const char *b, size_t lb)
{
	unsigned row[3][NEAREST_LEN_MAX + 1];
	unsigned *before = row[0], *last = row[1], *now = row[2];

	for (unsigned j = 0; j <= lb; j++)
		last[j] = j;
	for (unsigned i = 1; i <= la; i++) {
		unsigned *spare = before;

		now[0] = i;
		for (unsigned j = 1; j <= lb; j++) {
			unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

			best = MIN(best, MIN(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				best = MIN(best, before[j - 2] + 1);
			now[j] = best;
		}
		before = last;
		last = now;
		now = spare;
	}
	return last[lb];
}

const char *lab_errors_nearest(struct lab_errors *errors, const char *name,
			       const char *const *candidates, unsigned n)
{
	size_t len = strlen(name);
	const char *best = NULL;
	unsigned best_distance = UINT_MAX;

	if (len == 0 || len > NEAREST_LEN_MAX)
		return NULL;
	for (unsigned i = 0; i < n && errors->n_candidates < NEAREST_BUDGET; i++) {
		size_t clen = strlen(candidates[i]);
		unsigned limit = (unsigned)(MAX(len, clen) + 2) / 3, d;

		errors->n_candidates++;
		if (clen > NEAREST_LEN_MAX)
			continue;
		d = distance(name, len, candidates[i], clen);
		if (d > limit && len >= 2 && g_str_has_prefix(candidates[i], name))
			d = limit;
		/* Names that have nothing in common are not near, however short. */
		if (d <= limit && d < MAX(len, clen) && d < best_distance) {
			best = candidates[i];
			best_distance = d;
		}
	}
	return best;
}
