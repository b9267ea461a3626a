/* SPDX-License-Identifier: MIT */
/* Frames in a byte stream, as QEMU's `-netdev stream` and `-netdev socket` have them: four bytes of length, big endian,
 * then the frame.
 *
 * Reading is sans I/O: whoever reads puts bytes where stream_in_room() says and tells how many; frames are
 * then taken in place, without a copy, until there is only a part of one left.
 *
 * Trust: lengths are the peer's.  One of zero, or more than SW_FRAME_MAX, is no frame: then nothing that follows can be
 * told apart, and the connection has to end. */
#ifndef NET_PORT_STREAM_FRAME_H
#define NET_PORT_STREAM_FRAME_H

#include <stdint.h>
#include <sys/types.h>

#include "port.h"

#define STREAM_LEN_SIZE 4

/* At least two of the longest frames: so that one of them never stands in the way of a good read. */
#define STREAM_IN_SIZE (256u << 10)

struct stream_in {
	uint32_t start, end; /* bytes got and not yet taken */
	uint8_t bytes[STREAM_IN_SIZE];
};

/* Forget everything: for a new connection. */
void stream_in_reset(struct stream_in *in);

/* Where to read to; never without room, if all frames were taken since the last stream_in_got(). */
uint8_t *stream_in_room(struct stream_in *in, size_t *ret_room);
void stream_in_got(struct stream_in *in, size_t n);

/* The next frame, in place until the next stream_in_room(): its length and *ret_frame; 0: there is not all of one yet;
 * -EPROTO: a length that no frame has. */
ssize_t stream_in_take(struct stream_in *in, uint8_t **ret_frame);

/* What goes in front of a frame of len bytes. */
static inline void stream_len_put(uint8_t to[STREAM_LEN_SIZE], uint32_t len)
{
	to[0] = (uint8_t)(len >> 24);
	to[1] = (uint8_t)(len >> 16);
	to[2] = (uint8_t)(len >> 8);
	to[3] = (uint8_t)len;
}

#endif
