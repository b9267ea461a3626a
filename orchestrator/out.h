/* SPDX-License-Identifier: MIT */
/* What the orchestrator says: data on stdout, progress and complaints on stderr, never mixed.
 *
 * Colour only where a person looks: the stream is a terminal, NO_COLOR is unset or empty, TERM is not "dumb".
 * Write errors on stdout (a full disk behind a redirection) are not lost: out_finish() reports them.
 *
 * Threads: main thread only.
 */
#ifndef ORCH_OUT_H
#define ORCH_OUT_H

#include <stdbool.h>
#include <stdio.h>
#include <glib.h>

struct json_object;

enum out_style { OUT_PLAIN, OUT_BOLD, OUT_DIM, OUT_GOOD, OUT_WARN, OUT_BAD, OUT_STYLE_COUNT };

/* One line on stderr, newline added: "orchestrator: error: …", "orchestrator: warning: …", or the bare text. */
void out_error(const char *format, ...) G_GNUC_PRINTF(1, 2);
void out_warning(const char *format, ...) G_GNUC_PRINTF(1, 2);
void out_info(const char *format, ...) G_GNUC_PRINTF(1, 2);

/* Whether 'stream' is a terminal on which lines may be redrawn, and whether it takes colour. */
bool out_is_terminal(FILE *stream);
bool out_has_colour(FILE *stream);

/* The escape that starts 'style' on 'stream', "" without colour.  OUT_PLAIN ends any style. */
const char *out_style(FILE *stream, enum out_style style);

/* Print 'object' indented, with a newline, on stdout; takes the reference. */
void out_json(struct json_object *object);
/* The same on one line: a record of a stream (NDJSON).  Flushes, so that a reader sees it at once. */
void out_json_line(struct json_object *object);

/* A table for people: columns as wide as their widest cell (counted in characters, not bytes). */
struct out_table;
struct out_table *out_table_new(const char *const *headings, unsigned n_columns);
void out_table_free(struct out_table *t);
/* One row of n_columns cells, copied; a NULL cell is shown as "-". */
void out_table_row(struct out_table *t, const char *const *cells);
/* Style of one cell of the last row. */
void out_table_style(struct out_table *t, unsigned column, enum out_style style);
void out_table_print(const struct out_table *t, FILE *stream);

/* Elapsed time for people: "0.4s", "12.3s", "2m05s", "3h12m", "5d04h".  Caller frees. */
char *out_elapsed(gint64 microseconds);

/* Flush stdout.  False, with *error set, if any of it could not be written. */
gboolean out_finish(GError **error);

#endif
