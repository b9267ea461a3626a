/* SPDX-License-Identifier: MIT */
#include "nat_policy.h"

#include "base.h"
#include "inet.h"

#define PORT_DNS           53
#define PORT_DHCP          67
#define PORT_TFTP          69
#define PORT_DHCP6         547
#define ICMP6_ECHO_REQUEST 128

static const struct {
	uint32_t net, mask;
} forbidden[] = {
	{ 0x00000000, 0xff000000 }, /* 0.0.0.0/8: this host */
	{ 0x7f000000, 0xff000000 }, /* 127.0.0.0/8 */
	{ 0xa9fe0000, 0xffff0000 }, /* 169.254.0.0/16: link-local */
	{ 0xe0000000, 0xe0000000 }, /* 224.0.0.0/3: groups, reserved, broadcast */
};

static bool is_forbidden(uint32_t ip)
{
	for (unsigned i = 0; i < array_size(forbidden); i++)
		if ((ip & forbidden[i].mask) == forbidden[i].net)
			return true;
	return false;
}

static bool is_mac_of(const uint8_t *mac, const struct in6_addr *addr)
{
	uint8_t own[6];

	nat_net_mac(addr, own);
	return memcmp(mac, own, sizeof(own)) == 0;
}

static bool is_to_us(const struct nat_net *net, const uint8_t *mac)
{
	const struct in6_addr gateway = nat_addr_of_ip4(net->gateway),
			      dns = nat_addr_of_ip4(net->dns), link = NAT_LINK_LOCAL;

	if (mac[0] & 1 || is_mac_of(mac, &gateway) || is_mac_of(mac, &dns))
		return true;
	return net->ip6 && (is_mac_of(mac, &net->gateway6) || is_mac_of(mac, &net->dns6) ||
			    is_mac_of(mac, &link));
}

static enum nat_way allow(bool yes)
{
	return yes ? NAT_WAY_SLIRP : NAT_WAY_NONE;
}

static bool opens_tcp(const struct nat_packet *p)
{
	return p->proto == INET_TCP && (p->type & (NAT_TCP_SYN | NAT_TCP_ACK)) == NAT_TCP_SYN;
}

/* Nothing may be begun there, but what was begun from the host's side may be answered. */
static enum nat_way answers_only(const struct nat_packet *p)
{
	if (p->fragment)
		return NAT_WAY_NONE;
	if (p->proto == INET_UDP)
		return NAT_WAY_REPLY;
	if (p->proto != INET_TCP)
		return NAT_WAY_NONE;
	return opens_tcp(p) ? NAT_WAY_RESET : NAT_WAY_SLIRP;
}

static enum nat_way refuse(const struct nat_packet *p)
{
	return opens_tcp(p) ? NAT_WAY_RESET : NAT_WAY_NONE;
}

/* Common to both families: what our own addresses serve. */
static enum nat_way to_gateway(const struct nat_net *net, const struct nat_packet *p, uint8_t icmp,
			       uint8_t echo)
{
	if (p->proto == icmp)
		return allow(p->type == echo || p->fragment);
	if (!net->host_loopback || net->restricted)
		return answers_only(p);
	return allow(p->proto == INET_TCP || (p->proto == INET_UDP && p->dport != PORT_TFTP));
}

static enum nat_way to_dns(const struct nat_net *net, const struct nat_packet *p, uint8_t icmp,
			   uint8_t echo)
{
	if (p->fragment)
		return NAT_WAY_NONE;
	if (p->proto == icmp)
		return allow(p->type == echo);
	if (p->proto == INET_UDP && p->dport == PORT_DNS)
		return NAT_WAY_DNS;
	if (p->proto == INET_TCP && p->dport == PORT_DNS && !net->restricted)
		return NAT_WAY_SLIRP;
	return refuse(p);
}

static enum nat_way policy_ip4(const struct nat_net *net, const struct nat_packet *p)
{
	uint32_t src = nat_addr_ip4(&p->src), dst = nat_addr_ip4(&p->dst);

