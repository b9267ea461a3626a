/* SPDX-License-Identifier: MIT */
/* What the control socket of the portal can do, beyond what every daemon can (backend.h).
 *
 *   info {} → {"name","uuid","size","arena-size","extents","free","quarantined","orphans","generation","incarnation",
 *              "durable","flush-error","vsock-port","leases","names","quiesce":QUIESCE,"clients":[CLIENT…]}
 *   client.list {} → {"clients":[CLIENT…]}
 *   client.add {"name","socket-path","mode"?,"quota"?,"leases"?,"linger-ms"?,"quiesce"?} → {}
 *   client.remove {"name"} → {}                          its leases end with it
 *   leases {} → {"leases":[LEASE…]}
 *   names {} → {"names":[{"name","type","offset","length","lease","generation"}…]}
 *   extents {"lease"?} → {"grants":[{"first","count","kind","lease","alive"}…]}
 *   quiesce {"deadline-ms"?,"hold-ms"?} → QUIESCE        the end of it is told by the event "quiesce"
 *   thaw {} → {}
 *   revoke {"lease"} → {}
 *   flush {} → {}                                        the end of it is told by the event "flush" {"error"}
 *   stats {} → {counter…}
 *
 *   CLIENT = {"name","socket-path","mode","quota","used","leases","state"}
 *   LEASE = {"id","generation","client","name","state","mode","extents","pid"?,"names"}
 *   QUIESCE = {"epoch","state","waiting","laggards","left-ms"}
 *
 * After "subscribe" come {"method":"lease","params":LEASE} whenever a lease changes its state, and
 * {"method":"quiesce","params":QUIESCE}; and {"method":"client","params":{"name","state":"removed"}} for a client that goes.
 *
 * Threads: the loop thread. */
#ifndef PORTAL_CTL_H
#define PORTAL_CTL_H

#include "control.h"

struct lease;
struct quiesce;

/* b->device of their struct backend is the struct portald. */
extern const struct control_method ctl_methods[];
extern const unsigned ctl_n_methods;

void ctl_lease_changed(struct control *control, const struct lease *lease);
void ctl_quiesce_changed(struct control *control, const struct quiesce *q);

#endif
