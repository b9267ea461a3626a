/* SPDX-License-Identifier: MIT */
/* The switch: takes a burst of frames from one port, and gives each to where it belongs.
 *
 * Forwarding is that of a learning bridge.  The source address is learned; a frame to a known
 * station goes to its port alone; a frame to an unknown station or to a group goes to every other
 * port that is up; a frame to a station on its own ingress port goes nowhere.  All group
 * addresses are flooded, the reserved 01:80:c2:00:00:0x among them: these are the wires of a lab,
 * and LLDP or LACP between its guests is wanted.
 *
 * Work is done a burst at a time.  First every frame is classified and put into the batch of its
 * destination; then each destination that got something is called once, with all of it.  So a
 * receiver's ring is published and its guest interrupted once per burst, and the order of frames
 * between two ports is kept.  Nothing is copied here: egress copies from the sender's memory
 * straight to the receiver's.
 *
 * This file makes no system call but to read the clock for a storm limit, and allocates only in
 * sw_init(), sw_attach() and settings, so a test or a fuzzer drives all of it with ports of its own.
 *
 * VLANs (vlan.h), isolation, storm limits (storm.h), mirrors (mirror.h) and what others hook in
 * (stage.h) take a burst off this path where a port in it asks for them, and cost nothing otherwise.
 *
 * Trust:     frames come from guests, ports and names from us.
 * Ownership: a port belongs to its owner, who detaches it before freeing it.
 * Threads:   one: that of the loop.  Workers may call sw_input(), for their ports; see workers.h. */
#ifndef NET_SWITCH_H
#define NET_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "fdb.h"
#include "mirror.h"
#include "offload.h"
#include "port.h"
#include "stage.h"

/* A limit on what a control client can make us hold.  File descriptors run out first. */
#define SW_PORTS_MAX 4096

/* Addresses forgotten in one sw_tick(), so that a full table that ages at once does not hold up
 * traffic: about 20 us. */
#define SW_EXPIRE_BUDGET 512

/* The frames of one burst for one destination. */
struct sw_batch {
	uint16_t n;
	struct sw_frame *frame[SW_BURST];
};

/* The work space of one burst: of a thread. */
struct sw_worker {
	struct sw_port **touched;        /* destinations of the burst at hand */
	struct sw_batch *batch;          /* by port id */
	struct sw_frame other[SW_BURST]; /* frames with their tag put in or taken out */
	struct sw_frame again[SW_BURST]; /* frames that come from a stage */
	struct offload_work offload;
};

/* Frames that a worker hands to the main thread, in order. */
#define SW_HANDOFF_MAX 4096

struct sw_handoff {
	pthread_mutex_t lock; /* also that of sw.bufs then */
	struct sw_buf *first, **last;
	unsigned n;
};

struct sw {
	struct fdb fdb;
	uint32_t now_s;
	uint64_t (*clock_ns)(void); /* loop_now_ns(), or a test's */
	uint64_t awake_ns; /* until then who looks for frames goes on: a precise link counts from when they come */
	struct sw_bufs bufs; /* for all who keep frames */
	/* The link of a port went up or down, whoever wanted it; may be NULL. */
	void (*link_changed)(struct sw *sw, struct sw_port *p);
	struct sw_between *between; /* NULL: no rules; set by who makes them */
	struct sw_mirror *mirrors;
	uint32_t n_vlan;       /* ports that are not plain */
	struct sw_port **port; /* by id; NULL in holes */
	struct sw_port **up;   /* those that are up, for flooding; no order */
	uint32_t n_port;       /* length of all arrays of ports */
	uint32_t n_up;
	struct sw_worker *worker; /* by sw_thread */
	unsigned n_worker;
	/* workers.h */
	bool threads; /* there are others than the main thread */
	pthread_mutex_t fdb_lock;
	struct sw_handoff handoff;
	void (*wake)(
		struct sw *sw); /* set by workers.c: let the main thread call sw_handoff_run() */
	void *wake_arg;
};

/* Which thread this is: 0 the main one, that of the loop; then the workers. */
extern _Thread_local unsigned sw_thread;

/* Make the switch ready for n threads beside the main one (0: none any more, which have ended).
 * -ENOMEM. */
int sw_set_threads(struct sw *sw, unsigned n);

/* In the main thread, while no other one touches the switch: go on with what workers handed over. */
void sw_handoff_run(struct sw *sw);

/* See fdb_init() for the configuration and its errors. */
int sw_init(struct sw *sw, const struct fdb_config *fdb, uint64_t seed);

/* All ports must have been detached. */
void sw_done(struct sw *sw);

/* Add a port, down at first.  -EEXIST: its name is taken; -EINVAL: its name is empty;
 * -ENOSPC: SW_PORTS_MAX; -ENOMEM.  Counters start at what p->stats holds. */
int sw_attach(struct sw *sw, struct sw_port *p);

/* Forget a port and the stations on it.  Legal for one that is not attached.  Not from egress. */
void sw_detach(struct sw_port *p);

/* Only a port that is up gets flooded frames.  Going down forgets the stations on it, so that
 * nothing is sent there any more. */
void sw_set_up(struct sw_port *p, bool up);

/* The link of `p` was taken down by `who`, or is let up again by it.  While anybody holds it down
 * nothing is delivered, what comes in is dropped, and who is behind the port is told where the
 * port can (sw_port_ops.carrier). */
void sw_set_link(struct sw_port *p, enum sw_down who, bool up);

/* Move `p` into other VLANs.  `vlan` is taken over, its set included, and left zero-filled; stations
 * learned on p are forgotten if it says something new. */
void sw_set_vlan(struct sw_port *p, struct vlan_port *vlan);

/* Zero pps: no bound. */
void sw_set_storm(struct sw_port *p, enum storm_kind kind, uint32_t pps);

/* NULL: no such port. */
struct sw_port *sw_find(const struct sw *sw, const char *name);

/* The next attached port after `after` (NULL: the first), or NULL. */
struct sw_port *sw_next(const struct sw *sw, const struct sw_port *after);

/* Forward frame[0..n), n at most SW_BURST, that came in at `in`.  The owner of `in` has set iov,
 * n_iov, len, hdr and buf of each; `head` and `vid` are filled in here.  When it returns nobody holds the frames. */
void sw_input(struct sw_port *in, struct sw_frame *frame, unsigned n);

/* The time is `now_s`; age.  Returns whether more is left to forget: then call again soon. */
bool sw_tick(struct sw *sw, uint32_t now_s);

#endif
