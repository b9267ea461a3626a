/* SPDX-License-Identifier: MIT */
/* A guest's request for a port of the host: who is meant, and the way there.
 *
 * In this order: a forward of that VM and port (forward.h); whoever listens at P_<port>; at P_<guid> if there is nothing at
 * P_<port> (hybrid.h).  What is there decides: a forward whose other end does not answer refuses the guest.  The guest is
 * never left without an answer: dialing ends by itself (dial.h).
 *
 * How many requests there are at a time is the relay's limit of connections.
 *
 * Threads: the loop's. */
#ifndef HV_REQUEST_H
#define HV_REQUEST_H

#include "relay.h"

struct forward;
struct host_vm;

/* For struct hv_host_ops; the context is the struct host. */
void request_new(struct hv_conn *conn, void *context);
void request_gone(struct hv_conn *conn, void *context);

/* Refuse what is under way in a VM that is about to go. */
void request_refuse_all(struct host_vm *vm);

/* Requests under way by this forward go on without it. */
void request_forget_forward(struct host_vm *vm, const struct forward *forward);

#endif
