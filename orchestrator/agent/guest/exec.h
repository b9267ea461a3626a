/* SPDX-License-Identifier: MIT */
/* EXEC, SIGNAL, WINSIZE: programs that the host runs.
 *
 * The program's descriptors are pipes whose other end is the control connection (pump.h), or data connections themselves; a terminal
 * is relayed to one.  When the control connection
 * ends, the program's process group gets SIGHUP, and EXEC_KILL_MS later SIGKILL. */
#ifndef ORCHESTRATOR_AGENT_GUEST_EXEC_H
#define ORCHESTRATOR_AGENT_GUEST_EXEC_H

#include "agent/guest/session.h"

#define EXEC_KILL_MS 2000

void exec_request(struct session *session, const struct request *request);
void exec_signal_request(struct session *session, const struct request *request);
void exec_winsize_request(struct session *session, const struct request *request);

#endif
