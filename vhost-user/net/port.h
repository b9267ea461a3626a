/* SPDX-License-Identifier: MIT */
/* A port as the switch sees it: a name, counters, settings, and one way out.
 *
 * The switch core (switch.h) moves frames between ports and knows nothing of what is
 * behind them: a virtio-net device of a guest (port_vu.h), an uplink, a tunnel.  port_type.h is
 * the list of kinds.
 *
 * A frame is a list of pieces in memory that the switch does not own: mostly guest
 * memory of the sender, which is why a frame lives for one burst only and why whoever
 * cannot do with it at once must copy (buf.h) or drop, never keep.  A frame in a buffer
 * (`buf` set) may be kept by taking a reference.
 *
 * Trust:   the pieces lie in mapped memory, but their bytes may change while we look.
 *          Hence `head`: the Ethernet header, and the VLAN tag where tags are looked at, is copied
 *          once by the switch, looked up from the copy, and the copy is what sw_frame_copy()
 *          delivers.  So what was decided about a frame holds for what the receiver gets.
 *          A tag is put in or taken out by the same means: `head` is longer or shorter than what
 *          it stands for, and nothing is copied for it.
 * Threads: the loop thread; where there are workers, workers.h. */
#ifndef NET_PORT_H
#define NET_PORT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "nethdr.h"
#include "stats.h"
#include "storm.h"
#include "vlan.h"

#define SW_BURST 64 /* frames in one go */

#define SW_PORT_NAME_MAX 64 /* with the terminating zero */

/* Destination, source, type; and with a tag in it. */
#define SW_HEAD_LEN     14
#define SW_HEAD_LEN_MAX 18

/* The longest IP packet, its Ethernet header and two VLAN tags: as a frame comes, and as it is delivered. */
#define SW_FRAME_MAX 65558

struct sw;
struct sw_buf;
struct sw_mirror;
struct sw_port;
struct sw_stage;
struct sw_tap;

struct sw_frame {
	const struct iovec *iov; /* the bytes as they came; first byte: the destination address */
	uint32_t len;            /* bytes as delivered: head_len + (sum of iov - skip) */
	uint16_t n_iov;
	uint8_t head_len,
		skip; /* `head` stands for the first `skip` bytes of iov: 14/14 as it came,
				   18/14 a tag was put in, 14/18 taken out, 18/18 looked at or changed */
	uint8_t head[SW_HEAD_LEN_MAX];
	uint16_t vid; /* the VLAN it is in; 0: none */
	struct nethdr
		hdr; /* what is left to do to it; all zero: nothing, it is complete.  Its offsets
			       count from the first delivered byte, and it was checked against len. */
	struct sw_buf *buf; /* NULL: the sender's memory, valid for this burst; else see buf.h */
};

/* Why a link is down.  Each has a bit of its own, so that one who lets it up again does not
 * lift what another wants. */
enum sw_down {
	SW_DOWN_ADMIN = 1, /* an operator: port.down */
	SW_DOWN_FLAP = 2,  /* an impairment */
};

struct sw_port_ops {
	const char *type;

	/* Deliver frame[0..n), n at most SW_BURST, in this order, and tell the receiver at most
	 * once.  What cannot be delivered now is dropped and counted in p->stats.  The frames are
	 * read, never changed: others are given the same ones.  May take the port down; must not
	 * attach or detach ports, nor call sw_input(): an answer is given from the loop, later. */
	void (*egress)(struct sw_port *p, struct sw_frame *const *frame, unsigned n);

	/* egress() may be called by any worker (workers.h), for one port by one at a time.  Otherwise by the
	 * main thread alone. */
	bool threads;

	/* The link went up or down (sw_set_link()): tell who is behind it.  NULL: nobody can be told. */
	void (*carrier)(struct sw_port *p, bool up);

	/* What queue i counted and whether it is ingress; NULL: there is none, nor any after it.  The member itself is
	 * NULL where a port has no queues. */
	const struct queue_stats *(*queue)(const struct sw_port *p, unsigned i, bool *ret_ingress);
};

/* Embedded in what implements the port. */
struct sw_port {
	/* Set by the owner before sw_attach(). */
	const struct sw_port_ops *ops;
	char name[SW_PORT_NAME_MAX];

	struct port_stats stats;

	/* Set by the owner at any time: enum offload bits.  Frames that ask for more come segmented and
	 * with their checksums completed. */
	uint32_t offloads;

	/* Set by who makes them, at any time but from within themselves: stage.h. */
	struct sw_stage *ingress, *egress;
	struct sw_stage *link; /* link.h: sees no frames, but is told of sw_detach() */
	struct sw_tap *tap;

	/* Settings: read by all, changed by the functions of switch.h. */
	struct vlan_port vlan;
	struct storm storm;
	bool isolated;    /* reaches no other isolated port */
	bool no_offloads; /* is given complete frames, whatever `offloads` says */

	/* The switch's. */
	struct sw *sw; /* NULL: not attached */
	uint32_t id;
	bool up;              /* its owner has a receiver for it, and `down` is 0 */
	bool ready;           /* what sw_set_up() said */
	uint8_t down;         /* enum sw_down */
	pthread_mutex_t lock; /* of egress, where there are workers */
	uint16_t n_mirror_in; /* mirrors that want what comes in here, and what goes out */
	uint16_t n_mirror_out;

	/* What the last burst from here asked the FDB last: true again as long as generation and second
	 * are the same. */
	struct {
		uint64_t src, dst;
		struct sw_port *out;
		uint64_t generation;
		uint32_t now_s;
	} memo;

	struct port_histograms histograms;
};

/* The general way to copy bytes [skip, skip + len) of a frame, as delivered, to `to`, whatever its
 * pieces; the header comes from f->head.  The range must lie inside the frame. */
void sw_frame_copy(const struct sw_frame *f, uint32_t skip, uint32_t len, void *to);

#endif
