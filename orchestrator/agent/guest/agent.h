/* SPDX-License-Identifier: MIT */
/* The agent as a whole: one process, one thread, one loop.
 *
 *   main.c      options, signals, dialling and listening      init.c …    PID 1 of the tiny guest
 *   session.c   control connections, operations               handlers.c  message type → function
 *   stream.c    data connections find their operation         child.c     start and reap processes
 *
 * To add a request: a row of AGENT_TYPES, a handler_fn in a file of its own, a row in handlers.c.  It answers at once, or
 * starts an operation and answers from callbacks of the loop; it never blocks. */
#ifndef ORCHESTRATOR_AGENT_GUEST_AGENT_H
#define ORCHESTRATOR_AGENT_GUEST_AGENT_H

#include "agent/guest/json.h"
#include "agent/guest/list.h"
#include "agent/guest/loop.h"
#include "agent/guest/session.h"

struct agent {
	struct loop loop;
	struct json_doc *doc; /* of the request at hand */

	struct list sessions; /* those that said HELLO, and those that have not yet */
	unsigned n_sessions;
	struct session *dialled; /* the one to the supervisor; NULL: none now */

	struct list streams;      /* struct stream: came, nobody wants them yet */
	struct list stream_waits; /* struct stream_wait */
	unsigned n_streams;

	struct list children; /* struct child */
	struct list execs;    /* struct exec */
	unsigned n_execs;

	uint32_t port; /* of vsock: dialled at CID 2, and listened on */
	bool init;     /* PID 1 */
	char boot_id[37];
};

/* A socket to the host's port, for those who dial more than once: vsock CID 2, or the Unix socket of --connect with ".PORT" appended.
 * Non-blocking, close-on-exec; connecting may still go on (wait for EPOLLOUT, then ask SO_ERROR).  Returns it or a negative errno. */
int agent_dial(const struct agent *agent, uint32_t port);

#endif
