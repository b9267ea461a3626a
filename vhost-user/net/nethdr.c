/* SPDX-License-Identifier: MIT */
#include "nethdr.h"

/* Where the checksum of a protocol is, in its header. */
#define TCP_CSUM 16
#define UDP_CSUM 6

#define ETHERNET_LEN 14
#define IPV4_LEN     20
#define IPV6_LEN     40
#define TAG_LEN      4
#define TCP_LEN      20
#define UDP_LEN      8

/* What must be true of a packet that is to be cut.  0: we know no such type. */
struct gso_rule {
	uint16_t csum_offset;
	uint16_t least_start; /* Ethernet and IP header */
	uint16_t transport;   /* length of its header, at least */
};

static struct gso_rule gso_rule(uint8_t gso_type)
{
	switch (gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return (struct gso_rule){ TCP_CSUM, ETHERNET_LEN + IPV4_LEN, TCP_LEN };
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return (struct gso_rule){ TCP_CSUM, ETHERNET_LEN + IPV6_LEN, TCP_LEN };
	case NETHDR_GSO_UDP_L4:
		return (struct gso_rule){ UDP_CSUM, ETHERNET_LEN + IPV4_LEN, UDP_LEN };
	default:
		return (struct gso_rule){ 0 };
	}
}

static bool gso_is_possible(const struct nethdr *h, uint32_t len)
{
	const struct gso_rule rule = gso_rule(h->gso_type);
	uint32_t start = le16_get(h->csum_start);

	if (h->gso_type == NETHDR_GSO_UDP_L4 + VIRTIO_NET_HDR_GSO_ECN)
		return false; /* there is no ECN echo to repeat */
	return rule.transport > 0 && le16_get(h->gso_size) > 0 &&
	       le16_get(h->csum_offset) == rule.csum_offset && start >= rule.least_start &&
	       start + rule.transport <= len;
}

bool nethdr_check(struct nethdr *h, uint32_t len, uint32_t allowed)
{
	uint32_t start = le16_get(h->csum_start), offset = le16_get(h->csum_offset);

	if (!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)) {
		/* virtio 1.3, 5.1.6.2.1: who wants it cut wants it summed up. */
		if (h->gso_type != VIRTIO_NET_HDR_GSO_NONE)
			return false;
		*h = (struct nethdr){ .flags = h->flags & VIRTIO_NET_HDR_F_DATA_VALID };
		return true;
	}
	if (nethdr_needs(h) & ~allowed)
		return false;
	/* No sum overflows: these are 16 bits each, also when a tag is put in front. */
	if (start < ETHERNET_LEN || start > UINT16_MAX - TAG_LEN ||
	    start + offset + sizeof(uint16_t) > len)
		return false;
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		h->hdr_len = h->gso_size = le16_of(0);
	else if (!gso_is_possible(h, len))
		return false;
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	h->hdr_len = le16_of((uint16_t)min((uint32_t)le16_get(h->hdr_len), len));
	h->num_buffers = le16_of(0);
	return true;
}
