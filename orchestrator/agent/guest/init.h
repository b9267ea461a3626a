/* SPDX-License-Identifier: MIT */
/* PID 1 of the tiny guest: what busybox init, its script and acpid were, without their forks.
 *
 * What fails at boot is told as trouble and on ttyS1, and the rest goes on: a guest that is half there can be looked at. */
#ifndef ORCHESTRATOR_AGENT_GUEST_INIT_H
#define ORCHESTRATOR_AGENT_GUEST_INIT_H

struct agent;

/* File systems, modules, what fw_cfg says about the guest (guest_conf.h).  Blocks, as nothing else runs yet. */
void init_boot(struct agent *agent);

/* The console's shell, again and again; the power button. */
void init_serve(struct agent *agent);

#endif
