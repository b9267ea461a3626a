/* SPDX-License-Identifier: MIT */
/* What is said to the host: answers, pieces of streams and events are written here and queued, and go out when the loop comes
 * round, or when what may wait a while has waited. */
#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "agent/guest/agent.h"
#include "agent/guest/session_impl.h"

#define BODY_MAX (AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE)
#define CROWD_AT 4096 /* so much unsent, and pieces wait for it */
#define DIRECT_MIN \
	4096 /* bytes of a piece that are worth a system call of their own, instead of a copy */
#define TEXT_SIZE 512 /* of an error's text */

/* The one message that is being written. */
static struct {
	struct session *session; /* NULL: for nobody */
	struct agent_header header;
	struct json_writer writer;
	char body[BODY_MAX];
	bool busy;
} pen;

/* --- output ------------------------------------------------------------------------------------------------ */

/* Answers that nobody fetches hold up further requests. */
static void watch(struct session *s)
{
	size_t unsent = s->out_len - s->out_sent;
	uint32_t events = unsent ? EPOLLOUT : 0;

	if (unsent < HOLD_AT)
		events |= EPOLLIN;
	loop_change(&s->agent->loop, &s->source, events);
}

/* Those who waited go on; each may be gone after that. */
static void tell_room(struct session *s)
{
	s->crowded = false;
	list_each(&s->operations, it) {
		struct operation *op = container_of(it, struct operation, link);

		if (op->room)
			op->room(op);
	}
}

void session_flush(struct session *s)
{
	s->unsent = s->hurry = s->greeting = false;
	if (s->state == STATE_OPEN)
		loop_timer_stop(&s->timer);
	if (s->overflowed)
		session_doom(s);
	while (s->state != STATE_DEAD && s->out_sent < s->out_len) {
		ssize_t n = send(s->source.fd, s->out + s->out_sent, s->out_len - s->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			session_doom(s);
			return;
		}
		s->out_sent += (size_t)n;
	}
	if (s->out_sent == s->out_len)
		s->out_sent = s->out_len = 0;
	if (s->state == STATE_DEAD)
		return;
	if (s->crowded && !s->out_len)
		tell_room(s);
	watch(s);
}

int session_make_room(uint8_t **buf, size_t *size, size_t needed)
{
	size_t wanted = *size ? *size : IN_SIZE;
	uint8_t *bigger;

	while (wanted < needed)
		wanted *= 2;
	if (wanted == *size)
		return 0;
	bigger = realloc(*buf, wanted);
	if (!bigger)
		return -ENOMEM;
	*buf = bigger;
	*size = wanted;
	return 0;
}

/* What does not fit ends the connection, though not under the feet of who writes: session_flush() does it. */
static void queue(struct session *s, const void *head, size_t n_head, const void *body,
		  size_t n_body)
{
	size_t len = n_head + n_body;

	if (s->state == STATE_DEAD || s->overflowed)
		return;
	s->unsent = true;
	s->hurried = s->hurry;
	s->hurry = true;
	if (s->out_sent) {
		s->out_len -= s->out_sent;
		memmove(s->out, s->out + s->out_sent, s->out_len);
		s->out_sent = 0;
	}
	if (s->out_len + len > SESSION_OUT_MAX ||
	    session_make_room(&s->out, &s->out_size, s->out_len + len)) {
		s->overflowed = true;
		return;
	}
	memcpy(s->out + s->out_len, head, n_head);
	memcpy(s->out + s->out_len + n_head, body, n_body);
	s->out_len += len;
}

static void dallied(struct loop_timer *timer)
{
	session_flush(container_of(timer, struct session, timer));
}

/* What was queued last can wait a while. */
static void dally(struct session *s)
{
	if (s->state != STATE_OPEN || !s->unsent)
		return;
	s->hurry = s->hurried && !s->greeting;
	if (!s->hurry)
		loop_timer_start(&s->agent->loop, &s->timer, SESSION_DALLY_MS, dallied);
}

struct json_writer *session_write(struct session *s, uint32_t type, uint32_t transaction,
				  uint32_t step)
{
	assert(!pen.busy);
	pen.busy = true;
	pen.session = s;
	pen.header =
		(struct agent_header){ .type = type, .transaction = transaction, .step = step };
	json_writer_init(&pen.writer, pen.body, BODY_MAX);
	json_open(&pen.writer, NULL, '{');
	return &pen.writer;
}

static void put_error(struct json_writer *w, enum agent_error code, const char *text)
{
	json_put_string(w, "code", agent_error_word(code));
	json_put_string(w, "text", text);
}

void session_written(void)
{
	struct json_writer *w = &pen.writer;
	uint8_t head[AGENT_HEADER_SIZE];

	json_close(w, '}');
	if (w->overflow) {
		pen.header.type = AGENT_ERROR;
		json_writer_init(w, pen.body, BODY_MAX);
		json_open(w, NULL, '{');
		put_error(w, AGENT_ERROR_LIMIT, "the answer does not fit into a message");
		json_close(w, '}');
	}
	pen.busy = false;
	pen.header.size = (uint32_t)(AGENT_HEADER_SIZE + w->len);
	agent_header_put(head, &pen.header);
	if (pen.session)
		queue(pen.session, head, sizeof(head), pen.body, w->len);
}

