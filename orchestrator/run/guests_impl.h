/* SPDX-License-Identifier: MIT */
/* What the files of guests.h share: one guest, what is being done to it, and what it has of the lab.
 *
 * Of the several things a struct guest holds while it is busy, rest() lets go.
 */
#ifndef RUN_GUESTS_IMPL_H
#define RUN_GUESTS_IMPL_H

#include <netinet/in.h>

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
	CARRYING, /* a card's carrier away, or back */
};

struct guest {
	struct guests *all;
	struct state_guest *is;
	enum doing doing;
	struct rpc_call *call;   /* NULL: nobody waits */
	struct hotplug *hotplug; /* while it does anything */
	struct proc *proc;       /* its QEMU; NULL: unknown who that is */
	guint timer;             /* SERVING; or to try again what its monitor has kept from it */
	unsigned card;           /* CARRYING: of which one … */
	bool carries;            /* … and whether there is to be one */
	unsigned in_vain;        /* times that could not be told */
	GError *why;             /* LEAVING: the attach that failed */
	bool drop;               /* forget it, whatever stays in QEMU */
	struct rings rings;      /* of its socket device */
};

/* --- guests_address.c --------------------------------------------------------------------------------------------- */

/* Who has it already: a port of the lab, or, unless all is NULL, of a guest.  NULL: nobody.  Borrowed. */
const char *guest_ip_owner(const struct guests *all, const struct lab *lab, const struct network *n,
			   struct in_addr ip);
const char *guest_mac_owner(const struct guests *all, const struct lab *lab, const char *text);
bool guest_cid_is_taken(const struct guests *all, const struct lab *lab, uint32_t cid);

/* For the next card of a guest that has those of own: as it was said, or, said being NULL, one that is free.  g_free().  Fails
 * for what is none (ORCH_ERROR_USAGE), or somebody's (ORCH_ERROR_CONFLICT); an address may be NULL all the same: the subnet
 * is full. */
char *guest_give_mac(const struct guests *all, const struct state_guest *own, const char *said,
		     GError **error);
gboolean guest_give_ip(const struct guests *all, const struct network *n,
		       const struct state_guest *own, const char *said, char **ret, GError **error);
uint32_t guest_give_cid(const struct guests *all, const char *name);

/* --- guests_lab.c ------------------------------------------------------------------------------------------------- */

/* What the params of guest.attach ask for, as a guest with all its names and addresses; nothing is done.
 * ORCH_ERROR_USAGE, ORCH_ERROR_CONFLICT, or what keeps the lab from having one. */
struct state_guest *guest_plan(struct guests *all, struct json_object *params, GError **error);

/* Have the daemons serve it. */
void guest_want_items(struct guest *g);
/* Where the daemon of its portal of that index is its device, if it is one.  g_free(). */
char *guest_device_path(struct supervisor *sup, const struct state_guest *is, unsigned index);
/* Whether they do.  LAUNCH_FAILED: one refuses. */
enum launch guest_has_items(struct guest *g, GError **error);
void guest_drop_items(struct guest *g);

#endif
