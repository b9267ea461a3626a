/* SPDX-License-Identifier: MIT */
#include "agent/client/session.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>
#include <glib-unix.h>

#include "err.h"
#include "run/json.h"
#include "run/logfile.h"

#define TEXT_MAX     500 /* characters of a guest's words */
#define RECEIVED_MAX (4u * AGENT_MESSAGE_MAX)
#define QUEUED_MAX \
	(4u * AGENT_MESSAGE_MAX) /* for an agent that asks and does not read the answers */

struct call {
	uint32_t transaction;
	uint32_t type;
	uint32_t next_step, last_step;
	bool too_long; /* it was never sent */
	agent_answer_fn *fn;
	void *data;
};

struct agent_session {
	int fd;
	guint in, out, idle, hello_timer,
		hello; /* hello: what is queued first waits for a request to go with it */
	struct link_answer answer;
	uint8_t received[RECEIVED_MAX];
	size_t n_received;
	GByteArray *queued; /* for the agent, not yet taken by the kernel */
	GHashTable *calls;  /* transaction → struct call */
	uint32_t last_transaction;
	bool greeted;
	uint32_t capabilities;                     /* bits of enum agent_capability */
	GError *error;                             /* it has ended */
	bool told;                                 /* and the owner knows */
	const struct agent_session_events *events; /* it has dialled us; NULL: we it */
	agent_closed_fn *closed;
	void *data;
	agent_piece_fn *piece;
	void *piece_data;
	unsigned busy; /* callbacks under way */
	bool freed;    /* by one of them */
};

G_DEFINE_QUARK(agent - refusal, agent_refusal)

/* --- the end ---------------------------------------------------------------------------------------------- */

static void stop_io(struct agent_session *s)
{
	g_clear_handle_id(&s->in, g_source_remove);
	g_clear_handle_id(&s->out, g_source_remove);
	g_clear_handle_id(&s->hello_timer, g_source_remove);
	g_clear_handle_id(&s->hello, g_source_remove);
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

static void destroy(struct agent_session *s)
{
	g_byte_array_unref(s->queued);
	g_hash_table_unref(s->calls);
	g_clear_error(&s->error);
	g_free(s);
}

void agent_session_free(struct agent_session *s)
{
	if (!s)
		return;
	stop_io(s);
	g_clear_handle_id(&s->idle, g_source_remove);
	s->freed = true;
	if (s->busy == 0)
		destroy(s);
}

/* A callback has returned, before which 'busy' was counted up; false: the session is gone. */
static bool leave(struct agent_session *s)
{
	s->busy--;
	if (!s->freed)
		return true;
	if (s->busy == 0)
		destroy(s);
	return false;
}

static void answer(struct agent_session *s, struct call *call, uint32_t type,
		   struct json_object *body, const GError *error)
{
	if (call->fn)
		call->fn(type, body, error, call->data);
}

/* One of those whose answer is known not to come; each is taken out before it is told, which may change the list. */
static struct call *steal_hopeless(struct agent_session *s)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, s->calls);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct call *call = value;

		if (!s->error && !call->too_long)
			continue;
		g_hash_table_iter_steal(&iter);
		return call;
	}
	return NULL;
}

/* Those who wait for what will not come. */
static gboolean tell(gpointer p)
{
	struct agent_session *s = p;
	g_autoptr(GError) too_long = g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED,
						 "a request has at most %d bytes",
						 AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE);
	struct call *call;

	s->idle = 0;
	s->busy++;
	while (!s->freed && (call = steal_hopeless(s))) {
		answer(s, call, call->type, NULL, call->too_long ? too_long : s->error);
		g_free(call);
	}
	if (!s->freed && s->error && !s->told && s->closed) {
		s->told = true;
		s->closed(s->error, s->data);
	}
	(void)leave(s);
	return G_SOURCE_REMOVE;
}

/* Takes the error.  Those who wait are told from the main loop. */
static void end(struct agent_session *s, GError *error)
{
	stop_io(s);
	if (s->error) {
		g_error_free(error);
		return;
	}
	s->error = error;
	if (!s->idle)
		s->idle = g_idle_add(tell, s);
}

static G_GNUC_PRINTF(2, 3) void broken(struct agent_session *s, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	end(s,
	    g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED, "the agent broke the protocol: %s", text));
}

static void lost(struct agent_session *s, int err)
{
	const char *what = s->greeted ? "the connection to the agent was lost" :
					"no agent answers in the guest";

	if (err)
		end(s, g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED, "%s: %s", what, g_strerror(err)));
	else
		end(s, g_error_new_literal(ORCH_ERROR, ORCH_ERROR_FAILED, what));
}

