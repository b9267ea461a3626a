/* SPDX-License-Identifier: MIT */
/* The codec of virtio-vsock packets over any pieces.
 *
 * The first bytes say how the rest is cut into pieces.  However that is, a header is taken whole or not at all, is the one
 * that lies there, leaves exactly the bytes behind it, and can be written back to where it was. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "pkt.h"

#define PIECES 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Cut into at most PIECES pieces, none empty. */
static unsigned cut(const uint8_t *lens, uint8_t *bytes, size_t size, struct iovec iov[PIECES])
{
	unsigned n = 0;

	while (size > 0) {
		size_t len = n == PIECES - 1 ? size : min((size_t)lens[n] % 64 + 1, size);

		iov[n++] = (struct iovec){ bytes, len };
		bytes += len;
		size -= len;
	}
	return n;
}

static size_t length(const struct iovec *iov, unsigned n)
{
	size_t len = 0;

	for (unsigned i = 0; i < n; i++) {
		assert(iov[i].iov_len > 0);
		len += iov[i].iov_len;
	}
	return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct iovec whole[PIECES], piece[PIECES], room[PIECES], *iov = piece;
	uint8_t *bytes, *before;
	uint32_t room_len = 1;
	unsigned n, left, n_room;
	struct pkt p, q;

	if (size < PIECES || size > 4096)
		return 0;
	size -= PIECES;
	bytes = malloc(size + 1); /* of its size: a byte too many is found */
	before = malloc(size + 1);
	assert(bytes && before);
	memcpy(bytes, data + PIECES, size);
	memcpy(before, bytes, size);
	n = left = cut(data, bytes, size, whole);
	memcpy(piece, whole, sizeof(piece));

	n_room = pkt_room(whole, n, room, &room_len);
	assert(room_len == (size > PKT_HDR_LEN ? size - PKT_HDR_LEN : 0));
	assert(length(room, n_room) == room_len);

	if (pkt_take(&iov, &left, &p)) {
		assert(size >= PKT_HDR_LEN);
		assert(length(iov, left) == size - PKT_HDR_LEN);
		pkt_decode(before, &q);
		assert(memcmp(&p, &q, PKT_HDR_LEN) == 0);
		memset(bytes, 0, PKT_HDR_LEN);
		pkt_put(&p, whole, n);
		(void)pkt_op_name(p.op);
	} else {
		assert(size < PKT_HDR_LEN && iov == piece && left == n);
	}
	assert(memcmp(bytes, before, size) == 0);
	free(bytes);
	free(before);
	return 0;
}
