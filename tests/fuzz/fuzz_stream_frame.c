/* SPDX-License-Identifier: MIT */
/* Frames out of a byte stream, however it is cut: port_stream_frame.h.
 *
 * The first bytes say in which portions the rest arrives.  The frames that come out must be those that a look at the whole
 * stream finds, and a length that no frame has ends it at the same place. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "port_stream_frame.h"

#define PORTIONS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is expected next, from the whole: as stream_in_take(). */
static ssize_t expect(const uint8_t **at, size_t *left)
{
	uint64_t len;

	if (*left < STREAM_LEN_SIZE)
		return 0;
	len = (uint64_t)(*at)[0] << 24 | (uint64_t)(*at)[1] << 16 | (uint64_t)(*at)[2] << 8 |
	      (*at)[3];
	if (len == 0 || len > SW_FRAME_MAX)
		return -EPROTO;
	return *left - STREAM_LEN_SIZE < len ? 0 : (ssize_t)len;
}

/* Take all frames there are; false: the stream is broken. */
static bool take(struct stream_in *in, const uint8_t **at, const uint8_t *arrived)
{
	for (;;) {
		size_t left = (size_t)(arrived - *at);
		ssize_t want = expect(at, &left), got;
		uint8_t *frame;

		got = stream_in_take(in, &frame);
		assert(got == want);
		if (got <= 0)
			return got == 0;
		assert(memcmp(frame, *at + STREAM_LEN_SIZE, (size_t)got) == 0);
		*at += STREAM_LEN_SIZE + got;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct stream_in in;
	const uint8_t *portions = data, *at, *arrived, *end = data + size;
	unsigned i = 0;
	bool good = true;

	if (size < PORTIONS)
		return 0;
	at = arrived = data + PORTIONS;
	stream_in_reset(&in);
	while (good && arrived < end) {
		size_t room, n = (size_t)portions[i++ % PORTIONS] * 7 + 1;
		uint8_t *to = stream_in_room(&in, &room);

		assert(room > 0);
		n = min(n, room);
		n = min(n, (size_t)(end - arrived));
		memcpy(to, arrived, n);
		stream_in_got(&in, n);
		arrived += n;
		good = take(&in, &at, arrived);
	}
	return 0;
}
