/* SPDX-License-Identifier: MIT */
/* Explicit congestion notification (RFC 3168): may a packet be marked, and marking it.
 *
 * IPv4 and IPv6, behind up to two VLAN tags.  Marking an IPv4 packet changes its header's checksum along (RFC 1624);
 * a TCP or UDP checksum does not cover these two bits.
 *
 * Trust:   the bytes are a guest's; what is too short for what it claims to be cannot be marked.
 * Threads: none. */
#ifndef NET_ECN_H
#define NET_ECN_H

#include <stdbool.h>
#include <stdint.h>

#include "port.h"

/* Does its sender understand marks (ECT or CE is set)? */
bool ecn_capable(const struct sw_frame *f);

/* Set CE in a frame in one piece of our own, if it is capable. */
void ecn_mark(uint8_t *bytes, uint32_t len);

#endif
