/* SPDX-License-Identifier: MIT */
#include "agent/guest/session.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/stream.h"

#define HELLO_MS 10000 /* time for a connection's first message */
#define IN_SIZE  2048  /* to begin with: most requests are small */
#define IN_LARGE \
	(4ul * AGENT_MESSAGE_MAX) /* where they are not, little is to be moved to the front */
#define BODY_MAX (AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE)
#define HOLD_AT  (2ul * AGENT_MESSAGE_MAX) /* so much unsent, and no more requests are taken */
#define CROWD_AT 4096                      /* so much unsent, and pieces wait for it */
#define DIRECT_MIN \
	4096 /* bytes of a piece that are worth a system call of their own, instead of a copy */
#define TEXT_SIZE 512 /* of an error's text */

enum state {
	STATE_FIRST,   /* came in: HELLO or ATTACH will tell what it is */
	STATE_DIALLED, /* we said HELLO, the answer is to come */
	STATE_OPEN,
	STATE_DEAD, /* nothing in, nothing out; freed at the end of the loop's round */
};

struct session {
	struct list link;
	struct agent *agent;
	enum state state;
	struct loop_source source;
	struct loop_timer timer; /* first message, dallying, then burial */
	struct list operations;
	void (*ended)(struct agent *agent); /* of the dialled one */

	uint8_t *in;
	size_t in_len, in_size;
	uint8_t *out; /* [out_sent, out_len) is to be sent */
	size_t out_sent, out_len, out_size;
	bool unsent;   /* something was queued since the last attempt to send */
	bool hurry;    /* and not all of it can wait */
	bool hurried;  /* nor could it before the last message */
	bool greeting; /* HELLO is among it, which can wait with the answer to the EXEC behind it */
	bool overflowed; /* who does not read his answers is cut off */
	bool crowded;    /* an operation waits for room */
	bool held;       /* whole messages lie in IN until answers are fetched */
};

/* The one message that is being written. */
static struct {
	struct session *session; /* NULL: for nobody */
	struct agent_header header;
	struct json_writer writer;
	char body[BODY_MAX];
	bool busy;
} pen;

static void on_ready(struct loop_source *source, uint32_t events);

struct agent *session_agent(struct session *s)
{
	return s->agent;
}

/* --- the end ----------------------------------------------------------------------------------------------- */

static void end_operations(struct session *s)
{
	while (!list_empty(&s->operations)) {
		struct operation *op = container_of(s->operations.next, struct operation, link);

		list_remove(&op->link);
		op->session = NULL;
		op->orphaned(op);
	}
}

static void bury(struct loop_timer *timer)
{
	struct session *s = container_of(timer, struct session, timer);
	struct agent *agent = s->agent;

	list_remove(&s->link);
	agent->n_sessions--;
	free(s->in);
	free(s->out);
	if (s->ended)
		s->ended(agent);
	free(s);
}

/* From any depth of its own callbacks: what is left of it goes when the loop comes round. */
static void doom(struct session *s)
{
	if (s->state == STATE_DEAD)
		return;
	s->state = STATE_DEAD;
	loop_remove(&s->agent->loop, &s->source);
	if (s->source.fd >= 0)
		close(s->source.fd);
	if (s->agent->dialled == s)
		s->agent->dialled = NULL;
	end_operations(s);
	loop_timer_start(&s->agent->loop, &s->timer, 0, bury);
}

static void too_late(struct loop_timer *timer)
{
	doom(container_of(timer, struct session, timer));
}

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

