/* SPDX-License-Identifier: MIT */
/* Processes that the agent started, and how they end.
 *
 * All children are reaped on SIGCHLD, also those that were never watched: as PID 1 the agent inherits every orphan. */
#ifndef ORCHESTRATOR_AGENT_GUEST_CHILD_H
#define ORCHESTRATOR_AGENT_GUEST_CHILD_H

#include <sys/types.h>

#include "agent/guest/list.h"

struct agent;

struct child {
	struct list link;
	pid_t pid; /* 0: not running */
	/* STATUS as of waitpid(); pid is still set, but reaped.  May free the child. */
	void (*ended)(struct child *child, int status);
};

/* From right after the start, within the same callback: no end can be missed. */
void child_watch(struct agent *agent, struct child *child, pid_t pid,
		 void (*ended)(struct child *child, int status));
/* Nobody is told.  Harmless on a zeroed one. */
void child_forget(struct child *child);

/* SIGCHLD came: reap all that ended, call back.  Called by the loop. */
void children_reap(struct agent *agent);

#endif
