/* SPDX-License-Identifier: MIT */
/* Where things are in an Ethernet frame that carries IP: the one walk over VLAN tags, IPv4 options and IPv6
 * extension headers, for all who ask what a frame is.
 *
 * Trust: the bytes are a stranger's, but a copy; nothing beyond them is read.
 * Threads: pure functions. */
#ifndef NET_INET_H
#define NET_INET_H

#include <stdbool.h>
#include <stdint.h>

#define INET_IPV4_LEN 20
#define INET_IPV6_LEN 40
#define INET_TCP_LEN  20
#define INET_UDP_LEN  8

enum inet_protocol {
	INET_ICMP = 1,
	INET_TCP = 6,
	INET_UDP = 17,
	INET_ICMP6 = 58,
};

struct inet {
	uint8_t version;  /* 4 or 6 */
	uint8_t protocol; /* of what is at l4 */
	bool fragment;    /* it is one; only that at offset 0 begins with a transport header */
	bool routed; /* IPv6 with a routing header: the address in the header may not be the last */
	uint16_t fragment_offset; /* in bytes */
	uint16_t l3, l4;          /* where the IP header and the transport header begin */
};

/* Look at the first n bytes of a frame.  False: no IP, or its headers are malformed or longer than n.
 * l4 is at most n: the transport header itself may lie beyond. */
bool inet_parse(const uint8_t *bytes, uint32_t n, struct inet *ret);

static inline uint16_t inet_be16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline void inet_put_be16(uint8_t *b, uint32_t v)
{
	b[0] = (uint8_t)(v >> 8);
	b[1] = (uint8_t)v;
}

static inline uint32_t inet_be32(const uint8_t *b)
{
	return (uint32_t)inet_be16(b) << 16 | inet_be16(b + 2);
}

static inline void inet_put_be32(uint8_t *b, uint32_t v)
{
	inet_put_be16(b, v >> 16);
	inet_put_be16(b + 2, v);
}

#endif
