/* SPDX-License-Identifier: MIT */
/* What the control socket of the switch can do, beyond what every daemon can (backend.h).
 *
 *   port.add {"name","type"?,SETTINGS,…} → {}      the type's own members beside
 *   port.set {"name",SETTINGS} → {}                what is not said stays as it is
 *   port.remove {"name"} → {}                      its frontend is disconnected
 *   port.list {} → {"ports":[PORT…]}
 *   port.up, port.down {"name"} → {}               the link, as an operator wants it
 *   stats {"port"?} → {"ports":[{"name","counters","queues":[…],"histograms":{…}}…],"fdb":{"entries","size","per-port","ageing-s"}}
 *   stats.metrics {} → {"text"}: metrics.h
 *   fdb.add {"mac","port","vlan"?} → {}            a static entry; vlan: that of frames without a tag
 *   fdb.remove {"mac","vlan"?} → {}
 *   fdb.list {"port"?} → {"entries":[{"mac","vlan"?,"port","age-s"|"static"}…],"total"}    longest silent first
 *   fdb.flush {"port"?} → {"flushed"}              what was learned
 *   mirror.add {"name","to":PORT,"from":[PORT…],"direction"?:"in"|"out"|"both"} → {}
 *   mirror.remove {"name"} → {}
 *   mirror.list {} → {"mirrors":[{"name","to","from","direction"}…]}
 *
 *   SETTINGS = "vlan"?,"isolated"?,"offloads"?,"storm"?,"fdb-max"?,"stations"?     portspec.h
 *   PORT = {"name","type",…,"link",SETTINGS,"counters"}       … is the type's own
 *   a port of type vhost-user: "socket-path","state","queues","features"
 *
 * "state" is that of port_vu_state(); "queues" counts the receiveqs in use; "features" is the number
 * negotiated, in hexadecimal.  After "subscribe" comes {"method":"port","params":{"name","state"}} whenever a
 * port changes its state; "added", "removed", "link-up" and "link-down" are told in the same way.
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
