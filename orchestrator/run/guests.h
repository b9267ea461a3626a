/* SPDX-License-Identifier: MIT */
/* QEMUs that somebody else started and that are given devices of this lab: `attach`, `detach`.
 *
 * Such a guest is no VM of the lab: nobody here starts, stops or judges it.  What it has of the lab is a port of a switch for
 * each network, its sockets and its leases of portals, which are items of their daemons as a VM's are and, as those, outlive
 * daemons and supervisors.  The devices are hot-plugged through its monitor (hotplug.h), which is held for that moment only.
 *
 * An attach is a transaction.  What was done of it is undone if any of it fails, and what is to be done is in the state file
 * before the first of it is: a supervisor that finds it half done takes it out.  When the guest's QEMU ends, which is told by
 * the process that listens at its monitor, it is forgotten.
 *
 * Its addresses are derived as a VM's are, from its name, unless they are said.  A lab file that is applied later must not need the
 * same: `up` then says which guest to detach.  The DHCP and DNS of NAT know it by them, as they know VMs.
 *
 * The files of this: guests.c (the transaction), guests_lab.c (what it has of the lab), guests_address.c (which addresses are
 * its own), guests_link.c (its cards as links).
 *
 * Threads: the thread of the default main context.
 */
#ifndef RUN_GUESTS_H
#define RUN_GUESTS_H

#include <glib.h>
#include <stdbool.h>

struct guests;
struct json_object;
struct lab;
struct link_ref;
struct rpc_call;
struct state;
struct supervisor;

struct guests *guests_new(struct supervisor *sup);
/* Calls that wait are answered; the guests go on. */
void guests_free(struct guests *all);

/* The methods.  The call is answered when the guest has its devices, or has let go of them.
 *
 *   guest.attach {"name","qmp","networks"?:["lan" or {"network","mac"?,"ip"?}…],"sockets"?:"vsock","portals"?:[{"portal","door"?}…],"permanent"?}
 *                -> the guest, as in "guests" of `status --json`
 *   guest.detach {"name","force"?} -> {}, or {"left":"…"}: what could not be taken out, and why; only with "force", else that
 *                is the error */
void guests_attach(struct guests *all, struct rpc_call *call, struct json_object *params);
void guests_detach(struct guests *all, struct rpc_call *call, struct json_object *params);

/* One round: go on with those whose ports have come. */
void guests_run(struct guests *all);
/* The lab is going down: take everything out of all of them, and forget them whatever comes of it.  True: there is none left. */
bool guests_leave(struct guests *all);

/* Whether the name is a guest's, or the port or client of a daemon is one ("web", "web.0"): the plan knows nothing of those. */
bool guests_own(const struct guests *all, const char *item);
/* Whether one has that portal's memory. */
bool guests_map(const struct guests *all, const char *portal);
/* The names of those that have sockets; of borrowed char *.  g_ptr_array_unref(). */
GPtrArray *guests_with_sockets(const struct guests *all);
/* Whether the lab leaves them what they have.  ORCH_ERROR_CONFLICT, naming whom to detach. */
gboolean guests_agree(const struct guests *all, const struct lab *lab, GError **error);

/* --- guests_link.c ------------------------------------------------------------------------------------------------ */

/* The plug that a LINK means: lab_find_link(), and cards of guests in the same words ("web", "web.1", "web:lan"). */
gboolean guests_find_link(const struct guests *all, const struct lab *lab, const char *text,
			  struct link_ref *ret, GError **error);
/* Have the guest see whether that port's card has a carrier, as machine_set_carrier() does; as soon as its monitor is to be had.
 * Nothing if it is no guest's. */
void guests_set_carrier(struct guests *all, const char *port, bool up, bool again);
/* The params of hosts.set for a network's NAT with the guests that are on it, and without them: what the lab alone says.  g_free() */
char *guests_add_hosts(const struct guests *all, const char *network, const char *params);
char *guests_drop_hosts(const struct guests *all, const char *network, const char *params);

/* --- guests.c ----------------------------------------------------------------------------------------------------- */

/* The daemon of sockets died, or says how it is with one that it serves. */
void guests_sockets_lost(struct guests *all);
void guests_sockets_state(struct guests *all, const char *name, const char *state);

/* To and from a state; taken over before the daemons are. */
void guests_save(const struct guests *all, struct state *state);
void guests_adopt(struct guests *all, const struct state *state);

#endif
