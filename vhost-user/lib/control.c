/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base.h"
#include "listen.h"
#include "log.h"
#include "loop.h"

#define TAG "control"

/* Taken from a connection at once. */
#define READ_CHUNK 4096

/* Requests are carried out in turns of this length, or of one request, and after each turn the thread is left to its
 * real work for as long.  A request takes 5 us to 1 ms (a list of 64 ports), so that a daemon of moderate use never
 * notices, and a flood takes half of the time and holds up nothing for longer than that.  (Without this, 32 clients
 * that asked for lists without pause held up frames for 90 ms.) */
#define TURN_NS 200000

/* A connection.  `in` holds lines that wait for their turn, and the beginning of one whose end has not come yet; while
 * one waits, nothing more is read. */
struct client {
	struct control *control;
	struct client *next;
	struct loop_source src;
	struct loop_work bury;
	uint32_t watched; /* events src waits for */
	int fd;
	bool closed;  /* waits to be freed */
	bool closing; /* reads no more; goes when `out` has been read */
	bool subscribed;
	bool waiting; /* a whole line is in `in` */
	size_t in_len,
		scanned; /* bytes in `in`, and how many of them are known to hold no newline */
	char *out;       /* [out_start, out_end) is still to be sent */
	size_t out_start, out_end, out_size;
	char in[CONTROL_LINE_MAX];
};

struct control {
	struct loop *loop;
	struct loop_source listener;
	int listen_fd;
	const struct control_method *methods;
	unsigned n_methods;
	void *context;
	struct json_tokener *tokener;
	struct client *clients; /* who was served last is last */
	struct loop_timer rest;
	uint64_t rest_until;
	unsigned n_clients, n_subscribers;
	struct log_limit limit;
};

struct control_call {
	struct control *control;
	struct client *client; /* NULL: control_line() */
	int code;              /* 0: no error so far */
	char message[256];
};

/* ---- one request, without I/O ---- */

int control_error(struct control_call *call, enum control_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(call->message, sizeof(call->message), fmt, ap);
	va_end(ap);
	call->code = code;
	return -EREMOTEIO; /* any -errno: the code above is what counts */
}

void *control_context(const struct control_call *call)
{
	return call->control->context;
}

/* The answer to one request; `id` (borrowed) may be NULL, which is JSON's null too. */
static struct json_object *answer(struct json_object *id, const char *key,
				  struct json_object *value)
{
	struct json_object *o = json_object_new_object();

	if (!o) {
		json_object_put(value);
		return NULL;
	}
	json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
	json_object_object_add(o, "id", json_object_get(id));
	json_object_object_add(o, key, value);
	return o;
}

/* `text` made safe to be put into JSON: a message may quote what the peer sent, cut anywhere. */
static struct json_object *safe_string(char *text)
{
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	return json_object_new_string(text);
}

static struct json_object *answer_error(struct json_object *id, struct control_call *call)
{
	struct json_object *error = json_object_new_object();

	json_object_object_add(error, "code", json_object_new_int(call->code));
	json_object_object_add(error, "message", safe_string(call->message));
	return answer(id, "error", error);
}

/* The first word of a method's list is *ret_len bytes long at `list`; the place of the next. */
static const char *member_next(const char *list, size_t *ret_len, bool *ret_optional)
{
	size_t len = strcspn(list, ",");

	*ret_optional = len > 0 && list[len - 1] == '?';
	*ret_len = len - *ret_optional;
	return list[len] == ',' ? list + len + 1 : list + len;
}

static bool member_listed(const char *list, const char *name)
{
	while (*list) {
		const char *word = list;
		bool optional;
		size_t len;

		list = member_next(list, &len, &optional);
		if (strlen(name) == len && memcmp(word, name, len) == 0)
			return true;
	}
	return false;
}

static int check_members(struct control_call *call, const char *list, struct json_object *params)
{
	json_object_object_foreach(params, key, value)
	{
		(void)value;
		if (!member_listed(list, key))
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					     "unknown member \"%.64s\"", key);
	}
	while (*list) {
		const char *word = list;
		char name[64];
		bool optional;
		size_t len;

		list = member_next(list, &len, &optional);
		(void)snprintf(name, sizeof(name), "%.*s", (int)len, word);
		if (!optional && !json_object_object_get_ex(params, name, NULL))
			return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
					     "missing member \"%s\"", name);
	}
	return 0;
}

