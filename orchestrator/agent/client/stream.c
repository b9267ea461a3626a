/* SPDX-License-Identifier: MIT */
#include "agent/client/stream.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib-unix.h>

#include "err.h"

struct stream {
	/* A connection, */
	int fd; /* -1: in pieces */
	guint in, out;
	struct link_answer answer;

	/* or pieces. */
	struct agent_session *session;
	uint32_t transaction, index;
	uint32_t window; /* so many bytes may be sent */
	uint32_t open;   /* so many may come */
	bool wanting;    /* the window was too small: the owner waits for room */

	guint again;
	uint8_t *buffer;
	size_t from, n; /* n bytes from there on have not been taken */
	bool closing;   /* and after them, it ends */
	bool refused;   /* nobody wants them, or what else comes */
	bool ended, deaf;
	const struct stream_ops *ops;
	void *data;
	unsigned busy; /* callbacks under way */
	bool freed;    /* by one of them */
};

static void go_on(struct stream *s);

static void destroy(struct stream *s)
{
	g_free(s->buffer);
	g_free(s);
}

void stream_free(struct stream *s)
{
	if (!s)
		return;
	g_clear_handle_id(&s->in, g_source_remove);
	g_clear_handle_id(&s->out, g_source_remove);
	g_clear_handle_id(&s->again, g_source_remove);
	if (s->fd >= 0)
		close(s->fd);
	s->freed = true;
	if (s->busy == 0)
		destroy(s);
}

/* After a callback; false: the stream is gone. */
static bool leave(struct stream *s)
{
	s->busy--;
	if (!s->freed)
		return true;
	if (s->busy == 0)
		destroy(s);
	return false;
}

static void end(struct stream *s, const GError *error)
{
	s->ended = true;
	g_clear_handle_id(&s->in, g_source_remove);
	s->busy++;
	s->ops->ended(s, error, s->data);
	(void)leave(s);
}

static void broken(struct stream *s, int err)
{
	g_autoptr(GError) error = NULL;

	err_set_errno(&error, ORCH_ERROR_FAILED, err, "a data connection to the guest was lost");
	end(s, error);
}

/* --- from the guest ---------------------------------------------------------------------------------------- */

/* Hand out what is there; false: the stream is gone, or nobody takes it now. */
static bool offer(struct stream *s)
{
	size_t taken = s->n;

	s->busy++;
	if (s->n > 0 && s->ops->bytes && !s->refused)
		taken = s->ops->bytes(s, s->buffer + s->from, s->n, s->data);
	if (!leave(s))
		return false;
	s->from += taken;
	s->n -= taken;
	return s->n == 0;
}

static gboolean on_bytes(gint fd, GIOCondition condition, gpointer data)
{
	struct stream *s = data;
	guint in = s->in;
	ssize_t n = recv(fd, s->buffer, STREAM_BUFFER, 0);
	ssize_t answer = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return G_SOURCE_CONTINUE;
	if (n > 0 && !s->answer.done)
		answer = link_answer_take(&s->answer, s->buffer, (size_t)n);
	if (n <= 0 || answer < 0) {
		int err = n < 0 ? errno : s->answer.done ? 0 : ECONNREFUSED;

		s->in = 0;
		if (err || answer < 0)
			broken(s, answer < 0 ? EPROTO : err);
		else
			end(s, NULL);
		return G_SOURCE_REMOVE;
	}
	s->from = (size_t)answer;
	s->n = (size_t)(n - answer);
	s->in = 0;
	if (!offer(s))
		return G_SOURCE_REMOVE;
	s->in = in;
	return G_SOURCE_CONTINUE;
}

static void listen_to(struct stream *s)
{
	if (!s->in && !s->ended)
		s->in = g_unix_fd_add(s->fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_bytes, s);
}

static gboolean on_again(gpointer p)
{
	struct stream *s = p;

	s->again = 0;
	if (offer(s))
		go_on(s);
	return G_SOURCE_REMOVE;
}

static void again(struct stream *s)
{
	if (!s->again && !s->in && !s->ended)
		s->again = g_idle_add_full(G_PRIORITY_DEFAULT, on_again, s, NULL);
}

void stream_resume(struct stream *s)
{
	if (s->fd >= 0 || s->n > 0)
		again(s);
}

/* --- pieces ------------------------------------------------------------------------------------------------ */

static void send_piece(struct stream *s, struct agent_piece piece)
{
	piece.stream = s->index;
	agent_session_send(s->session, s->transaction, &piece);
}

/* Room that was freed is granted when it is worth a message. */
static void grant(struct stream *s)
{
	uint32_t freed = AGENT_WINDOW - s->open - (uint32_t)s->n;

	if (freed < AGENT_WINDOW / 4 || s->closing)
		return;
	s->open += freed;
	send_piece(s, (struct agent_piece){ .type = AGENT_GRANT, .granted = freed });
}

/* All that came has been taken. */
static void go_on(struct stream *s)
{
	if (s->fd >= 0)
		listen_to(s);
	else if (s->closing)
		end(s, NULL);
	else
		grant(s);
}

