/* SPDX-License-Identifier: MIT */
#include "run/jsonrpc.h"

#include <inttypes.h>

#include "err.h"
#include "run/json.h"
#include "run/jsonline.h"

struct pending {
	rpc_answer_fn *answer;
	void *data;
};

struct rpc_client {
	unsigned refs; /* the owner's, and one for each round of callbacks */
	gboolean freed;
	struct jsonline *stream;
	rpc_notify_fn *notify;
	rpc_closed_fn *closed;
	void *data;
	GHashTable *pending; /* gint64 id -> struct pending */
	gint64 last_id;
	gboolean ended;
	char *why;         /* it ended; NULL: the peer closed it */
	guint late_source; /* fails the calls that were made after the end */
};

static void unref(struct rpc_client *c)
{
	if (--c->refs > 0)
		return;
	g_hash_table_unref(c->pending);
	g_free(c->why);
	g_free(c);
}

static GError *error_of(struct json_object *o)
{
	const char *message = json_str(o, "message");
	struct json_object *data = json_member(o, "data", json_type_object);
	int exit_code = (int)json_int(data, "exit", ORCH_ERROR_FAILED);

	return g_error_new_literal(ORCH_ERROR, (int)err_from_exit_code(exit_code),
				   message ? message : "it failed and did not say why");
}

static void got_answer(struct rpc_client *c, struct json_object *o)
{
	gint64 id = json_int(o, "id", 0);
	struct pending *found = g_hash_table_lookup(c->pending, &id);
	struct json_object *error_object = json_member(o, "error", json_type_object);
	struct json_object *result;
	struct pending call;

	if (!found)
		return; /* an answer to nothing: not ours to complain */
	call = *found;
	g_hash_table_remove(c->pending, &id);
	if (!error_object && json_object_object_get_ex(o, "result", &result)) {
		call.answer(result, NULL, call.data);
	} else {
		g_autoptr(GError) error = error_of(error_object);

		call.answer(NULL, error, call.data);
	}
}

static void on_object(struct jsonline *stream, struct json_object *o, void *data)
{
	struct rpc_client *c = data;
	const char *method = json_str(o, "method");

	if (!method)
		got_answer(c, o);
	else if (c->notify)
		c->notify(method, json_member(o, "params", json_type_object), c->data);
}

static void fail_pending(struct rpc_client *c)
{
	g_autoptr(GError)
		error = g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED, "the connection ended%s%s",
				    c->why ? ": " : "", c->why ? c->why : "");
	GHashTableIter iter;
	gpointer value;

	c->refs++;
	while (!c->freed) {
		struct pending call;

		/* Anew each time: the callback may have changed the table. */
		g_hash_table_iter_init(&iter, c->pending);
		if (!g_hash_table_iter_next(&iter, NULL, &value))
			break;
		call = *(struct pending *)value;
		g_hash_table_iter_remove(&iter);
		call.answer(NULL, error, call.data);
	}
	unref(c);
}

static void on_closed(struct jsonline *stream, const char *why, void *data)
{
	struct rpc_client *c = data;

	c->refs++;
	c->ended = TRUE;
	c->why = g_strdup(why);
	fail_pending(c);
	if (!c->freed && c->closed)
		c->closed(why, c->data);
	unref(c);
}

bool rpc_client_ended(const struct rpc_client *c)
{
	return c->ended;
}

static gboolean fail_late(gpointer p)
{
	struct rpc_client *c = p;

	c->late_source = 0;
	fail_pending(c);
	return G_SOURCE_REMOVE;
}

static const struct jsonline_ops client_ops = { .object = on_object, .closed = on_closed };

struct rpc_client *rpc_client_new(int fd, rpc_notify_fn *notify, rpc_closed_fn *closed, void *data)
{
	struct rpc_client *c = g_new0(struct rpc_client, 1);

	c->refs = 1;
	c->notify = notify;
	c->closed = closed;
	c->data = data;
	c->pending = g_hash_table_new_full(g_int64_hash, g_int64_equal, g_free, g_free);
	c->stream = jsonline_new(fd, RPC_LINE_MAX, RPC_QUEUE_MAX, &client_ops, c);
	return c;
}

void rpc_client_free(struct rpc_client *c)
{
	if (!c)
		return;
	c->freed = TRUE;
	if (c->late_source)
		g_source_remove(c->late_source);
	jsonline_free(c->stream);
	g_hash_table_remove_all(c->pending);
	unref(c);
}

void rpc_client_call(struct rpc_client *c, const char *method, struct json_object *params,
		     rpc_answer_fn *answer, void *data)
{
	struct json_object *o = json_object_new_object();
	struct pending call = { .answer = answer, .data = data };
	gint64 id = ++c->last_id;

	g_hash_table_insert(c->pending, g_memdup2(&id, sizeof(id)), g_memdup2(&call, sizeof(call)));
	json_put_str(o, "jsonrpc", "2.0");
	json_put_int(o, "id", id);
	json_put_str(o, "method", method);
	if (params)
		json_object_object_add(o, "params", params);
	jsonline_send(c->stream, o);
	if (c->ended && !c->late_source)
		c->late_source = g_idle_add(fail_late, c);
}

struct sync_call {
	gboolean done;
	gboolean timed_out;
	struct json_object *result;
	GError *error;
};

static void sync_answer(struct json_object *result, const GError *error, void *data)
{
	struct sync_call *call = data;

	call->done = TRUE;
	call->result = json_object_get(result);
	call->error = error ? g_error_copy(error) : NULL;
}

static gboolean sync_timeout(gpointer p)
{
	((struct sync_call *)p)->timed_out = TRUE;
	return G_SOURCE_CONTINUE;
}

/* Forget a call: its answer, should it come, is dropped. */
static void forget(struct rpc_client *c, gint64 id)
{
	g_hash_table_remove(c->pending, &id);
}

gboolean rpc_client_call_sync(struct rpc_client *c, const char *method, struct json_object *params,
			      int timeout_ms, struct json_object **ret_result, GError **error)
{
	struct sync_call call = { 0 };
	guint timer = timeout_ms >= 0 ? g_timeout_add((guint)timeout_ms, sync_timeout, &call) : 0;

	rpc_client_call(c, method, params, sync_answer, &call);
	while (!call.done && !call.timed_out)
		g_main_context_iteration(NULL, TRUE);
	if (timer)
		g_source_remove(timer);
	if (!call.done) {
		forget(c, c->last_id);
		g_set_error(error, ORCH_ERROR, ORCH_ERROR_TIMEOUT, "no answer to %s within %g s",
			    method, timeout_ms / 1000.0);
		return FALSE;
	}
	if (call.error) {
		g_propagate_error(error, call.error);
		return FALSE;
	}
	if (ret_result)
		*ret_result = call.result;
	else
		json_object_put(call.result);
	return TRUE;
}
