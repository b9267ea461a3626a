/* SPDX-License-Identifier: MIT */
#include "run/jsonline.h"
#include "run/json.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib-unix.h>
#include <json-c/json.h>

#define READ_SIZE 16384
/* What one wakeup reads from one stream before the others get their turn. */
#define READS_PER_WAKEUP 16

struct jsonline {
	unsigned refs; /* the owner's, and one for each callback under way */
	int fd;        /* -1: freed */
	size_t max_line, max_queue;
	const struct jsonline_ops *ops;
	void *data;
	GByteArray *in, *out;
	size_t out_done; /* bytes of 'out' that the kernel has */
	guint in_source, out_source;
	guint end_source; /* the end has been found, closed() is due */
	char *end_why;
	gboolean ended;
	struct json_tokener *tokener;
};

static void unref(struct jsonline *s)
{
	if (--s->refs > 0)
		return;
	json_tokener_free(s->tokener);
	g_byte_array_unref(s->in);
	g_byte_array_unref(s->out);
	g_free(s->end_why);
	g_free(s);
}

static void remove_source(guint *id)
{
	if (*id)
		g_source_remove(*id);
	*id = 0;
}

static gboolean tell_end(gpointer p)
{
	struct jsonline *s = p;

	s->end_source = 0;
	s->refs++;
	s->ops->closed(s, s->end_why, s->data);
	unref(s);
	return G_SOURCE_REMOVE;
}

/* Stop reading and writing; closed() follows from the main loop. */
static void end(struct jsonline *s, const char *why)
{
	if (s->ended)
		return;
	s->ended = TRUE;
	s->end_why = g_strdup(why);
	remove_source(&s->in_source);
	remove_source(&s->out_source);
	s->end_source = g_idle_add_full(G_PRIORITY_DEFAULT, tell_end, s, NULL);
}

static void bad(struct jsonline *s, const char *why)
{
	if (!s->ops->bad)
		end(s, why);
	else
		s->ops->bad(s, why, s->data);
}

static void take_line(struct jsonline *s, const char *line, size_t len)
{
	struct json_object *object;

	if (len > 0 && line[len - 1] == '\r')
		len--;
	if (memchr(line, '\0', len)) {
		bad(s, "a NUL byte");
		return;
	}
	json_tokener_reset(s->tokener);
	object = json_tokener_parse_ex(s->tokener, line, (int)len);
	if (json_tokener_get_error(s->tokener) == json_tokener_continue)
		bad(s, len ? "a value that does not end on its line" : "an empty line");
	else if (json_tokener_get_error(s->tokener) != json_tokener_success)
		bad(s, json_tokener_error_desc(json_tokener_get_error(s->tokener)));
	else if (json_tokener_get_parse_end(s->tokener) != len)
		bad(s, "something after the value");
	else if (!json_object_is_type(object, json_type_object))
		bad(s, "not an object");
	else
		s->ops->object(s, object, s->data);
	json_object_put(object);
}

/* Every whole line in the buffer; stops when a callback has freed or ended the stream. */
static void take_lines(struct jsonline *s, size_t scan_from)
{
	size_t start = 0;

	while (s->fd >= 0 && !s->ended) {
		const char *base = (const char *)s->in->data;
		const char *newline = scan_from < s->in->len ? memchr(base + scan_from, '\n',
								      s->in->len - scan_from) :
							       NULL;
		size_t line_end;

		if (!newline)
			break;
		line_end = (size_t)(newline - base);
		if (line_end - start > s->max_line) {
			end(s, "a line that is too long");
			break;
		}
		take_line(s, base + start, line_end - start);
		start = scan_from = line_end + 1;
	}
	if (start > 0)
		g_byte_array_remove_range(s->in, 0, (guint)start);
	if (s->fd >= 0 && s->in->len > s->max_line)
		end(s, "a line that is too long");
}

