/* SPDX-License-Identifier: MIT */
#include "agent/client/ask.h"

#include <stdbool.h>
#include <json-c/json.h>

#include "err.h"

struct asking {
	bool done;
	struct json_object *body;
	GError *error;
	guint timer;
};

static void on_answer(uint32_t type, struct json_object *body, const GError *error, void *data)
{
	struct asking *a = data;

	a->done = true;
	if (error)
		a->error = g_error_copy(error);
	else
		a->body = json_object_get(body);
}

static gboolean on_timeout(gpointer p)
{
	struct asking *a = p;

	a->timer = 0;
	a->done = true;
	a->error = g_error_new_literal(ORCH_ERROR, ORCH_ERROR_TIMEOUT,
				       "the agent has not answered in time");
	return G_SOURCE_REMOVE;
}

gboolean agent_ask(struct agent_session *s, enum agent_type type, struct json_object *body,
		   int timeout_ms, struct json_object **ret_body, GError **error)
{
	struct asking a = { 0 };

	agent_session_request(s, type, body, 2, on_answer, &a);
	if (timeout_ms >= 0)
		a.timer = g_timeout_add((guint)timeout_ms, on_timeout, &a);
	while (!a.done)
		g_main_context_iteration(NULL, TRUE);
	g_clear_handle_id(&a.timer, g_source_remove);
	agent_session_forget(s, &a);
	if (a.error) {
		g_propagate_error(error, a.error);
		return FALSE;
	}
	if (ret_body)
		*ret_body = a.body;
	else
		json_object_put(a.body);
	return TRUE;
}
