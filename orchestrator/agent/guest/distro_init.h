/* SPDX-License-Identifier: MIT */
/* PID 1 of a distribution: what its namespaces are made into, and who waits there. */
#ifndef ORCHESTRATOR_AGENT_GUEST_DISTRO_INIT_H
#define ORCHESTRATOR_AGENT_GUEST_DISTRO_INIT_H

#include "agent/guest/mount.h"

#define DISTRO_GRACE_MS \
	1500 /* between SIGTERM and SIGKILL when it stops: within the guest's own, which are 2 s */

/* What it tells over its pipe, once. */
struct distro_report {
	int r; /* 0: it is up */
	char text[MOUNT_TEXT_MAX];
};

/* In a child with CLONE_NEWNS, NEWPID, NEWUTS and NEWIPC: make PLAN's file system the root, report on descriptor PIPE, stay
 * until SIGTERM.  Other descriptors are closed.  Never returns. */
void distro_init(const char *name, const struct mount_plan *plan, int pipe)
	__attribute__((noreturn));

#endif
