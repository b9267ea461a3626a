/* SPDX-License-Identifier: MIT */
/* RELAY, LISTEN, UNLISTEN: sockets of the guest's own, reached from the host and reaching it.
 *
 *   RELAY    the host's data connection becomes one with a connection to an address in the guest: `ssh` to 127.0.0.1:22
 *   LISTEN   the guest listens at an address; each client becomes one with a connection to a port of the host
 *
 * Addresses: "tcp:127.0.0.1:22", "tcp:[::1]:22", "tcp:22" (127.0.0.1), "unix:/path".  Numeric: a static program asks no name server. */
#ifndef ORCHESTRATOR_AGENT_GUEST_LISTEN_H
#define ORCHESTRATOR_AGENT_GUEST_LISTEN_H

#include "agent/guest/session.h"

#define LISTEN_MAX       64  /* listeners at once */
#define LISTEN_RELAY_MAX 512 /* relays at once, RELAY's included: two buffers each */

handler_fn relay_request, listen_request, unlisten_request;

#endif
