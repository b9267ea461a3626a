/* SPDX-License-Identifier: MIT */
/* Names of signals. */
#ifndef ORCHESTRATOR_AGENT_GUEST_SIGNALS_H
#define ORCHESTRATOR_AGENT_GUEST_SIGNALS_H

/* "TERM" or "SIGTERM", as kill(1) lists them; -1: no such name. */
int signal_find(const char *name);

#endif
