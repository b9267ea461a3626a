/* SPDX-License-Identifier: MIT */
#include "run/jsonrpc.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <glib-unix.h>

#include "err.h"
#include "run/json.h"
#include "run/jsonline.h"

struct connection {
	struct rpc_server *server;
	struct jsonline *stream;
	gboolean subscribed;
	GPtrArray *calls; /* of struct rpc_call, under way */
};

struct rpc_call {
	struct connection *connection; /* NULL once it is gone: the answer is dropped */
	struct json_object *id;
	gboolean is_notification; /* no id: nobody waits for an answer */
};

struct rpc_server {
	int listen_fd;
	guint listen_source;
	const struct rpc_method *methods;
	void *data;
	GPtrArray *connections;
};

static void connection_free(void *p)
{
	struct connection *c = p;

	for (guint i = 0; i < c->calls->len; i++)
		((struct rpc_call *)c->calls->pdata[i])->connection = NULL;
	g_ptr_array_unref(c->calls);
	jsonline_free(c->stream);
	g_free(c);
}

static struct json_object *envelope(struct json_object *id)
{
	struct json_object *o = json_object_new_object();

	json_put_str(o, "jsonrpc", "2.0");
	json_object_object_add(o, "id", json_object_get(id));
	return o;
}

static void send_error(struct connection *c, struct json_object *id, enum rpc_code code,
		       int exit_code, const char *message)
{
	struct json_object *o = envelope(id), *e = json_object_new_object();

	json_put_int(e, "code", code);
	json_put_str(e, "message", message);
	if (exit_code) {
		struct json_object *data = json_object_new_object();

		json_put_int(data, "exit", exit_code);
		json_object_object_add(e, "data", data);
	}
	json_object_object_add(o, "error", e);
	jsonline_send(c->stream, o);
}

