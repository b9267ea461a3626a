/* SPDX-License-Identifier: MIT */
/* The agent's two ways to the host, kept up for ever: the connection that it dials, and the port that it listens on.
 *
 * What fails is tried again after 100 ms, 200 ms, … 5 s: the device may come later, the host may be away for a while. */
#ifndef ORCHESTRATOR_AGENT_GUEST_LINK_H
#define ORCHESTRATOR_AGENT_GUEST_LINK_H

struct agent;

#define LINK_FIRST_MS 100
#define LINK_LAST_MS  5000

void link_start(struct agent *agent);
void link_stop(struct agent *agent);

#endif
