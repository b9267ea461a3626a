/* SPDX-License-Identifier: MIT */
/* WAIT: for a file to be there, a port to be listened on, a command to succeed. */
#ifndef ORCHESTRATOR_AGENT_GUEST_WAIT_H
#define ORCHESTRATOR_AGENT_GUEST_WAIT_H

#include "agent/guest/session.h"

/* WAIT {"file"|"port"|"command", "timeout-ms"?, "distro"?}: doc/agent.md.  When its control connection ends, so does the
 * waiting, and a command that runs for it. */
handler_fn wait_request;

#endif
