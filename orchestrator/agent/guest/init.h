/* SPDX-License-Identifier: MIT */
/* PID 1 of the tiny guest. */
#ifndef ORCHESTRATOR_AGENT_GUEST_INIT_H
#define ORCHESTRATOR_AGENT_GUEST_INIT_H

struct agent;

/* File systems, modules, what fw_cfg says about the guest (guest_conf.h).  Blocks, as nothing else runs yet. */
void init_boot(struct agent *agent);

/* The console's shell, again and again; the power button. */
void init_serve(struct agent *agent);

#endif
