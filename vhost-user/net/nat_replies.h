/* SPDX-License-Identifier: MIT */
/* Who on the host's side sent datagrams by a forward: to these a guest may answer, and to nobody else.
 *
 * libslirp sends what a guest sends from a forwarded port through the forward's own socket, wherever it
 * is addressed to.  Where guests may not send for themselves, that would be a hole.
 *
 * The newest NAT_REPLIES pairs are remembered, each as long as libslirp would remember it.
 *
 * Ownership: zero-filled is empty; holds no memory.
 * Threads:   none. */
#ifndef NET_NAT_REPLIES_H
#define NET_NAT_REPLIES_H

#include "nat_packet.h"

#define NAT_REPLIES 256
#define NAT_REPLY_S 240

struct nat_reply {
	struct in6_addr guest, remote;
	uint16_t guest_port, remote_port;
	uint32_t seen_s;
};

struct nat_replies {
	struct nat_reply reply[NAT_REPLIES];
	unsigned n, next;
};

/* `p`, a datagram to a guest, came by a forward. */
void nat_replies_note(struct nat_replies *replies, const struct nat_packet *p, uint32_t now_s);

/* Does `p`, a datagram of a guest, answer one? */
bool nat_replies_allow(const struct nat_replies *replies, const struct nat_packet *p,
		       uint32_t now_s);

#endif
