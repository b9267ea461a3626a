/* SPDX-License-Identifier: MIT */
/* The agent as a whole: one process, one thread, one loop.
 *
 *   main.c      options, signals                      init.c, boot.c …  PID 1 of the tiny guest
 *   link.c      dials the host, listens for it        handlers.c        message type → function
 *   session.c   control connections, operations       exec.c            programs
 *   copy.c, mount_requests.c, wait.c: in a job.c    listen.c, distro.c   what lasts longer than its request
 *   stream.c    data connections find an operation    child.c, spawn.c  reap and start processes
 *
 * To add a request: a row of AGENT_TYPES, a handler_fn in a file of its own, a row in handlers.c.  It answers at once, or
 * starts an operation and answers from callbacks of the loop; it never blocks on a socket or a process. */
#ifndef ORCHESTRATOR_AGENT_GUEST_AGENT_H
#define ORCHESTRATOR_AGENT_GUEST_AGENT_H

#include "agent/guest/json.h"
#include "agent/guest/list.h"
#include "agent/guest/loop.h"
#include "agent/guest/session.h"
#include "agent/guest/transport.h"

#define AGENT_TROUBLES 16 /* what failed before the host was there to be told */

/* link.c's. */
struct agent_link {
	struct loop_source dialling, listener;
	struct loop_timer redial, relisten;
	uint64_t dial_ms, listen_ms; /* until the next attempt */
};

struct agent {
	struct loop loop;
	struct json_doc *doc; /* of the request at hand */

	struct transport host; /* dialled */
	struct transport door; /* listened on */
	struct agent_link link;

	struct list
		sessions; /* control connections, and those that have not yet said what they are */
	unsigned n_sessions;
	struct session *dialled; /* the one to the supervisor; NULL: none now */

	struct list streams;      /* struct stream: came, nobody wants them yet */
	struct list stream_waits; /* struct stream_wait */
	unsigned n_streams;

	struct list children; /* struct child */
	struct list execs;    /* struct exec */
	unsigned n_execs;

	struct list listeners; /* listen.c's */
	struct list distros;   /* distro.c's */

	uint32_t capabilities; /* 1 << enum agent_capability */
	bool init;             /* PID 1 */
	bool closing;          /* the guest shuts down */
	char boot_id[37];

	unsigned n_troubles;
	char troubles[AGENT_TROUBLES][256];
};

/* All lists empty, the loop there, nothing begun.  Returns 0 or a negative errno. */
int agent_init(struct agent *agent);
void agent_done(struct agent *agent);

/* Something could not be done: on stderr, and to the host as EVENT "failed", now or when it is there. */
void agent_trouble(struct agent *agent, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* The host that was dialled has answered HELLO: it hears of what failed before. */
void agent_met(struct agent *agent);

/* A socket to the host's port, for those who dial more than once: vsock CID 2, or the Unix socket of --connect with ".PORT" appended.
 * Non-blocking, close-on-exec; connecting may still go on (wait for EPOLLOUT, then ask SO_ERROR).  Returns it or a negative errno. */
int agent_dial(const struct agent *agent, uint32_t port);

#endif
