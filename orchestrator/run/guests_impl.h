/* SPDX-License-Identifier: MIT */
/* What the files of guests.h share: one guest, what is being done to it, and what it has of the lab.
 *
 * Of the several things a struct guest holds while it is busy, rest() lets go.
 */
#ifndef RUN_GUESTS_IMPL_H
#define RUN_GUESTS_IMPL_H

#include "run/guests.h"
#include "run/rings.h"
#include "run/state_guest.h"
#include "run/supervisor.h"

struct guests {
	struct supervisor *sup;
	GPtrArray *list; /* of struct guest */
};

enum doing {
	IDLE,
	ASKING,   /* its monitor what it has */
	SERVING,  /* daemons are to open what it connects to */
	PLUGGING, /* devices in … */
	LEAVING,  /* … and out */
	REFRESHING,
};

struct guest {
	struct guests *all;
	struct state_guest *is;
	enum doing doing;
	struct rpc_call *call;   /* NULL: nobody waits */
	struct hotplug *hotplug; /* while it does anything */
	struct proc *proc;       /* its QEMU; NULL: unknown who that is */
	guint timer;             /* SERVING */
	GError *why;             /* LEAVING: the attach that failed */
	bool drop;               /* forget it, whatever stays in QEMU */
	struct rings rings;      /* of its socket device */
};

/* --- guests_lab.c ------------------------------------------------------------------------------------------------- */

/* What the params of guest.attach ask for, as a guest with all its names and addresses; nothing is done.
 * ORCH_ERROR_USAGE, ORCH_ERROR_CONFLICT, or what keeps the lab from having one. */
struct state_guest *guest_plan(struct guests *all, struct json_object *params, GError **error);

/* Have the daemons serve it. */
void guest_want_items(struct guest *g);
/* Whether they do.  LAUNCH_FAILED: one refuses. */
enum launch guest_has_items(struct guest *g, GError **error);
void guest_drop_items(struct guest *g);

#endif
