/* SPDX-License-Identifier: MIT */
/* The seam in the tether: tether_line.c drives the connection and takes frames apart, tether.c has threads wait for it.  For
 * these two files only.
 *
 * Everything here is called with the lock held, and nothing blocks.
 */
#ifndef PORTAL_CLIENT_TETHER_IMPL_H
#define PORTAL_CLIENT_TETHER_IMPL_H

#include <pthread.h>
#include <stddef.h>

#include "tether.h"

/* Frames that wait for the socket to take them: bells of a burst. */
#define OUT_FRAMES 64
#define IN_FRAMES  32

/* Requests for extents that were given up, and may be answered yet. */
#define LATE_MAX 16

struct late {
	uint32_t seq, n; /* n 0: none */
};

enum tether_state { AWAY, CONNECTING, GREETING, CONNECTED, OVER };

/* A request that waits for its reply, on the stack of the thread that asked. */
struct question {
	uint32_t seq;
	bool answered;
	int status;
	struct portal_frame *frame;
	struct question *next;
};

struct tether {
	pthread_mutex_t lock; /* of everything below */
	pthread_cond_t changed;
	bool polling; /* a thread sleeps in poll(): it is the one that reads */

	enum tether_state state;
	int why;               /* the negative errno of the last connection's end */
	int sock;              /* -1: AWAY or OVER */
	int timer;             /* ticks while AWAY */
	int epoll;             /* of both: what users poll */
	bool waiting_for_room; /* of the socket: epoll looks for EPOLLOUT */
	uint64_t next_try_ns, away_since_ns, greeting_since_ns;

	char *where, *name;
	uint64_t kernel;
	unsigned timeout_ms;
	bool want_fd, watch_names;
	void (*over)(void *ctx);
	void *ctx;
	bool greeted; /* once: there is something to come back to */
	struct tether_grant grant;

	uint32_t last_seq;
	struct question *questions;
	struct late late[LATE_MAX]; /* begins anew at last_late */
	unsigned last_late;
	uint64_t last_ns; /* no request waits longer than until then */
	uint64_t bells;   /* reasons to look again; see tether_bells() */
	unsigned rung;    /* since the last tether_dispatch() */

	uint8_t in[IN_FRAMES * PORTAL_FRAME];
	size_t in_len;
	uint8_t out[OUT_FRAMES * PORTAL_FRAME];
	size_t out_len;
};

/* Do whatever can be done now: connect, greet, send, take in.  Only a thread that is not in the way of one that polls reads:
 * the other would sleep on over what has been read. */
void tether_step(struct tether *t);

/* Send a frame, or keep it until the socket has room.  0, -EAGAIN (too many are kept), -ENOTCONN. */
int tether_put(struct tether *t, const struct portal_frame *frame);

uint32_t tether_next_seq(struct tether *t);

#endif
