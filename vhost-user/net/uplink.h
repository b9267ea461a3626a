/* SPDX-License-Identifier: MIT */
/* What ports have in common that lead out of the lab: something of the host at the other end, that can be
 * missing, go away and come back, while the port itself stays.
 *
 * An uplink is tried at once when its port is made, so that what can never work (no permission, an address that is
 * taken) is an error of port.add.  What may come yet (no device, nobody listening) is not: the port is made, down,
 * with the reason in port.list, and tried again after UPLINK_RETRY_MIN_NS, then after twice the time, up to
 * UPLINK_RETRY_MAX_NS.  One that was up and is lost starts over with the short time.
 *
 * States, for port.list and the event "port": "running"; "down" with a reason; and what a type says meanwhile
 * ("listening", "connecting").  A reason is logged when it is another one than before, not for each try.
 *
 * Ownership: the uplink's owner embeds it, and is freed by uplink_ops.free, some time after uplink_close().
 * Threads:   the loop thread. */
#ifndef NET_UPLINK_H
#define NET_UPLINK_H

#include <stddef.h>

#include "log.h"
#include "loop.h"
#include "port.h"

#define UPLINK_RETRY_MIN_NS 250000000ull
#define UPLINK_RETRY_MAX_NS 5000000000ull

#define UPLINK_WHY_MAX 256

struct json_object;
struct net;
struct uplink;

struct uplink_ops {
	struct sw_port_ops port;

	/* Make the connection.  0: it is up.  -EINPROGRESS: uplink_up(), uplink_state() or uplink_lost() has
	 * been or will be called.  Others: it failed, uplink_why() may have said why, and it is tried again.
	 * Nothing but what disconnect() undoes is left behind. */
	int (*connect)(struct uplink *u);

	/* Close what connect() opened, however far it had come.  May be called twice. */
	void (*disconnect)(struct uplink *u);

	/* Free the owner; it is disconnected, and no callback of it is under way. */
	void (*free)(struct uplink *u);
};

struct uplink {
	struct sw_port port; /* its offloads are the owner's */
	bool firm; /* the owner's: the first try has to work, since it waits for nobody else */

	/* The uplink's own. */
	const struct uplink_ops *ops;
	struct net *net;
	const char *state;
	char why[UPLINK_WHY_MAX]; /* "": there is nothing to tell */
	char logged[UPLINK_WHY_MAX];
	struct log_limit limit;
	uint64_t retry_ns;
	struct loop_timer retry;
	struct loop_work freeing;
};

/* Attach the port as `name` and try for the first time.  On failure (-errno and *why as of port_type.open()) the owner has
 * been freed by ops->free. */
int uplink_open(struct uplink *u, const struct uplink_ops *ops, struct net *net, const char *name,
		char **why);

/* Detach and disconnect; freed at the end of the pass. */
void uplink_close(struct uplink *u);

/* The one that embeds this port. */
struct uplink *uplink_of(struct sw_port *p);

/* Its owner, which embeds it as `up`: for describe(). */
#define uplink_owner(p, type) \
	((const type *)(const void *)((const char *)(p)-offsetof(type, up.port)))

/* It works: the port is up. */
void uplink_up(struct uplink *u);

/* It is gone, because of `error` (a positive errno; 0: the text says it all).  Disconnects, and is tried again later.
 * Legal from egress. */
void uplink_lost(struct uplink *u, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Neither up nor lost: "listening", "connecting".  A constant. */
void uplink_state(struct uplink *u, const char *state);

/* Why connect() fails, for port.list and the log. */
void uplink_why(struct uplink *u, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* "state", and "why" if there is a reason. */
void uplink_describe(const struct uplink *u, struct json_object *o);

#endif
