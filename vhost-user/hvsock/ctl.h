/* SPDX-License-Identifier: MIT */
/* What the control socket of the socket daemon can do, beyond what every daemon can (backend.h).
 *
 *   vm.add {"name","cid"?,"socket-path","transport"?,"uds-path"?,"limits"?,"allow"?} → {}
 *   vm.remove {"name"} → {}                        with its forwards and connections
 *   vm.list {} → {"vms":[VM…]}
 *   forward.add {"id"?,"vm","direction","guest-port","host"} → FORWARD
 *   forward.remove {"id"} → {}                     connections that stand go on
 *   forward.list {} → {"forwards":[FORWARD…]}
 *   connections.list {"vm"?} → {"connections":[CONNECTION…],"total"}      oldest first, a VM at a time
 *   stats {"vm"?} → {"vms":[{"name","counters","clients"}…]}
 *
 *   VM = {"name","cid"?,"transport","state","socket-path"?,"uds-path"?,"limits","connections","buffered"}
 *   FORWARD = {"id","vm","direction","guest-port","service"?,"host","connected","failed","waiting"}
 *   CONNECTION = {"vm","type","state","direction","guest-port","peer-cid","peer-port","service"?,
 *                 "bytes-from-guest","bytes-to-guest","buffered"}
 *
 * "state" of a VM is that of hv_vm_state(), of a connection that of hv_conn_state(); "service" is the word for the port that
 * was dialed (ports.h); counters are those of stats.h, clients those of client.h.  After "subscribe" comes
 * {"method":"vm","params":{"name","state"}} whenever a VM changes its state; "added" and "removed" are told in the same way.
 *
 * Threads: the loop thread. */
#ifndef HV_CTL_H
#define HV_CTL_H

#include "control.h"

/* Connections in one answer of connections.list: it has to fit CONTROL_OUT_MAX.  "total" tells what is missing. */
#define CTL_CONNECTIONS_MAX 8192

/* b->device of their struct backend is the struct host. */
extern const struct control_method ctl_methods[];
extern const unsigned ctl_n_methods;

/* Tell subscribers that a VM is in a new state. */
void ctl_vm_changed(struct control *control, const char *name, const char *state);

#endif
