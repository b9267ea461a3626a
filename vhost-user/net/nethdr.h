/* SPDX-License-Identifier: MIT */
/* The virtio-net header in front of every frame (virtio 1.3, 5.1.6), and with it what a frame asks of
 * whoever gets it.
 *
 * VIRTIO_F_VERSION_1 is always negotiated, so the header is 12 bytes long whether or not
 * VIRTIO_NET_F_MRG_RXBUF is.
 *
 * A driver may leave work for the device to do: put in a checksum (NEEDS_CSUM: the sum over
 * [csum_start, end) goes to csum_start + csum_offset, where the driver has left the sum of the
 * pseudo-header), and cut a large TCP or UDP packet into segments of gso_size bytes of payload.  A guest
 * that negotiated the same for its receiveqs takes such frames as they are: then nothing is computed
 * at all.  For every other receiver offload.h does the work.
 *
 * So a header travels with each frame (struct sw_frame.hdr).  All zeros: the frame is complete.
 * What it says has been checked once, in nethdr_read(), and never again:
 *
 *   - a type other than GSO_NONE comes with NEEDS_CSUM, a gso_size above 0, and the csum_offset of its
 *     protocol; with GSO_NONE gso_size and hdr_len are 0
 *   - Ethernet header <= csum_start <= UINT16_MAX less a VLAN tag, and csum_start + csum_offset + 2 <= the frame's length;
 *     without NEEDS_CSUM both are 0
 *   - there is no flag but NEEDS_CSUM and DATA_VALID, and num_buffers is 0
 *   - hdr_len is a hint and at most the frame's length
 *
 * Offsets count from the frame's first byte: who puts bytes in or takes them out in front of the
 * payload (a VLAN tag) calls nethdr_shift().
 *
 * Trust: a header that comes in is the driver's; it is copied once and judged by the copy. */
#ifndef NET_NETHDR_H
#define NET_NETHDR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <linux/virtio_net.h>

#include "base.h"
#include "le.h"

#define NETHDR_LEN 12

struct nethdr {
	uint8_t flags;    /* VIRTIO_NET_HDR_F_* */
	uint8_t gso_type; /* VIRTIO_NET_HDR_GSO_* */
	le16_t hdr_len;
	le16_t gso_size;
	le16_t csum_start;
	le16_t csum_offset;
	le16_t num_buffers;
};

static_assert(sizeof(struct nethdr) == NETHDR_LEN, "virtio 1.3, 5.1.6");
static_assert(sizeof(struct virtio_net_hdr_v1) == NETHDR_LEN, "linux/virtio_net.h agrees");
static_assert(offsetof(struct nethdr, num_buffers) == 10, "virtio 1.3, 5.1.6");

/* Younger than the oldest linux/virtio_net.h we build with. */
#define NETHDR_GSO_UDP_L4 5 /* VIRTIO_NET_HDR_GSO_UDP_L4: datagrams of gso_size bytes each */

/* What a receiver can take (struct sw_port.offloads), or a sender may ask for. */
enum offload {
	OFFLOAD_CSUM = 1 << 0, /* frames whose checksum is to be completed */
	OFFLOAD_TSO4 = 1 << 1,
	OFFLOAD_TSO6 = 1 << 2,
	OFFLOAD_ECN = 1 << 3, /* of these such with CWR set */
	OFFLOAD_USO4 = 1 << 4,
	OFFLOAD_USO6 = 1 << 5,
	OFFLOAD_ALL = (1 << 6) - 1,
};

/* Which of the above a frame with this header needs; 0: anybody can take it.  UDP segmentation does
 * not say its IP version, and so counts as both. */
static inline uint32_t nethdr_needs(const struct nethdr *h)
{
	uint32_t needs = OFFLOAD_CSUM;

	if (likely(!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)))
		return 0;
	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		needs |= OFFLOAD_TSO4;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		needs |= OFFLOAD_TSO6;
		break;
	case NETHDR_GSO_UDP_L4:
		needs |= OFFLOAD_USO4 | OFFLOAD_USO6;
		break;
	default:
		break;
	}
	if (h->gso_type & VIRTIO_NET_HDR_GSO_ECN)
		needs |= OFFLOAD_ECN;
	return needs;
}

/* nethdr_read() for a copy of a header that is not all zeros. */
bool nethdr_check(struct nethdr *h, uint32_t len, uint32_t allowed);

/* Take the header at `from` of a frame of len bytes into *to, in the form described above.
 * allowed: what was negotiated for this direction.  False: it asks for something else, or for the
 * impossible; *to is then undefined.  Bits we do not know are to be ignored (5.1.6.2.2).
 *
 * Most headers ask for nothing, which their first two bytes tell: then no more is read.  For all others
 * that look decides nothing but to take a copy, by which they are judged. */
static inline bool nethdr_read(const void *from, uint32_t len, uint32_t allowed, struct nethdr *to)
{
	uint16_t two;

	memcpy(&two, from, sizeof(two));
	if (likely(two == 0)) {
		*to = (struct nethdr){ 0 };
		return true;
	}
	memcpy(to, from, sizeof(*to));
	/* What is decided on below is what is kept: no third look at `from`. */
	__asm__ volatile("" : "+m"(*to));
	return nethdr_check(to, len, allowed);
}

/* The frame's first bytes became `by` more (or fewer, below 0). */
static inline void nethdr_shift(struct nethdr *h, int by)
{
	if (likely(!(h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)))
		return;
	h->csum_start = le16_of((uint16_t)(le16_get(h->csum_start) + by));
	/* Only a hint, which may be less than a tag is long. */
	if (le16_get(h->hdr_len) != 0)
		h->hdr_len = le16_of((uint16_t)min(max(le16_get(h->hdr_len) + by, 0), UINT16_MAX));
}

/* Put the header *h, of a frame that fills n buffers, in front of it.  `flags`: those that the driver
 * has negotiated to see. */
static inline void nethdr_write(void *to, const struct nethdr *h, uint16_t n, uint8_t flags)
{
	/* By words: a header that is put together from bytes in memory has to wait for them to get there. */
	uint64_t first;
	uint32_t last;

	memcpy(&first, h, sizeof(first));
	memcpy(&last, (const char *)h + sizeof(first), sizeof(last));
	first &= htole64(~UINT64_C(0xff) | flags);
	last = (last & htole32(UINT16_MAX)) | htole32((uint32_t)n << 16);
	memcpy(to, &first, sizeof(first));
	memcpy((char *)to + sizeof(first), &last, sizeof(last));
}

#endif
