/* SPDX-License-Identifier: MIT */
#include "run/qmp.h"

#include <string.h>

#include "err.h"
#include "run/json.h"
#include "run/jsonline.h"

/* query-* answers of a large machine; no event comes near. */
#define QMP_LINE_MAX  (4u << 20)
#define QMP_QUEUE_MAX (1u << 20)

struct command {
	qmp_answer_fn *answer;
	void *data;
};

struct qmp {
	unsigned refs; /* the owner's, and one for each round of callbacks */
	gboolean freed;
	gboolean greeted;
	bool ended;
	struct jsonline *stream;
	const struct qmp_ops *ops;
	void *data;
	GQueue commands; /* of struct command: sent, in order; QEMU answers in order */
	GQueue waiting;  /* of struct json_object: not sent, the greeting has not come */
};

static void unref(struct qmp *q)
{
	if (--q->refs > 0)
		return;
	g_queue_clear_full(&q->commands, g_free);
	while (!g_queue_is_empty(&q->waiting))
		json_object_put(g_queue_pop_head(&q->waiting));
	g_free(q);
}

static void answer_next(struct qmp *q, struct json_object *result, const GError *error)
{
	g_autofree struct command *command = g_queue_pop_head(&q->commands);

	if (command && command->answer)
		command->answer(result, error, command->data);
}

static void status_known(struct json_object *result, const GError *error, void *data)
{
	struct qmp *q = data;
	const char *status = json_str(result, "status");

	if (!error)
		q->ops->ready(q, status ? status : "unknown", q->data);
}

static void on_greeting(struct qmp *q)
{
	q->greeted = TRUE;
	while (!g_queue_is_empty(&q->waiting))
		jsonline_send(q->stream, g_queue_pop_head(&q->waiting));
}

static void on_object(struct jsonline *stream, struct json_object *o, void *data)
{
	struct qmp *q = data;
	struct json_object *member;
	const char *event = json_str(o, "event");

	q->refs++;
	if (!q->greeted) {
		if (json_member(o, "QMP", json_type_object))
			on_greeting(q);
	} else if (event) {
		q->ops->event(q, event, json_member(o, "data", json_type_object), q->data);
	} else if (json_object_object_get_ex(o, "return", &member)) {
		answer_next(q, member, NULL);
	} else if (json_object_object_get_ex(o, "error", &member)) {
		const char *text = json_str(member, "desc");
		g_autoptr(GError) error = g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED, "QEMU: %s",
						      text ? text : "refused");

		answer_next(q, NULL, error);
	}
	unref(q);
}

static void on_closed(struct jsonline *stream, const char *why, void *data)
{
	struct qmp *q = data;
	g_autoptr(GError)
		error = g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED, "QEMU's monitor closed");

	q->refs++;
	q->ended = true;
	while (!q->freed && !g_queue_is_empty(&q->commands))
		answer_next(q, NULL, error);
	if (!q->freed)
		q->ops->closed(q, why, q->data);
	unref(q);
}

static const struct jsonline_ops stream_ops = { .object = on_object, .closed = on_closed };

struct qmp *qmp_new(int fd, const struct qmp_ops *ops, void *data)
{
	struct qmp *q = g_new0(struct qmp, 1);

	q->refs = 1;
	q->ops = ops;
	q->data = data;
	g_queue_init(&q->commands);
	g_queue_init(&q->waiting);
	q->stream = jsonline_new(fd, QMP_LINE_MAX, QMP_QUEUE_MAX, &stream_ops, q);
	qmp_execute(q, "qmp_capabilities", NULL, NULL, NULL);
	qmp_execute(q, "query-status", NULL, status_known, q);
	return q;
}

void qmp_free(struct qmp *q)
{
	if (!q)
		return;
	q->freed = TRUE;
	jsonline_free(q->stream);
	unref(q);
}

bool qmp_ended(const struct qmp *q)
{
	return q->ended;
}

void qmp_execute(struct qmp *q, const char *command, struct json_object *arguments,
		 qmp_answer_fn *answer, void *data)
{
	struct json_object *o = json_object_new_object();
	struct command *c = g_new0(struct command, 1);

	c->answer = answer;
	c->data = data;
	g_queue_push_tail(&q->commands, c);
	json_put_str(o, "execute", command);
	if (arguments)
		json_object_object_add(o, "arguments", arguments);
	if (q->greeted)
		jsonline_send(q->stream, o);
	else
		g_queue_push_tail(&q->waiting, o);
}

/* "frontend-open" says nothing of it; the filename begins with "disconnected:" until there is a connection. */
enum qmp_chardev qmp_chardev(struct json_object *answer, const char *label)
{
	size_t n = json_object_is_type(answer, json_type_array) ? json_object_array_length(answer) :
								  0;

	for (size_t i = 0; i < n; i++) {
		struct json_object *o = json_object_array_get_idx(answer, i);
		const char *filename = json_str(o, "filename");

		if (g_strcmp0(json_str(o, "label"), label) == 0)
			return filename && !g_str_has_prefix(filename, "disconnected:") ?
				       QMP_CHARDEV_CONNECTED :
				       QMP_CHARDEV_WAITS;
	}
	return QMP_CHARDEV_NONE;
}
