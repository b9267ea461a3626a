/* SPDX-License-Identifier: MIT */
#include "cmd/prefix.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <glib-unix.h>

#include "agent/client/outlet.h"
#include "out.h"

struct way {
	struct prefix *prefix;
	struct outlet outlet;
	GString *pending;
	guint room;
	int error;
	bool terminal;
	const char *dim, *plain;
};

struct prefix {
	struct way ways[2];
	unsigned width; /* of the longest label */
	void (*room)(void *data);
	void *data;
};

static void write_out(struct way *w);

static gboolean on_room(gint fd, GIOCondition condition, gpointer data)
{
	struct way *w = data;

	w->room = 0;
	write_out(w);
	if (w->pending->len < PREFIX_PENDING)
		w->prefix->room(w->prefix->data);
	return G_SOURCE_REMOVE;
}

static void write_out(struct way *w)
{
	size_t done = 0;

	while (!w->error && done < w->pending->len) {
		ssize_t n =
			outlet_write(&w->outlet, w->pending->str + done, w->pending->len - done);

		if (n == 0)
			break;
		if (n < 0)
			w->error = (int)-n;
		else
			done += (size_t)n;
	}
	g_string_erase(w->pending, 0, w->error ? -1 : (gssize)done);
	if (w->pending->len > 0 && !w->room)
		w->room = g_unix_fd_add(outlet_fd(&w->outlet), G_IO_OUT, on_room, w);
}

/* On a terminal a guest's control characters could move the cursor into others' lines, or tell the terminal worse; a pipe or a
 * file gets the bytes as they are.  C1 are two bytes in UTF-8, 0xc2 and the control. */
static void append_shown(GString *s, const GString *line)
{
	for (gsize i = 0; i < line->len; i++) {
		unsigned char c = (unsigned char)line->str[i];
		unsigned char next = i + 1 < line->len ? (unsigned char)line->str[i + 1] : 0;

		if (c == '\r' && i + 1 == line->len)
			continue;
		if (c == 0xc2 && next >= 0x80 && next < 0xa0)
			i++;
		else if ((c >= 0x20 && c != 0x7f) || c == '\t') {
			g_string_append_c(s, (char)c);
			continue;
		}
		g_string_append_c(s, '?');
	}
}

static void put_line(struct prefix *p, struct way *w, const char *label, GString *line)
{
	g_string_append_printf(w->pending, "%s%-*s │%s ", w->dim, (int)p->width, label, w->plain);
	if (w->terminal)
		append_shown(w->pending, line);
	else
		g_string_append_len(w->pending, line->str, (gssize)line->len);
	g_string_append_c(w->pending, '\n');
	g_string_truncate(line, 0);
}

/* One line, or the piece of one that is there; returns how many bytes it took. */
static size_t add_line(struct prefix *p, struct way *w, const char *label, GString *line,
		       const char *text, size_t len)
{
	size_t most = MIN(len, PREFIX_LINE - line->len);
	const char *newline = memchr(text, '\n', most);
	size_t n = newline ? (size_t)(newline - text) : most;

	g_string_append_len(line, text, (gssize)n);
	if (newline || line->len == PREFIX_LINE)
		put_line(p, w, label, line);
	return n + (newline ? 1 : 0);
}

size_t prefix_add(struct prefix *p, const char *label, GString *line, unsigned stream,
		  const uint8_t *bytes, size_t len)
{
	struct way *w = &p->ways[stream];
	size_t taken = 0;

	if (w->error)
		return len;
	while (taken < len && w->pending->len < PREFIX_PENDING)
		taken += add_line(p, w, label, line, (const char *)bytes + taken, len - taken);
	write_out(w);
	return w->error ? len : taken;
}

void prefix_end(struct prefix *p, const char *label, GString *line, unsigned stream)
{
	if (line->len == 0)
		return;
	put_line(p, &p->ways[stream], label, line);
	write_out(&p->ways[stream]);
}

int prefix_error(const struct prefix *p)
{
	for (unsigned i = 0; i < 2; i++)
		if (p->ways[i].error && p->ways[i].error != EPIPE)
			return p->ways[i].error;
	return 0;
}

struct prefix *prefix_new(unsigned width, void (*room)(void *data), void *data)
{
	struct prefix *p = g_new0(struct prefix, 1);

	p->width = width;
	p->room = room;
	p->data = data;
	for (unsigned i = 0; i < 2; i++) {
		FILE *stream = i == 0 ? stdout : stderr;

		p->ways[i].prefix = p;
		p->ways[i].pending = g_string_new(NULL);
		p->ways[i].terminal = isatty(fileno(stream));
		p->ways[i].dim = out_style(stream, OUT_DIM);
		p->ways[i].plain = out_style(stream, OUT_PLAIN);
		outlet_init(&p->ways[i].outlet, fileno(stream));
	}
	return p;
}

void prefix_free(struct prefix *p)
{
	for (unsigned i = 0; p && i < 2; i++) {
		struct way *w = &p->ways[i];

		g_clear_handle_id(&w->room, g_source_remove);
		while (w->pending->len > 0 && !w->error) {
			struct pollfd ready = { .fd = outlet_fd(&w->outlet), .events = POLLOUT };

			(void)poll(&ready, 1, -1);
			g_clear_handle_id(&w->room, g_source_remove);
			write_out(w);
		}
		g_clear_handle_id(&w->room, g_source_remove);
		g_string_free(w->pending, TRUE);
		outlet_done(&w->outlet);
	}
	g_free(p);
}
