/* SPDX-License-Identifier: MIT */
/* What the NAT port reads of a frame, and the few frames that it makes itself.
 *
 * IPv4 addresses are kept as IPv6 ones (::ffff:a.b.c.d), so that tables have one kind of key.
 *
 * Trust:   a frame is a guest's; it has been copied, and is not changed while it is read.  Nothing beyond
 *          its length is touched, and every length inside it is held against what is there.
 * Threads: none. */
#ifndef NET_NAT_PACKET_H
#define NET_NAT_PACKET_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NAT_ETH_LEN  14
#define NAT_UDP4_LEN (NAT_ETH_LEN + 20 + 8) /* in front of a UDP payload */
#define NAT_UDP6_LEN (NAT_ETH_LEN + 40 + 8)
#define NAT_ARP_LEN  (NAT_ETH_LEN + 28)
#define NAT_RST_MAX  (NAT_ETH_LEN + 40 + 20)
#define NAT_NA_LEN   (NAT_ETH_LEN + 40 + 32)

enum nat_kind {
	NAT_KIND_OTHER, /* of no concern to IP */
	NAT_KIND_ARP,   /* src and dst are the sender's and the target's address */
	NAT_KIND_IP4,
	NAT_KIND_IP6,
};

#define NAT_TCP_SYN 0x02
#define NAT_TCP_RST 0x04
#define NAT_TCP_ACK 0x10

#define NAT_ARP_REQUEST 1
#define NAT_ARP_REPLY   2

#define NAT_ICMP_ECHO 8
#define NAT_ND_RS     133
#define NAT_ND_NS     135
#define NAT_ND_NA     136

/* Pointers lead into the frame. */
struct nat_packet {
	enum nat_kind kind;
	const uint8_t *eth_dst, *eth_src;
	struct in6_addr src, dst;
	uint8_t proto; /* enum inet_protocol, or any other */
	uint8_t type;  /* ICMP's; TCP's flags; ARP's operation */
	bool fragment; /* IPv4: a part of a packet; beyond the first there are no ports */
	uint16_t sport, dport;
	uint32_t seq;           /* TCP's */
	struct in6_addr target; /* of a neighbour solicitation or advertisement */
	const uint8_t *payload; /* UDP's */
	uint32_t payload_len;
};

/* -EINVAL: it is not what it says, e.g. shorter.  UDP checksums, where given, are found wrong, too;
 * others are libslirp's to check. */
int nat_packet_parse(const uint8_t *frame, size_t len, struct nat_packet *ret);

static inline struct in6_addr nat_addr_of_ip4(uint32_t ip)
{
	return (struct in6_addr){ .s6_addr = { [10] = 0xff,
					       0xff,
					       (uint8_t)(ip >> 24),
					       (uint8_t)(ip >> 16),
					       (uint8_t)(ip >> 8),
					       (uint8_t)ip } };
}

static inline bool nat_addr_is_ip4(const struct in6_addr *a)
{
	return IN6_IS_ADDR_V4MAPPED(a);
}

static inline uint32_t nat_addr_ip4(const struct in6_addr *a)
{
	return (uint32_t)a->s6_addr[12] << 24 | (uint32_t)a->s6_addr[13] << 16 |
	       (uint32_t)a->s6_addr[14] << 8 | a->s6_addr[15];
}

/* "192.168.100.1", "fd00::1". */
void nat_addr_text(const struct in6_addr *addr, char ret[INET6_ADDRSTRLEN]);

/* One end of a UDP packet that we make. */
struct nat_end {
	const uint8_t *mac;
	struct in6_addr addr;
	uint16_t port;
};

/* Bytes in front of a UDP payload between such addresses. */
static inline size_t nat_packet_udp_room(const struct in6_addr *addr)
{
	return nat_addr_is_ip4(addr) ? NAT_UDP4_LEN : NAT_UDP6_LEN;
}

/* Make a UDP packet of `len` bytes of payload, which stand at frame + nat_packet_udp_room() already.
 * Both ends are of one family.  Returns the frame's length. */
size_t nat_packet_udp(uint8_t *frame, const struct nat_end *from, const struct nat_end *to,
		      size_t len);

/* Refuse the TCP connection that `p` wants to open.  Returns the frame's length. */
size_t nat_packet_reset(uint8_t frame[NAT_RST_MAX], const struct nat_packet *p);

/* "`from` is at from_mac", said to `to`. */
void nat_packet_arp_reply(uint8_t frame[NAT_ARP_LEN], uint32_t from, const uint8_t from_mac[6],
			  uint32_t to, const uint8_t to_mac[6]);
void nat_packet_advertise(uint8_t frame[NAT_NA_LEN], const struct in6_addr *from,
			  const uint8_t from_mac[6], const struct in6_addr *to,
			  const uint8_t to_mac[6]);

#endif
