/* SPDX-License-Identifier: MIT */
/* A port into an overlay over UDP: VXLAN (RFC 7348), between labs on several hosts.
 *
 *   {"name", "type":"vxlan", "vni", "peers", "local"?, "underlay-mtu"?, "stations-max"?, "ageing-s"?}
 *
 *   vni            0..16777215: whoever shares a network has the same
 *   peers          the other ends, 1 to PORT_VXLAN_PEERS_MAX: "192.0.2.7", "192.0.2.7:4789", "[2001:db8::7]:4789";
 *                  all IPv4 or all IPv6.  The port, if not said, is 4789
 *   local          where we receive: an address, or one with a port; "0.0.0.0:4789" ("[::]:4789") if not said
 *   underlay-mtu   what a datagram may be long between the hosts; if not said the kernel is asked, for the path to
 *                  each peer
 *   stations-max   MAC addresses remembered for each peer; 1024 if not said
 *   ageing-s       seconds of silence after which one is forgotten; 300 if not said, 0 never
 *
 * A frame to a station that was heard goes to its peer alone; all others go to every peer.  Frames from a peer never go
 * to another one: the peers of a network must all know each other (full mesh), as with the kernel's vxlan.
 *
 * The source port of a datagram says which flow is inside (RFC 7348, 5): PORT_VXLAN_SOURCES sockets are used, one by
 * the hash of addresses and ports within, so that underlays spread flows over paths and queues, and never reorder one.
 *
 * MTU: an inner frame of `mtu` bytes of payload makes a datagram of `underlay-mtu`: 50 bytes less (70 over IPv6).
 * port.list tells "mtu", and guests have to be told (lab.json: the network's "mtu").  Longer ones are sent all the
 * same, and fragmented by IP.
 *
 * No offloads: frames leave complete and in segments.
 *
 * port.list adds "vni", "local", "peers":[{"address","stations"}], "mtu", "state", "why" if down, and
 * "strangers": datagrams from nobody we know, of another network, or that are no VXLAN.
 *
 * Trust:   datagrams come from anybody: one is taken only if its outer address is a peer's, its flags and network are
 *          ours.  There is no authentication: who can forge a peer's address is on the network.
 * Threads: the loop thread. */
#ifndef NET_PORT_VXLAN_H
#define NET_PORT_VXLAN_H

#include "port_type.h"
#include "vxlan.h"

#define PORT_VXLAN_PEERS_MAX VXLAN_PEERS_MAX
#define PORT_VXLAN_SOURCES   8

extern const struct port_type port_vxlan_type;

#endif
