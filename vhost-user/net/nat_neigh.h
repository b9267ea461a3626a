/* SPDX-License-Identifier: MIT */
/* Who is at which address: the neighbours of a NAT port.
 *
 * libslirp remembers sixteen of them and asks again, by broadcast, when it has to send to another; what
 * it wants to send waits for a second in a list that it walks for every packet.  With more guests than
 * that, or one that invents addresses, it would do nothing else.  So we remember in its place, and
 * answer its questions ourselves.
 *
 * A host that the lab knows by MAC and address is pinned: nobody else can take its address.  Others are
 * learned from what they send; the longest silent one of a few is forgotten for a new one.
 *
 * Trust:     learned ones are guests' word.
 * Ownership: zero-filled is empty; nat_neigh_done() frees.
 * Threads:   none. */
#ifndef NET_NAT_NEIGH_H
#define NET_NAT_NEIGH_H

#include "nat_hosts.h"

#define NAT_NEIGH_WAYS 4
#define NAT_NEIGH_SETS 256

struct nat_neighbour {
	struct in6_addr addr;
	uint8_t mac[6];
	uint32_t seen_s; /* 0: free */
};

struct nat_neigh {
	struct nat_neighbour learned[NAT_NEIGH_SETS][NAT_NEIGH_WAYS];
	struct nat_neighbour *pinned; /* sorted by address */
	unsigned n_pinned;
};

/* Pin the hosts of a table, in place of those pinned before; what was learned about them is forgotten.
 * -ENOMEM: nothing has changed. */
int nat_neigh_pin(struct nat_neigh *neigh, const struct nat_hosts *hosts);
void nat_neigh_done(struct nat_neigh *neigh);

/* `mac` sent from `addr` at now_s.  False: the address is pinned to another MAC. */
bool nat_neigh_seen(struct nat_neigh *neigh, const struct in6_addr *addr, const uint8_t mac[6],
		    uint32_t now_s);

/* NULL: never heard of it. */
const struct nat_neighbour *nat_neigh_find(const struct nat_neigh *neigh,
					   const struct in6_addr *addr);

bool nat_neigh_is_pinned(const struct nat_neigh *neigh, const struct in6_addr *addr);

#endif