/* --- to the agent ----------------------------------------------------------------------------------------- */

static void flush(struct agent_session *s);

static gboolean on_room(gint fd, GIOCondition condition, gpointer data)
{
	struct agent_session *s = data;

	s->out = 0;
	flush(s);
	return G_SOURCE_REMOVE;
}

static void flush(struct agent_session *s)
{
	g_clear_handle_id(&s->hello, g_source_remove);
	while (s->fd >= 0 && s->queued->len > 0) {
		ssize_t n = send(s->fd, s->queued->data, s->queued->len, MSG_NOSIGNAL);

		if (n > 0) {
			g_byte_array_remove_range(s->queued, 0, (guint)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		/* What is broken here ends what is read, too, with the agent's last words before it. */
		if (errno != EAGAIN)
			g_byte_array_set_size(s->queued, 0);
		else if (!s->out)
			s->out = g_unix_fd_add(s->fd, G_IO_OUT, on_room, s);
		return;
	}
}

static bool queue(struct agent_session *s, uint32_t type, uint32_t transaction, uint32_t step,
		  struct json_object *body)
{
	size_t len = 0;
	const char *text =
		body ? json_object_to_json_string_length(body, JSON_C_TO_STRING_PLAIN, &len) : "";
	struct agent_header header = {
		.type = type,
		.transaction = transaction,
		.step = step,
	};
	uint8_t bytes[AGENT_HEADER_SIZE];

	if (len > AGENT_MESSAGE_MAX - AGENT_HEADER_SIZE)
		return false;
	header.size = AGENT_HEADER_SIZE + (uint32_t)len;
	agent_header_put(bytes, &header);
	g_byte_array_append(s->queued, bytes, sizeof(bytes));
	g_byte_array_append(s->queued, (const guint8 *)text, (guint)len);
	return true;
}

/* Queued, but not sent. */
static uint32_t ask(struct agent_session *s, enum agent_type type, struct json_object *body,
		    uint32_t last_step, agent_answer_fn *fn, void *data)
{
	struct call *call = g_new0(struct call, 1);
	auto_json taken = body;

	g_assert(g_hash_table_size(s->calls) < AGENT_SESSION_CALLS);
	call->transaction = ++s->last_transaction;
	call->type = type;
	call->next_step = 2;
	call->last_step = last_step;
	call->fn = fn;
	call->data = data;
	g_hash_table_insert(s->calls, GUINT_TO_POINTER(call->transaction), call);
	call->too_long = !s->error && !queue(s, type, call->transaction, 1, taken);
	if ((s->error || call->too_long) && !s->idle)
		s->idle = g_idle_add(tell, s);
	return call->transaction;
}

/* Past the queue if there is none: bytes are many, and better not copied. */
static size_t send_now(struct agent_session *s, const uint8_t *head, size_t n_head,
		       const struct agent_piece *piece)
{
	union {
		const void *from;
		void *to; /* struct iovec serves readv(), too */
	} first = { .from = head }, bytes = { .from = piece->bytes };
	struct iovec iov[] = { { first.to, n_head }, { bytes.to, piece->len } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };
	ssize_t n = s->queued->len > 0 || s->fd < 0 ? 0 : sendmsg(s->fd, &msg, MSG_NOSIGNAL);

	return n < 0 ? 0 : (size_t)n;
}

void agent_session_send(struct agent_session *s, uint32_t transaction,
			const struct agent_piece *piece)
{
	uint8_t head[AGENT_PIECE_HEAD];
	size_t n_head = agent_piece_put(head, transaction, piece);
	size_t sent = send_now(s, head, n_head, piece);
	size_t skip = MIN(sent, n_head);

	if (s->error || sent == n_head + piece->len)
		return;
	g_byte_array_append(s->queued, head + skip, (guint)(n_head - skip));
	if (piece->len > sent - skip)
		g_byte_array_append(s->queued, piece->bytes + (sent - skip),
				    (guint)(piece->len - (sent - skip)));
	if (s->queued->len > QUEUED_MAX + AGENT_WINDOW)
		broken(s, "it does not read what it grants");
	else
		flush(s);
}

/* --- from the agent --------------------------------------------------------------------------------------- */

static struct json_object *parse(const uint8_t *body, size_t len)
{
	static int flags = -1;
	struct json_tokener *tok;
	struct json_object *o;

	if (len == 0)
		return json_object_new_object();
	if (flags < 0)
		flags = json_read_flags();
	tok = json_tokener_new_ex(AGENT_JSON_DEPTH + 1);
	json_tokener_set_flags(tok, flags);
	o = json_tokener_parse_ex(tok, (const char *)body, (int)len);
	if (json_tokener_get_error(tok) != json_tokener_success ||
	    json_tokener_get_parse_end(tok) != len || !json_object_is_type(o, json_type_object)) {
		json_object_put(o);
		o = NULL;
	}
	json_tokener_free(tok);
	return o;
}

static uint32_t capabilities_of(struct json_object *hello)
{
	struct json_object *list = json_member(hello, "capabilities", json_type_array);
	uint32_t found = 0;

	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *word = json_object_array_get_idx(list, i);

		for (unsigned c = 0; c < AGENT_CAPABILITY_COUNT; c++)
			if (json_object_is_type(word, json_type_string) &&
			    strcmp(json_object_get_string(word),
				   agent_capability_word((enum agent_capability)c)) == 0)
				found |= 1u << c;
	}
	return found;
}

static GError *refusal(struct json_object *body)
{
	const char *code = json_str(body, "code"), *text = json_str(body, "text");
	g_autofree char *clean = logfile_clean(text ? text : "", -1, TEXT_MAX);

	return g_error_new(AGENT_REFUSAL,
			   code ? (int)agent_error_find(code) : (int)AGENT_ERROR_FAILED, "%s",
			   *clean ? clean : "the agent refused without a word");
}

static void dispatch(struct agent_session *s, struct call *call, const struct agent_header *h,
		     struct json_object *body)
{
	struct call c = *call;
	g_autoptr(GError) error = h->type == AGENT_ERROR ? refusal(body) : NULL;

	call->next_step = h->step + 1;
	if (error || h->step == call->last_step)
		g_hash_table_remove(s->calls, GUINT_TO_POINTER(h->transaction));
	answer(s, &c, h->type, error ? NULL : body, error);
}

/* An answer has the type of its request, but for EXIT, which is what EXEC ends with. */
static bool answers(const struct call *call, const struct agent_header *h)
{
	if (h->type == AGENT_ERROR)
		return true;
	if (h->step != call->next_step || h->step > call->last_step)
		return false;
	if (call->type == AGENT_EXEC && h->step == 3)
		return h->type == AGENT_EXIT;
	return h->type == call->type;
}

/* --- what an agent asks and tells that has dialled us ------------------------------------------------------ */

static void reply(struct agent_session *s, uint32_t type, const struct agent_header *request,
		  struct json_object *body)
{
	auto_json taken = body;

	(void)queue(s, type, request->transaction, 2, taken);
	if (s->queued->len > QUEUED_MAX)
		broken(s, "it does not read what it asked for");
	else
		flush(s);
}

static struct json_object *our_hello(void)
{
	struct json_object *body = json_object_new_object(), *version = json_object_new_array();

	json_object_array_add(version, json_object_new_int(AGENT_VERSION_MIN));
	json_object_array_add(version, json_object_new_int(AGENT_VERSION_MAX));
	json_object_object_add(body, "version", version);
	return body;
}

static struct json_object *our_error(enum agent_error code, const char *text)
{
	struct json_object *body = json_object_new_object();

	json_put_str(body, "code", agent_error_word(code));
	json_put_str(body, "text", text);
	return body;
}

/* Whether the range [min, max] in a HELLO has a version that we speak. */
static bool common_version(struct json_object *hello)
{
	struct json_object *range = json_member(hello, "version", json_type_array);
	struct json_object *min = range ? json_object_array_get_idx(range, 0) : NULL;
	struct json_object *max = range ? json_object_array_get_idx(range, 1) : NULL;

	return json_object_is_type(min, json_type_int) && json_object_is_type(max, json_type_int) &&
	       json_object_get_int64(min) <= AGENT_VERSION_MAX &&
	       json_object_get_int64(max) >= AGENT_VERSION_MIN;
}

static void take_hello(struct agent_session *s, const struct agent_header *h,
		       struct json_object *hello)
{
	if (!common_version(hello)) {
		reply(s, AGENT_ERROR, h, our_error(AGENT_ERROR_VERSION, "no version in common"));
		broken(s, "it speaks no version of ours");
		return;
	}
	reply(s, AGENT_HELLO, h, our_hello());
	s->greeted = true;
	s->capabilities = capabilities_of(hello);
	g_clear_handle_id(&s->hello_timer, g_source_remove);
	s->events->hello(s, hello, s->data);
}

static void take_own(struct agent_session *s, const struct agent_header *h,
		     struct json_object *body)
{
	if (s->greeted == (h->type == AGENT_HELLO))
		broken(s, "%s %s HELLO", agent_type_name(h->type), s->greeted ? "after" : "before");
	else if (h->type == AGENT_HELLO && h->step == 1)
		take_hello(s, h, body);
	else if (h->type == AGENT_PING && h->step == 1)
		reply(s, AGENT_PING, h, NULL);
	else if (h->step == 1)
		reply(s, AGENT_ERROR, h, our_error(AGENT_ERROR_UNKNOWN_TYPE, "not for the host"));
	else if (s->greeted)
		s->events->notice(s, h->type, body, s->data);
}

static bool is_piece(const struct agent_header *h)
{
	return h->type == AGENT_BYTES || h->type == AGENT_GRANT || h->type == AGENT_CLOSE;
}

static void take_piece(struct agent_session *s, const struct agent_header *h, const uint8_t *body)
{
	struct agent_piece piece;

	if (agent_piece_get(h, body, &piece) < 0 || !s->greeted)
		broken(s, "%s where none may be", agent_type_name(h->type));
	else if (s->piece && !s->piece(h->transaction, &piece, s->piece_data) && !s->freed)
		broken(s, "%s against the rules", agent_type_name(h->type));
}

static void take_message(struct agent_session *s, const struct agent_header *h, const uint8_t *body)
{
	struct call *call;
	auto_json o = NULL;

	if (is_piece(h)) {
		take_piece(s, h, body);
		return;
	}
	if (h->step <= 1 && s->events) {
		o = parse(body, h->size - AGENT_HEADER_SIZE);
		if (o)
			take_own(s, h, o);
		else
			broken(s, "the body of %s is no JSON object", agent_type_name(h->type));
		return;
	}
	if (h->step <= 1)
		return; /* a notice, or a request that this end does not serve */
	call = g_hash_table_lookup(s->calls, GUINT_TO_POINTER(h->transaction));
	if (!call)
		return; /* forgotten */
	if (!s->greeted && call->type != AGENT_HELLO) {
		broken(s, "%s before HELLO", agent_type_name(h->type));
		return;
	}
	if (!answers(call, h)) {
		broken(s, "%s as step %u of %s", agent_type_name(h->type), h->step,
		       agent_type_name(call->type));
		return;
	}
	o = parse(body, h->size - AGENT_HEADER_SIZE);
	if (o)
		dispatch(s, call, h, o);
	else
		broken(s, "the body of %s is no JSON object", agent_type_name(h->type));
}

/* All messages that are whole; false: the session is gone or at its end. */
static bool take_messages(struct agent_session *s)
{
	size_t at = 0;
	bool going = true;

	s->busy++;
	while (going && s->n_received - at >= AGENT_HEADER_SIZE) {
		struct agent_header h;
		int r;

		agent_header_get(s->received + at, &h);
		r = agent_header_check(&h, AGENT_CONTROL);
		if (r != 0)
			broken(s, "a message of type %u and %u bytes", h.type, h.size);
		else if (s->n_received - at >= h.size)
			take_message(s, &h, s->received + at + AGENT_HEADER_SIZE);
		else
			break;
		at += r == 0 ? h.size : 0;
		going = !s->freed && !s->error;
	}
	if (!leave(s))
		return false;
	s->n_received -= at;
	memmove(s->received, s->received + at, s->n_received);
	return going;
}

static bool take_answer(struct agent_session *s)
{
	ssize_t n = link_answer_take(&s->answer, s->received, s->n_received);

	if (n < 0) {
		broken(s, "its VM's socket answered neither OK nor by closing");
		return false;
	}
	s->n_received -= (size_t)n;
	memmove(s->received, s->received + n, s->n_received);
	return true;
}

static gboolean on_bytes(gint fd, GIOCondition condition, gpointer data)
{
	struct agent_session *s = data;
	ssize_t n = recv(fd, s->received + s->n_received, sizeof(s->received) - s->n_received, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return G_SOURCE_CONTINUE;
	if (n <= 0) {
		s->in = 0;
		lost(s, n < 0 && errno != ECONNRESET ? errno : 0);
		return G_SOURCE_REMOVE;
	}
	s->n_received += (size_t)n;
	if (!s->answer.done && !take_answer(s))
		return G_SOURCE_CONTINUE; /* the source is gone already */
	if (s->answer.done)
		(void)take_messages(s);
	return G_SOURCE_CONTINUE;
}

/* --- HELLO ------------------------------------------------------------------------------------------------ */

static void on_hello(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct agent_session *s = data;

	if (s->error)
		return;
	if (error) {
		end(s, g_error_copy(error));
		return;
	}
	s->greeted = true;
	s->capabilities = capabilities_of(body);
	g_clear_handle_id(&s->hello_timer, g_source_remove);
}

static gboolean on_silence(gpointer p)
{
	struct agent_session *s = p;

	s->hello_timer = 0;
	end(s, g_error_new(ORCH_ERROR, ORCH_ERROR_TIMEOUT,
			   "the agent in the guest has not answered within %d s",
			   AGENT_SESSION_HELLO_MS / 1000));
	return G_SOURCE_REMOVE;
}

static gboolean on_nothing_else(gpointer p)
{
	struct agent_session *s = p;

	s->hello = 0;
	flush(s);
	return G_SOURCE_REMOVE;
}

/* The request that is mostly made right after it takes it along, and whoever reads it wakes up but once. */
static void say_hello(struct agent_session *s)
{
	(void)ask(s, AGENT_HELLO, our_hello(), 2, on_hello, s);
	s->hello_timer = g_timeout_add(AGENT_SESSION_HELLO_MS, on_silence, s);
	s->hello = g_idle_add_full(G_PRIORITY_DEFAULT, on_nothing_else, s, NULL);
}

/* --- the session ------------------------------------------------------------------------------------------ */

static struct agent_session *session_new(int fd, const struct link_address *address,
					 agent_closed_fn *closed, void *data)
{
	struct agent_session *s = g_new0(struct agent_session, 1);

	s->fd = fd;
	s->closed = closed;
	s->data = data;
	s->queued = g_byte_array_new();
	s->calls = g_hash_table_new_full(NULL, NULL, NULL, g_free);
	link_answer_init(&s->answer, address);
	s->in = g_unix_fd_add(fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_bytes, s);
	return s;
}

struct agent_session *agent_session_adopt(int fd, const struct link_address *address,
					  agent_closed_fn *closed, void *data)
{
	struct agent_session *s = session_new(fd, address, closed, data);

	say_hello(s);
	flush(s);
	return s;
}

struct agent_session *agent_session_accept(int fd, const struct agent_session_events *events,
					   void *data)
{
	static const struct link_address direct = { .port = 0 };
	struct agent_session *s = session_new(fd, &direct, events->closed, data);

	s->events = events;
	s->hello_timer = g_timeout_add(AGENT_SESSION_HELLO_MS, on_silence, s);
	return s;
}

struct agent_session *agent_session_new(const struct link_address *address, agent_closed_fn *closed,
					void *data, GError **error)
{
	char request[LINK_REQUEST_MAX];
	int fd = link_dial(address, request, error);
	struct agent_session *s;

	if (fd < 0)
		return NULL;
	s = session_new(fd, address, closed, data);
	g_byte_array_append(s->queued, (const guint8 *)request, (guint)strlen(request));
	say_hello(s);
	return s;
}

uint32_t agent_session_request(struct agent_session *s, enum agent_type type,
			       struct json_object *body, uint32_t last_step, agent_answer_fn *fn,
			       void *data)
{
	uint32_t transaction = ask(s, type, body, last_step, fn, data);

	if (!s->error)
		flush(s);
	return transaction;
}

void agent_session_pieces(struct agent_session *s, agent_piece_fn *fn, void *data)
{
	s->piece = fn;
	s->piece_data = data;
}

void agent_session_forget(struct agent_session *s, const void *data)
{
	GHashTableIter iter;
	gpointer value;

	g_hash_table_iter_init(&iter, s->calls);
	while (g_hash_table_iter_next(&iter, NULL, &value)) {
		struct call *call = value;

		if (call->data == data)
			call->fn = NULL;
	}
}

bool agent_session_greeted(const struct agent_session *s)
{
	return s->greeted;
}

bool agent_session_can(const struct agent_session *s, enum agent_capability capability)
{
	return s->capabilities & 1u << capability;
}

const GError *agent_session_error(const struct agent_session *s)
{
	return s->error;
}

int agent_exit_code(const GError *error)
{
	if (g_error_matches(error, AGENT_REFUSAL, AGENT_ERROR_TIMEOUT))
		return ORCH_ERROR_TIMEOUT;
	return err_exit_code(error);
}
