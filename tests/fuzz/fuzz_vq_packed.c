/* SPDX-License-Identifier: MIT */
/* A packed ring in hostile memory: fuzz_vq.h. */
#include "fuzz_vq.h"

static const uint64_t format_features = BIT_ULL(VIRTIO_F_RING_PACKED);

/* Flags of an input: 1, 2, 4 are NEXT, WRITE and INDIRECT; 8 and 16 the bits AVAIL and USED. */
static void step_desc(struct state *s, struct input *in)
{
	unsigned slot = take8(in);
	uint64_t addr = take_addr(in), len = take16(in);
	uint8_t bits = take8(in);
	uint64_t flags = (bits & 7) | (bits & 8 ? VRING_PACKED_DESC_F_AVAIL : 0) |
			 (bits & 16 ? VRING_PACKED_DESC_F_USED : 0);
	struct vring_packed_desc d = { .addr = le64_of(addr) };

	if (bits & 0x80)
		len = len << 16 | 0xffff;
	d.state = le64_of(len | (uint64_t)take8(in) << 32 | flags << 48);
	guest_write(s, DESC_OFF + slot * 16, &d, sizeof(d));
}

/* The next n descriptors become available in the lap that they belong to, whatever they hold. */
static void step_avail(struct state *s, struct input *in)
{
	unsigned n = take8(in) % 16;
	unsigned at = s->vq.started ? s->vq.last_avail : 0, num = s->vq.started ? s->vq.num : 1;
	bool wrap = !s->vq.started || s->vq.avail_wrap;

	for (; n > 0; n--) {
		const unsigned off = DESC_OFF + at * 16 + 15;
		uint8_t high = *guest_byte(s, off) & 0x7f, low = *guest_byte(s, off - 1) & 0x7f;

		if (wrap)
			low |= 0x80;
		else
			high |= 0x80;
		guest_write(s, off, &high, 1);
		guest_write(s, off - 1, &low, 1);
		if (++at == num) {
			at = 0;
			wrap = !wrap;
		}
	}
}

static void check_head(const struct state *s, uint32_t head)
{
	assert(VQ_HEAD_ID(head) < s->vq.num && !(head & VQ_HEAD_WRITABLE && !s->vq.in_order));
	assert(head >> 16 > 0 && head >> 16 <= s->vq.num);
}
