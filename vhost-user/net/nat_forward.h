/* SPDX-License-Identifier: MIT */
/* Ports of this host that lead to a guest.
 *
 * They belong to the NAT port, not to a guest: a guest that is started anew is reached again, and while
 * there is none, connections are taken and wait until libslirp gives them up.
 *
 * Trust:     the operator's.
 * Ownership: zero-filled is an empty list; nat_forwards_done() frees it, nat_slirp_free() the sockets.
 * Threads:   the loop thread. */
#ifndef NET_NAT_FORWARD_H
#define NET_NAT_FORWARD_H

#include "nat_slirp.h"

#define NAT_FORWARDS_MAX 1024

/* Room for "tcp [2001:db8::1]:65535". */
#define NAT_FORWARD_TEXT 64

struct nat_forward {
	bool udp;
	uint16_t host_port, guest_port;
	struct in6_addr host, guest; /* of one family */
};

struct nat_forwards {
	struct nat_forward *forward;
	unsigned n, room;
};

/* Add one; host_port 0 is replaced by a free one.  -EEXIST: we have it; -ENOSPC: NAT_FORWARDS_MAX; -ENOMEM;
 * what the host says: -EADDRINUSE, -EACCES, -EADDRNOTAVAIL. */
int nat_forwards_add(struct nat_forwards *forwards, struct nat_slirp *slirp, struct nat_forward *f);

/* Remove that of the same protocol, address and port of the host. -ENOENT. */
int nat_forwards_remove(struct nat_forwards *forwards, struct nat_slirp *slirp,
			const struct nat_forward *f);

/* Does one of UDP lead to this port of a guest? */
bool nat_forwards_lead_to(const struct nat_forwards *forwards, const struct in6_addr *guest,
			  uint16_t port);

void nat_forwards_done(struct nat_forwards *forwards);

/* "tcp 127.0.0.1:2222": its place on the host. */
void nat_forward_text(const struct nat_forward *f, char ret[NAT_FORWARD_TEXT]);

#endif
