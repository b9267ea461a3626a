/* SPDX-License-Identifier: MIT */
/* Staying: an object lives as long as the lease of the one that published it, so a program stays for it.
 *
 * Ownership: the portal is the caller's.  SIGINT and SIGTERM are blocked from tool_hold_prepare() on, and end the stay.
 */
#ifndef PORTAL_CLIENT_TOOL_HOLD_H
#define PORTAL_CLIENT_TOOL_HOLD_H

#include "portal.h"

/* Before anything worth cleaning up exists.  A descriptor that polls readable when a signal came, or a negative errno. */
int tool_hold_prepare(void);

/* Answer the daemon until a signal comes: 0; -ESTALE: the lease is over; -ENOTCONN: the daemon has been away for away_ns,
 * and who knows whether it comes back. */
int tool_hold(struct portal *p, int signals, uint64_t away_ns);

/* Do whatever comes first: wait for the portal, or for a signal, at most until the deadline.  1: a signal; 0: look again;
 * -ENOTCONN: look again, the daemon is away; -ESTALE; -ETIMEDOUT. */
int tool_hold_once(struct portal *p, int signals, uint64_t deadline_ns);

#endif
