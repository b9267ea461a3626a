/* SPDX-License-Identifier: MIT */
/* The seam between the two halves of the relay: VMs and the lives of connections (relay.c), and the bytes of their far
 * ends (far.c).  For these files only. */
#ifndef HVSOCK_RELAY_IMPL_H
#define HVSOCK_RELAY_IMPL_H

#include "transport.h"

struct hv_relay {
	struct loop *loop;
	const struct hv_host_ops *ops;
	void *context;
	struct hv_journal *journal;
	unsigned n_vms;
	struct hv_vm *first, *last;
};

/* Watch conn->fd, the far end, or what becomes it when the guest accepts.  What loop_add() says. */
int far_join(struct hv_conn *conn);
/* Close it: nothing is read from it or written to it any more, and what waits is dropped (ops->taken()). */
void far_drop(struct hv_conn *conn);
/* After anything that may have ended a half: do what is due, down to far_drop(). */
void far_settle(struct hv_conn *conn);
/* The guest gave up what conn->guest_shutdown says by now. */
void far_guest_shutdown(struct hv_conn *conn);

/* The far end of a connection that the guest has not answered yet is no longer there, or no longer waits. */
void conn_give_up(struct hv_conn *conn, int result);

/* The far end is gone: the guest has HV_CLOSE_NS to end its half, and if it has ended the connection is over. */
void conn_far_gone(struct hv_conn *conn);

#endif
