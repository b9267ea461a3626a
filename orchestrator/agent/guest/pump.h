/* SPDX-License-Identifier: MIT */
/* One stream of a program over its control connection (doc/agent.md, Streams): a pipe here, BYTES, GRANT and CLOSE there.
 *
 * Out: what the program writes is read when the host has granted room for it and the session has sent what was read before, so that
 * answers never wait behind more than one piece.  In: what the program does not read yet is kept, never more than AGENT_WINDOW, and
 * more is granted as it reads.
 *
 * A pipe, not a socket: the program can open it again by name (/dev/stdout), and a reader that has gone is SIGPIPE. */
#ifndef ORCHESTRATOR_AGENT_GUEST_PUMP_H
#define ORCHESTRATOR_AGENT_GUEST_PUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/loop.h"
#include "agent/guest/session.h"

/* A full pipe is looked at again after that: to be woken at its first free page would be to write page after page. */
#define PUMP_REST_MS 1

struct pump {
	struct loop_source source;
	struct loop *loop;
	struct operation *operation; /* whose stream it is */
	uint32_t stream;             /* its index there */
	int fd;                      /* our end of the pipe; -1: closed */
	bool in;                     /* to the program */
	uint32_t window;             /* out: the host takes so much; in: it may send so much */

	/* In: what the program has not read. */
	uint8_t *kept; /* AGENT_WINDOW bytes, of which [start, stop) are that; NULL: nothing was ever kept */
	size_t start, stop;
	uint32_t taken; /* by the pipe, since the last grant */
	bool eof;       /* nothing comes after that */
	struct loop_timer rest;

	/* Out: it is closed, and the host knows.  Never from within pump_open() and pump_close().  May free the pump. */
	void (*closed)(struct pump *pump);
};

/* Make the pipe.  Returns the program's end of it, close-on-exec, or a negative errno.  Nothing is watched yet. */
int pump_open(struct pump *pump, struct loop *loop, struct operation *operation, uint32_t stream,
	      bool in, void (*closed)(struct pump *pump));
/* Watch the pipe, if there is anything to do. */
void pump_watch(struct pump *pump);
/* Out: pass on what lies in the pipe now, as far as there is room.  The host is told of its end, the owner is not: look at fd. */
void pump_drain(struct pump *pump);
/* A piece of the stream came.  Returns 0 or -EPROTO: above the window, or of the wrong direction.  Calls back. */
int pump_take(struct pump *pump, const struct agent_piece *piece);
/* Close the pipe and forget what was kept.  The host is told nothing.  Harmless twice, and on a zeroed one that was never open. */
void pump_close(struct pump *pump);

static inline bool pump_is_open(const struct pump *pump)
{
	return pump->loop && pump->fd >= 0;
}

#endif