/* Behind what waits already.  Mostly nothing does, and the bytes need not be kept. */
static void take_bytes(struct stream *s, const uint8_t *bytes, size_t len)
{
	size_t taken = 0;

	if (s->n == 0 && s->ops->bytes) {
		s->busy++;
		taken = s->ops->bytes(s, bytes, len, s->data);
		if (!leave(s))
			return;
	} else if (!s->ops->bytes) {
		taken = len;
	}
	if (taken < len) {
		if (!s->buffer)
			s->buffer = g_malloc(STREAM_BUFFER);
		if (s->from + s->n + len - taken > STREAM_BUFFER) {
			memmove(s->buffer, s->buffer + s->from, s->n);
			s->from = 0;
		}
		memcpy(s->buffer + s->from + s->n, bytes + taken, len - taken);
		s->n += len - taken;
	}
	grant(s);
}

static void tell_room(struct stream *s)
{
	if (!s->wanting)
		return;
	s->wanting = false;
	s->busy++;
	if (s->ops->room)
		s->ops->room(s, s->data);
	(void)leave(s);
}

static bool take_grant(struct stream *s, uint32_t granted)
{
	if (granted > AGENT_WINDOW - s->window)
		return false;
	s->window += granted;
	tell_room(s);
	return true;
}

/* CLOSE of an input says that nobody reads it; of an output, that it has ended. */
bool stream_take(struct stream *s, const struct agent_piece *piece)
{
	if (piece->type == AGENT_GRANT)
		return take_grant(s, piece->granted);
	if (piece->type == AGENT_CLOSE) {
		s->deaf = true;
		s->closing = true;
		if (s->wanting)
			tell_room(s);
		else if (s->n == 0)
			end(s, NULL);
		return true;
	}
	if (s->refused)
		return true; /* it was on its way */
	if (piece->len > s->open || s->closing)
		return false;
	s->open -= (uint32_t)piece->len;
	take_bytes(s, piece->bytes, piece->len);
	return true;
}

struct stream *stream_in_pieces(struct agent_session *session, uint32_t transaction, uint32_t index,
				const struct stream_ops *ops, void *data)
{
	struct stream *s = g_new0(struct stream, 1);

	s->fd = -1;
	s->session = session;
	s->transaction = transaction;
	s->index = index;
	s->window = s->open = AGENT_WINDOW;
	s->ops = ops;
	s->data = data;
	return s;
}

static size_t send_bytes(struct stream *s, const uint8_t *bytes, size_t len)
{
	size_t sent = 0;

	while (sent < len && s->window > 0) {
		size_t n = MIN(MIN(len - sent, AGENT_BYTES_MAX), s->window);

		s->window -= (uint32_t)n;
		send_piece(s, (struct agent_piece){
				      .type = AGENT_BYTES, .bytes = bytes + sent, .len = n });
		sent += n;
	}
	s->wanting = sent < len;
	return sent;
}

/* --- to the guest ------------------------------------------------------------------------------------------ */

static gboolean on_room(gint fd, GIOCondition condition, gpointer data)
{
	struct stream *s = data;

	s->out = 0;
	s->busy++;
	if (s->ops->room)
		s->ops->room(s, s->data);
	(void)leave(s);
	return G_SOURCE_REMOVE;
}

size_t stream_send(struct stream *s, const void *bytes, size_t len)
{
	ssize_t n;

	if (s->deaf)
		return len;
	if (s->fd < 0)
		return send_bytes(s, bytes, len);
	n = send(s->fd, bytes, len, MSG_NOSIGNAL);
	if (n >= 0 && (size_t)n == len)
		return len;
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		s->deaf = true;
		return len;
	}
	if (!s->out)
		s->out = g_unix_fd_add(s->fd, G_IO_OUT, on_room, s);
	return n < 0 ? 0 : (size_t)n;
}

bool stream_deaf(const struct stream *s)
{
	return s->deaf;
}

void stream_finish(struct stream *s)
{
	if (s->fd >= 0)
		(void)shutdown(s->fd, SHUT_WR);
	else if (!s->deaf)
		send_piece(s, (struct agent_piece){ .type = AGENT_CLOSE });
	s->deaf = true;
}

void stream_refuse(struct stream *s)
{
	if (s->fd >= 0) {
		(void)shutdown(s->fd, SHUT_RD);
		return;
	}
	if (s->closing || s->ended)
		return;
	send_piece(s, (struct agent_piece){ .type = AGENT_CLOSE });
	s->closing = true;
	s->refused = true;
	again(s);
}

bool stream_ended(const struct stream *s)
{
	return s->ended;
}

struct stream *stream_new(const struct link_address *address, const struct agent_attach *attach,
			  const struct stream_ops *ops, void *data, GError **error)
{
	uint8_t first[AGENT_ATTACH_SIZE];
	struct stream *s;
	int fd;

	agent_attach_put(first, attach);
	fd = link_open(address, first, sizeof(first), error);
	if (fd < 0)
		return NULL;
	s = g_new0(struct stream, 1);
	s->fd = fd;
	s->ops = ops;
	s->data = data;
	s->buffer = g_malloc(STREAM_BUFFER);
	link_answer_init(&s->answer, address);
	listen_to(s);
	return s;
}
