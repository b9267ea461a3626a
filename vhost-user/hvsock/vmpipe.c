/* SPDX-License-Identifier: MIT */
#include "vmpipe.h"

#include <errno.h>

#pragma GCC diagnostic warning "-Wconversion"

/* struct vmpacket_descriptor: lengths are in units of 8 bytes, from its own beginning on. */
struct packet_head {
	le16_t type;
	le16_t offset8; /* of what it carries */
	le16_t len8;    /* with what it carries */
	le16_t flags;   /* 1: a completion is wanted.  A pipe has none. */
	le64_t trans_id;
};
static_assert(sizeof(struct packet_head) == 16, "layout");

#define PACKET_INBAND 6

struct pipe_head {
	le32_t type;
	le32_t len;
};
static_assert(sizeof(struct packet_head) + sizeof(struct pipe_head) == VMPIPE_HEAD, "layout");

#define PIPE_DATA 1

int vmpipe_next(const struct vmbus_ring *r, uint32_t at, uint32_t readable,
		struct vmpipe_packet *ret_packet)
{
	uint32_t left = readable - at, offset, size, len;
	struct packet_head head;
	struct pipe_head pipe;

	if (left == 0)
		return 0;
	if (left < vmpipe_size(0))
		return -EBADMSG;
	vmbus_ring_get(r, at, &head, sizeof(head));
	offset = le16_get(head.offset8) * 8u;
	size = le16_get(head.len8) * 8u;
	if (le16_get(head.type) != PACKET_INBAND || offset < sizeof(head) ||
	    size > left - VMPIPE_TAIL || size < offset + sizeof(pipe))
		return -EBADMSG;
	vmbus_ring_get(r, at + offset, &pipe, sizeof(pipe));
	len = le32_get(pipe.len);
	if (le32_get(pipe.type) != PIPE_DATA || len > VMPIPE_DATA_MAX ||
	    len > size - offset - sizeof(pipe))
		return -EBADMSG;
	*ret_packet = (struct vmpipe_packet){
		.at = at + offset + (uint32_t)sizeof(pipe),
		.len = len,
		.size = size + VMPIPE_TAIL,
	};
	return 1;
}

uint32_t vmpipe_put(const struct vmbus_ring *r, uint32_t at, uint32_t len)
{
	const uint32_t size = vmpipe_size(len);
	struct {
		struct packet_head packet;
		struct pipe_head pipe;
	} head = {
		.packet = { .type = le16_of(PACKET_INBAND),
			    .offset8 = le16_of(sizeof(struct packet_head) / 8),
			    .len8 = le16_of((uint16_t)((size - VMPIPE_TAIL) / 8)) },
		.pipe = { .type = le32_of(PIPE_DATA), .len = le32_of(len) },
	};
	le64_t tail = le64_of((uint64_t)vmbus_ring_index(r, at) << 32);

	vmbus_ring_put(r, at, &head, sizeof(head));
	vmbus_ring_put(r, at + size - VMPIPE_TAIL, &tail, sizeof(tail));
	return size;
}
