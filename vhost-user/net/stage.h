/* SPDX-License-Identifier: MIT */
/* Where something stands between a frame's arrival and its delivery: impairment, shaping, rules,
 * capture.
 *
 *   guest → tap → ingress stage → VLAN, storm limit, learning, lookup → between → mirror
 *         → egress stage → offload.h → tap → ops->egress → guest
 *
 * All hooks are NULL on the fast path; one that is set takes the bursts of its port off it and costs
 * other ports nothing.
 *
 * Ownership: hooks are their maker's, who takes them out of the port before they go, and when the port
 *            goes (sw_stage_ops.detached).  Frames are the switch's: see sw_stage_ops.burst.
 * Threads:   the loop thread. */
#ifndef NET_STAGE_H
#define NET_STAGE_H

#include "port.h"

enum sw_direction {
	SW_INGRESS, /* from the guest, or whoever is behind the port, into the switch */
	SW_EGRESS,
};

struct sw_stage_ops {
	/* Frames come by: n of them, at most SW_BURST, in order.  Each is passed on by
	 * sw_stage_ingress_done() or sw_stage_egress_done(), in this call or later from the loop, or
	 * it is dropped and counted by the stage in p->stats.  What is passed on later was taken as a
	 * buffer (sw_buf_keep()); the frames themselves end with this call. */
	void (*burst)(struct sw_stage *s, struct sw_port *p, struct sw_frame *const *frame,
		      unsigned n);

	/* sw_detach(p): drop what is kept for p; p->ingress or p->egress is NULL after it.  May free
	 * the stage. */
	void (*detached)(struct sw_stage *s, struct sw_port *p);
};

struct sw_stage {
	const struct sw_stage_ops *ops;
};

/* Go on behind the stage of p with frame[0..n), n at most SW_BURST.  The caller's references stay the
 * caller's: it drops them when this returns.  Not for a port that is not attached. */
void sw_stage_ingress_done(struct sw_port *in, struct sw_frame *const *frame, unsigned n);
void sw_stage_egress_done(struct sw_port *out, struct sw_frame *const *frame, unsigned n);

/* Rules about pairs of ports and about what is in a frame. */
struct sw_between;

struct sw_between_ops {
	/* `f` came in at `in` and would go out at `out`, in the form it has there.  True: let it.
	 * False: it was dropped, and counted, or kept as a buffer for sw_between_done().  A flooded
	 * frame comes once for each port. */
	bool (*pass)(struct sw_between *b, struct sw_port *in, struct sw_port *out,
		     struct sw_frame *f);

	/* sw_detach(p): drop what is kept from or for it. */
	void (*detached)(struct sw_between *b, struct sw_port *p);
};

struct sw_between {
	const struct sw_between_ops *ops;
};

/* Go on towards `out` with what pass() kept; as sw_stage_egress_done(). */
void sw_between_done(struct sw_port *out, struct sw_frame *const *frame, unsigned n);

/* One who watches a port: sees every frame at its edge, as it came and as it leaves. */
struct sw_tap_ops {
	void (*see)(struct sw_tap *t, struct sw_port *p, enum sw_direction direction,
		    struct sw_frame *const *frame, unsigned n);

	/* sw_detach(p).  p->tap is NULL after it. */
	void (*detached)(struct sw_tap *t, struct sw_port *p);
};

struct sw_tap {
	const struct sw_tap_ops *ops;
};

#endif
