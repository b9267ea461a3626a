/* SPDX-License-Identifier: MIT */
#include "setup_ctl.h"

#include <errno.h>
#include <string.h>

#include "control.h"
#include "ctl.h"
#include "log.h"

#define MAY_FAIL "may-fail" /* the member of a call that is ours, not the method's */

/* A request as it would come over the socket; NULL: no memory. */
static struct json_object *request_of(struct json_object *call)
{
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	json_object_object_add(o, "jsonrpc", json_object_new_string("2.0"));
	json_object_object_add(o, "id", NULL); /* what has one is answered */
	json_object_object_foreach(call, key, value) if (strcmp(key, MAY_FAIL) != 0)
		json_object_object_add(o, key, json_object_get(value));
	return o;
}

static struct json_object *ask(struct control *control, struct json_object *call)
{
	struct json_object *request = request_of(call), *answer;
	const char *line;

	if (!request)
		return NULL;
	line = json_object_to_json_string_ext(request, JSON_C_TO_STRING_PLAIN);
	answer = control_line(control, line, strlen(line));
	json_object_put(request);
	return answer;
}

static int carry_out(const struct backend *b, struct control *control, struct json_object *call,
		     size_t i)
{
	struct json_object *answer = ask(control, call), *error = NULL, *message = NULL;
	const char *method = json_object_get_string(json_object_object_get(call, "method"));
	int r = answer ? 0 : -ENOMEM;

	if (json_object_object_get_ex(answer, "error", &error)) {
		bool goes_on = json_object_get_boolean(json_object_object_get(call, MAY_FAIL));

		json_object_object_get_ex(error, "message", &message);
		log_write(goes_on ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR, NULL,
			  "%s: /setup/%zu: %s: %s", b->config_path, i, method,
			  json_object_get_string(message));
		r = goes_on ? 0 : -EINVAL;
	}
	json_object_put(answer);
	return r;
}

int setup_run(struct backend *b, struct json_object *calls)
{
	size_t n = calls ? json_object_array_length(calls) : 0;
	struct control *control;
	int r;

	if (n == 0)
		return 0;
	/* A server that nobody can reach: the one for clients comes when all this is done. */
	r = control_new(&b->loop, -1, ctl_methods, ctl_n_methods, b, &control);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++)
		r = carry_out(b, control, json_object_array_get_idx(calls, i), i);
	control_free(control);
	return r;
}
