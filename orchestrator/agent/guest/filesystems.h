/* SPDX-License-Identifier: MIT */
/* The file systems of the guest that the agent is PID 1 of. */
#ifndef ORCHESTRATOR_AGENT_GUEST_FILESYSTEMS_H
#define ORCHESTRATOR_AGENT_GUEST_FILESYSTEMS_H

struct agent;

/* /dev, /proc, /sys, /run and what lies in them.  What fails is told as trouble. */
void filesystems_mount(struct agent *agent);

/* At the end: unmount what lies on disks, the last first; what cannot be is made read-only. */
void filesystems_detach(void);

#endif
