/* SPDX-License-Identifier: MIT */
/* What ports have in common that lead out of the lab: something of the host at the other end, that can be
 * missing, go away and come back, while the port itself stays.
 *
 * An uplink is tried at once when its port is made, so that what can never work (a wrong address, no permission) is
 * an error of port.add.  What may come yet (no device, nobody listening) is not: the port is made, down, with the
 * reason in port.list, and tried again after UPLINK_RETRY_MIN_NS, then after twice the time, up to
 * UPLINK_RETRY_MAX_NS.  One that was up and is lost starts over with the short time.
 *
 * States, for port.list and the event "port": "running"; "down" with a reason; and what a type says meanwhile
 * ("listening", "connecting").  A reason is logged once for each time the port goes down, not for each try.
 *
 * Threads: the loop thread. */
#ifndef NET_UPLINK_H
#define NET_UPLINK_H

#include <stdbool.h>
#include <json-c/json.h>

#include "log.h"
#include "loop.h"
#include "port.h"

#define UPLINK_RETRY_MIN_NS 250000000ull
#define UPLINK_RETRY_MAX_NS 5000000000ull

struct net;
struct uplink;

struct uplink_ops {
	struct sw_port_ops port;

	/* Make the connection.  0: it is up; -EINPROGRESS: uplink_up() or uplink_lost() will follow;
	 * others: uplink_why() may have been told, and it is tried again. */
	int (*connect)(struct uplink *u);

	/* Close what connect() opened, whether or not it had come far. */
	void (*disconnect)(struct uplink *u);

	/* Free the owner; `disconnect` has been called, and no callback is under way. */
	void (*free)(struct uplink *u);
};

struct uplink {
	/* Set by the owner before uplink_open(). */
	struct sw_port port; /* its offloads, too */
	const struct uplink_ops *ops;

	/* The uplink's. */
	struct net *net;
	const char *state;
	char why[160]; /* "" while there is nothing to tell */
	uint64_t retry_ns;
	struct loop_timer retry;
	struct loop_work freeing;
};

/* Attach the port as `name` and try for the first time.  An error of connect() that is in `fatal` (ended by 0; NULL:
 * none) is the error of the port.  -errno as port_type.open(); the owner frees itself then. */
int uplink_open(struct uplink *u, struct net *net, const char *name, const int *fatal);

/* Detach, disconnect, and free at the end of the pass. */
void uplink_close(struct uplink *u);

/* It works: the port is up. */
void uplink_up(struct uplink *u);

/* It is gone, because of `error` (a positive errno; 0: no more to say than the text).  Disconnects, and tries again
 * later.  Legal from egress. */
void uplink_lost(struct uplink *u, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Neither up nor lost: "listening", "connecting".  A constant. */
void uplink_state(struct uplink *u, const char *state);

/* Why connect() fails, for port.list and the log. */
void uplink_why(struct uplink *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "state", and "why" if there is a reason. */
void uplink_describe(const struct uplink *u, struct json_object *o);

#endif
