/* SPDX-License-Identifier: MIT */
#include "cmd/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "model/lab.h"
#include "out.h"
#include "run/json.h"
#include "run/logfile.h"

#define REDRAW_MS     100
#define LAST_LINE_MAX 200

struct progress *progress_new(const struct lab *lab, const struct lab_paths *paths)
{
	struct progress *p = g_new0(struct progress, 1);

	p->lab = lab;
	p->live = out_is_terminal(stderr);
	p->rows = g_array_new(FALSE, TRUE, sizeof(struct progress_row));
	for (guint i = 0; i < lab->vms->len; i++) {
		const struct vm *vm = lab_vm(lab, i);
		struct progress_row row = {
			.name = vm->name,
			.console_log = lab_paths_vm(paths, i)->console_log,
			.stage = STAGE_PLANNED,
		};

		row.console_from = logfile_size(row.console_log);
		g_array_append_val(p->rows, row);
		p->name_width = MAX(p->name_width, (int)strlen(vm->name));
	}
	return p;
}

static struct progress_row *row_at(const struct progress *p, guint i)
{
	return &g_array_index(p->rows, struct progress_row, i);
}

static struct progress_row *find_row(const struct progress *p, const char *name)
{
	for (guint i = 0; i < p->rows->len; i++)
		if (g_strcmp0(row_at(p, i)->name, name) == 0)
			return row_at(p, i);
	return NULL;
}

char *progress_last_line(const struct progress_row *row)
{
	return logfile_last_line(row->console_log, row->console_from, LAST_LINE_MAX);
}

static enum out_style style_of(enum stage stage)
{
	if (stage == STAGE_READY)
		return OUT_GOOD;
	if (stage == STAGE_FAILED)
		return OUT_BAD;
	return stage == STAGE_PLANNED || stage == STAGE_STOPPED ? OUT_DIM : OUT_PLAIN;
}

/* One row as one line of at most 'width' characters. */
static void print_row(const struct progress *p, const struct progress_row *row, int width)
{
	gint64 us = row->took_us ? row->took_us : g_get_monotonic_time() - row->begun_us;
	g_autofree char *elapsed = row->begun_us ? out_elapsed(us) : g_strdup("-");
	g_autofree char *last = stage_on_its_way(row->stage) ? progress_last_line(row) : NULL;
	int left = width - p->name_width - 11 - 7 - 6;
	g_autofree char *shown =
		last && left > 0 ? g_utf8_substring(last, 0, MIN(left, g_utf8_strlen(last, -1))) :
				   g_strdup("");

	fprintf(stderr, "%-*s  %s%-11s%s  %7s%s%s%s%s\n", p->name_width, row->name,
		out_style(stderr, style_of(row->stage)), stage_word(row->stage),
		out_style(stderr, OUT_PLAIN), elapsed, *shown ? "  " : "",
		*shown ? out_style(stderr, OUT_DIM) : "", shown,
		*shown ? out_style(stderr, OUT_PLAIN) : "");
}

static void screen_size(int *ret_lines, int *ret_columns)
{
	struct winsize size;

	*ret_lines = 24;
	*ret_columns = 80;
	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 3 && size.ws_col > 20) {
		*ret_lines = size.ws_row;
		*ret_columns = size.ws_col;
	}
}

static void erase(struct progress *p)
{
	if (p->drawn)
		fprintf(stderr, "\033[%uA\033[J", p->drawn);
	p->drawn = 0;
}

/* A lab of more VMs than the screen has lines shows those that are under way, and counts the others. */
static void draw(struct progress *p)
{
	int lines, columns;
	unsigned hidden = 0, room;
	bool all;

	erase(p);
	screen_size(&lines, &columns);
	room = (unsigned)lines - 2;
	all = p->rows->len <= room;
	for (guint i = 0; i < p->rows->len; i++) {
		const struct progress_row *row = row_at(p, i);

		if (!all && (p->drawn >= room || !stage_on_its_way(row->stage))) {
			hidden++;
			continue;
		}
		print_row(p, row, columns);
		p->drawn++;
	}
	if (hidden) {
		unsigned ready = 0;

		for (guint i = 0; i < p->rows->len; i++)
			ready += row_at(p, i)->stage == STAGE_READY;
		fprintf(stderr, "%u of %u ready\n", ready, p->rows->len);
		p->drawn++;
	}
	fflush(stderr);
}

static gboolean redraw(gpointer data)
{
	draw(data);
	return G_SOURCE_CONTINUE;
}

void progress_begin(struct progress *p, struct json_object *report)
{
	struct json_object *vms = json_member(report, "vms", json_type_array);

	for (size_t i = 0; vms && i < json_object_array_length(vms); i++) {
		struct json_object *o = json_object_array_get_idx(vms, i);
		struct progress_row *row = find_row(p, json_str(o, "name"));
		enum stage stage = stage_from_word(json_str(o, "stage"));
		int64_t uptime = json_int(o, "uptime-ms", -1);

		if (!row || stage == STAGE_COUNT)
			continue;
		/* What failed or was stopped before is only planned now. */
		row->stage = stage == STAGE_FAILED || stage == STAGE_STOPPED ? STAGE_PLANNED :
									       stage;
		if (uptime < 0)
			continue;
		row->begun_us = g_get_monotonic_time() - uptime * 1000;
		row->took_us = stage == STAGE_READY ? json_int(o, "ready-after-ms", 0) * 1000 : 0;
		if (stage != STAGE_READY)
			row->console_from = 0;
	}
	if (!p->live)
		return;
	draw(p);
	p->timer = g_timeout_add(REDRAW_MS, redraw, p);
}

void progress_event(struct progress *p, struct json_object *event)
{
	const char *kind = json_str(event, "kind"), *subject = json_str(event, "subject");
	const char *text = json_str(event, "text");
	enum stage stage = stage_from_word(json_str(event, "stage"));
	int64_t elapsed = json_int(event, "elapsed-ms", 0);
	struct progress_row *row = find_row(p, subject);

	if (kind && strcmp(kind, "network") == 0 && text) {
		progress_say(p, "network %s: %s", subject, text);
		return;
	}
	if (!row || stage == STAGE_COUNT || !kind || strcmp(kind, "vm") != 0)
		return;
	row->stage = stage;
	row->begun_us = g_get_monotonic_time() - elapsed * 1000;
	row->took_us = stage_on_its_way(stage) ? 0 : MAX(elapsed * 1000, 1);
	if (p->live)
		draw(p);
	else
		print_row(p, row, LAST_LINE_MAX);
}

void progress_say(struct progress *p, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	erase(p);
	fprintf(stderr, "%s\n", text);
	if (p->live && p->timer)
		draw(p);
}

void progress_end(struct progress *p)
{
	if (!p->timer)
		return;
	g_source_remove(p->timer);
	p->timer = 0;
	draw(p);
	p->drawn = 0;
}

void progress_free(struct progress *p)
{
	if (!p)
		return;
	progress_end(p);
	g_array_unref(p->rows);
	g_free(p);
}
