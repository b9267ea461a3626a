/* SPDX-License-Identifier: MIT */
#include "agent/client/exec.h"

#include "agent/client/session.h"
#include "agent/client/stream.h"
#include "agent/client/token.h"
#include "err.h"
#include "run/json.h"

#define CODE_NOT_EXECUTABLE 126
#define CODE_NOT_FOUND      127
#define CODE_SIGNAL         128

/* What it takes to ask again an agent that takes no streams in pieces. */
struct fallback {
	char *path;
	struct link_address address;
	struct json_object *request;
	GByteArray *input; /* what was sent, and is to be sent again */
	bool input_ended;
	bool begun;
};

struct exec {
	struct agent_session *session;
	struct stream *streams[EXEC_STREAMS]; /* a terminal is EXEC_STDOUT */
	enum exec_stream order[EXEC_STREAMS]; /* by their index in the request */
	unsigned n_order;
	bool tty;
	uint32_t transaction;      /* of EXEC, for pieces */
	struct fallback *fallback; /* until it is known that none is needed, or it is done */
	bool runs;
	int64_t pid;
	int early_signal;
	unsigned rows, cols; /* to be told when it runs; 0: nothing */
	bool exited;         /* 'end' is right; its output may still come */
	bool left;           /* and others of its group live on */
	struct exec_end end;
	GError *error;
	guint linger;
	bool told;
	const struct exec_ops *ops;
	void *data;
};

/* --- the end ---------------------------------------------------------------------------------------------- */

static void fallback_free(struct fallback *f)
{
	if (!f)
		return;
	json_object_put(f->request);
	g_byte_array_unref(f->input);
	g_free(f->path);
	g_free(f);
}

static void free_streams(struct exec *x)
{
	for (unsigned i = 0; i < EXEC_STREAMS; i++)
		g_clear_pointer(&x->streams[i], stream_free);
}

void exec_free(struct exec *x)
{
	if (!x)
		return;
	g_clear_handle_id(&x->linger, g_source_remove);
	free_streams(x);
	agent_session_free(x->session);
	fallback_free(x->fallback);
	g_clear_error(&x->error);
	g_free(x);
}

static void tell(struct exec *x)
{
	if (x->told)
		return;
	x->told = true;
	g_clear_handle_id(&x->linger, g_source_remove);
	x->ops->ended(x, &x->end, x->error, x->data);
}

static bool output_open(const struct exec *x)
{
	return (x->streams[EXEC_STDOUT] && !stream_ended(x->streams[EXEC_STDOUT])) ||
	       (x->streams[EXEC_STDERR] && !stream_ended(x->streams[EXEC_STDERR]));
}

static void tell_when_all_is_there(struct exec *x)
{
	if (x->exited && !output_open(x))
		tell(x);
}

static void fail(struct exec *x, const GError *error)
{
	if (x->exited || x->error)
		return;
	x->error = g_error_copy(error);
	x->end.ran = x->runs;
	x->end.code = agent_exit_code(error);
	if (g_error_matches(error, AGENT_REFUSAL, AGENT_ERROR_NOT_FOUND))
		x->end.code = CODE_NOT_FOUND;
	else if (g_error_matches(error, AGENT_REFUSAL, AGENT_ERROR_NOT_EXECUTABLE))
		x->end.code = CODE_NOT_EXECUTABLE;
	tell(x);
}

static gboolean on_linger(gpointer p)
{
	struct exec *x = p;

	x->linger = 0;
	if (!x->left)
		x->error = g_error_new_literal(ORCH_ERROR, ORCH_ERROR_FAILED,
					       "it has ended, but its output has no end");
	tell(x);
	return G_SOURCE_REMOVE;
}

/* After EXIT somebody else may still write, but not the program: silence is the end. */
static void linger(struct exec *x)
{
	g_clear_handle_id(&x->linger, g_source_remove);
	if (x->exited && !x->told)
		x->linger = g_timeout_add(x->left ? EXEC_LEFT_MS : EXEC_LINGER_MS, on_linger, x);
}

/* --- streams ---------------------------------------------------------------------------------------------- */

static enum exec_stream which(const struct exec *x, const struct stream *s)
{
	return s == x->streams[EXEC_STDERR] ? EXEC_STDERR : EXEC_STDOUT;
}

static size_t on_output(struct stream *s, const uint8_t *bytes, size_t len, void *data)
{
	struct exec *x = data;
	size_t taken = x->ops->output(x, which(x, s), bytes, len, x->data);

	/* Waiting for our own reader is not the guest's silence. */
	if (taken == len)
		linger(x);
	else
		g_clear_handle_id(&x->linger, g_source_remove);
	return taken;
}

static void on_output_end(struct stream *s, const GError *error, void *data)
{
	struct exec *x = data;

	/* The control connection says what happened, and outlives the others by its last words. */
	if (error && x->exited && !x->error)
		x->error = g_error_copy(error);
	tell_when_all_is_there(x);
}

