/* SPDX-License-Identifier: MIT */
/* The end of the guest: TERM to all, a moment to heed it, KILL, file systems, power.
 *
 * As PID 1 the agent does it; in a distribution it asks that one's poweroff(8) or reboot(8). */
#ifndef ORCHESTRATOR_AGENT_GUEST_SHUTDOWN_H
#define ORCHESTRATOR_AGENT_GUEST_SHUTDOWN_H

#include <stdint.h>

#include "agent/guest/session.h"

enum shutdown_how { SHUTDOWN_POWEROFF, SHUTDOWN_REBOOT };

#define SHUTDOWN_GRACE_MS \
	2000 /* where nobody says otherwise; it is over as soon as all processes are */

/* BY: "host", "button", "guest".  Returns 0; -EALREADY, it goes on; or why it could not be begun. */
int shutdown_start(struct agent *agent, enum shutdown_how how, uint64_t grace_ms, const char *by);

/* A process of PID 1 was reaped: perhaps the last one. */
void shutdown_check(struct agent *agent);

void shutdown_request(struct session *session, const struct request *request);

#endif
