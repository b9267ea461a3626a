/* SPDX-License-Identifier: MIT */
#include "nat_packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "csum.h"
#include "inet.h"

#define TYPE_IP4 0x0800
#define TYPE_ARP 0x0806
#define TYPE_IP6 0x86dd

#define ND_LEN      24 /* up to and with the target */
#define NA_LEN      32
#define NA_OF_US    0x60 /* solicited, override */
#define ND_LINKADDR 2
#define TTL         64
#define ND_HOPS     255

/* The pseudo header of RFC 768 and of RFC 8200, 8.1, added up. */
static csum_t sum_of_pseudo(const struct in6_addr *src, const struct in6_addr *dst, uint8_t proto,
			    size_t len)
{
	uint32_t skip = nat_addr_is_ip4(src) ? 12 : 0;
	uint8_t tail[4] = { 0, proto };
	csum_t sum;

	inet_put_be16(tail + 2, (uint32_t)len); /* no payload is longer than 16 bits here */
	sum = csum_add(0, src->s6_addr + skip, 16 - skip);
	sum = csum_add(sum, dst->s6_addr + skip, 16 - skip);
	return csum_add(sum, tail, sizeof(tail));
}

/* Store the checksum of at[0..len) at at[field], where zeros stand. */
static void put_sum(uint8_t *at, uint32_t field, csum_t sum, uint32_t len)
{
	uint16_t value = csum_fold(csum_add(sum, at, len));

	memcpy(at + field, &value, sizeof(value));
}

static int parse_udp(struct nat_packet *p, const uint8_t *at, size_t len)
{
	size_t said;

	if (len < INET_UDP_LEN)
		return -EINVAL;
	p->sport = inet_be16(at);
	p->dport = inet_be16(at + 2);
	if (p->fragment)
		return 0;
	said = inet_be16(at + 4);
	if (said < INET_UDP_LEN || said > len)
		return -EINVAL;
	if (inet_be16(at + 6) != 0 &&
	    csum_fold(csum_add(sum_of_pseudo(&p->src, &p->dst, INET_UDP, said), at,
			       (uint32_t)said)) != 0)
		return -EINVAL;
	p->payload = at + INET_UDP_LEN;
	p->payload_len = (uint32_t)(said - INET_UDP_LEN);
	return 0;
}

static int parse_icmp(struct nat_packet *p, const uint8_t *at, size_t len)
{
	if (len < 8)
		return -EINVAL;
	p->type = at[0];
	if (p->proto != INET_ICMP6 || (p->type != NAT_ND_NS && p->type != NAT_ND_NA))
		return 0;
	if (len < ND_LEN)
		return -EINVAL;
	memcpy(&p->target, at + 8, 16);
	return 0;
}

static int parse_transport(struct nat_packet *p, const uint8_t *at, size_t len)
{
	switch (p->proto) {
	case INET_UDP:
		return parse_udp(p, at, len);
	case INET_TCP:
		if (len < INET_TCP_LEN)
			return -EINVAL;
		p->sport = inet_be16(at);
		p->dport = inet_be16(at + 2);
		p->seq = inet_be32(at + 4);
		p->type = at[13];
		return 0;
	case INET_ICMP:
	case INET_ICMP6:
		return parse_icmp(p, at, len);
	default:
		return 0;
	}
}

static int parse_ip4(struct nat_packet *p, const uint8_t *frame, size_t len, const struct inet *in)
{
	const uint8_t *at = frame + in->l3;
	size_t end = in->l3 + (size_t)inet_be16(at + 2);

	if (end < in->l4 || end > len)
		return -EINVAL;
	p->kind = NAT_KIND_IP4;
	p->proto = at[9];
	p->src = nat_addr_of_ip4(inet_be32(at + 12));
	p->dst = nat_addr_of_ip4(inet_be32(at + 16));
	p->fragment = in->fragment;
	if (in->fragment_offset > 0)
		return 0;
	return parse_transport(p, frame + in->l4, end - in->l4);
}