static void on_input_end(struct stream *s, const GError *error, void *data)
{
}

static struct stream *input_of(const struct exec *x)
{
	return x->tty ? x->streams[EXEC_STDOUT] : x->streams[EXEC_STDIN];
}

/* Once more what was sent in vain; false: not all of it yet. */
static bool send_again(struct exec *x)
{
	struct fallback *f = x->fallback;
	size_t n;

	if (!f || !f->begun)
		return true;
	n = f->input->len > 0 ? stream_send(input_of(x), f->input->data, f->input->len) : 0;
	g_byte_array_remove_range(f->input, 0, (guint)n);
	if (f->input->len > 0)
		return false;
	if (f->input_ended && input_of(x))
		stream_finish(input_of(x));
	g_clear_pointer(&x->fallback, fallback_free);
	return true;
}

static void on_room(struct stream *s, void *data)
{
	struct exec *x = data;

	if (send_again(x) && x->ops->room)
		x->ops->room(x, x->data);
}

static const struct stream_ops output_ops = {
	.bytes = on_output,
	.ended = on_output_end,
	.room = on_room,
};

static const struct stream_ops input_ops = {
	.ended = on_input_end,
	.room = on_room,
};

size_t exec_input(struct exec *x, const void *bytes, size_t len)
{
	size_t n;

	if (!input_of(x))
		return len;
	if (!send_again(x))
		return 0;
	n = stream_send(input_of(x), bytes, len);
	if (x->fallback)
		g_byte_array_append(x->fallback->input, bytes, (guint)n);
	return n;
}

void exec_input_end(struct exec *x)
{
	if (x->fallback)
		x->fallback->input_ended = true;
	if (input_of(x) && send_again(x))
		stream_finish(input_of(x));
}

bool exec_input_deaf(const struct exec *x)
{
	return !input_of(x) || stream_deaf(input_of(x));
}

void exec_resume(struct exec *x, enum exec_stream stream)
{
	if (!x->streams[stream])
		return;
	stream_resume(x->streams[stream]);
	linger(x);
}

void exec_refuse(struct exec *x, enum exec_stream stream)
{
	if (x->streams[stream])
		stream_refuse(x->streams[stream]);
}

/* --- requests --------------------------------------------------------------------------------------------- */

static void send_signal(struct exec *x, int signal)
{
	struct json_object *body = json_object_new_object();

	json_put_int(body, "pid", x->pid);
	json_put_int(body, "signal", signal);
	agent_session_request(x->session, AGENT_SIGNAL, body, 2, NULL, NULL);
}

void exec_signal(struct exec *x, int signal)
{
	if (x->runs)
		send_signal(x, signal);
	else
		x->early_signal = signal;
}

static void send_window(struct exec *x)
{
	struct json_object *body = json_object_new_object();

	json_put_int(body, "pid", x->pid);
	json_put_int(body, "rows", x->rows);
	json_put_int(body, "cols", x->cols);
	agent_session_request(x->session, AGENT_WINSIZE, body, 2, NULL, NULL);
	x->rows = 0;
}

void exec_window(struct exec *x, unsigned rows, unsigned cols)
{
	x->rows = rows;
	x->cols = cols;
	if (x->runs)
		send_window(x);
}

static void started(struct exec *x, struct json_object *body)
{
	if (x->fallback && !x->fallback->begun)
		g_clear_pointer(&x->fallback, fallback_free);
	x->runs = true;
	x->pid = json_int(body, "pid", 0);
	if (x->early_signal)
		send_signal(x, x->early_signal);
	if (x->rows)
		send_window(x);
}

static void exited(struct exec *x, struct json_object *body)
{
	int64_t code = json_int(body, "code", 0), signal = json_int(body, "signal", 0);

	x->exited = true;
	x->left = json_flag(body, "left", false);
	x->end.ran = true;
	x->end.signal = CLAMP(signal, 0, 127);
	x->end.code = x->end.signal ? CODE_SIGNAL + x->end.signal : (int)(code & 0xff);
	linger(x);
	tell_when_all_is_there(x);
}

static void add_words(struct json_object *body, const char *key, const char *const *words)
{
	struct json_object *list = words ? json_object_new_array() : NULL;

	for (; words && *words; words++)
		json_object_array_add(list, json_object_new_string(*words));
	if (list)
		json_object_object_add(body, key, list);
}

static void set_order(struct exec *x, const struct exec_command *c)
{
	x->order[x->n_order++] = EXEC_STDOUT;
	if (!c->tty && !c->merge)
		x->order[x->n_order++] = EXEC_STDERR;
	if (!c->tty && c->input)
		x->order[x->n_order++] = EXEC_STDIN;
}

