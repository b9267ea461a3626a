/* SPDX-License-Identifier: MIT */
/* Distributions inside this guest: a root file system with a mount, a PID and a UTS namespace of its own. */
#ifndef ORCHESTRATOR_AGENT_GUEST_DISTRO_H
#define ORCHESTRATOR_AGENT_GUEST_DISTRO_H

struct agent;

/* How to run a program in one: see struct spawn. */
struct distro_door {
	char root[256];           /* its files as the agent sees them: where EXEC looks up "user" */
	int pid_ns;               /* not owned */
	int (*enter)(void *data); /* called in the child */
	void *data;               /* valid while the distribution is mounted */
};

/* The door of the mounted distribution NAME.  Returns 0 or -ENOENT. */
int distro_find(struct agent *agent, const char *name, struct distro_door *ret_door);

#endif
