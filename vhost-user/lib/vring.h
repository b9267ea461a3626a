/* SPDX-License-Identifier: MIT */
/* Both formats of a virtqueue as they lie in guest memory (virtio 1.3, 2.7 and 2.8).  Layout only. */
#ifndef VU_VRING_H
#define VU_VRING_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

/* 2.7.5, 2.8.1: descriptor flags. */
#define VRING_DESC_F_NEXT     1
#define VRING_DESC_F_WRITE    2
#define VRING_DESC_F_INDIRECT 4

/* 2.8.1: in a packed ring they say, together with the reader's wrap counter, whose descriptor it is. */
#define VRING_PACKED_DESC_F_AVAIL (1u << 7)
#define VRING_PACKED_DESC_F_USED  (1u << 15)

/* 2.8.10: event suppression in a packed ring.  DESC only with EVENT_IDX. */
#define VRING_PACKED_EVENT_ENABLE  0u
#define VRING_PACKED_EVENT_DISABLE 1u
#define VRING_PACKED_EVENT_DESC    2u
/* Where a position is written down, its wrap counter is this bit. */
#define VRING_PACKED_WRAP (1u << 15)

/* 2.7.6 and 2.7.8: the two sides' wish not to be told.  Without meaning under EVENT_IDX. */
#define VRING_AVAIL_F_NO_INTERRUPT 1
#define VRING_USED_F_NO_NOTIFY     1

/* 6: feature bits of the ring. */
#define VIRTIO_RING_F_INDIRECT_DESC 28
#define VIRTIO_RING_F_EVENT_IDX     29
#define VIRTIO_F_RING_PACKED        34
#define VIRTIO_F_IN_ORDER           35

/* 2.7, 2.8.10.1: alignment of the three parts. */
#define VRING_DESC_ALIGN  16
#define VRING_AVAIL_ALIGN 2
#define VRING_USED_ALIGN  4
#define VRING_EVENT_ALIGN 4

struct vring_desc {
	le64_t addr;
	le32_t len;
	le16_t flags;
	le16_t next;
};
static_assert(sizeof(struct vring_desc) == 16, "virtio 2.7.5");

struct vring_avail {
	le16_t flags;
	le16_t idx;
	le16_t ring[]; /* num entries, then used_event */
};
static_assert(offsetof(struct vring_avail, ring) == 4, "virtio 2.7.6");

struct vring_used_elem {
	le32_t id;
	le32_t len;
};
static_assert(sizeof(struct vring_used_elem) == 8, "virtio 2.7.8");

struct vring_used {
	le16_t flags;
	le16_t idx;
	struct vring_used_elem ring[]; /* num entries, then avail_event */
};
static_assert(offsetof(struct vring_used, ring) == 4, "virtio 2.7.8");

/* `state` is len, id and flags, from the lowest bit on: 32, 16 and 16 bits.  Both sides hand a descriptor over by its
 * flags, and reading or writing all three at once does that and saves the rest. */
struct vring_packed_desc {
	le64_t addr;
	le64_t state;
};
static_assert(sizeof(struct vring_packed_desc) == 16, "virtio 2.8.13");

/* 2.8.14: an event suppression structure is an le32_t here: a position (15 bits and VRING_PACKED_WRAP) in its low half,
 * VRING_PACKED_EVENT_* in its high one. */
#define VRING_PACKED_EVENT(mode, position) ((uint32_t)(mode) << 16 | (position))

#endif
