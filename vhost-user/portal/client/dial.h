/* SPDX-License-Identifier: MIT */
/* Addresses of a daemon, as users write them, and a socket on its way there.
 *
 * Trust: an address is the operator's.
 */
#ifndef PORTAL_CLIENT_DIAL_H
#define PORTAL_CLIENT_DIAL_H

#include <stdint.h>

/* Begin to connect to "unix:PATH" or "vsock:CID:PORT", without blocking.  A socket, connected or on its way (it polls
 * writable when it is decided), the caller's; -EINVAL (no such address), or what the system says. */
int dial(const char *where);

/* The CID of the machine we are in, or 0 if it has none. */
uint32_t dial_own_cid(void);

#endif