static struct json_object *streams_of(const struct exec *x, const struct exec_command *c)
{
	static const char *const names[] = { "stdin", "stdout", "stderr" };
	struct json_object *list = json_object_new_array();

	for (unsigned i = 0; i < x->n_order; i++) {
		const char *name = names[x->order[i]];

		if (i == 0 && (c->tty || c->merge))
			name = c->tty ? "tty" : "output";
		json_object_array_add(list, json_object_new_string(name));
	}
	return list;
}

static struct json_object *request(const struct exec *x, const struct exec_command *c)
{
	struct json_object *body = json_object_new_object(), *size;

	add_words(body, "argv", c->argv);
	add_words(body, "env", c->env);
	json_put_str(body, "cwd", c->cwd);
	json_put_str(body, "user", c->user);
	json_put_str(body, "distro", c->distro);
	json_object_object_add(body, "streams", streams_of(x, c));
	if (!c->tty)
		return body;
	size = json_object_new_object();
	json_put_int(size, "rows", c->rows);
	json_put_int(size, "cols", c->cols);
	json_put_str(size, "term", c->term);
	json_object_object_add(body, "tty", size);
	return body;
}

/* --- asking ----------------------------------------------------------------------------------------------- */

static void on_answer(uint32_t type, struct json_object *body, const GError *error, void *data);

static const struct stream_ops *ops_of(enum exec_stream stream)
{
	return stream == EXEC_STDIN ? &input_ops : &output_ops;
}

/* With a data connection for each stream.  Takes the body. */
static bool ask_with_connections(struct exec *x, const struct link_address *address,
				 struct json_object *body, GError **error)
{
	struct agent_attach token;
	char hex[AGENT_TOKEN_HEX];

	token_new(&token, hex);
	json_put_str(body, "token", hex);
	agent_session_request(x->session, AGENT_EXEC, body, 3, on_answer, x);
	for (token.stream = 0; token.stream < x->n_order; token.stream++) {
		enum exec_stream stream = x->order[token.stream];

		x->streams[stream] = stream_new(address, &token, ops_of(stream), x, error);
		if (!x->streams[stream])
			return false;
	}
	return true;
}

static bool on_piece(uint32_t transaction, const struct agent_piece *piece, void *data)
{
	struct exec *x = data;
	struct stream *s = piece->stream < x->n_order ? x->streams[x->order[piece->stream]] : NULL;

	return s && transaction == x->transaction && stream_take(s, piece);
}

/* With all of them on the one connection. */
static void ask(struct exec *x, const struct link_address *address, struct json_object *body)
{
	struct fallback *f = g_new0(struct fallback, 1);

	f->path = g_strdup(address->path);
	f->address = (struct link_address){ .path = f->path, .port = address->port };
	f->request = json_object_get(body);
	f->input = g_byte_array_new();
	x->fallback = f;
	agent_session_pieces(x->session, on_piece, x);
	x->transaction = agent_session_request(x->session, AGENT_EXEC, body, 3, on_answer, x);
	for (uint32_t i = 0; i < x->n_order; i++)
		x->streams[x->order[i]] =
			stream_in_pieces(x->session, x->transaction, i, ops_of(x->order[i]), x);
}

static void fall_back(struct exec *x)
{
	struct fallback *f = x->fallback;
	g_autoptr(GError) error = NULL;

	f->begun = true;
	agent_session_pieces(x->session, NULL, NULL);
	free_streams(x);
	if (!ask_with_connections(x, &f->address, json_object_get(f->request), &error))
		fail(x, error);
	else
		on_room(NULL, x);
}

/* It did not even read "streams" without a "token". */
static bool is_old(const struct exec *x, const GError *error)
{
	return x->fallback && !x->fallback->begun &&
	       g_error_matches(error, AGENT_REFUSAL, AGENT_ERROR_BAD_REQUEST) &&
	       !agent_session_can(x->session, AGENT_CAPABILITY_STREAMS);
}

static void on_answer(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct exec *x = data;

	if (error && is_old(x, error))
		fall_back(x);
	else if (error)
		fail(x, error);
	else if (type == AGENT_EXEC)
		started(x, body);
	else
		exited(x, body);
}

struct exec *exec_new(const struct link_address *address, const struct exec_command *command,
		      const struct exec_ops *ops, void *data, GError **error)
{
	struct exec *x = g_new0(struct exec, 1);

	x->ops = ops;
	x->data = data;
	x->tty = command->tty;
	set_order(x, command);
	x->session = agent_session_new(address, NULL, NULL, error);
	if (x->session && !x->tty && !command->bulk) {
		ask(x, address, request(x, command));
		return x;
	}
	if (x->session && ask_with_connections(x, address, request(x, command), error))
		return x;
	exec_free(x);
	return NULL;
}

bool exec_greeted(const struct exec *x)
{
	return agent_session_greeted(x->session);
}
