/* SPDX-License-Identifier: MIT */
/* A port with a guest behind it: a virtio-net device over vhost-user.
 *
 * It serves one frontend at a time (seat.h).  When that one goes, its stations are forgotten.
 *
 * The guest's transmitqs are ingress (transmitq.h), its receiveqs are egress (receiveq.h).  Queue pairs
 * beyond the first are used when the driver enables them.
 *
 * Trust:     vq.h has checked chains and descriptors; header and frame bytes are the guest's.  A
 *            ring that the driver broke stops alone: the other rings and ports go on.
 * Ownership: port_vu_open() and _adopt() own their descriptor from the call on, also on failure.
 *            A port frees itself some time after port_vu_close().
 * Threads:   a group belongs to one loop, and all its ports are served by that thread; a worker may have the
 *            group's transmitqs, and any worker deliver to any port: workers.h. */
#ifndef NET_PORT_VU_H
#define NET_PORT_VU_H

#include <stdbool.h>
#include <stdint.h>

#include "base.h"
#include "device.h"
#include "flow.h"
#include "loop.h"
#include "port.h"
#include "port_state.h"
#include "receiveq.h"
#include "seat.h"
#include "switch.h"
#include "transmitq.h"

/* Queue pairs of one port: as many as vCPUs are common in a lab. */
#define PORT_VU_MAX_PAIRS 16

#define PORT_VU_MTU_DEFAULT 1500
#define PORT_VU_MTU_MIN     68 /* RFC 791: IPv4 takes none smaller */

struct port_vu;

/* What all ports of one thread share. */
struct port_vu_group {
	/* Set by the owner before port_vu_group_init(). */
	struct loop *loop;
	struct sw *sw;
	uint64_t spin_ns; /* how long a queue is looked at in vain; 0: as spin.h finds out */
	uint16_t mtu;     /* the advice in the configuration space; frames are not measured by it */
	void *context;    /* the owner's own */
	void (*state_changed)(struct port_vu *p); /* may be NULL */

	/* Set by workers.c for a thread of its own; NULL: the loop polls. */
	void (*awake)(struct port_vu_group *g); /* there is an active transmitq */
	void (*ring)(struct port_vu_group *g);  /* let the main thread call port_vu_look_into() */

	struct loop_poller poller;
	bool polling;
	struct transmitq *active; /* the ones being polled */

	/* Work space of the burst at hand. */
	struct sw_frame frame[SW_BURST];
	struct vq_burst ingress;
};

struct port_vu {
	struct sw_port port;
	struct port_vu_group *group;
	struct seat seat;
	bool closing;
	bool mrg_rxbuf;
	uint8_t hdr_flags; /* VIRTIO_NET_HDR_F_* that the driver wants to see */
	uint32_t may_ask;  /* enum offload: what it may ask for; what it takes is port.offloads */
	uint16_t mtu; /* what the frontend told the driver; 0: nothing but the group's advice */
	struct port_state kept; /* stations, while the port is down */
	struct places *places;  /* NULL: none; port_vu_keep_places() */
	const char *state;      /* last told to state_changed() */
	struct transmitq transmitq[PORT_VU_MAX_PAIRS];
	struct vu_queue *started[PORT_VU_MAX_PAIRS]; /* receiveqs by pair; NULL: not started */
	struct receiveq receiveq[PORT_VU_MAX_PAIRS]; /* those enabled, too: the n_receiveq in use */
	unsigned n_receiveq;
	struct flow_table flows;                         /* used while n_receiveq > 1 */
	struct queue_stats queue[2 * PORT_VU_MAX_PAIRS]; /* by index */
	bool trouble; /* port_vu_look_into() has something to do; set by any thread */
	bool broken[2 * PORT_VU_MAX_PAIRS]; /* queues by index, likewise */
};

/* Zero mtu stands for its default. */
void port_vu_group_init(struct port_vu_group *g);

/* Add a port named `name` to the group's switch, served on listen_fd.  `path` is where that socket
 * stands in the file system, to be removed with the port, or NULL.  Returns what sw_attach() and
 * loop_add() say, or -ENOMEM; -EINVAL also for a name too long or with odd characters. */
int port_vu_open(struct port_vu_group *g, const char *name, const char *path, int listen_fd,
		 struct port_vu **ret_port);

/* A port whose frontend listens itself, at `path`: seat_dial().  Also what that says. */
int port_vu_dial(struct port_vu_group *g, const char *name, const char *path,
		 struct port_vu **ret_port);

/* Keep the place of the port's packed rings in the file at `path` (place.h), so that a daemon started after this one was
 * killed goes on where it was.  To be called right after the port was made.  What places_open() says. */
int port_vu_keep_places(struct port_vu *p, const char *path);

/* A port for one frontend that is already connected; "closed" once it is gone. */
int port_vu_adopt(struct port_vu_group *g, const char *name, int fd, struct port_vu **ret_port);

/* Take the port out of the switch at once; its session ends and its memory goes with this pass of
 * the loop.  Not from state_changed(). */
void port_vu_close(struct port_vu *p);

/* "listening" or "dialling" no frontend; "connected" there is one; "negotiated" features and memory are known;
 * "running" at least one receiveq and one transmitq are started and enabled; "closed". */
const char *port_vu_state(const struct port_vu *p);

/* The driver broke the queue: end it.  A worker leaves that to the main thread; until then it must not
 * use it. */
void port_vu_queue_broken(struct port_vu *p, struct vu_queue *q);

/* vu_session_check(); a worker leaves it to the main thread to end the session. */
void port_vu_check(struct port_vu *p, struct vu_session *s);

/* In the main thread, with the workers standing: do what the two above left. */
void port_vu_look_into(struct port_vu *p);

/* Two threads may call one guest: for a transmitq, and for a receiveq. */
static inline void port_vu_count_calls(struct port_vu *p, unsigned n)
{
	if (unlikely(p->group->awake))
		__atomic_fetch_add(&p->port.stats.queue_calls, n, __ATOMIC_RELAXED);
	else
		p->port.stats.queue_calls += n;
}

/* NULL if `p` is a port of another kind. */
struct port_vu *port_vu_of(struct sw_port *p);

/* What print-capabilities and the session offer. */
extern const struct vu_device_ops port_vu_ops;

#endif
