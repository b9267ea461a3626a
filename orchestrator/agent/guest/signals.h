/* SPDX-License-Identifier: MIT */
/* Names of signals, since numbers differ between the architectures of host and guest.
 *
 * Real-time signals have no names here; SIGNAL takes numbers as well. */
#ifndef ORCHESTRATOR_AGENT_GUEST_SIGNALS_H
#define ORCHESTRATOR_AGENT_GUEST_SIGNALS_H

/* "TERM" or "SIGTERM", as kill(1) lists them; -1: no such name. */
int signal_find(const char *name);

#endif
