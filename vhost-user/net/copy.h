/* SPDX-License-Identifier: MIT */
/* The one copy of a frame, from a guest's memory to another's.
 *
 * Most frames are short and in one piece, or as long as an MTU and in one piece: those two are made
 * quick here, for port_vu's receiveqs and for buffers.  Everything else is sw_frame_copy()'s. */
#ifndef NET_COPY_H
#define NET_COPY_H

#include <stdint.h>
#include <string.h>

#include "base.h"
#include "port.h"

/* Up to this length a copy inline is quicker than a call. */
#define COPY_INLINE_MAX 256

/* A longer one goes in pieces of this size, between which the lines of the next are fetched. */
#define COPY_BLOCK 256

/* Sixteen bytes at any address, in one register. */
typedef uint64_t sixteen_t __attribute__((vector_size(16), aligned(1), may_alias));

static inline void copy_16(uint8_t *to, const uint8_t *from)
{
	*(sixteen_t *)(void *)to = *(const sixteen_t *)(const void *)from;
}

/* Whole sixteens, the last one overlapping. */
static inline void copy_short(uint8_t *to, const uint8_t *from, uint32_t len)
{
	if (len < 16) {
		memcpy(to, from, len);
		return;
	}
	for (uint32_t i = 0; i + 16 < len; i += 16)
		copy_16(to + i, from + i);
	copy_16(to + len - 16, from + len - 16);
}

/* Long pieces.  Not memcpy(): for some lengths glibc takes `rep movsb`, which some processors (AMD's with FSRM) do ten
 * times slower than a loop if source and destination lie a little apart in their lines or pages, as they do
 * here: a receive buffer has virtio's header in front of the frame. */
void copy_bulk(uint8_t *to, const uint8_t *from, uint32_t len);

/* The copy that follows the one at hand.  Its lines are fetched while this one is done: guests' buffers
 * are rarely in a near cache, and lie too far apart for the processor to guess.  Addresses are hints and
 * never used otherwise.  Worth a tenth to a quarter of what a frame of 1514 bytes takes. */
struct copy_ahead {
	const uint8_t *from;
	uint8_t *to;
	uint32_t len;
};

static inline void copy_long(uint8_t *to, const uint8_t *from, uint32_t len,
			     const struct copy_ahead *next)
{
	uint32_t i = 0;

	for (; i + COPY_BLOCK <= len; i += COPY_BLOCK) {
		for (uint32_t j = i; j < i + COPY_BLOCK && j < next->len; j += CACHE_LINE) {
			__builtin_prefetch(next->from + j, 0);
			__builtin_prefetch(next->to + j, 1);
		}
		memcpy(to + i, from + i, COPY_BLOCK);
	}
	memcpy(to + i, from + i, len - i);
}

/* A whole frame to one place.  The header goes in last, over what the guest may have made of its
 * own since it was looked at. */
static inline void copy_frame(uint8_t *to, const struct sw_frame *f, const struct copy_ahead *next)
{
	if (likely(f->n_iov == 1 && f->head_len == f->skip)) {
		if (f->len <= COPY_INLINE_MAX)
			copy_short(to, f->iov[0].iov_base, f->len);
		else
			copy_long(to, f->iov[0].iov_base, f->len, next);
		memcpy(to, f->head, SW_HEAD_LEN);
		if (unlikely(f->head_len > SW_HEAD_LEN))
			memcpy(to + SW_HEAD_LEN, f->head + SW_HEAD_LEN,
			       SW_HEAD_LEN_MAX - SW_HEAD_LEN);
	} else {
		sw_frame_copy(f, 0, f->len, to);
	}
}

#endif
