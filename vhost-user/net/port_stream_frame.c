/* SPDX-License-Identifier: MIT */
#include "port_stream_frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(STREAM_IN_SIZE >= 2 * (STREAM_LEN_SIZE + SW_FRAME_MAX), "see the header");

void stream_in_reset(struct stream_in *in)
{
	in->start = in->end = 0;
}

uint8_t *stream_in_room(struct stream_in *in, size_t *ret_room)
{
	/* What is left is less than a frame, and moved at most once for each read. */
	if (in->start > 0) {
		memmove(in->bytes, in->bytes + in->start, in->end - in->start);
		in->end -= in->start;
		in->start = 0;
	}
	*ret_room = STREAM_IN_SIZE - in->end;
	return in->bytes + in->end;
}

void stream_in_got(struct stream_in *in, size_t n)
{
	assert(n <= STREAM_IN_SIZE - in->end);
	in->end += (uint32_t)n;
}

ssize_t stream_in_take(struct stream_in *in, uint8_t **ret_frame)
{
	const uint8_t *p = in->bytes + in->start;
	uint32_t left = in->end - in->start, len;

	if (left < STREAM_LEN_SIZE)
		return 0;
	len = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
	if (len == 0 || len > SW_FRAME_MAX)
		return -EPROTO;
	if (left - STREAM_LEN_SIZE < len)
		return 0;
	*ret_frame = in->bytes + in->start + STREAM_LEN_SIZE;
	in->start += STREAM_LEN_SIZE + len;
	return len;
}
