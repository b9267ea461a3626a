/* SPDX-License-Identifier: MIT */
/* Data connections and the operations that they belong to find each other here, in either order.
 *
 * A connection that said ATTACH {token, stream} and the operation that wants {token, streams 0 … n-1} wait for each other,
 * AGENT_ATTACH_MS at most. */
#ifndef ORCHESTRATOR_AGENT_GUEST_STREAM_H
#define ORCHESTRATOR_AGENT_GUEST_STREAM_H

#include "agent/guest/list.h"
#include "agent/guest/loop.h"
#include "agent/protocol.h"

struct agent;

#define STREAM_MAX 3 /* an operation has at most so many */

struct stream_wait {
	struct list link;
	struct agent *agent;
	struct loop_timer timer;
	uint8_t token[AGENT_TOKEN_SIZE];
	unsigned n;
	int fds[STREAM_MAX]; /* -1: not here yet */
	/* ERR 0: all are there, and fds are the callee's: non-blocking, close-on-exec sockets.  -ETIMEDOUT: they did not come; those that
	 * did are closed. */
	void (*done)(struct stream_wait *wait, int err);
};

/* Wait for N (1 … STREAM_MAX) connections of TOKEN.  DONE may be called before this returns.
 * Returns 0; -EEXIST, another operation waits with this token. */
int stream_wait_start(struct agent *agent, struct stream_wait *wait,
		      const uint8_t token[AGENT_TOKEN_SIZE], unsigned n,
		      void (*done)(struct stream_wait *wait, int err));
/* No longer: closes what came.  Harmless after done, and on a zeroed one. */
void stream_wait_stop(struct stream_wait *wait);

/* A connection said ATTACH.  Takes FD.  One too much, or one that is there already, is closed. */
void stream_arrived(struct agent *agent, int fd, const struct agent_attach *attach);

void streams_done(struct agent *agent);

#endif
