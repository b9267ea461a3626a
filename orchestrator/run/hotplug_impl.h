/* SPDX-License-Identifier: MIT */
/* What the files of hotplug.h share: steps, and the one thing that is under way at a time.
 *
 * Whatever is waited for either comes or is lost; lost() is then called once, in its place.
 */
#ifndef RUN_HOTPLUG_IMPL_H
#define RUN_HOTPLUG_IMPL_H

#include "run/hotplug.h"
#include "run/qmp.h"

enum hotplug_kind {
	HOTPLUG_CHARDEV,
	HOTPLUG_CONNECTED,
	HOTPLUG_NETDEV,
	HOTPLUG_OBJECT,
	HOTPLUG_DEVICE,
	HOTPLUG_KINDS
};

/* How a thing is made and taken away, and its word in the list of steps; NULL: nothing is made. */
extern const struct hotplug_verbs {
	const char *word, *add, *remove;
} hotplug_kinds[HOTPLUG_KINDS];

struct hotplug_step {
	enum hotplug_kind kind;
	char *id;
	struct json_object *arguments; /* to make it; NULL: it is only taken out */
	unsigned part;                 /* steps of one device: what is below it stays with it */
	bool permanent;
	bool there;   /* QEMU has it */
	bool deleted; /* QEMU says that the device has gone */
	bool stuck;
};

/* What was waited for cannot come any more. */
typedef void hotplug_lost_fn(struct hotplug *h, const GError *error);

struct hotplug {
	char *path;
	struct qmp *qmp;
	bool greeted, paused, gone;
	struct json_object *answers;
	unsigned asked;
	struct hotplug_facts *facts;
	GPtrArray *steps; /* of struct hotplug_step */
	unsigned at;      /* the step that is being done; while undoing one more than that */
	unsigned parts;
	bool undoing;
	unsigned deleted_ms;
	/* What is under way. */
	hotplug_lost_fn *lost;
	guint timer, look, finish;
	gint64 deadline_us;
	GError *error; /* the first */
	hotplug_done_fn *done;
	void *data;
};

/* --- hotplug.c: what is under way, and the monitor ------------------------------------------------------------------ */

void hotplug_begin(struct hotplug *h, hotplug_done_fn *done, void *data);
void hotplug_finish(struct hotplug *h);
/* The first counts. */
void hotplug_note_error(struct hotplug *h, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* No answer, event or look is waited for any more. */
void hotplug_stop_waiting(struct hotplug *h);
/* Exactly one of the two is called, unless it is freed: the answer, or lost() where none can come. */
void hotplug_send(struct hotplug *h, const char *command, struct json_object *arguments,
		  qmp_answer_fn *answer, hotplug_lost_fn *lost);
/* Whether an answer is to be ignored: lost() is called in its place, or was. */
bool hotplug_is_over(const struct hotplug *h);
/* The end of what has nothing to undo. */
hotplug_lost_fn hotplug_lost;

/* --- hotplug_steps.c ------------------------------------------------------------------------------------------------ */

/* {"id": …}; the caller owns it. */
struct json_object *hotplug_with_id(const char *id);
/* The list in place of the steps, as such that are there. */
void hotplug_read_steps(struct hotplug *h, struct json_object *list);

/* --- hotplug_run.c: events ------------------------------------------------------------------------------------------ */

void hotplug_device_gone(struct hotplug *h, const char *id);
void hotplug_device_refused(struct hotplug *h, const char *id);

#endif
