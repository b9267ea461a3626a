/* SPDX-License-Identifier: MIT */
/* A port as the switch sees it: a name, counters, and one way out.
 *
 * The switch core (switch.h) moves frames between ports and knows nothing of what is
 * behind them.  Today that is a virtio-net device of a guest (port_vu.h); an uplink or
 * a tunnel becomes a port by filling in the same operations.
 *
 * A frame is a list of pieces in memory that the switch does not own: mostly guest
 * memory of the sender, which is why a frame lives for one burst only and why an egress
 * operation that cannot deliver at once must copy or drop, never keep.
 *
 * Trust:   the pieces lie in mapped memory, but their bytes may change while we look.
 *          Hence `head`: the Ethernet header is copied once by the switch, looked up from
 *          the copy, and the copy is what sw_frame_copy() delivers.  So what was decided
 *          about a frame holds for what the receiver gets.
 * Threads: the loop thread. */
#ifndef NET_PORT_H
#define NET_PORT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "stats.h"

#define SW_BURST 64 /* frames in one go */

#define SW_PORT_NAME_MAX 64 /* with the terminating zero */

/* Destination, source, type. */
#define SW_HEAD_LEN 14

/* A 64 KiB GSO segment, its headers and a VLAN tag or two. */
#define SW_FRAME_MAX 65550

struct sw;
struct sw_port;

struct sw_frame {
	const struct iovec *iov; /* first byte of the first piece: the destination address */
	uint32_t len;            /* bytes in all pieces */
	uint16_t n_iov;
	uint8_t head[SW_HEAD_LEN]; /* filled in by sw_input() */
};

struct sw_port_ops {
	const char *type;

	/* Deliver frame[0..n), n at most SW_BURST, in this order, and tell the receiver at most
	 * once.  What cannot be delivered now is dropped and counted in p->stats.  Called at most
	 * once for a port in a burst.  May take the port down; must not attach or detach ports,
	 * nor call sw_input(). */
	void (*egress)(struct sw_port *p, struct sw_frame *const *frame, unsigned n);
};

/* Embedded in what implements the port. */
struct sw_port {
	/* Set by the owner before sw_attach(). */
	const struct sw_port_ops *ops;
	char name[SW_PORT_NAME_MAX];

	struct port_stats stats;

	/* The switch's. */
	struct sw *sw; /* NULL: not attached */
	uint32_t id;
	bool up;
	uint16_t n_batch;
	struct sw_frame *batch[SW_BURST];
};

/* The general way to copy bytes [skip, skip + len) of a frame to `to`, whatever its pieces; the
 * header comes from f->head.  The range must lie inside the frame. */
void sw_frame_copy(const struct sw_frame *f, uint32_t skip, uint32_t len, void *to);

#endif
