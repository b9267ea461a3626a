/* SPDX-License-Identifier: MIT */
/* Any header in front of any frame, in any pieces: what is accepted is lowered without a step beside its memory; what
 * comes out joins to what went in; and each packet's checksums are right.
 *
 * Input: what the receiver takes (enum offload), a byte that decides how the frame is cut into pieces, virtio's header, the
 * frame. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base.h"
#include "csum.h"
#include "inet.h"
#include "offload.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(condition)          \
	do {                      \
		if (!(condition)) \
			abort();  \
	} while (0)

#define PIECES 64

/* What came out, and what it is held against. */
struct outcome {
	const uint8_t *frame;
	const struct nethdr *hdr;
	uint32_t len, at, n;
	uint32_t takes;
};

/* A packet as its receiver would have it. */
static void check_complete(const struct outcome *o, uint8_t *bytes, const struct sw_frame *f)
{
	struct nethdr h;

	CHECK((nethdr_needs(&f->hdr) & ~o->takes) == 0);
	/* Whoever is given it may rely on what nethdr.h promises. */
	CHECK(nethdr_read(&f->hdr, f->len, OFFLOAD_ALL, &h));
	offload_complete(bytes, f->len, &f->hdr);
}

static void see_segment(struct outcome *o, uint8_t *bytes, const struct sw_frame *f)
{
	uint32_t mss = le16_get(o->hdr->gso_size), head, n;
	struct inet at;

	CHECK(inet_parse(bytes, f->len, &at));
	CHECK(at.l4 == le16_get(o->hdr->csum_start));
	head = at.l4 + (at.protocol == INET_TCP ? 4u * (bytes[at.l4 + 12] >> 4) : INET_UDP_LEN);
	CHECK(head <= f->len);
	n = f->len - head;
	if (o->n == 0)
		o->at = head;
	CHECK(n <= mss && n <= o->len - o->at);
	CHECK(n == mss || o->at + n == o->len); /* only the last is short */
	CHECK(memcmp(bytes + head, o->frame + o->at, n) == 0);
	CHECK(offload_verify(bytes, f->len));
	o->at += n;
	o->n++;
}

static void see_completed(const struct outcome *o, const uint8_t *bytes, const struct sw_frame *f)
{
	uint32_t start = le16_get(o->hdr->csum_start), at = start + le16_get(o->hdr->csum_offset);
	uint16_t sum;

	CHECK(f->len == o->len);
	CHECK(memcmp(bytes, o->frame, at) == 0);
	CHECK(memcmp(bytes + at + 2, o->frame + at + 2, o->len - at - 2) == 0);
	sum = csum_fold(csum_add(0, o->frame + start, o->len - start));
	sum = sum ? sum : UINT16_MAX;
	CHECK(memcmp(bytes + at, &sum, 2) == 0);
}

static void see(void *arg, struct sw_frame *const *frame, unsigned n)
{
	struct outcome *o = arg;

	CHECK(n > 0 && n <= SW_BURST);
	for (unsigned i = 0; i < n; i++) {
		uint8_t *bytes = malloc(frame[i]->len);

		CHECK(bytes);
		sw_frame_copy(frame[i], 0, frame[i]->len, bytes);
		if ((nethdr_needs(o->hdr) & ~o->takes) == 0) {
			CHECK(frame[i]->len == o->len && memcmp(bytes, o->frame, o->len) == 0);
		} else {
			check_complete(o, bytes, frame[i]);
			if (o->hdr->gso_type != VIRTIO_NET_HDR_GSO_NONE)
				see_segment(o, bytes, frame[i]);
			else
				see_completed(o, bytes, frame[i]);
		}
		free(bytes);
	}
}

/* Each piece in memory of its own. */
static void cut(struct sw_frame *f, struct iovec iov[PIECES], const uint8_t *bytes, uint8_t how)
{
	uint32_t at = 0, n = how & 7 ? how & 7 : 2048u;

	f->n_iov = 0;
	while (at < f->len) {
		n = f->n_iov + 1 < PIECES ? min(n, f->len - at) : f->len - at;
		iov[f->n_iov].iov_base = malloc(n);
		iov[f->n_iov].iov_len = n;
		CHECK(iov[f->n_iov].iov_base);
		memcpy(iov[f->n_iov++].iov_base, bytes + at, n);
		at += n;
		n = n * (1 + (how >> 3 & 7u)) + (how >> 6);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct offload_work work;
	struct iovec iov[PIECES];
	struct sw_frame f = { .iov = iov, .head_len = SW_HEAD_LEN, .skip = SW_HEAD_LEN },
			*list = &f;
	struct outcome o = { 0 };
	unsigned dropped, n;

	if (size < 2 + NETHDR_LEN + SW_HEAD_LEN || size > 2 + NETHDR_LEN + SW_FRAME_MAX)
		return 0;
	f.len = (uint32_t)size - 2 - NETHDR_LEN;
	o.frame = data + 2 + NETHDR_LEN;
	o.len = f.len;
	o.takes = data[0] & OFFLOAD_ALL;
	if (!nethdr_read(data + 2, f.len, OFFLOAD_ALL, &f.hdr))
		return 0;
	o.hdr = &f.hdr;
	memcpy(f.head, o.frame, SW_HEAD_LEN);
	cut(&f, iov, o.frame, data[1]);
	n = offload_segments(&f);
	CHECK(n > 0 && offload_wire_len(&f) >= f.len);
	dropped = offload_lower(&work, &list, 1, o.takes, see, &o);
	CHECK(dropped <= 1);
	if (o.n > 0) {
		CHECK(dropped == 0 && o.n == n && o.at == o.len);
	}
	for (unsigned i = 0; i < f.n_iov; i++)
		free(iov[i].iov_base);
	return 0;
}
