/* SPDX-License-Identifier: MIT */
#include "impair_frame.h"

#include <string.h>

#include "ecn.h"

struct sw_buf *impair_copy(struct sw_bufs *bufs, const struct sw_frame *f,
			   const struct impair_verdict *v, unsigned i)
{
	struct sw_buf *b = sw_buf_of(bufs, f);

	if (!b)
		return NULL;
	if (v->mark)
		ecn_mark(b->bytes, f->len);
	if (v->corrupt[i])
		b->bytes[v->bit[i] / 8] ^= (uint8_t)(1u << v->bit[i] % 8);
	/* The head is what is looked up and delivered. */
	memcpy(b->frame.head, b->bytes, SW_HEAD_LEN);
	return b;
}

struct sw_buf *impair_marked(struct sw_bufs *bufs, struct sw_buf *b)
{
	if (b->refs > 1) {
		struct sw_buf *own = sw_buf_of(bufs, &b->frame);

		if (!own)
			return b; /* unmarked is better than lost */
		sw_buf_unref(b);
		b = own;
	}
	ecn_mark(b->bytes, b->frame.len);
	return b;
}
