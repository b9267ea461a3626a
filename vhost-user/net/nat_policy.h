/* SPDX-License-Identifier: MIT */
/* Where a guest's packet goes: what libslirp is shown, and what never reaches it.
 *
 * libslirp connects to whatever address a guest names, as this process.  What it must not be asked for is
 * kept from it here, before it parses anything:
 *   - this host's loopback, by any of its names (127.0.0.0/8, 0.0.0.0/8, ::1, ::ffff:0:0/96), and by the
 *     gateway's address unless the operator wants that.  libslirp has a setting for the latter alone, which
 *     also cuts off the answers to forwarded datagrams: it is not used, so this file is what counts;
 *   - 169.254.0.0/16 and fe80::/10: on a rented host that is where the cloud's credentials are had;
 *   - groups and broadcasts, which would each cost a socket;
 *   - its TFTP server, and its DHCP: ours answers;
 *   - frames that were flooded to us and are for another MAC, and senders from outside the subnet;
 *   - TCP in fragments, which could say one thing here and another once it is put together;
 *   - in a restricted network, all but what answers a forward.
 *
 * The host's other addresses can be reached, like any other on its network.
 *
 * Trust:   the packet is a guest's, and well-formed by nat_packet_parse().
 * Threads: none. */
#ifndef NET_NAT_POLICY_H
#define NET_NAT_POLICY_H

#include "nat_net.h"

enum nat_way {
	NAT_WAY_NONE, /* not for us, or not allowed */
	NAT_WAY_SLIRP,
	NAT_WAY_DHCP,
	NAT_WAY_DNS, /* UDP to the name server's address */
	NAT_WAY_REPLY, /* to libslirp if it answers a forwarded datagram (nat_replies.h), else nowhere */
	NAT_WAY_RESET, /* a TCP connection that is refused: say so, that nobody waits */
};

enum nat_way nat_policy(const struct nat_net *net, const struct nat_packet *p);

#endif
