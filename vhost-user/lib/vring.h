/* SPDX-License-Identifier: MIT */
/* The split virtqueue as it lies in guest memory (virtio 1.3, 2.7).  Layout only. */
#ifndef VU_VRING_H
#define VU_VRING_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "le.h"

/* 2.7.5: descriptor flags. */
#define VRING_DESC_F_NEXT     1
#define VRING_DESC_F_WRITE    2
#define VRING_DESC_F_INDIRECT 4

/* 2.7.6 and 2.7.8: the two sides' wish not to be told.  Without meaning under EVENT_IDX. */
#define VRING_AVAIL_F_NO_INTERRUPT 1
#define VRING_USED_F_NO_NOTIFY     1

/* 6: feature bits of the ring. */
#define VIRTIO_RING_F_INDIRECT_DESC 28
#define VIRTIO_RING_F_EVENT_IDX     29

/* 2.7: alignment of the three parts. */
#define VRING_DESC_ALIGN  16
#define VRING_AVAIL_ALIGN 2
#define VRING_USED_ALIGN  4

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

#endif
