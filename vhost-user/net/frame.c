/* SPDX-License-Identifier: MIT */
#include "frame.h"

#include <string.h>

#include "base.h"

static const uint8_t *piece_at(const struct sw_frame *f, uint32_t skip, unsigned *i, size_t *left)
{
	for (*i = 0; skip >= f->iov[*i].iov_len; ++*i)
		skip -= (uint32_t)f->iov[*i].iov_len;
	*left = f->iov[*i].iov_len - skip;
	return (const uint8_t *)f->iov[*i].iov_base + skip;
}

void frame_copy_pieces(const struct sw_frame *f, uint32_t skip, uint32_t len, void *to)
{
	uint8_t *out = to;
	const uint8_t *from;
	unsigned i;
	size_t left;

	if (len == 0)
		return;
	from = piece_at(f, skip, &i, &left);
	while (len > left) {
		memcpy(out, from, left);
		out += left;
		len -= (uint32_t)left;
		i++;
		from = f->iov[i].iov_base;
		left = f->iov[i].iov_len;
	}
	memcpy(out, from, len);
}

void sw_frame_copy(const struct sw_frame *f, uint32_t skip, uint32_t len, void *to)
{
	uint8_t *out = to;

	if (skip < f->head_len) {
		uint32_t n = min(len, f->head_len - skip);

		memcpy(out, f->head + skip, n);
		out += n;
		skip += n;
		len -= n;
	}
	frame_copy_pieces(f, skip - f->head_len + f->skip, len, out);
}
