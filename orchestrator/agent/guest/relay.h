/* SPDX-License-Identifier: MIT */
/* Two descriptors and the bytes between them, both ways: a terminal and its data connection, or two sockets.
 *
 * Each direction has one buffer of RELAY_BUF bytes; who reads slowly stops who writes fast.  The end of file of one side is passed on
 * to the other after the bytes before it: by shutdown() to a socket, as the end-of-file character to a terminal that reads lines.
 * The relay ends when both directions have, or one fails, or one side is gone altogether (a closed socket, a terminal hung up) and
 * what it said is delivered. */
#ifndef ORCHESTRATOR_AGENT_GUEST_RELAY_H
#define ORCHESTRATOR_AGENT_GUEST_RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/guest/loop.h"

#define RELAY_BUF 16384

struct relay_end {
	struct loop_source source;
	struct relay *relay;
	bool tty;           /* the master of a terminal */
	bool eof;           /* nothing more comes from here … */
	bool gone;          /* not only silent: it takes nothing, either */
	bool told;          /* … and the other side knows */
	size_t start, stop; /* of BUF: read here, and not written there yet */
	uint8_t buf[RELAY_BUF];
};

struct relay {
	struct loop *loop;
	void *owner; /* the caller's */
	struct relay_end ends[2];
	/* All is over: 0, or the errno that ended it.  The descriptors are open still: relay_stop() closes them. */
	void (*ended)(struct relay *relay, int err);
};

/* Take A and B (non-blocking) and begin.  TTY: A is the master of a terminal, else both are sockets.  Returns 0 or a negative
 * errno, with both descriptors closed. */
int relay_start(struct relay *relay, struct loop *loop, int a, int b, bool tty,
		void (*ended)(struct relay *relay, int err));
/* Close both.  Harmless on a zeroed one, and twice. */
void relay_stop(struct relay *relay);

#endif
