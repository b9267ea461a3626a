/* SPDX-License-Identifier: MIT */
/* COPY: files and trees between the host and this guest, each in a job of its own. */
#ifndef ORCHESTRATOR_AGENT_GUEST_COPY_H
#define ORCHESTRATOR_AGENT_GUEST_COPY_H

#include "agent/guest/session.h"

/* COPY {"direction", "path", "token", "owner"?, "user"?, "distro"?}: doc/agent.md.  When its control connection ends, the copy
 * does, and removes what is not whole. */
handler_fn copy_request;

#endif
