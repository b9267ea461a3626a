/* SPDX-License-Identifier: MIT */
/* A DHCP server (RFC 2131, 2132) that gives each of the lab's hosts its own address, without I/O.
 *
 * A MAC that the lab knows always gets the address that the lab gives it, and its name.  Others get one
 * of the pool: the one they had, else the one they ask for if it is free, else the one that has been free
 * longest.  Leases are kept in memory alone; a client that comes back after the daemon was started anew
 * and asks for the address it had gets it if it is free, so nothing has to be remembered.
 *
 * We are the only server of the subnet and act so: a client that asks for an address it should not have
 * is told NAK at once.  Relayed requests (giaddr) and BOOTP without a message type are not answered.
 *
 * Trust:     requests are guests' bytes; nothing beyond their length is read.  Whoever answers for the
 *            frame has made sure that the client's MAC is the one it came from.
 * Ownership: nat_dhcp_done() frees.  `net` and `hosts` are borrowed and must outlive it.
 * Threads:   none. */
#ifndef NET_NAT_DHCP_H
#define NET_NAT_DHCP_H

#include "nat_hosts.h"
#include "nat_net.h"

#define NAT_DHCP_SERVER_PORT 67
#define NAT_DHCP_CLIENT_PORT 68

#define NAT_DHCP_POOL_MAX   4096 /* addresses */
#define NAT_DHCP_REPLY_MAX  548  /* bytes that any client takes: RFC 2131, 2 */
#define NAT_DHCP_OFFER_S    60   /* an offer that nobody takes up */
#define NAT_DHCP_DECLINED_S 600  /* an address that a client found in use */

#define NAT_DHCP_LEASE_DEFAULT 3600
#define NAT_DHCP_LEASE_MIN     60

struct nat_lease {
	uint8_t mac[6];
	bool bound;         /* acknowledged; else offered or declined */
	uint64_t expires_s; /* free from then on; kept for its MAC while nobody else needs it */
};

struct nat_dhcp {
	const struct nat_net *net;
	const struct nat_hosts *hosts;
	uint32_t lease_s;
	uint32_t first; /* address of lease[0] */
	unsigned n;
	struct nat_lease *lease;

	/* Is a MAC other than `mac` at this address?  May be NULL. */
	bool (*is_used)(void *arg, uint32_t ip, const uint8_t mac[6]);
	void *arg;
};

struct nat_dhcp_reply {
	size_t len;
	uint32_t ip; /* to whom: INADDR_BROADCAST: all, at ff:ff:ff:ff:ff:ff */
	uint8_t mac[6];
	uint8_t bytes[NAT_DHCP_REPLY_MAX];
};

/* A pool from `first` to `last`; those of hosts and of the gateway may lie in it and are left out.
 * -EINVAL: it is empty or has more than NAT_DHCP_POOL_MAX; -ENOMEM. */
int nat_dhcp_init(struct nat_dhcp *dhcp, const struct nat_net *net, const struct nat_hosts *hosts,
		  uint32_t first, uint32_t last, uint32_t lease_s);
void nat_dhcp_done(struct nat_dhcp *dhcp);

/* Take one request.  True: there is an answer, in *ret. */
bool nat_dhcp_answer(struct nat_dhcp *dhcp, const uint8_t *msg, size_t len, uint64_t now_s,
		     struct nat_dhcp_reply *ret);

/* The MAC in a request, or NULL if it is none of Ethernet. */
const uint8_t *nat_dhcp_client(const uint8_t *msg, size_t len);

#endif