static void __attribute__((format(printf, 5, 0)))
send_error(struct session *s, const struct request *request, enum agent_error code, int err,
	   const char *format, va_list ap)
{
	char text[TEXT_SIZE];
	size_t len;
	struct json_writer *w;

	vsnprintf(text, sizeof(text), format, ap);
	len = strlen(text);
	if (err)
		snprintf(text + len, sizeof(text) - len, ": %s", strerror(err));
	w = session_write(s, AGENT_ERROR, request->transaction, 2);
	put_error(w, code, text);
	if (err)
		json_put_int(w, "errno", err);
	session_written();
}

/* --- answers ----------------------------------------------------------------------------------------------- */

struct json_writer *session_begin(struct session *s, const struct request *request)
{
	return session_write(request->step ? s : NULL, request->type, request->transaction, 2);
}

void session_end(struct session *s)
{
	session_written();
}

void session_ok(struct session *s, const struct request *request)
{
	session_begin(s, request);
	session_end(s);
}

void session_error(struct session *s, const struct request *request, enum agent_error code,
		   const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	send_error(request->step ? s : NULL, request, code, 0, format, ap);
	va_end(ap);
}

void session_errno(struct session *s, const struct request *request, int err, const char *format,
		   ...)
{
	va_list ap;

	va_start(ap, format);
	send_error(request->step ? s : NULL, request, agent_error_from_errno(err), err, format, ap);
	va_end(ap);
}

void session_bad(struct session *s, const struct request *request, const char *member)
{
	session_error(s, request, AGENT_ERROR_BAD_REQUEST, "%s: \"%s\" is missing or wrong",
		      agent_type_name(request->type), member);
}

/* --- operations -------------------------------------------------------------------------------------------- */

void operation_start(struct operation *op, struct session *s, const struct request *request,
		     void (*orphaned)(struct operation *op))
{
	op->session = s;
	op->request = *request;
	op->request.body = (struct json){ NULL, -1 };
	op->orphaned = orphaned;
	op->piece = NULL;
	op->room = NULL;
	list_append(&s->operations, &op->link);
}

void operation_stop(struct operation *op)
{
	list_remove(&op->link);
}

/* Whom an answer is for. */
static struct session *listener(const struct operation *op)
{
	return op->request.step ? op->session : NULL;
}

struct json_writer *operation_begin(struct operation *op, uint32_t type, uint32_t step)
{
	return session_write(listener(op), type, op->request.transaction, step);
}

void operation_end(struct operation *op)
{
	session_written();
}

void operation_ok(struct operation *op)
{
	operation_begin(op, op->request.type, 2);
	operation_end(op);
}

void operation_error(struct operation *op, enum agent_error code, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	send_error(listener(op), &op->request, code, 0, format, ap);
	va_end(ap);
}

void operation_errno(struct operation *op, int err, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	send_error(listener(op), &op->request, agent_error_from_errno(err), err, format, ap);
	va_end(ap);
}

/* --- streams ----------------------------------------------------------------------------------------------- */

void operation_dally(struct operation *op)
{
	if (op->session)
		dally(op->session);
}

/* How much of a large piece went out past the queue.  What is broken here is found to be so when the rest is sent. */
static size_t send_direct(struct session *s, struct iovec iov[2])
{
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n;

	if (s->out_len || s->state != STATE_OPEN || iov[1].iov_len < DIRECT_MIN)
		return 0;
	n = sendmsg(s->source.fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	return n < 0 ? 0 : (size_t)n;
}

void operation_piece(struct operation *op, const struct agent_piece *piece)
{
	struct session *s = op->session;
	uint8_t head[AGENT_PIECE_HEAD];
	size_t n_head = agent_piece_put(head, op->request.transaction, piece), sent, skip;
	union {
		const void *from;
		void *to; /* struct iovec serves readv(), too */
	} bytes = { .from = piece->bytes };
	struct iovec iov[2] = { { head, n_head }, { bytes.to, piece->len } };

	if (!s)
		return;
	sent = send_direct(s, iov);
	if (sent == n_head + piece->len)
		return;
	skip = sent < n_head ? sent : n_head;
	queue(s, head + skip, n_head - skip, piece->bytes ? piece->bytes + (sent - skip) : head,
	      piece->len - (sent - skip));
}

bool operation_crowded(struct operation *op)
{
	struct session *s = op->session;

	if (!s || s->out_len - s->out_sent < CROWD_AT)
		return false;
	s->crowded = true;
	return true;
}

/* --- events ------------------------------------------------------------------------------------------------ */

struct json_writer *event_begin(struct agent *agent, enum agent_event event)
{
	struct json_writer *w;

	if (!agent->dialled)
		return NULL;
	w = session_write(agent->dialled, AGENT_EVENT, 0, 0);
	json_put_string(w, "event", agent_event_word(event));
	return w;
}

void event_end(struct agent *agent)
{
	session_written();
}
