/* SPDX-License-Identifier: MIT */
/* What a NAT port calls itself: the addresses on which guests find it, and what it lets them do.
 *
 * libslirp makes a MAC of each of its addresses: 52:55 and the four bytes of an IPv4 address, 52:56 and
 * the last four of an IPv6 one.  It takes frames without a look at their destination, so we look: a
 * frame to another MAC was flooded and is not ours.
 *
 * Threads: none. */
#ifndef NET_NAT_NET_H
#define NET_NAT_NET_H

#include <string.h>

#include "nat_packet.h"

#define NAT_DOMAIN_MAX 63

struct nat_net {
	uint32_t subnet, mask, gateway, dns;
	bool ip6;
	struct in6_addr subnet6, gateway6, dns6; /* a /64 */
	uint16_t mtu;
	bool restricted;    /* nothing leaves but answers to forwards */
	bool host_loopback; /* the gateway's address leads to 127.0.0.1 and ::1 */
	char domain[NAT_DOMAIN_MAX + 1];
};

/* fe80::2 is what libslirp calls itself on the link. */
#define NAT_LINK_LOCAL ((struct in6_addr){ .s6_addr = { 0xfe, 0x80, [15] = 2 } })

static inline void nat_net_mac(const struct in6_addr *addr, uint8_t ret_mac[6])
{
	ret_mac[0] = 0x52;
	ret_mac[1] = nat_addr_is_ip4(addr) ? 0x55 : 0x56;
	memcpy(ret_mac + 2, addr->s6_addr + 12, 4);
}

static inline bool nat_net_has(const struct nat_net *net, const struct in6_addr *addr)
{
	if (nat_addr_is_ip4(addr))
		return (nat_addr_ip4(addr) & net->mask) == net->subnet;
	return net->ip6 && memcmp(addr, &net->subnet6, 8) == 0;
}

/* Is it an address that a guest may have: inside, and neither the subnet's own nor one of ours? */
static inline bool nat_net_is_guest(const struct nat_net *net, uint32_t ip)
{
	return (ip & net->mask) == net->subnet && ip != net->subnet &&
	       ip != (net->subnet | ~net->mask) && ip != net->gateway && ip != net->dns;
}

#endif
