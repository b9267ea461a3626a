/* SPDX-License-Identifier: MIT */
/* Work that may block, in a child process of the agent: copies, mounts, waiting.
 *
 * The child is a copy of the agent without its descriptors but those of the job: no connection stays open because a child still
 * holds it.  What it finds out comes back over a pipe as one struct of the caller's when it has ended. */
#ifndef ORCHESTRATOR_AGENT_GUEST_JOB_H
#define ORCHESTRATOR_AGENT_GUEST_JOB_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/guest/child.h"
#include "agent/guest/distro.h"
#include "agent/guest/user.h"

struct agent;

#define JOB_RESULT_MAX 2048 /* fits a pipe at once */
#define JOB_MAX        256  /* at once, all kinds together */

struct job {
	struct child child;
	struct agent *agent;
	int pipe;
	void *result;
	size_t result_size;
	/* In the child, blocking as it likes.  FD is what was given.  What it leaves in RESULT and returns is what DONE gets. */
	int (*work)(struct job *job, int fd);
	/* In the agent: the child has ended, RESULT is what it left.  R: what it returned; -EINTR, it was killed.  May free the job. */
	void (*done)(struct job *job, int r);
};

/* Who and where the work is done as; in the child, before it begins. */
struct job_self {
	const struct distro_door *door; /* NULL: in the guest itself */
	const struct user *
		user; /* NULL: as the agent.  Its home becomes the current directory, else it is / */
};

/* Start job->work in a child that leads a process group of its own and keeps FD (-1: none) of all descriptors; FD stays the
 * caller's.  work, done, result and result_size are set.  Returns 0; -EAGAIN, JOB_MAX run already; a negative errno. */
int job_start(struct agent *agent, struct job *job, const struct job_self *self, int fd);

/* Kill it with its process group; done is not called.  Harmless on a zeroed one. */
void job_stop(struct job *job);

#endif