/* Extension headers are left to nobody: libslirp does not read them, so such a packet is of no protocol here. */
static int parse_ip6(struct nat_packet *p, const uint8_t *frame, size_t len, const struct inet *in)
{
	const uint8_t *at = frame + in->l3;
	size_t end = in->l3 + INET_IPV6_LEN + (size_t)inet_be16(at + 4);

	if (end < in->l4 || end > len)
		return -EINVAL;
	p->kind = NAT_KIND_IP6;
	memcpy(&p->src, at + 8, 16);
	memcpy(&p->dst, at + 24, 16);
	if (in->l4 != in->l3 + INET_IPV6_LEN)
		return 0;
	p->proto = at[6];
	return parse_transport(p, frame + in->l4, end - in->l4);
}

static int parse_arp(struct nat_packet *p, const uint8_t *at, size_t len)
{
	static const uint8_t ethernet_ip4[6] = { 0, 1, 0x08, 0x00, 6, 4 };

	if (len < NAT_ARP_LEN - NAT_ETH_LEN || memcmp(at, ethernet_ip4, 6) != 0 || at[6] != 0)
		return -EINVAL;
	if (memcmp(at + 8, p->eth_src, 6) != 0)
		return -EINVAL;
	p->kind = NAT_KIND_ARP;
	p->type = at[7];
	p->src = nat_addr_of_ip4(inet_be32(at + 14));
	p->dst = nat_addr_of_ip4(inet_be32(at + 24));
	return 0;
}

int nat_packet_parse(const uint8_t *frame, size_t len, struct nat_packet *ret)
{
	struct nat_packet p = { .eth_dst = frame, .eth_src = frame + 6 };
	struct inet in;
	int r = 0;

	if (len < NAT_ETH_LEN)
		return -EINVAL;
	switch (inet_be16(frame + 12)) {
	case TYPE_IP4:
	case TYPE_IP6:
		if (!inet_parse(frame, (uint32_t)len, &in))
			return -EINVAL;
		r = in.version == 4 ? parse_ip4(&p, frame, len, &in) :
				      parse_ip6(&p, frame, len, &in);
		break;
	case TYPE_ARP:
		r = parse_arp(&p, frame + NAT_ETH_LEN, len - NAT_ETH_LEN);
		break;
	default:
		break;
	}
	if (r == 0)
		*ret = p;
	return r;
}

static void put_ethernet(uint8_t *frame, const uint8_t dst[6], const uint8_t src[6], uint16_t type)
{
	memcpy(frame, dst, 6);
	memcpy(frame + 6, src, 6);
	inet_put_be16(frame + 12, type);
}

static void put_ip4(uint8_t *at, const struct in6_addr *src, const struct in6_addr *dst,
		    uint8_t proto, size_t len)
{
	memset(at, 0, INET_IPV4_LEN);
	at[0] = 0x45;
	inet_put_be16(at + 2, (uint32_t)(INET_IPV4_LEN + len));
	at[8] = TTL;
	at[9] = proto;
	memcpy(at + 12, src->s6_addr + 12, 4);
	memcpy(at + 16, dst->s6_addr + 12, 4);
	put_sum(at, 10, 0, INET_IPV4_LEN);
}

static void put_ip6(uint8_t *at, const struct in6_addr *src, const struct in6_addr *dst,
		    uint8_t proto, uint8_t hops, size_t len)
{
	memset(at, 0, INET_IPV6_LEN);
	at[0] = 0x60;
	inet_put_be16(at + 4, (uint16_t)len);
	at[6] = proto;
	at[7] = hops;
	memcpy(at + 8, src, 16);
	memcpy(at + 24, dst, 16);
}