static gboolean readable(gint fd, GIOCondition condition, gpointer p)
{
	struct jsonline *s = p;

	s->refs++;
	for (unsigned i = 0; i < READS_PER_WAKEUP && s->fd >= 0 && !s->ended; i++) {
		size_t had = s->in->len;
		guint8 chunk[READ_SIZE];
		ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (n <= 0) {
			end(s, n < 0 ? g_strerror(errno) : NULL);
			break;
		}
		g_byte_array_append(s->in, chunk, (guint)n);
		take_lines(s, had);
	}
	unref(s); /* a source that was removed meanwhile stays removed, whatever is returned */
	return G_SOURCE_CONTINUE;
}

static void write_some(struct jsonline *s)
{
	while (s->out_done < s->out->len) {
		ssize_t n = send(s->fd, s->out->data + s->out_done, s->out->len - s->out_done,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			/* Only the reading side ends a stream whose peer has gone: there may
			 * still be an answer to read. */
			s->out_done = s->out->len;
			break;
		}
		s->out_done += (size_t)n;
	}
	g_byte_array_set_size(s->out, 0);
	s->out_done = 0;
}

static gboolean writable(gint fd, GIOCondition condition, gpointer p)
{
	struct jsonline *s = p;

	write_some(s);
	if (s->out->len > 0)
		return G_SOURCE_CONTINUE;
	s->out_source = 0;
	return G_SOURCE_REMOVE;
}

struct jsonline *jsonline_new(int fd, size_t max_line, size_t max_queue,
			      const struct jsonline_ops *ops, void *data)
{
	struct jsonline *s = g_new0(struct jsonline, 1);

	s->refs = 1;
	s->fd = fd;
	s->max_line = max_line;
	s->max_queue = max_queue;
	s->ops = ops;
	s->data = data;
	s->in = g_byte_array_new();
	s->out = g_byte_array_new();
	s->tokener = json_tokener_new_ex(JSONLINE_DEPTH);
	json_tokener_set_flags(s->tokener, json_read_flags() | JSON_TOKENER_ALLOW_TRAILING_CHARS);
	s->in_source = g_unix_fd_add(fd, G_IO_IN | G_IO_HUP | G_IO_ERR, readable, s);
	return s;
}

void jsonline_free(struct jsonline *s)
{
	if (!s)
		return;
	remove_source(&s->in_source);
	remove_source(&s->out_source);
	remove_source(&s->end_source);
	close(s->fd);
	s->fd = -1;
	unref(s);
}

void jsonline_send(struct jsonline *s, struct json_object *object)
{
	const char *text = json_object_to_json_string_ext(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE);
	size_t len = strlen(text);

	if (s->ended) {
		json_object_put(object);
		return;
	}
	if (jsonline_queued(s) + len + 1 > s->max_queue) {
		json_object_put(object);
		end(s, "the peer reads too slowly");
		return;
	}
	g_byte_array_append(s->out, (const guint8 *)text, (guint)len);
	g_byte_array_append(s->out, (const guint8 *)"\n", 1);
	json_object_put(object);
	if (s->out_source)
		return;
	write_some(s);
	if (s->out->len > 0)
		s->out_source = g_unix_fd_add(s->fd, G_IO_OUT | G_IO_HUP | G_IO_ERR, writable, s);
}

size_t jsonline_queued(const struct jsonline *s)
{
	return s->out->len - s->out_done;
}

void jsonline_flush(struct jsonline *s, int timeout_ms)
{
	gint64 deadline = g_get_monotonic_time() + timeout_ms * 1000LL;

	while (!s->ended && jsonline_queued(s) > 0) {
		struct pollfd p = { .fd = s->fd, .events = POLLOUT };
		gint64 left_ms = (deadline - g_get_monotonic_time()) / 1000;

		if (left_ms <= 0 || poll(&p, 1, (int)left_ms) <= 0)
			return;
		write_some(s);
	}
}

int jsonline_fd(const struct jsonline *s)
{
	return s->fd;
}