static int subscribe(struct control_call *call, struct json_object *params,
		     struct json_object **ret_result)
{
	if (!call->client)
		return control_error(call, CONTROL_ERROR_FAILED, "no connection to notify");
	call->control->n_subscribers += !call->client->subscribed;
	call->client->subscribed = true;
	return 0;
}

static const struct control_method subscribe_method = { "subscribe", subscribe, "" };

static const struct control_method *find_method(const struct control *control, const char *name)
{
	if (strcmp(name, subscribe_method.name) == 0)
		return &subscribe_method;
	for (unsigned i = 0; i < control->n_methods; i++)
		if (strcmp(name, control->methods[i].name) == 0)
			return &control->methods[i];
	return NULL;
}

/* The members of a request, borrowed from it. */
struct request {
	struct json_object *id, *method, *params;
	bool has_id;
};

static bool id_valid(struct json_object *id)
{
	switch (json_object_get_type(id)) {
	case json_type_null:
	case json_type_string:
		return true;
	case json_type_int: /* json-c saturates: these two may not be what was sent */
		return json_object_get_int64(id) != INT64_MIN &&
		       json_object_get_uint64(id) != UINT64_MAX;
	case json_type_double:
		return isfinite(json_object_get_double(id)); /* json-c reads NaN */
	case json_type_boolean:
	case json_type_object:
	case json_type_array:
		break;
	}
	return false;
}

/* Take a request apart.  The id is found first, so that every later complaint can bear it. */
static int request_parse(struct control_call *call, struct json_object *o, struct request *ret)
{
	struct json_object *version = NULL;

	if (json_object_is_type(o, json_type_array))
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
				     "no batches: send one request a line");
	if (!json_object_is_type(o, json_type_object))
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST, "a request is an object");
	if (json_object_object_get_ex(o, "id", &ret->id)) {
		if (!id_valid(ret->id)) {
			ret->id = NULL;
			return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
					     "id must be a string, a number or null");
		}
		ret->has_id = true;
	}
	json_object_object_foreach(o, key, value)
	{
		if (strcmp(key, "jsonrpc") == 0)
			version = value;
		else if (strcmp(key, "method") == 0)
			ret->method = value;
		else if (strcmp(key, "params") == 0)
			ret->params = value;
		else if (strcmp(key, "id") != 0)
			return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
					     "unknown member \"%.64s\"", key);
	}
	if (!json_object_is_type(version, json_type_string) ||
	    strcmp(json_object_get_string(version), "2.0") != 0)
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
				     "\"jsonrpc\" must be \"2.0\"");
	if (!json_object_is_type(ret->method, json_type_string))
		return control_error(call, CONTROL_ERROR_INVALID_REQUEST,
				     "\"method\" must be a string");
	return 0;
}

/* Carry a request out.  0 and a new reference in *ret_result, or negative and the error in call. */
static int request_run(struct control_call *call, const struct request *req,
		       struct json_object **ret_result)
{
	const char *name = json_object_get_string(req->method);
	const struct control_method *m = find_method(call->control, name);
	struct json_object *params;
	int r;

	if (!m)
		return control_error(call, CONTROL_ERROR_NO_METHOD, "no method \"%.64s\"", name);
	params = req->params ? json_object_get(req->params) : json_object_new_object();
	if (!json_object_is_type(params, json_type_object))
		r = control_error(call, CONTROL_ERROR_INVALID_PARAMS, "params must be an object");
	else
		r = check_members(call, m->members, params);
	if (r == 0)
		r = m->fn(call, params, ret_result);
	if (r < 0 && !call->code)
		(void)control_error(call, CONTROL_ERROR_FAILED, "%s", strerror(-r));
	json_object_put(params);
	return r;
}

/* The whole line as one JSON value; NULL and the error in call. */
static struct json_object *parse(struct control_call *call, const char *line, size_t len)
{
	struct json_tokener *tok = call->control->tokener;
	enum json_tokener_error error;
	struct json_object *o;

	json_tokener_reset(tok);
	/* The terminator is what tells the tokener that a number or a literal is over. */
	o = json_tokener_parse_ex(tok, line, (int)len);
	error = json_tokener_get_error(tok);
	if (error == json_tokener_continue) {
		o = json_tokener_parse_ex(tok, "", 1);
		error = json_tokener_get_error(tok);
		if (error == json_tokener_continue)
			error = json_tokener_error_parse_eof;
	} else if (error == json_tokener_success && json_tokener_get_parse_end(tok) != len) {
		error = json_tokener_error_parse_unexpected;
	}
	if (error == json_tokener_success)
		return o;
	json_object_put(o);
	(void)control_error(call, CONTROL_ERROR_PARSE, "%s", json_tokener_error_desc(error));
	return NULL;
}

