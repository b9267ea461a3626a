/* SPDX-License-Identifier: MIT */
/* Egress: frames into a guest's receiveqs.
 *
 * A burst fetches as many buffers as it has frames, fills them, publishes them by one store and calls
 * the guest at most once.  Without VIRTIO_NET_F_MRG_RXBUF a frame fills one buffer or is dropped; with
 * it, as many as it takes.  With several queues, flow.h decides.
 *
 * A receiver that has no buffers is waited for, but only for a moment (EGRESS_PATIENCE), and not
 * again until it has shown a buffer: then frames to it are dropped and counted, so that a guest
 * that hangs costs its neighbours nothing. */
#ifndef NET_RECEIVEQ_H
#define NET_RECEIVEQ_H

#include <stdbool.h>

#include "device.h"
#include "port.h"

struct port_vu;

struct receiveq {
	struct vu_queue *q; /* started and enabled */
	bool starved;       /* waited for in vain; no wait until it has a buffer */
	uint32_t chain_len; /* room in the buffer filled last; 0 at first */
};

/* struct sw_port_ops.egress for the guest of p. */
void receiveq_deliver(struct port_vu *p, struct sw_frame *const *frame, unsigned n);

#endif
