/* SPDX-License-Identifier: MIT */
/* Ingress: frames from a guest's transmitqs, and the polling of them.
 *
 * A transmitq is active or idle.  A kick makes it active: kicks are turned off and it is looked at in
 * every pass of the loop, for a burst at most, so that nobody waits long for another.  When nothing
 * came for a while (spin.h) its kick is armed again, and it is looked at a last time: idle, it costs
 * nothing, and a switch of 64 ports works as hard as its busy ones ask for. */
#ifndef NET_TRANSMITQ_H
#define NET_TRANSMITQ_H

#include <stdbool.h>
#include <stdint.h>

#include "device.h"
#include "spin.h"

struct port_vu;
struct port_vu_group;

struct transmitq {
	struct port_vu *port;
	struct vu_queue *q; /* NULL: not started */
	bool active;
	unsigned n_bursts;      /* one in LATENCY_SAMPLE is timed */
	uint64_t idle_since_ns; /* 0: the last look found something */
	struct spin spin;
	struct transmitq *next, *prev; /* in the group's list of active ones */
};

/* Poll it from the next pass on.  It must be started. */
void transmitq_activate(struct transmitq *t);

/* Look at each of the group's active ones once.  By the thread that has the group. */
void transmitq_pass(struct port_vu_group *g);

/* Poll it no longer.  Its kick is not armed: for a queue that stops. */
void transmitq_deactivate(struct transmitq *t);

#endif
