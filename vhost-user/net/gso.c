/* SPDX-License-Identifier: MIT */
#include "gso.h"

#include <string.h>

#include "inet.h"

/* Fields of the headers, from their first byte. */
enum {
	IPV4_LENGTH = 2,
	IPV4_ID = 4,
	IPV4_CSUM = 10,
	IPV4_ADDRESSES = 12,
	IPV6_LENGTH = 4,
	IPV6_ADDRESSES = 8,
	TCP_SEQ = 4,
	TCP_OFFSET = 12,
	TCP_FLAGS = 13,
	TCP_CSUM = 16,
	UDP_LENGTH = 4,
	UDP_CSUM = 6,
};

enum {
	TCP_FIN = 0x01,
	TCP_PSH = 0x08,
	TCP_CWR = 0x80,
};

static bool is_udp(const struct nethdr *h)
{
	return h->gso_type == NETHDR_GSO_UDP_L4;
}

uint32_t gso_head_len(const struct nethdr *h, const uint8_t *head, uint32_t n)
{
	uint32_t l4 = le16_get(h->csum_start);

	if (is_udp(h))
		return l4 + INET_UDP_LEN;
	return l4 + TCP_OFFSET < n ? l4 + 4u * (head[l4 + TCP_OFFSET] >> 4) : 0;
}

/* Is it the protocol that the type says, whole, and where the header says? */
static bool matches(const struct nethdr *h, const struct inet *at)
{
	uint8_t type = h->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if (at->fragment || at->l4 != le16_get(h->csum_start))
		return false;
	if (type == VIRTIO_NET_HDR_GSO_TCPV4)
		return at->version == 4 && at->protocol == INET_TCP;
	if (type == VIRTIO_NET_HDR_GSO_TCPV6)
		return at->version == 6 && at->protocol == INET_TCP;
	return at->protocol == INET_UDP;
}

static uint16_t csum_field(const struct gso *g)
{
	return (uint16_t)(g->l4 + (g->protocol == INET_TCP ? TCP_CSUM : UDP_CSUM));
}

/* As a number in the pseudo-header: 32 bits there, most of them 0. */
static csum_t sum_of(uint32_t v)
{
	return (csum_t)htobe16((uint16_t)v) + htobe16((uint16_t)(v >> 16));
}

/* The addresses and the protocol.  Behind a routing header is an address that counts instead of that in the
 * header (RFC 8200, 8.1): there the guest's own sum is taken, which has the whole packet's length in it. */
static csum_t pseudo_sum(const struct gso *g, const struct inet *at, uint32_t len)
{
	const uint8_t *ip = g->head + g->l3;
	csum_t sum = sum_of(g->protocol);
	uint16_t theirs;

	if (at->routed) {
		memcpy(&theirs, g->head + csum_field(g), sizeof(theirs));
		return csum_plus(theirs, csum_fold(sum_of(len - g->l4)));
	}
	if (g->version == 4)
		return csum_add(sum, ip + IPV4_ADDRESSES, 8);
	return csum_add(sum, ip + IPV6_ADDRESSES, 32);
}

bool gso_plan(const struct nethdr *h, const uint8_t *head, uint32_t n, uint32_t len,
	      struct gso *ret)
{
	struct gso g = { .head = head, .size = le16_get(h->gso_size) };
	uint32_t ip_payload;
	struct inet at;

	if (!inet_parse(head, n, &at) || !matches(h, &at))
		return false;
	g.l3 = at.l3;
	g.l4 = at.l4;
	g.version = at.version;
	g.protocol = at.protocol;
	g.head_len = gso_head_len(h, head, n);
	if (g.head_len < at.l4 + (uint32_t)(is_udp(h) ? INET_UDP_LEN : INET_TCP_LEN) ||
	    g.head_len > n || g.head_len > len)
		return false;
	g.payload = len - g.head_len;
	g.n = g.payload > 0 ? (g.payload + g.size - 1) / g.size : 1;
	/* What fills the length fields of IP and UDP must fit there. */
	ip_payload = g.head_len - g.l3 + gso_len(&g, 0);
	if (ip_payload - (g.version == 6 ? INET_IPV6_LEN : 0) > UINT16_MAX)
		return false;
	g.pseudo = pseudo_sum(&g, &at, len);
	*ret = g;
	return true;
}

static void put_sum(uint8_t *to, uint16_t sum)
{
	memcpy(to, &sum, sizeof(sum));
}

static void ip_head(const struct gso *g, uint32_t i, uint32_t len, uint8_t *ip)
{
	uint32_t n = g->head_len - g->l3 + len;

	if (g->version == 6) {
		inet_put_be16(ip + IPV6_LENGTH, n - INET_IPV6_LEN);
		return;
	}
	inet_put_be16(ip + IPV4_LENGTH, n);
	inet_put_be16(ip + IPV4_ID, inet_be16(ip + IPV4_ID) + i);
	put_sum(ip + IPV4_CSUM, 0);
	put_sum(ip + IPV4_CSUM, csum_fold(csum_add(0, ip, 4u * (ip[0] & 15))));
}

static void tcp_head(const struct gso *g, uint32_t i, uint8_t *tcp)
{
	uint8_t flags = tcp[TCP_FLAGS];

	inet_put_be32(tcp + TCP_SEQ, inet_be32(tcp + TCP_SEQ) + i * g->size);
	if (i > 0)
		flags &= (uint8_t)~TCP_CWR;
	if (i + 1 < g->n)
		flags &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	tcp[TCP_FLAGS] = flags;
}

void gso_head(const struct gso *g, uint32_t i, uint8_t *to)
{
	uint32_t len = gso_len(g, i), l4_len = g->head_len - g->l4 + len;

	memcpy(to, g->head, g->head_len);
	ip_head(g, i, len, to + g->l3);
	if (g->protocol == INET_TCP)
		tcp_head(g, i, to + g->l4);
	else
		inet_put_be16(to + g->l4 + UDP_LENGTH, l4_len);
	put_sum(to + csum_field(g), csum_fold_plain(csum_plus(g->pseudo, sum_of(l4_len))));
}

void gso_sum(const struct gso *g, uint8_t *to, csum_t payload)
{
	uint16_t sum = csum_fold(csum_add(payload, to + g->l4, g->head_len - g->l4));

	/* 0 says that there is none (RFC 768), and in ones' complement has a twin. */
	put_sum(to + csum_field(g), sum ? sum : UINT16_MAX);
}