	if (p->proto == INET_UDP && p->dport == PORT_DHCP && !p->fragment &&
	    (dst == INADDR_BROADCAST || dst == net->gateway) &&
	    (src == 0 || nat_net_is_guest(net, src)))
		return NAT_WAY_DHCP;
	if (p->eth_dst[0] & 1 || !nat_net_is_guest(net, src) ||
	    (p->fragment && p->proto == INET_TCP))
		return NAT_WAY_NONE;
	if (dst == net->dns)
		return to_dns(net, p, INET_ICMP, NAT_ICMP_ECHO);
	if (dst == net->gateway)
		return to_gateway(net, p, INET_ICMP, NAT_ICMP_ECHO);
	if ((dst & net->mask) == net->subnet || is_forbidden(dst))
		return refuse(p);
	if (net->restricted)
		return answers_only(p);
	return allow(p->proto == INET_TCP || p->proto == INET_UDP ||
		     (p->proto == INET_ICMP && (p->type == NAT_ICMP_ECHO || p->fragment)));
}

/* What finds neighbours, routers and the name server: to a group, or to us. */
static bool is_discovery(const struct nat_net *net, const struct nat_packet *p)
{
	const struct in6_addr link = NAT_LINK_LOCAL;

	if (!IN6_IS_ADDR_MULTICAST(&p->dst) && !IN6_ARE_ADDR_EQUAL(&p->dst, &link) &&
	    !IN6_ARE_ADDR_EQUAL(&p->dst, &net->gateway6) &&
	    !IN6_ARE_ADDR_EQUAL(&p->dst, &net->dns6))
		return false;
	if (p->proto == INET_ICMP6)
		return p->type == NAT_ND_RS || p->type == NAT_ND_NS || p->type == NAT_ND_NA;
	return p->proto == INET_UDP && p->dport == PORT_DHCP6; /* stateless: the DNS address */
}

static enum nat_way policy_ip6(const struct nat_net *net, const struct nat_packet *p)
{
	const struct in6_addr link = NAT_LINK_LOCAL;

	if (!net->ip6)
		return NAT_WAY_NONE;
	if (IN6_ARE_ADDR_EQUAL(&p->src, &net->gateway6) ||
	    IN6_ARE_ADDR_EQUAL(&p->src, &net->dns6) || IN6_ARE_ADDR_EQUAL(&p->src, &link))
		return NAT_WAY_NONE;
	if (is_discovery(net, p))
		return NAT_WAY_SLIRP;
	if (p->eth_dst[0] & 1 || (!nat_net_has(net, &p->src) && !IN6_IS_ADDR_LINKLOCAL(&p->src)))
		return NAT_WAY_NONE;
	if (IN6_ARE_ADDR_EQUAL(&p->dst, &net->dns6))
		return to_dns(net, p, INET_ICMP6, ICMP6_ECHO_REQUEST);
	if (IN6_ARE_ADDR_EQUAL(&p->dst, &net->gateway6))
		return to_gateway(net, p, INET_ICMP6, ICMP6_ECHO_REQUEST);
	if (IN6_ARE_ADDR_EQUAL(&p->dst, &link))
		return allow(p->proto == INET_ICMP6 && p->type == ICMP6_ECHO_REQUEST);
	if (nat_net_has(net, &p->dst) ||
	    ((p->dst.s6_addr[0] & 0xe0) != 0x20 && (p->dst.s6_addr[0] & 0xfe) != 0xfc))
		return refuse(p); /* neither global unicast nor unique local */
	if (net->restricted)
		return answers_only(p);
	return allow(p->proto == INET_TCP || p->proto == INET_UDP);
}

enum nat_way nat_policy(const struct nat_net *net, const struct nat_packet *p)
{
	uint32_t src;

	if (!is_to_us(net, p->eth_dst))
		return NAT_WAY_NONE;
	switch (p->kind) {
	case NAT_KIND_ARP:
		src = nat_addr_ip4(&p->src);
		return allow(src == 0 || nat_net_is_guest(net, src)); /* 0: a probe, RFC 5227 */
	case NAT_KIND_IP4:
		return policy_ip4(net, p);
	case NAT_KIND_IP6:
		return policy_ip6(net, p);
	case NAT_KIND_OTHER:
		break;
	}
	return NAT_WAY_NONE;
}
