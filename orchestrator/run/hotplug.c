/* SPDX-License-Identifier: MIT */
#include "run/hotplug_impl.h"

#include <string.h>

#include "err.h"
#include "run/json.h"

struct hotplug_patience hotplug_patience = {
	.greeting = 5000,
	.answer = 10000,
	.connected = 5000,
	.look = 200,
	.deleted = 30000,
	.again = 5000,
};

/* --- beginning and end --------------------------------------------------------------------------------------------- */

static void step_free(void *p)
{
	struct hotplug_step *s = p;

	json_object_put(s->arguments);
	g_free(s->id);
	g_free(s);
}

void hotplug_stop_waiting(struct hotplug *h)
{
	g_clear_handle_id(&h->timer, g_source_remove);
	g_clear_handle_id(&h->look, g_source_remove);
	h->lost = NULL;
}

void hotplug_begin(struct hotplug *h, hotplug_done_fn *done, void *data)
{
	g_assert(!h->done);
	g_clear_error(&h->error);
	h->done = done;
	h->data = data;
}

static gboolean tell(gpointer p)
{
	struct hotplug *h = p;
	hotplug_done_fn *done = g_steal_pointer(&h->done);

	h->finish = 0;
	done(h->error, h->data);
	return G_SOURCE_REMOVE;
}

void hotplug_finish(struct hotplug *h)
{
	hotplug_stop_waiting(h);
	if (!h->finish)
		h->finish = g_idle_add_full(G_PRIORITY_DEFAULT, tell, h, NULL);
}

void hotplug_note_error(struct hotplug *h, const char *format, ...)
{
	g_autofree char *text = NULL;
	va_list ap;

	va_start(ap, format);
	text = g_strdup_vprintf(format, ap);
	va_end(ap);
	if (!h->error)
		h->error = g_error_new_literal(ORCH_ERROR, ORCH_ERROR_FAILED, text);
}

bool hotplug_is_over(const struct hotplug *h)
{
	return h->gone || h->finish || qmp_ended(h->qmp);
}

/* --- commands ------------------------------------------------------------------------------------------------------ */

/* Nothing that was asked is answered any more. */
static void lose(struct hotplug *h, const char *why)
{
	g_autoptr(GError) error = g_error_new_literal(ORCH_ERROR, ORCH_ERROR_FAILED, why);
	hotplug_lost_fn *lost = h->lost;

	h->gone = true;
	hotplug_stop_waiting(h);
	if (lost)
		lost(h, error);
}

static gboolean too_late(gpointer p)
{
	struct hotplug *h = p;
	g_autofree char *why = NULL;

	h->timer = 0;
	if (h->greeted)
		why = g_strdup_printf("the QEMU of %s does not answer", h->path);
	else
		why = g_strdup_printf(
			"%s says nothing: somebody else holds this monitor (QEMU serves one at a time), or it is none",
			h->path);
	lose(h, why);
	return G_SOURCE_REMOVE;
}

/* Expect an event or an answer; lost() is called in its place when none can come. */
static void expect(struct hotplug *h, unsigned ms, hotplug_lost_fn *lost)
{
	g_clear_handle_id(&h->timer, g_source_remove);
	h->lost = lost;
	h->timer = g_timeout_add(h->greeted ? ms : hotplug_patience.greeting, too_late, h);
}

void hotplug_send(struct hotplug *h, const char *command, struct json_object *arguments,
		  qmp_answer_fn *answer, hotplug_lost_fn *lost)
{
	if (h->gone) {
		g_autoptr(GError) error = g_error_new(ORCH_ERROR, ORCH_ERROR_FAILED,
						      "the monitor %s has closed", h->path);

		json_object_put(arguments);
		lost(h, error);
		return;
	}
	expect(h, hotplug_patience.answer, lost);
	qmp_execute(h->qmp, command, arguments, answer, h);
}

static void on_ready(struct qmp *q, const char *status, void *data)
{
	struct hotplug *h = data;

	h->greeted = true;
	h->paused = strcmp(status, "running") != 0;
	if (h->lost)
		expect(h, hotplug_patience.answer, h->lost); /* what waited for the greeting */
}

static void on_event(struct qmp *q, const char *name, struct json_object *event_data, void *data)
{
	const char *id = json_str(event_data, "device");

	if (id && strcmp(name, "DEVICE_DELETED") == 0)
		hotplug_device_gone(data, id);
	else if (id && strcmp(name, "DEVICE_UNPLUG_GUEST_ERROR") == 0)
		hotplug_device_refused(data, id);
}

