/* SPDX-License-Identifier: MIT */
/* Distributions inside this guest: a root file system with a mount, a PID, a UTS and an IPC namespace of its own.
 *
 * Each has a small init of ours as PID 1: it mounts the image and what belongs to a system (/proc, /sys, /dev, /run), reaps orphans, and
 * when told to stop ends all that runs there.  Its mounts exist in its namespace alone and go with it.  Network, devices and users are
 * the guest's: this separates systems from each other, it does not confine them.
 *
 * When the agent ends, so do they.  A read-only one is written to in memory: an overlay on a tmpfs, gone when it is unmounted. */
#ifndef ORCHESTRATOR_AGENT_GUEST_DISTRO_H
#define ORCHESTRATOR_AGENT_GUEST_DISTRO_H

#include <stdbool.h>

#include "agent/guest/session.h"

struct agent;

#define DISTRO_MAX      32
#define DISTRO_NAME_MAX 64

/* How to run a program in one: see struct spawn. */
struct distro_door {
	char root[256];           /* its files as the agent sees them: where EXEC looks up "user" */
	int pid_ns;               /* not owned */
	int (*enter)(void *data); /* called in the child */
	void *data;               /* valid while the distribution is mounted */
};

/* The door of the mounted distribution NAME.  Returns 0 or -ENOENT. */
int distro_find(struct agent *agent, const char *name, struct distro_door *ret_door);

/* MOUNT with "distro": answered when it is up; one that is up already is fine.  UMOUNT with "distro": answered when all that
 * ran there has ended.  DISTROS: those that are up. */
handler_fn distro_mount, distro_umount, distros_request;

#endif