static struct json_object *run_line(struct control_call *call, const char *line, size_t len)
{
	struct json_object *result = NULL, *reply = NULL, *o;
	struct request req = { 0 };

	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == ' ' || line[len - 1] == '\t'))
		len--;
	if (len == 0)
		return NULL;
	o = parse(call, line, len);
	if (call->code || request_parse(call, o, &req) < 0)
		reply = answer_error(req.id, call); /* answered even without id: 5.1 */
	else if (request_run(call, &req, &result) < 0)
		reply = req.has_id ? answer_error(req.id, call) : NULL;
	else if (req.has_id)
		reply = answer(req.id, "result",
			       result ? json_object_get(result) : json_object_new_object());
	json_object_put(result);
	json_object_put(o);
	return reply;
}

struct json_object *control_line(struct control *control, const char *line, size_t len)
{
	struct control_call call = { .control = control };

	return run_line(&call, line, len);
}

/* ---- members of params ---- */

int control_string(struct control_call *call, struct json_object *params, const char *name,
		   const char **ret)
{
	struct json_object *o;
	const char *s;

	if (!json_object_object_get_ex(params, name, &o))
		return 0;
	if (!json_object_is_type(o, json_type_string))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS, "%s: must be a string",
				     name);
	s = json_object_get_string(o);
	if (s[0] == '\0' || strlen(s) != (size_t)json_object_get_string_len(o))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%s: must be neither empty nor hold a NUL", name);
	*ret = s;
	return 0;
}

int control_uint(struct control_call *call, struct json_object *params, const char *name,
		 uint64_t max_value, uint64_t *ret)
{
	struct json_object *o;
	bool negative;
	uint64_t n;

	if (!json_object_object_get_ex(params, name, &o))
		return 0;
	negative = json_object_get_int64(o) < 0;
	n = json_object_get_uint64(o);
	if (!json_object_is_type(o, json_type_int) || negative || n > max_value)
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%s: must be a whole number from 0 to %llu", name,
				     (unsigned long long)max_value);
	*ret = n;
	return 0;
}

int control_bool(struct control_call *call, struct json_object *params, const char *name, bool *ret)
{
	struct json_object *o;

	if (!json_object_object_get_ex(params, name, &o))
		return 0;
	if (!json_object_is_type(o, json_type_boolean))
		return control_error(call, CONTROL_ERROR_INVALID_PARAMS,
				     "%s: must be true or false", name);
	*ret = json_object_get_boolean(o);
	return 0;
}

/* ---- connections ---- */

static void client_bury(struct loop_work *work)
{
	struct client *c = container_of(work, struct client, bury);

	free(c->out);
	free(c);
}

/* End a connection now.  Its memory stays until the pass is over: its caller may be a method of its own. */
static void client_close(struct client *c)
{
	struct control *control = c->control;
	struct client **p = &control->clients;

	if (c->closed)
		return;
	c->closed = true;
	while (*p != c)
		p = &(*p)->next;
	*p = c->next;
	control->n_clients--;
	control->n_subscribers -= c->subscribed;
	loop_del(&c->src);
	close(c->fd);
	loop_defer(control->loop, &c->bury, client_bury);
}

static void client_watch(struct client *c)
{
	uint32_t events = (c->closing || c->waiting ? 0 : EPOLLIN) |
			  (c->out_end > c->out_start ? EPOLLOUT : 0);

	if (events == c->watched)
		return;
	c->watched = events;
	if (loop_mod(&c->src, events) < 0)
		client_close(c);
}

/* Send what the socket takes. */
static void client_flush(struct client *c)
{
	while (c->out_start < c->out_end) {
		ssize_t n = send(c->fd, c->out + c->out_start, c->out_end - c->out_start,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			client_close(c);
			return;
		}
		c->out_start += (size_t)n;
	}
	c->out_start = c->out_end = 0;
	if (c->closing)
		client_close(c);
}

/* Room for len more bytes behind those not yet read. */
static int client_reserve(struct client *c, size_t len)
{
	size_t used = c->out_end - c->out_start, size = max(c->out_size, (size_t)READ_CHUNK);
	char *out;

	if (len > CONTROL_OUT_MAX - min(used, (size_t)CONTROL_OUT_MAX))
		return -ENOBUFS;
	if (used)
		memmove(c->out, c->out + c->out_start, used);
	c->out_start = 0;
	c->out_end = used;
	while (size < used + len)
		size *= 2;
	out = size == c->out_size ? c->out : realloc(c->out, size);
	if (!out)
		return -ENOMEM;
	c->out = out;
	c->out_size = size;
	return 0;
}