static void on_closed(struct qmp *q, const char *why, void *data)
{
	struct hotplug *h = data;
	g_autofree char *text = NULL;

	if (!h->greeted)
		text = g_strdup_printf("%s is no QEMU monitor (-qmp unix:…,server=on)%s%s", h->path,
				       why ? ": " : "", why ? why : "");
	else
		text = g_strdup_printf("the monitor %s has closed", h->path);
	lose(h, text);
}

static const struct qmp_ops qmp_ops = { .ready = on_ready, .event = on_event, .closed = on_closed };

struct hotplug *hotplug_new(int fd, const char *path)
{
	struct hotplug *h = g_new0(struct hotplug, 1);

	h->path = g_strdup(path);
	h->answers = json_object_new_object();
	h->steps = g_ptr_array_new_with_free_func(step_free);
	h->qmp = qmp_new(fd, &qmp_ops, h);
	return h;
}

void hotplug_free(struct hotplug *h)
{
	if (!h)
		return;
	hotplug_stop_waiting(h);
	g_clear_handle_id(&h->finish, g_source_remove);
	qmp_free(h->qmp);
	hotplug_facts_free(h->facts);
	json_object_put(h->answers);
	g_ptr_array_unref(h->steps);
	g_clear_error(&h->error);
	g_free(h->path);
	g_free(h);
}

/* --- asking -------------------------------------------------------------------------------------------------------- */

static void ask_next(struct hotplug *h);

void hotplug_lost(struct hotplug *h, const GError *error)
{
	hotplug_note_error(h, "%s", error->message);
	hotplug_finish(h);
}

static void on_fact(struct json_object *result, const GError *error, void *data)
{
	struct hotplug *h = data;

	if (hotplug_is_over(h))
		return;
	if (result)
		json_object_object_add(h->answers, hotplug_questions[h->asked].key,
				       json_object_get(result));
	h->asked++;
	ask_next(h);
}

static void ask_next(struct hotplug *h)
{
	const struct hotplug_question *q = &hotplug_questions[h->asked];
	struct json_object *arguments = NULL;

	if (h->asked == HOTPLUG_QUESTIONS) {
		h->facts = hotplug_facts_new(h->answers);
		hotplug_finish(h);
		return;
	}
	if (q->property || q->type)
		arguments = json_object_new_object();
	if (q->property) {
		json_put_str(arguments, "path", "/machine");
		json_put_str(arguments, "property", q->property);
	}
	if (q->type)
		json_put_str(arguments, "typename", q->type);
	hotplug_send(h, q->command, arguments, on_fact, hotplug_lost);
}

void hotplug_ask(struct hotplug *h, hotplug_done_fn *done, void *data)
{
	hotplug_begin(h, done, data);
	h->asked = 0;
	ask_next(h);
}

struct hotplug_facts *hotplug_facts(struct hotplug *h)
{
	return h->facts;
}

/* --- refreshing ---------------------------------------------------------------------------------------------------- */

/* The last command: it was carried out, or refused. */
static void on_answered(struct json_object *result, const GError *error, void *data)
{
	struct hotplug *h = data;

	if (hotplug_is_over(h))
		return;
	if (error)
		hotplug_note_error(h, "%s", error->message);
	hotplug_finish(h);
}

/* Whatever became of the stop, this guest is to run. */
static void on_stopped(struct json_object *result, const GError *error, void *data)
{
	struct hotplug *h = data;

	if (!hotplug_is_over(h))
		hotplug_send(h, "cont", NULL, on_answered, hotplug_lost);
}

/* The first answer comes after the monitor has said how the guest is. */
static void on_status(struct json_object *result, const GError *error, void *data)
{
	struct hotplug *h = data;

	if (hotplug_is_over(h))
		return;
	if (h->paused)
		hotplug_finish(h);
	else
		hotplug_send(h, "stop", NULL, on_stopped, hotplug_lost);
}

void hotplug_refresh(struct hotplug *h, hotplug_done_fn *done, void *data)
{
	hotplug_begin(h, done, data);
	hotplug_send(h, "query-status", NULL, on_status, hotplug_lost);
}

/* --- a carrier ----------------------------------------------------------------------------------------------------- */

void hotplug_set_link(struct hotplug *h, const char *id, bool up, hotplug_done_fn *done, void *data)
{
	struct json_object *arguments = json_object_new_object();

	hotplug_begin(h, done, data);
	json_put_str(arguments, "name", id);
	json_put_bool(arguments, "up", up);
	hotplug_send(h, "set_link", arguments, on_answered, hotplug_lost);
}
