/* SPDX-License-Identifier: MIT */
#include "run/hotplug_impl.h"

#include <string.h>

#include "err.h"
#include "run/json.h"

/* --- undoing ------------------------------------------------------------------------------------------------------- */

static void undo_next(struct hotplug *h);

static struct hotplug_step *undone_step(const struct hotplug *h)
{
	return h->undoing && h->at > 0 ? h->steps->pdata[h->at - 1] : NULL;
}

/* It stays, and what is below it has to stay, too. */
static void undo_fails(struct hotplug *h, const char *why)
{
	const struct hotplug_step *s = undone_step(h);

	hotplug_note_error(h, "%s %s stays in QEMU: %s", hotplug_kinds[s->kind].word, s->id, why);
	for (unsigned i = 0; i < h->at; i++) {
		struct hotplug_step *other = h->steps->pdata[i];

		other->stuck |= other->part == s->part;
	}
	undo_next(h);
}

static void undo_lost(struct hotplug *h, const GError *error)
{
	undo_fails(h, error->message);
}

static void undo_done(struct hotplug *h)
{
	struct hotplug_step *s = undone_step(h);

	s->there = false;
	h->at--;
	undo_next(h);
}

static void undo_one(struct hotplug *h);

/* The guest has not let go yet: ask it once more, for as long as there is patience. */
static gboolean ask_again(gpointer p)
{
	struct hotplug *h = p;

	h->look = 0;
	if (g_get_monotonic_time() < h->deadline_us)
		undo_one(h);
	else
		undo_fails(
			h,
			"the guest has not let go of it (is it still in its firmware, or without a driver "
			"for hot-plugging?)");
	return G_SOURCE_REMOVE;
}

static void wait_for_guest(struct hotplug *h)
{
	gint64 left_ms = (h->deadline_us - g_get_monotonic_time()) / 1000;

	hotplug_stop_waiting(h);
	h->lost = undo_lost;
	h->look = g_timeout_add((guint)CLAMP(left_ms, 1, hotplug_patience.again), ask_again, h);
}

static void on_removed(struct json_object *result, const GError *error, void *data)
{
	struct hotplug *h = data;
	struct hotplug_step *s = undone_step(h);
	bool gone, begun;

	if (hotplug_is_over(h) || !s)
		return;
	hotplug_stop_waiting(h);
	gone = s->deleted || (error && strstr(error->message, "not found"));
	begun = !error || strstr(error->message, "process of unplug");
	if (gone || (!error && s->kind != HOTPLUG_DEVICE))
		undo_done(h);
	else if (begun && s->kind == HOTPLUG_DEVICE)
		wait_for_guest(h);
	else
		undo_fails(h, error->message);
}

static void undo_one(struct hotplug *h)
{
	const struct hotplug_step *s = undone_step(h);

	hotplug_send(h, hotplug_kinds[s->kind].remove, hotplug_with_id(s->id), on_removed,
		     undo_lost);
}

/* A device that no QEMU lets go of, or what such a one stands on. */
static bool is_held(const struct hotplug *h, const struct hotplug_step *s)
{
	bool held = false;

	for (guint i = 0; s->permanent && i < h->steps->len; i++) {
		const struct hotplug_step *other = h->steps->pdata[i];

		held |= other->part == s->part && other->kind == HOTPLUG_DEVICE && other->there;
	}
	return held;
}

static void undo_next(struct hotplug *h)
{
	const struct hotplug_step *s;

	hotplug_stop_waiting(h);
	while ((s = undone_step(h)) && (!s->there || s->stuck || is_held(h, s)))
		h->at--;
	h->deadline_us = g_get_monotonic_time() + h->deleted_ms * G_GINT64_CONSTANT(1000);
	if (s)
		undo_one(h);
	else
		hotplug_finish(h);
}

static void begin_undoing(struct hotplug *h)
{
	h->undoing = true;
	h->at = h->steps->len;
	undo_next(h);
}

void hotplug_device_gone(struct hotplug *h, const char *id)
{
	struct hotplug_step *s = undone_step(h);

	if (!s || s->kind != HOTPLUG_DEVICE || strcmp(s->id, id) != 0)
		return;
	s->deleted = true;
	if (h->look)
		undo_done(h); /* else the answer to the order is still to come */
}

void hotplug_device_refused(struct hotplug *h, const char *id)
{
	const struct hotplug_step *s = undone_step(h);

	if (s && s->kind == HOTPLUG_DEVICE && strcmp(s->id, id) == 0 && h->look)
		undo_fails(h, "the guest refuses to let it go");
}

void hotplug_unplug(struct hotplug *h, struct json_object *steps, unsigned deleted_ms,
		    hotplug_done_fn *done, void *data)
{
	hotplug_begin(h, done, data);
	h->deleted_ms = deleted_ms;
	hotplug_read_steps(h, steps);
	begin_undoing(h);
}

/* --- doing --------------------------------------------------------------------------------------------------------- */

static void do_next(struct hotplug *h);

static void do_fails(struct hotplug *h, const GError *error)
{
	hotplug_note_error(h, "%s", error->message);
	begin_undoing(h);
}

static void do_one(struct hotplug *h);

static gboolean look_again(gpointer p)
{
	struct hotplug *h = p;

	h->look = 0;
	do_one(h);
	return G_SOURCE_REMOVE;
}

static void wait_connected(struct hotplug *h)
{
	g_autoptr(GError) error = NULL;

	hotplug_stop_waiting(h);
	if (g_get_monotonic_time() < h->deadline_us) {
		h->lost = do_fails;
		h->look = g_timeout_add(hotplug_patience.look, look_again, h);
		return;
	}
	error = g_error_new_literal(
		ORCH_ERROR, ORCH_ERROR_FAILED,
		"QEMU cannot connect to the lab's socket: does it run as another user, or inside a container?");
	do_fails(h, error);
}

static void on_done(struct json_object *result, const GError *error, void *data)
{
	struct hotplug *h = data;
	struct hotplug_step *s;

	if (hotplug_is_over(h))
		return;
	s = h->steps->pdata[h->at];
	hotplug_stop_waiting(h);
	if (error) {
		do_fails(h, error);
	} else if (s->kind == HOTPLUG_CONNECTED &&
		   qmp_chardev(result, s->id) != QMP_CHARDEV_CONNECTED) {
		wait_connected(h);
	} else {
		s->there = hotplug_kinds[s->kind].remove != NULL;
		h->at++;
		do_next(h);
	}
}

/* Whether an order that was lost was carried out is not known: it counts as done, since what is not there is easily undone. */
static void do_lost(struct hotplug *h, const GError *error)
{
	struct hotplug_step *s = h->steps->pdata[h->at];

	s->there = hotplug_kinds[s->kind].remove != NULL;
	do_fails(h, error);
}

static void do_one(struct hotplug *h)
{
	const struct hotplug_step *s = h->steps->pdata[h->at];

	hotplug_send(h, hotplug_kinds[s->kind].add,
		     s->arguments ? json_object_get(s->arguments) : NULL, on_done, do_lost);
}

static void do_next(struct hotplug *h)
{
	if (h->at == h->steps->len) {
		hotplug_finish(h);
		return;
	}
	h->deadline_us =
		g_get_monotonic_time() + hotplug_patience.connected * G_GINT64_CONSTANT(1000);
	do_one(h);
}

void hotplug_plug(struct hotplug *h, hotplug_done_fn *done, void *data)
{
	hotplug_begin(h, done, data);
	h->at = 0;
	h->undoing = false;
	h->deleted_ms = hotplug_patience.deleted;
	do_next(h);
}