static void client_send(struct client *c, const char *text, size_t len)
{
	if (c->closed)
		return;
	if (len + 1 > c->out_size - c->out_end && client_reserve(c, len + 1) < 0) {
		log_limited(&c->control->limit, LOG_LEVEL_WARNING, TAG,
			    "dropped a connection that does not read (%zu bytes waiting)",
			    c->out_end - c->out_start);
		client_close(c);
		return;
	}
	memcpy(c->out + c->out_end, text, len);
	c->out[c->out_end + len] = '\n';
	c->out_end += len + 1;
	client_flush(c);
}

static const char *serialize(struct json_object *o, size_t *ret_len)
{
	return json_object_to_json_string_length(
		o, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, ret_len);
}

/* Send o and drop it; NULL is nothing to send. */
static void client_send_json(struct client *c, struct json_object *o)
{
	const char *text;
	size_t len;

	if (!o)
		return;
	text = serialize(o, &len);
	if (text)
		client_send(c, text, len);
	else
		client_close(c);
	json_object_put(o);
}

static void client_refuse_line(struct client *c)
{
	struct control_call call = { .control = c->control };

	(void)control_error(&call, CONTROL_ERROR_INVALID_REQUEST, "a line is longer than %d bytes",
			    CONTROL_LINE_MAX);
	c->closing = true; /* where the next line begins is anybody's guess */
	client_send_json(c, answer_error(NULL, &call));
}

/* The length of the first line in c->in, newline included; 0: its end has not come yet. */
static size_t client_line_len(struct client *c)
{
	const char *end = memchr(c->in + c->scanned, '\n', c->in_len - c->scanned);

	c->scanned = end ? (size_t)(end - c->in) : c->in_len;
	return end ? c->scanned + 1 : 0;
}

/* Carry out the first line.  There is one. */
static void client_serve(struct client *c)
{
	struct control_call call = { .control = c->control, .client = c };
	size_t len = client_line_len(c);

	client_send_json(c, run_line(&call, c->in, len - 1));
	c->in_len -= len;
	c->scanned = 0;
	memmove(c->in, c->in + len, c->in_len);
	c->waiting = client_line_len(c) > 0;
	if (!c->closed)
		client_watch(c);
}

/* The next to be served, which goes to the end of the list; NULL: no line is waiting. */
static struct client *next_client(struct control *control)
{
	struct client **p = &control->clients, **end, *c;

	while (*p && !(*p)->waiting)
		p = &(*p)->next;
	c = *p;
	if (!c)
		return NULL;
	*p = c->next;
	for (end = p; *end; end = &(*end)->next)
		;
	c->next = NULL;
	*end = c;
	return c;
}

/* One turn: a line of each client, and so on, until none is left or the time is up.  Then nothing for as long as that
 * took. */
static void serve(struct control *control)
{
	uint64_t start = loop_now_ns(), now = start;
	struct client *c = next_client(control);

	while (c) {
		client_serve(c);
		now = loop_now_ns();
		if (now - start >= TURN_NS)
			break;
		c = next_client(control);
	}
	control->rest_until = now + (now - start);
	if (c) /* there may be more */
		loop_timer_set(control->loop, &control->rest, control->rest_until);
}

static void rest_over(struct loop_timer *timer)
{
	serve(container_of(timer, struct control, rest));
}

static void client_read(struct client *c)
{
	struct control *control = c->control;
	ssize_t n =
		read(c->fd, c->in + c->in_len, min((size_t)READ_CHUNK, sizeof(c->in) - c->in_len));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		client_close(c);
		return;
	}
	if (n == 0) {
		c->closing = true; /* it may still read the answers to what it sent */
		client_flush(c);
		return;
	}
	c->in_len += (size_t)n;
	c->waiting = client_line_len(c) > 0;
	if (!c->waiting && c->in_len == sizeof(c->in))
		client_refuse_line(c);
	else if (c->waiting && loop_now_ns() >= control->rest_until)
		serve(control);
	else if (c->waiting)
		loop_timer_set(control->loop, &control->rest, control->rest_until);
}

