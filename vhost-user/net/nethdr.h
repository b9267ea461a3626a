/* SPDX-License-Identifier: MIT */
/* The virtio-net header in front of every frame (virtio 1.3, 5.1.6).
 *
 * VIRTIO_F_VERSION_1 is always negotiated, so the header is 12 bytes long whether or not
 * VIRTIO_NET_F_MRG_RXBUF is.  No offload is offered: a frame that comes in must be complete,
 * and one that goes out says nothing about itself but how many buffers it fills.
 *
 * Trust: a header that comes in is the driver's; its first two bytes are read once. */
#ifndef NET_NETHDR_H
#define NET_NETHDR_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <linux/virtio_net.h>

#include "le.h"

#define NETHDR_LEN 12

struct nethdr {
	uint8_t flags;
	uint8_t gso_type;
	le16_t hdr_len;
	le16_t gso_size;
	le16_t csum_start;
	le16_t csum_offset;
	le16_t num_buffers;
};

static_assert(sizeof(struct nethdr) == NETHDR_LEN, "virtio 1.3, 5.1.6");
static_assert(sizeof(struct virtio_net_hdr_v1) == NETHDR_LEN, "linux/virtio_net.h agrees");
static_assert(offsetof(struct nethdr, num_buffers) == 10, "virtio 1.3, 5.1.6");

/* Does the header ask for nothing but to send the bytes as they are?  Bits we do not know are to
 * be ignored (5.1.6.2.2). */
static inline bool nethdr_is_plain(const void *hdr)
{
	uint8_t two[2];

	memcpy(two, hdr, sizeof(two));
	return !(two[0] & VIRTIO_NET_HDR_F_NEEDS_CSUM) && two[1] == VIRTIO_NET_HDR_GSO_NONE;
}

/* The header of a complete frame that fills n buffers. */
static inline void nethdr_write(void *to, uint16_t n)
{
	const struct nethdr h = { .num_buffers = le16_of(n) };

	memcpy(to, &h, sizeof(h));
}

#endif
