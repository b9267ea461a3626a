/* SPDX-License-Identifier: MIT */
/* What the control socket of the switch can do, beyond what every daemon can (backend.h).
 *
 *   port.add {"name","socket-path"} → {}           serve one more frontend
 *   port.remove {"name"} → {}                      its frontend is disconnected
 *   port.list {} → {"ports":[PORT…]}
 *   stats {"port"?} → {"ports":[{"name","counters"}…],"fdb":{"entries","size","per-port","ageing-s"}}
 *   fdb.list {"port"?} → {"entries":[{"mac","port","age-s"}…],"total"}    longest silent first
 *   fdb.flush {"port"?} → {"flushed"}
 *
 *   PORT = {"name","type","socket-path","state","queues","features","counters"}
 *
 * "state" is that of port_vu_state(); "queues" counts the receiveqs in use; "features" is the number
 * negotiated, in hexadecimal.  After "subscribe" comes {"method":"port","params":{"name","state"}} whenever a
 * port changes its state; "added" and "removed" are told in the same way.
 *
 * Threads: the loop thread. */
#ifndef NET_CTL_H
#define NET_CTL_H

#include "control.h"
#include "port_vu.h"

/* Entries in one answer of fdb.list: it has to fit CONTROL_OUT_MAX.  "total" tells what is missing. */
#define CTL_FDB_MAX 32768

extern const struct control_method ctl_methods[];
extern const unsigned ctl_n_methods;

/* Tell subscribers that a port is in a new state. */
void ctl_port_changed(struct control *control, const char *name, const char *state);

#endif
