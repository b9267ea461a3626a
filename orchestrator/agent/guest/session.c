/* SPDX-License-Identifier: MIT */
#include "agent/guest/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/guest/agent.h"
#include "agent/guest/session_impl.h"
#include "agent/guest/stream.h"

#define HELLO_MS 10000 /* time for a connection's first message */
#define IN_LARGE \
	(4ul * AGENT_MESSAGE_MAX) /* where they are not, little is to be moved to the front */

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

void session_doom(struct session *s)
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
	session_doom(container_of(timer, struct session, timer));
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
		session_flush(s);
		session_doom(s);
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
		session_doom(s);
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
			session_doom(s);
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
	if (size < 0 ||
	    session_make_room(&s->in, &s->in_size, needed > IN_SIZE ? IN_LARGE : needed))
		session_doom(s);
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
	session_doom(s);
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
		session_doom(s);
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
			session_flush(s);
			if (s->held && s->out_len < HOLD_AT)
				take_messages(s);
		}
	}
}

/* --- connections ------------------------------------------------------------------------------------------- */

static struct session *session_new(struct agent *agent, int fd, enum session_state state)
{
	struct session *s = agent->n_sessions < AGENT_MAX_SESSIONS ? calloc(1, sizeof(*s)) : NULL;

	if (!s)
		return NULL;
	*s = (struct session){ .agent = agent, .state = state };
	list_init(&s->operations);
	if (session_make_room(&s->in, &s->in_size, IN_SIZE) ||
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
	put_hello(agent, session_write(s, AGENT_HELLO, 1, 1));
	session_written();
}

void sessions_end(struct agent *agent)
{
	while (!list_empty(&agent->sessions)) {
		struct session *s = container_of(agent->sessions.next, struct session, link);

		s->ended = NULL;
		session_doom(s);
		loop_timer_stop(&s->timer);
		bury(&s->timer);
	}
}