/* Whether 'member' is one of the comma-separated 'members'. */
static bool member_known(const char *members, const char *member)
{
	size_t len = strlen(member);

	for (const char *p = members; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (strncmp(p, member, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	return false;
}

static const char *unknown_member(const struct rpc_method *method, struct json_object *params)
{
	json_object_object_foreach(params, key, value)
	{
		(void)value;
		if (!member_known(method->members, key))
			return key;
	}
	return NULL;
}

static const struct rpc_method *find_method(const struct rpc_server *s, const char *name)
{
	for (const struct rpc_method *m = s->methods; m->name; m++)
		if (strcmp(m->name, name) == 0)
			return m;
	return NULL;
}

static void dispatch(struct connection *c, const struct rpc_method *method,
		     struct json_object *params, struct json_object *id, bool has_id)
{
	auto_json empty = json_object_new_object();
	struct rpc_call *call = g_new0(struct rpc_call, 1);

	call->connection = c;
	call->id = json_object_get(id);
	call->is_notification = !has_id;
	g_ptr_array_add(c->calls, call);
	method->fn(call, params ? params : empty, c->server->data);
}

static void on_object(struct jsonline *stream, struct json_object *o, void *data)
{
	struct connection *c = data;
	struct json_object *id = NULL, *params = NULL;
	bool has_id = json_object_object_get_ex(o, "id", &id);
	const char *name = json_str(o, "method"), *version = json_str(o, "jsonrpc"), *unknown;
	const struct rpc_method *method;
	g_autofree char *text = NULL;

	if (!version || strcmp(version, "2.0") != 0 || !name ||
	    (has_id && !json_object_is_type(id, json_type_int) &&
	     !json_object_is_type(id, json_type_string))) {
		send_error(c, NULL, RPC_INVALID_REQUEST, 0, "not a JSON-RPC 2.0 request");
		return;
	}
	method = find_method(c->server, name);
	if (!method) {
		text = g_strdup_printf("no method \"%s\"", name);
		send_error(c, id, RPC_METHOD_NOT_FOUND, 0, text);
		return;
	}
	if (json_object_object_get_ex(o, "params", &params) &&
	    !json_object_is_type(params, json_type_object)) {
		send_error(c, id, RPC_INVALID_PARAMS, 0, "params must be an object");
		return;
	}
	unknown = params ? unknown_member(method, params) : NULL;
	if (unknown) {
		text = g_strdup_printf("%s has no member \"%s\"", name, unknown);
		send_error(c, id, RPC_INVALID_PARAMS, 0, text);
		return;
	}
	if (c->calls->len >= RPC_CALLS_MAX) {
		send_error(c, id, RPC_FAILED, ORCH_ERROR_FAILED, "too many calls under way");
		return;
	}
	dispatch(c, method, params, id, has_id);
}

static void on_bad(struct jsonline *stream, const char *why, void *data)
{
	send_error(data, NULL, RPC_PARSE_ERROR, 0, why);
}

static void on_closed(struct jsonline *stream, const char *why, void *data)
{
	struct connection *c = data;

	g_ptr_array_remove_fast(c->server->connections, c);
}

static const struct jsonline_ops server_ops = {
	.object = on_object,
	.bad = on_bad,
	.closed = on_closed,
};

void rpc_server_adopt(struct rpc_server *s, int fd)
{
	struct connection *c = g_new0(struct connection, 1);

	c->server = s;
	c->calls = g_ptr_array_new();
	c->stream = jsonline_new(fd, RPC_LINE_MAX, RPC_QUEUE_MAX, &server_ops, c);
	g_ptr_array_add(s->connections, c);
}

static bool peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 &&
	       (cred.uid == geteuid() || cred.uid == 0);
}

static gboolean acceptable(gint listen_fd, GIOCondition condition, gpointer p)
{
	struct rpc_server *s = p;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return G_SOURCE_CONTINUE;
	if (s->connections->len >= RPC_CLIENTS_MAX || !peer_allowed(fd))
		close(fd);
	else
		rpc_server_adopt(s, fd);
	return G_SOURCE_CONTINUE;
}

struct rpc_server *rpc_server_new(int listen_fd, const struct rpc_method *methods, void *data)
{
	struct rpc_server *s = g_new0(struct rpc_server, 1);

	s->listen_fd = listen_fd;
	s->methods = methods;
	s->data = data;
	s->connections = g_ptr_array_new_with_free_func(connection_free);
	if (listen_fd >= 0)
		s->listen_source = g_unix_fd_add(listen_fd, G_IO_IN, acceptable, s);
	return s;
}

void rpc_server_stop_listening(struct rpc_server *s)
{
	if (s->listen_source)
		g_source_remove(s->listen_source);
	if (s->listen_fd >= 0)
		close(s->listen_fd);
	s->listen_source = 0;
	s->listen_fd = -1;
}

void rpc_server_free(struct rpc_server *s)
{
	if (!s)
		return;
	rpc_server_stop_listening(s);
	g_ptr_array_unref(s->connections);
	g_free(s);
}

void rpc_server_flush(struct rpc_server *s, int timeout_ms)
{
	gint64 deadline = g_get_monotonic_time() + timeout_ms * 1000LL;

	for (guint i = 0; i < s->connections->len; i++) {
		struct connection *c = s->connections->pdata[i];
		gint64 left = (deadline - g_get_monotonic_time()) / 1000;

		jsonline_flush(c->stream, (int)MAX(left, 0));
	}
}

static void call_end(struct rpc_call *call)
{
	if (call->connection)
		g_ptr_array_remove_fast(call->connection->calls, call);
	json_object_put(call->id);
	g_free(call);
}

void rpc_reply(struct rpc_call *call, struct json_object *result)
{
	if (!result)
		result = json_object_new_object();
	if (call->connection && !call->is_notification) {
		struct json_object *o = envelope(call->id);

		json_object_object_add(o, "result", result);
		jsonline_send(call->connection->stream, o);
	} else {
		json_object_put(result);
	}
	call_end(call);
}

void rpc_fail(struct rpc_call *call, const GError *error)
{
	if (call->connection && !call->is_notification)
		send_error(call->connection, call->id, RPC_FAILED, err_exit_code(error),
			   error->message);
	call_end(call);
}

void rpc_fail_text(struct rpc_call *call, int exit_code, const char *format, ...)
{
	GError error = { .domain = ORCH_ERROR, .code = exit_code };
	va_list ap;

	va_start(ap, format);
	error.message = g_strdup_vprintf(format, ap);
	va_end(ap);
	rpc_fail(call, &error);
	g_free(error.message);
}

void rpc_subscribe(struct rpc_call *call)
{
	if (call->connection)
		call->connection->subscribed = TRUE;
}

void rpc_notify(struct rpc_server *s, const char *method, struct json_object *params)
{
	for (guint i = 0; i < s->connections->len; i++) {
		struct connection *c = s->connections->pdata[i];
		struct json_object *o;

		if (!c->subscribed)
			continue;
		o = json_object_new_object();
		json_put_str(o, "jsonrpc", "2.0");
		json_put_str(o, "method", method);
		json_object_object_add(o, "params", json_object_get(params));
		jsonline_send(c->stream, o);
	}
	json_object_put(params);
}
