/* SPDX-License-Identifier: MIT */
#include "cmd/stage.h"

#include "cmd/reach.h"
#include "err.h"
#include "run/client.h"

#define LOOK_MS 200 /* without a supervisor */
#define LOOK_AGAIN_MS \
	2000 /* with one, which would have told: for the time that one is taken over */
#define CALL_MS 5000

struct watching {
	bool due;
	bool over;
};

static void on_event(struct json_object *event, void *data)
{
	((struct watching *)data)->due = true;
}

static gboolean on_timer(gpointer p)
{
	((struct watching *)p)->due = true;
	return G_SOURCE_CONTINUE;
}

static gboolean on_deadline(gpointer p)
{
	struct watching *w = p;

	w->due = true;
	w->over = true;
	return G_SOURCE_CONTINUE;
}

static struct client *subscribe(const struct reach *r, struct watching *w)
{
	struct client *c = client_connect(r->lab_name, NULL);

	if (!c)
		return NULL;
	c->event = on_event;
	c->data = w;
	(void)rpc_client_call_sync(c->rpc, "subscribe", NULL, CALL_MS, NULL, NULL);
	return c;
}

static void set_timeout(const struct reach *r, const char *vm, enum stage stage, GError **error)
{
	g_autofree char *waits_for = reach_waits_for(r->lab_name, vm);

	g_set_error(error, ORCH_ERROR, ORCH_ERROR_TIMEOUT, "VM %s is still %s%s%s", vm,
		    stage_word(stage), waits_for ? ": it waits for " : "",
		    waits_for ? waits_for : "");
}

static gboolean look(const struct reach *r, const char *vm,
		     enum stage_verdict (*verdict)(enum stage stage), struct watching *w,
		     GError **error)
{
	for (;;) {
		g_autofree char *word = reach_stage(r, vm);
		enum stage stage = word ? stage_from_word(word) : STAGE_PLANNED;
		enum stage_verdict v = verdict(stage);

		if (v == STAGE_THERE)
			return TRUE;
		if (v == STAGE_NEVER)
			g_set_error(error, ORCH_ERROR, ORCH_ERROR_FAILED, "VM %s does not run (%s)",
				    vm, stage_word(stage));
		else if (w->over)
			set_timeout(r, vm, stage, error);
		if (v == STAGE_NEVER || w->over)
			return FALSE;
		w->due = false;
		while (!w->due)
			g_main_context_iteration(NULL, TRUE);
	}
}

gboolean stage_await(const struct reach *r, const char *vm,
		     enum stage_verdict (*verdict)(enum stage stage), gint64 deadline_us,
		     GError **error)
{
	struct watching w = { 0 };
	struct client *c = subscribe(r, &w);
	gint64 left_us = MAX(deadline_us - g_get_monotonic_time(), 0);
	guint timer = g_timeout_add(c ? LOOK_AGAIN_MS : LOOK_MS, on_timer, &w);
	guint deadline = deadline_us ? g_timeout_add((guint)(left_us / 1000), on_deadline, &w) : 0;
	gboolean there = look(r, vm, verdict, &w, error);

	g_source_remove(timer);
	if (deadline)
		g_source_remove(deadline);
	client_free(c);
	return there;
}
