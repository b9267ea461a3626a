/* SPDX-License-Identifier: MIT */
/* How bytes lie in the ring of a Hyper-V socket: packets with a length, and an empty one for the end.
 *
 *	┌────────────────┬──────────────┬────────┬─────────┬──────────────────┐
 *	│ VMBus packet   │ pipe: type 1 │ data   │ to 8    │ the packet's own │
 *	│ INBAND, lengths│ len          │        │ bytes   │ index << 32      │
 *	└────────────────┴──────────────┴────────┴─────────┴──────────────────┘
 *	 VMPIPE_HEAD                     len                VMPIPE_TAIL
 *
 * Who writes keeps room for the empty packet, so that it can always say its end.
 *
 * Trust:   headers are the guest's: copied once, checked against what has been written, and used from the copy.
 * Threads: the ring's. */
#ifndef HVSOCK_VMPIPE_H
#define HVSOCK_VMPIPE_H

#include <stdint.h>

#include "base.h"
#include "vmbus_ring.h"

/* What Linux takes in one packet (HVS_MTU_SIZE), and we do. */
#define VMPIPE_DATA_MAX 16384u

#define VMPIPE_HEAD 24u
#define VMPIPE_TAIL 8u

/* Bytes of the ring that a packet takes. */
static inline uint32_t vmpipe_size(uint32_t len)
{
	return VMPIPE_HEAD + ((len + 7) & ~7u) + VMPIPE_TAIL;
}

/* Data for which one packet may be written where `free` bytes are free; 0: none.  A multiple of 8. */
static inline uint32_t vmpipe_room(uint32_t free)
{
	/* The last 8 bytes of a ring stay free. */
	const uint32_t around = VMPIPE_HEAD + VMPIPE_TAIL + VMPIPE_HEAD + VMPIPE_TAIL + 8;

	return free <= around ? 0 : min((free - around) & ~7u, VMPIPE_DATA_MAX);
}

struct vmpipe_packet {
	uint32_t at;   /* its data, from the ring's index on */
	uint32_t len;  /* of its data; 0: the end */
	uint32_t size; /* what it takes of the ring */
};

/* The packet `at` bytes beyond the index of a ring that we read, of which `readable` bytes have been written.  Returns 1; 0:
 * none; -EBADMSG: that is none. */
int vmpipe_next(const struct vmbus_ring *r, uint32_t at, uint32_t readable,
		struct vmpipe_packet *ret_packet);

/* Make a packet of len bytes of data that lie, or will lie, VMPIPE_HEAD behind `at`, in a ring that we write.  Returns what
 * it takes of the ring. */
uint32_t vmpipe_put(const struct vmbus_ring *r, uint32_t at, uint32_t len);

#endif
