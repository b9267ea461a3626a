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

struct exec {
	struct agent_session *session;
	struct stream *streams[EXEC_STREAMS]; /* a terminal is EXEC_STDOUT */
	bool tty;
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

void exec_free(struct exec *x)
{
	if (!x)
		return;
	g_clear_handle_id(&x->linger, g_source_remove);
	agent_session_free(x->session);
	for (unsigned i = 0; i < EXEC_STREAMS; i++)
		stream_free(x->streams[i]);
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

static void on_room(struct stream *s, void *data)
{
	struct exec *x = data;

	if (x->ops->room)
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

static struct stream *input_of(const struct exec *x)
{
	return x->tty ? x->streams[EXEC_STDOUT] : x->streams[EXEC_STDIN];
}

size_t exec_input(struct exec *x, const void *bytes, size_t len)
{
	return input_of(x) ? stream_send(input_of(x), bytes, len) : len;
}

void exec_input_end(struct exec *x)
{
	if (input_of(x))
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

static void on_answer(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct exec *x = data;

	if (error)
		fail(x, error);
	else if (type == AGENT_EXEC)
		started(x, body);
	else
		exited(x, body);
}

static void add_words(struct json_object *body, const char *key, const char *const *words)
{
	struct json_object *list = words ? json_object_new_array() : NULL;

	for (; words && *words; words++)
		json_object_array_add(list, json_object_new_string(*words));
	if (list)
		json_object_object_add(body, key, list);
}

/* In the order of attach_all(). */
static struct json_object *streams_of(const struct exec_command *c)
{
	struct json_object *list = json_object_new_array();

	json_object_array_add(list, json_object_new_string(c->tty   ? "tty" :
							   c->merge ? "output" :
								      "stdout"));
	if (!c->tty && !c->merge)
		json_object_array_add(list, json_object_new_string("stderr"));
	if (!c->tty && c->input)
		json_object_array_add(list, json_object_new_string("stdin"));
	return list;
}

static struct json_object *request(const struct exec_command *c, const char *token)
{
	struct json_object *body = json_object_new_object(), *size;

	add_words(body, "argv", c->argv);
	add_words(body, "env", c->env);
	json_put_str(body, "cwd", c->cwd);
	json_put_str(body, "user", c->user);
	json_put_str(body, "distro", c->distro);
	json_put_str(body, "token", token);
	json_object_object_add(body, "streams", streams_of(c));
	if (!c->tty)
		return body;
	size = json_object_new_object();
	json_put_int(size, "rows", c->rows);
	json_put_int(size, "cols", c->cols);
	json_put_str(size, "term", c->term);
	json_object_object_add(body, "tty", size);
	return body;
}

static bool attach(struct exec *x, const struct link_address *address,
		   const struct agent_attach *token, enum exec_stream stream, uint32_t index,
		   GError **error)
{
	const struct stream_ops *ops = stream == EXEC_STDIN ? &input_ops : &output_ops;
	struct agent_attach a = *token;

	a.stream = index;
	x->streams[stream] = stream_new(address, &a, ops, x, error);
	return x->streams[stream];
}

/* In the order of streams_of(). */
static bool attach_all(struct exec *x, const struct link_address *address,
		       const struct exec_command *c, const struct agent_attach *token,
		       GError **error)
{
	uint32_t index = 0;

	if (!attach(x, address, token, EXEC_STDOUT, index++, error))
		return false;
	if (c->tty)
		return true;
	if (!c->merge && !attach(x, address, token, EXEC_STDERR, index++, error))
		return false;
	return !c->input || attach(x, address, token, EXEC_STDIN, index, error);
}

struct exec *exec_new(const struct link_address *address, const struct exec_command *command,
		      const struct exec_ops *ops, void *data, GError **error)
{
	struct exec *x = g_new0(struct exec, 1);
	struct agent_attach token;
	char hex[AGENT_TOKEN_HEX];

	token_new(&token, hex);
	x->ops = ops;
	x->data = data;
	x->tty = command->tty;
	x->session = agent_session_new(address, NULL, NULL, error);
	if (x->session) {
		agent_session_request(x->session, AGENT_EXEC, request(command, hex), 3, on_answer,
				      x);
		if (attach_all(x, address, command, &token, error))
			return x;
	}
	exec_free(x);
	return NULL;
}

bool exec_greeted(const struct exec *x)
{
	return agent_session_greeted(x->session);
}
