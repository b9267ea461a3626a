/* SPDX-License-Identifier: MIT */
#include "out.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <json-c/json.h>

#include "err.h"

static const char *const style_escape[OUT_STYLE_COUNT] = {
	[OUT_PLAIN] = "\033[0m", [OUT_BOLD] = "\033[1m",  [OUT_DIM] = "\033[2m",
	[OUT_GOOD] = "\033[32m", [OUT_WARN] = "\033[33m", [OUT_BAD] = "\033[31m",
};

bool out_is_terminal(FILE *stream)
{
	const char *term = getenv("TERM");

	return isatty(fileno(stream)) && term && strcmp(term, "dumb") != 0;
}

bool out_has_colour(FILE *stream)
{
	const char *no = getenv("NO_COLOR");

	return out_is_terminal(stream) && !(no && *no);
}

const char *out_style(FILE *stream, enum out_style style)
{
	return out_has_colour(stream) ? style_escape[style] : "";
}

static G_GNUC_PRINTF(3, 0) void say(enum out_style style, const char *kind, const char *format,
				    va_list ap)
{
	g_autofree char *text = g_strdup_vprintf(format, ap);

	fflush(stdout); /* so that both streams in one file keep their order */
	if (kind)
		fprintf(stderr, "orchestrator: %s%s:%s %s\n", out_style(stderr, style), kind,
			out_style(stderr, OUT_PLAIN), text);
	else
		fprintf(stderr, "%s\n", text);
}

void out_error(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(OUT_BAD, "error", format, ap);
	va_end(ap);
}

void out_warning(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(OUT_WARN, "warning", format, ap);
	va_end(ap);
}

void out_info(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	say(OUT_PLAIN, NULL, format, ap);
	va_end(ap);
}

void out_json(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PRETTY |
							    JSON_C_TO_STRING_SPACED |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
}

void out_json_line(struct json_object *object)
{
	puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN |
							    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(object);
	fflush(stdout);
}

struct cell {
	char *text;
	enum out_style style;
};

struct out_table {
	unsigned n_columns;
	GArray *cells; /* of struct cell, row after row; the first row is the headings */
};

static void cell_clear(void *p)
{
	g_free(((struct cell *)p)->text);
}

struct out_table *out_table_new(const char *const *headings, unsigned n_columns)
{
	struct out_table *t = g_new0(struct out_table, 1);

	t->n_columns = n_columns;
	t->cells = g_array_new(FALSE, FALSE, sizeof(struct cell));
	g_array_set_clear_func(t->cells, cell_clear);
	out_table_row(t, headings);
	for (unsigned i = 0; i < n_columns; i++)
		out_table_style(t, i, OUT_BOLD);
	return t;
}

void out_table_free(struct out_table *t)
{
	if (!t)
		return;
	g_array_unref(t->cells);
	g_free(t);
}

void out_table_row(struct out_table *t, const char *const *cells)
{
	for (unsigned i = 0; i < t->n_columns; i++) {
		struct cell c = { .text = g_strdup(cells[i] ? cells[i] : "-"), .style = OUT_PLAIN };

		g_array_append_val(t->cells, c);
	}
}

void out_table_style(struct out_table *t, unsigned column, enum out_style style)
{
	g_assert(column < t->n_columns);
	g_array_index(t->cells, struct cell, t->cells->len - t->n_columns + column).style = style;
}

static glong text_width(const char *text)
{
	return g_utf8_validate(text, -1, NULL) ? g_utf8_strlen(text, -1) : (glong)strlen(text);
}

/* Whether nothing but empty cells follows in that cell's row: no line ends in blanks. */
static bool rest_is_empty(const struct out_table *t, unsigned i)
{
	bool empty = true;

	for (unsigned j = i + 1; j % t->n_columns != 0; j++)
		empty &= !*g_array_index(t->cells, struct cell, j).text;
	return empty;
}

void out_table_print(const struct out_table *t, FILE *stream)
{
	g_autofree glong *width = g_new0(glong, t->n_columns);

	for (unsigned i = 0; i < t->cells->len; i++) {
		glong w = text_width(g_array_index(t->cells, struct cell, i).text);

		width[i % t->n_columns] = MAX(width[i % t->n_columns], w);
	}
	for (unsigned i = 0; i < t->cells->len; i++) {
		const struct cell *c = &g_array_index(t->cells, struct cell, i);
		unsigned column = i % t->n_columns;
		bool last = rest_is_empty(t, i);
		bool styled = c->style != OUT_PLAIN;

		fprintf(stream, "%s%s%s", styled ? out_style(stream, c->style) : "", c->text,
			styled ? out_style(stream, OUT_PLAIN) : "");
		if (column + 1 == t->n_columns)
			fputc('\n', stream);
		else if (!last)
			fprintf(stream, "%*s", (int)(width[column] - text_width(c->text)) + 2, "");
	}
}

char *out_elapsed(gint64 microseconds)
{
	gint64 s = microseconds / G_USEC_PER_SEC;

	if (s < 60)
		return g_strdup_printf("%.1fs", (double)microseconds / G_USEC_PER_SEC);
	if (s < 3600)
		return g_strdup_printf("%dm%02ds", (int)(s / 60), (int)(s % 60));
	if (s < 86400)
		return g_strdup_printf("%dh%02dm", (int)(s / 3600), (int)(s / 60 % 60));
	return g_strdup_printf("%dd%02dh", (int)(s / 86400), (int)(s / 3600 % 24));
}

gboolean out_finish(GError **error)
{
	/* ferror() remembers an earlier write that failed; fflush() alone does not. */
	int failed = ferror(stdout);

	errno = 0;
	if (fflush(stdout) == 0 && !failed)
		return TRUE;
	err_set_errno(error, ORCH_ERROR_FAILED, errno ? errno : EIO,
		      "cannot write to standard output");
	return FALSE;
}
