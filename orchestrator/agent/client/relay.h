/* SPDX-License-Identifier: MIT */
/* A connection to a TCP or Unix socket as a guest sees it, through its agent. */
#ifndef AGENT_CLIENT_RELAY_H
#define AGENT_CLIENT_RELAY_H

#include <stdbool.h>
#include <glib.h>

#include "agent/client/link.h"

/* to: "tcp:127.0.0.1:22", "unix:/run/x".  Waits, at most timeout_ms, until the guest's socket is connected; runs the default
 * main context meanwhile.  Returns a blocking descriptor, the caller's; or -1 with *error, and *ret_answered says whether it came
 * from an agent.  The session it was asked for by stays open until the process ends: who relays has nothing else to do. */
int relay_open(const struct link_address *address, const char *to, int timeout_ms,
	       bool *ret_answered, GError **error);

#endif
