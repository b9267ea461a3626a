/* SPDX-License-Identifier: MIT */
#include "pieces.h"

#include "base.h"

unsigned pieces_of(const struct sw_frame *f, struct iovec *iov)
{
	size_t skip = f->skip;
	unsigned n = 0;

	iov[n++] = (struct iovec){ (void *)(uintptr_t)f->head, f->head_len };
	for (unsigned i = 0; i < f->n_iov; i++) {
		const struct iovec *from = &f->iov[i];

		if (skip >= from->iov_len) {
			skip -= from->iov_len;
			continue;
		}
		if (n == PIECES_MAX)
			return 0;
		iov[n++] = (struct iovec){ (char *)from->iov_base + skip, from->iov_len - skip };
		skip = 0;
	}
	return n;
}

unsigned pieces_flat(const struct sw_frame *f, struct iovec *iov, void *flat)
{
	unsigned n = pieces_of(f, iov);

	if (likely(n > 0))
		return n;
	sw_frame_copy(f, 0, f->len, flat);
	iov[0] = (struct iovec){ flat, f->len };
	return 1;
}
