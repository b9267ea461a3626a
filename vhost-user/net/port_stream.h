/* SPDX-License-Identifier: MIT */
/* A port for a QEMU without shared memory: the other end of its `-netdev stream` (or `-netdev socket`).
 *
 *   {"name", "type":"stream", "socket-path" | "address", "client"?}
 *
 *   socket-path   a Unix socket
 *   address       TCP instead: "127.0.0.1:1234", "[::1]:1234"
 *   client        true: connect, and connect again whenever the connection ends (QEMU: server=on).  Default false:
 *                 listen (QEMU: server=off).  One peer at a time; another one that comes is turned away
 *
 * Each frame has its length in front, four bytes, big endian (port_stream_frame.h).  No offloads: frames leave complete
 * and in segments.  What the peer is too slow to take is kept up to PORT_STREAM_OUT_MAX bytes; beyond that frames are
 * dropped and counted as egress_drop_full, whole frames always.
 *
 * port.list adds "socket-path" or "address", "client", "state" ("listening", "connecting", "running", "down") and
 * "why" if down.
 *
 * Trust:   the peer is a stranger: a length that no frame has ends its connection.  Over TCP anybody who can reach the
 *          address can be the peer: mind which address it is.
 * Threads: the loop thread. */
#ifndef NET_PORT_STREAM_H
#define NET_PORT_STREAM_H

#include "port_type.h"

#define PORT_STREAM_OUT_MAX (1u << 20)

extern const struct port_type port_stream_type;

#endif