static void flush(struct session *s)
{
	s->unsent = s->hurry = s->greeting = false;
	if (s->state == STATE_OPEN)
		loop_timer_stop(&s->timer);
	if (s->overflowed)
		doom(s);
	while (s->state != STATE_DEAD && s->out_sent < s->out_len) {
		ssize_t n = send(s->source.fd, s->out + s->out_sent, s->out_len - s->out_sent,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0) {
			doom(s);
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

static int make_room(uint8_t **buf, size_t *size, size_t needed)
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

/* What does not fit ends the connection, though not under the feet of who writes: flush() does it. */
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
	    make_room(&s->out, &s->out_size, s->out_len + len)) {
		s->overflowed = true;
		return;
	}
	memcpy(s->out + s->out_len, head, n_head);
	memcpy(s->out + s->out_len + n_head, body, n_body);
	s->out_len += len;
}

static void dallied(struct loop_timer *timer)
{
	flush(container_of(timer, struct session, timer));
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

static struct json_writer *begin(struct session *s, uint32_t type, uint32_t transaction,
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

/* What became too big is an error, not a damaged message. */
static void end(void)
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
	w = begin(s, AGENT_ERROR, request->transaction, 2);
	put_error(w, code, text);
	if (err)
		json_put_int(w, "errno", err);
	end();
}

/* --- answers ----------------------------------------------------------------------------------------------- */

struct json_writer *session_begin(struct session *s, const struct request *request)
{
	return begin(request->step ? s : NULL, request->type, request->transaction, 2);
}

void session_end(struct session *s)
{
	end();
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
	return begin(listener(op), type, op->request.transaction, step);
}

void operation_end(struct operation *op)
{
	end();
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

/* --- HELLO ------------------------------------------------------------------------------------------------- */

static void put_hello(const struct agent *agent, struct json_writer *w)
{
	json_open(w, "version", '[');
	json_put_int(w, NULL, AGENT_VERSION_MIN);
	json_put_int(w, NULL, AGENT_VERSION_MAX);
	json_close(w, ']');
	json_put_string(w, "agent", VHOST_LAB_VERSION);
	json_put_string(w, "boot-id", agent->boot_id);
	json_open(w, "capabilities", '[');
	for (unsigned c = 0; c < AGENT_CAPABILITY_COUNT; c++) {
		if (agent->capabilities >> c & 1)
			json_put_string(w, NULL, agent_capability_word(c));
	}
	json_close(w, ']');
}

/* Is there a version that both speak?  -EINVAL: this is no range. */
static int check_version(struct json hello)
{
	struct json range = json_get(hello, "version");
	struct json low = json_first(range);
	int64_t min, max;

	if (low.at < 0 || json_int(low, 0, INT32_MAX, &min) ||
	    json_int(json_next(range, low), min, INT32_MAX, &max))
		return -EINVAL;
	return max < AGENT_VERSION_MIN || min > AGENT_VERSION_MAX ? -EPROTONOSUPPORT : 0;
}

/* The first message of a control connection: of the host, or its answer to ours.  An error has been answered when false. */
static bool hello_is_good(struct session *s, const struct request *request)
{
	int err = check_version(request->body);

	if (err == -EINVAL)
		session_bad(s, request, "version");
	else if (err)
		session_error(s, request, AGENT_ERROR_VERSION, "this agent speaks %d to %d",
			      AGENT_VERSION_MIN, AGENT_VERSION_MAX);
	return !err;
}

static void first_message(struct session *s, const struct request *request)
{
	uint32_t step = s->state == STATE_FIRST ? 1 : 2;

	if (request->type != AGENT_HELLO || request->step != step || !hello_is_good(s, request)) {
		flush(s);
		doom(s);
		return;
	}
	loop_timer_stop(&s->timer);
	if (s->state == STATE_FIRST) {
		put_hello(s->agent, session_begin(s, request));
		session_end(s);
		s->greeting = true;
	} else {
		s->agent->dialled = s;
	}
	s->state = STATE_OPEN;
	if (s->agent->dialled == s)
		agent_met(s->agent);
}

/* --- input ------------------------------------------------------------------------------------------------- */

/* Answers to what was never asked (steps of 2 and more) are nothing to us. */
static void handle(struct session *s, const struct request *request)
{
	const struct agent_type_info *info = agent_type_find(request->type);
	handler_fn *handler = handler_find(request->type);

	if (request->step > 1)
		return;
	if (!info || !(info->sender & AGENT_FROM_HOST))
		session_error(s, request, AGENT_ERROR_UNKNOWN_TYPE, "no request has type %u",
			      request->type);
	else if (request->type == AGENT_HELLO)
		session_error(s, request, AGENT_ERROR_BAD_REQUEST, "HELLO was said already");
	else if (!handler)
		session_error(s, request, AGENT_ERROR_UNSUPPORTED, "this agent has no %s",
			      info->name);
	else
		handler(s, request);
}

/* Pieces may outlive their operation: nobody is to blame for those of one that has ended. */
static void take_piece(struct session *s, const struct agent_header *header, const uint8_t *body)
{
	struct agent_piece piece;
	int err = agent_piece_get(header, body, &piece);

	if (s->state != STATE_OPEN)
		err = -EPROTO;
	list_each(&s->operations, it) {
		struct operation *op = container_of(it, struct operation, link);

		if (err || !op->piece || op->request.transaction != header->transaction)
			continue;
		err = op->piece(op, &piece);
		break;
	}
	if (err)
		doom(s);
}

static bool is_piece(uint32_t type)
{
	return type == AGENT_BYTES || type == AGENT_GRANT || type == AGENT_CLOSE;
}

static void take_message(struct session *s, const struct agent_header *header, const uint8_t *body)
{
	struct request request = { .type = header->type,
				   .transaction = header->transaction,
				   .step = header->step };
	int err;

	if (is_piece(header->type)) {
		take_piece(s, header, body);
		return;
	}
	err = json_parse(s->agent->doc, (const char *)body, header->size - AGENT_HEADER_SIZE,
			 &request.body);

	if (s->state != STATE_OPEN) {
		if (err)
			doom(s);
		else
			first_message(s, &request);
	} else if (err == -E2BIG) {
		session_error(s, &request, AGENT_ERROR_LIMIT, "the body is too deep or too long");
	} else if (err) {
		session_error(s, &request, AGENT_ERROR_BAD_REQUEST,
			      "the body is not a JSON object");
	} else {
		handle(s, &request);
	}
}

/* The message at IN, if it is whole: its size.  0: more is to come, and *RET_NEEDED is how much there must be.
 * -EPROTO and -EMSGSIZE: no more of this connection. */
static int next_message(const struct session *s, size_t at, struct agent_header *header,
			size_t *ret_needed)
{
	int err;

	*ret_needed = AGENT_HEADER_SIZE;
	if (s->in_len - at < AGENT_HEADER_SIZE)
		return 0;
	agent_header_get(s->in + at, header);
	err = agent_header_check(header, AGENT_CONTROL);
	if (err)
		return err;
	*ret_needed = header->size;
	return s->in_len - at < header->size ? 0 : (int)header->size;
}

static void take_messages(struct session *s)
{
	struct agent_header header;
	size_t at = 0, needed;
	int size;

	s->held = false;
	while ((size = next_message(s, at, &header, &needed)) > 0) {
		take_message(s, &header, s->in + at + AGENT_HEADER_SIZE);
		if (s->state == STATE_DEAD)
			return;
		at += (size_t)size;
		s->held = s->out_len - s->out_sent >= HOLD_AT;
		if (s->held)
			break;
	}
	s->in_len -= at;
	memmove(s->in, s->in + at, s->in_len);
	if (size < 0 || make_room(&s->in, &s->in_size, needed > IN_SIZE ? IN_LARGE : needed))
		doom(s);
}

/* The first bytes: exactly those of ATTACH are read, since what follows them is not ours.  True if it was that, and S is none. */
static bool is_attach(struct session *s)
{
	struct agent_attach attach;
	struct agent_header header;

	if (s->state != STATE_FIRST || s->in_len < AGENT_HEADER_SIZE)
		return false;
	agent_header_get(s->in, &header);
	if (header.type != AGENT_ATTACH || header.size != AGENT_ATTACH_SIZE)
		return false;
	if (s->in_len < AGENT_ATTACH_SIZE || agent_attach_get(s->in, &attach))
		return true;
	loop_remove(&s->agent->loop, &s->source);
	stream_arrived(s->agent, s->source.fd, &attach);
	s->source.fd = -1;
	doom(s);
	return true;
}

/* One read.  True if there may be more. */
static bool take_bytes(struct session *s)
{
	bool first = s->state == STATE_FIRST && s->in_len < AGENT_ATTACH_SIZE;
	size_t room = (first ? AGENT_ATTACH_SIZE : s->in_size) - s->in_len;
	ssize_t n = recv(s->source.fd, s->in + s->in_len, room, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		doom(s);
		return false;
	}
	s->in_len += (size_t)n;
	if (!is_attach(s))
		take_messages(s);
	return s->state != STATE_DEAD && (size_t)n == room;
}

static void on_ready(struct loop_source *source, uint32_t events)
{
	struct session *s = container_of(source, struct session, source);

	if (events & EPOLLOUT)
		s->unsent = s->hurry = true;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !s->held && take_bytes(s))
		take_bytes(s);
}

void sessions_flush(struct agent *agent)
{
	list_each(&agent->sessions, it) {
		struct session *s = container_of(it, struct session, link);

		while (s->unsent && s->hurry) {
			flush(s);
			if (s->held && s->out_len < HOLD_AT)
				take_messages(s);
		}
	}
}

/* --- connections ------------------------------------------------------------------------------------------- */

static struct session *session_new(struct agent *agent, int fd, enum state state)
{
	struct session *s = agent->n_sessions < AGENT_MAX_SESSIONS ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	*s = (struct session){ .agent = agent, .state = state };
	list_init(&s->operations);
	if (make_room(&s->in, &s->in_size, IN_SIZE) ||
	    loop_add(&agent->loop, &s->source, fd, EPOLLIN, on_ready)) {
		free(s->in);
		free(s);
		return NULL;
	}
	list_append(&agent->sessions, &s->link);
	agent->n_sessions++;
	loop_timer_start(&agent->loop, &s->timer, HELLO_MS, too_late);
	return s;
}

/* Mostly the first message is here with the connection. */
void session_accept(struct agent *agent, int fd)
{
	struct session *s = session_new(agent, fd, STATE_FIRST);

	if (!s)
		close(fd);
	else
		on_ready(&s->source, EPOLLIN);
}

void session_dialled(struct agent *agent, int fd, void (*ended)(struct agent *agent))
{
	struct session *s = session_new(agent, fd, STATE_DIALLED);

	if (!s) {
		close(fd);
		ended(agent);
		return;
	}
	s->ended = ended;
	put_hello(agent, begin(s, AGENT_HELLO, 1, 1));
	end();
}

struct json_writer *event_begin(struct agent *agent, enum agent_event event)
{
	struct json_writer *w;

	if (!agent->dialled)
		return NULL;
	w = begin(agent->dialled, AGENT_EVENT, 0, 0);
	json_put_string(w, "event", agent_event_word(event));
	return w;
}

void event_end(struct agent *agent)
{
	end();
}

void sessions_end(struct agent *agent)
{
	while (!list_empty(&agent->sessions)) {
		struct session *s = container_of(agent->sessions.next, struct session, link);

		s->ended = NULL;
		doom(s);
		loop_timer_stop(&s->timer);
		bury(&s->timer);
	}
}