size_t nat_packet_udp(uint8_t *frame, const struct nat_end *from, const struct nat_end *to,
		      size_t len)
{
	bool ip4 = nat_addr_is_ip4(&from->addr);
	size_t room = nat_packet_udp_room(&from->addr);
	uint8_t *udp = frame + room - INET_UDP_LEN;

	len += INET_UDP_LEN;
	put_ethernet(frame, to->mac, from->mac, ip4 ? TYPE_IP4 : TYPE_IP6);
	if (ip4)
		put_ip4(frame + NAT_ETH_LEN, &from->addr, &to->addr, INET_UDP, len);
	else
		put_ip6(frame + NAT_ETH_LEN, &from->addr, &to->addr, INET_UDP, TTL, len);
	inet_put_be16(udp, from->port);
	inet_put_be16(udp + 2, to->port);
	inet_put_be16(udp + 4, (uint32_t)len);
	inet_put_be16(udp + 6, 0);
	put_sum(udp, 6, sum_of_pseudo(&from->addr, &to->addr, INET_UDP, len), (uint32_t)len);
	if (inet_be16(udp + 6) == 0)
		inet_put_be16(udp + 6, 0xffff); /* zero would say: none */
	return room - INET_UDP_LEN + len;
}

size_t nat_packet_reset(uint8_t frame[NAT_RST_MAX], const struct nat_packet *p)
{
	bool ip4 = p->kind == NAT_KIND_IP4;
	size_t room = NAT_ETH_LEN + (ip4 ? INET_IPV4_LEN : INET_IPV6_LEN);
	uint8_t *tcp = frame + room;

	put_ethernet(frame, p->eth_src, p->eth_dst, ip4 ? TYPE_IP4 : TYPE_IP6);
	if (ip4)
		put_ip4(frame + NAT_ETH_LEN, &p->dst, &p->src, INET_TCP, INET_TCP_LEN);
	else
		put_ip6(frame + NAT_ETH_LEN, &p->dst, &p->src, INET_TCP, TTL, INET_TCP_LEN);
	memset(tcp, 0, INET_TCP_LEN);
	inet_put_be16(tcp, p->dport);
	inet_put_be16(tcp + 2, p->sport);
	inet_put_be32(tcp + 8, p->seq + 1);
	tcp[12] = INET_TCP_LEN / 4 << 4;
	tcp[13] = NAT_TCP_RST | NAT_TCP_ACK;
	put_sum(tcp, 16, sum_of_pseudo(&p->dst, &p->src, INET_TCP, INET_TCP_LEN), INET_TCP_LEN);
	return room + INET_TCP_LEN;
}

void nat_packet_arp_reply(uint8_t frame[NAT_ARP_LEN], uint32_t from, const uint8_t from_mac[6],
			  uint32_t to, const uint8_t to_mac[6])
{
	static const uint8_t head[8] = { 0, 1, 0x08, 0x00, 6, 4, 0, NAT_ARP_REPLY };
	uint8_t *at = frame + NAT_ETH_LEN;

	put_ethernet(frame, to_mac, from_mac, TYPE_ARP);
	memcpy(at, head, 8);
	memcpy(at + 8, from_mac, 6);
	inet_put_be32(at + 14, from);
	memcpy(at + 18, to_mac, 6);
	inet_put_be32(at + 24, to);
}

void nat_packet_advertise(uint8_t frame[NAT_NA_LEN], const struct in6_addr *from,
			  const uint8_t from_mac[6], const struct in6_addr *to,
			  const uint8_t to_mac[6])
{
	uint8_t *na = frame + NAT_ETH_LEN + INET_IPV6_LEN;

	put_ethernet(frame, to_mac, from_mac, TYPE_IP6);
	put_ip6(frame + NAT_ETH_LEN, from, to, INET_ICMP6, ND_HOPS, NA_LEN);
	memset(na, 0, NA_LEN);
	na[0] = NAT_ND_NA;
	na[4] = NA_OF_US;
	memcpy(na + 8, from, 16);
	na[24] = ND_LINKADDR;
	na[25] = 1; /* of eight bytes */
	memcpy(na + 26, from_mac, 6);
	put_sum(na, 2, sum_of_pseudo(from, to, INET_ICMP6, NA_LEN), NA_LEN);
}

void nat_addr_text(const struct in6_addr *addr, char ret[INET6_ADDRSTRLEN])
{
	if (nat_addr_is_ip4(addr))
		inet_ntop(AF_INET, addr->s6_addr + 12, ret, INET6_ADDRSTRLEN);
	else
		inet_ntop(AF_INET6, addr, ret, INET6_ADDRSTRLEN);
}
