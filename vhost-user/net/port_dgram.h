/* SPDX-License-Identifier: MIT */
/* A port that sends each frame as one datagram: the other end of QEMU's `-netdev dgram` (or `-netdev socket,udp=`).
 *
 *   {"name", "type":"dgram", "local", "remote"}
 *
 *   local    where we receive: a path (Unix datagrams) or "127.0.0.1:1234", "[::1]:1234" (UDP)
 *   remote   where we send: the same kind
 *
 * Unix: a local path that a killed daemon left is replaced.  The remote need not be there yet: what is sent meanwhile
 * is lost, and counted as egress_drop_down.
 * UDP: datagrams from elsewhere than `remote` are dropped, and counted as "strangers" in port.list.
 *
 * No offloads: frames leave complete and in segments.  Frames longer than 65507 bytes do not fit UDP: egress_drop_size.
 *
 * port.list adds "local", "remote", "strangers", "state" ("running", "down"), "why" if down.
 *
 * Trust:   as port_stream.h: UDP can be forged by whoever can send with remote's address.
 * Threads: the loop thread. */
#ifndef NET_PORT_DGRAM_H
#define NET_PORT_DGRAM_H

#include "port_type.h"

extern const struct port_type port_dgram_type;

#endif