static void client_event(struct loop_source *src, uint32_t events)
{
	struct client *c = container_of(src, struct client, src);

	if (events & EPOLLOUT)
		client_flush(c);
	if (!c->closed && !c->closing && !c->waiting && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		client_read(c);
	else if (!c->closed && c->closing && (events & (EPOLLHUP | EPOLLERR)))
		client_close(c); /* nobody is left to read */
	if (!c->closed)
		client_watch(c);
}

static int client_new(struct control *control, int fd)
{
	struct client *c = malloc(sizeof(*c));
	int r;

	if (!c)
		return -ENOMEM;
	/* Not calloc(): most of the 64 KiB of `in` are never touched. */
	memset(c, 0, offsetof(struct client, in));
	c->control = control;
	c->fd = fd;
	c->watched = EPOLLIN;
	r = loop_add(control->loop, &c->src, fd, c->watched, client_event);
	if (r < 0) {
		free(c);
		return r;
	}
	c->next = control->clients;
	control->clients = c;
	control->n_clients++;
	return 0;
}

/* Tell a connection beyond the limit why it ends; it fits into any socket buffer. */
static void refuse_client(int fd)
{
	struct control_call call = { 0 };
	struct json_object *o;
	const char *text;
	size_t len;

	(void)control_error(&call, CONTROL_ERROR_LIMIT, "already serving %d connections",
			    CONTROL_CLIENTS_MAX);
	o = answer_error(NULL, &call);
	text = serialize(o, &len);
	if (text) {
		(void)!send(fd, text, len, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
		(void)!send(fd, "\n", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	json_object_put(o);
}

int control_attach(struct control *control, int fd)
{
	int r = listen_check_peer(fd);

	if (r == 0 && control->n_clients >= CONTROL_CLIENTS_MAX) {
		refuse_client(fd);
		r = -EUSERS;
	}
	if (r == 0)
		r = client_new(control, fd);
	if (r < 0)
		close(fd);
	return r;
}

static void listener_event(struct loop_source *src, uint32_t events)
{
	struct control *control = container_of(src, struct control, listener);
	int fd, r = listen_accept(control->listen_fd, &fd);

	if (r == 0)
		r = control_attach(control, fd);
	if (r < 0 && r != -EAGAIN)
		log_limited(&control->limit, LOG_LEVEL_WARNING, TAG, "refused a connection: %s",
			    strerror(-r));
}

/* ---- the server ---- */

int control_new(struct loop *loop, int listen_fd, const struct control_method *methods,
		unsigned n_methods, void *context, struct control **ret_control)
{
	struct control *control = calloc(1, sizeof(*control));
	int r = 0;

	if (!control) {
		if (listen_fd >= 0)
			close(listen_fd);
		return -ENOMEM;
	}
	*control = (struct control){
		.loop = loop,
		.listen_fd = listen_fd,
		.methods = methods,
		.n_methods = n_methods,
		.context = context,
		.tokener = json_tokener_new_ex(CONTROL_DEPTH_MAX),
	};
	loop_timer_init(&control->rest, rest_over);
	if (control->tokener)
		json_tokener_set_flags(control->tokener, control_json_flags());
	else
		r = -ENOMEM;
	if (r == 0 && listen_fd >= 0)
		r = loop_add(loop, &control->listener, listen_fd, EPOLLIN, listener_event);
	if (r < 0) {
		control_free(control);
		return r;
	}
	*ret_control = control;
	return 0;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	while (control->clients)
		client_close(control->clients);
	loop_timer_cancel(control->loop, &control->rest);
	loop_del(&control->listener);
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	if (control->tokener)
		json_tokener_free(control->tokener);
	free(control);
}

bool control_has_subscribers(const struct control *control)
{
	return control && control->n_subscribers > 0;
}

void control_notify(struct control *control, const char *event, struct json_object *params)
{
	struct json_object *o;
	struct client *next;
	const char *text;
	size_t len;

	if (!control_has_subscribers(control)) {
		json_object_put(params);
		return;
	}
	o = json_object_new_object();
	json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
	json_object_object_add(o, "method", json_object_new_string(event));
	json_object_object_add(o, "params", params);
	text = serialize(o, &len);
	for (struct client *c = control->clients; c && text; c = next) {
		next = c->next;
		if (c->subscribed) {
			client_send(c, text, len);
			if (!c->closed)
				client_watch(c);
		}
	}
	json_object_put(o);
}

int control_json_flags(void)
{
	struct json_tokener *tok = json_tokener_new();
	int flags = JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8;

	if (!tok)
		return flags;
	json_tokener_set_flags(tok, flags);
	json_object_put(json_tokener_parse_ex(tok, "\"\xc3\xa4\"", 5));
	if (json_tokener_get_error(tok) != json_tokener_success)
		flags = JSON_TOKENER_VALIDATE_UTF8;
	json_tokener_free(tok);
	return flags;
}
