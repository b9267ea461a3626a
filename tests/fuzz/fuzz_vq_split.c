/* SPDX-License-Identifier: MIT */
/* A split ring in hostile memory: fuzz_vq.h. */
#include "fuzz_vq.h"

static const uint64_t format_features = 0;

static void step_desc(struct state *s, struct input *in)
{
	unsigned slot = take8(in);
	uint64_t addr = take_addr(in);
	uint32_t len = take16(in);
	uint8_t flags = take8(in);
	struct vring_desc d = {
		.addr = le64_of(addr),
		.len = le32_of(flags & 0x80 ? len << 16 | 0xffff : len),
		.flags = le16_of(flags & 7),
		.next = le16_of(take8(in)),
	};

	guest_write(s, DESC_OFF + slot * 16, &d, sizeof(d));
}

static void step_avail(struct state *s, struct input *in)
{
	const struct vring_avail *avail = (const void *)(s->va[0] + AVAIL_OFF);
	uint16_t idx = le16_load(&avail->idx), num = s->vq.started ? s->vq.num : 1;
	le16_t entry = le16_of(take8(in)), next = le16_of((uint16_t)(idx + 1));

	guest_write(s, AVAIL_OFF + 4 + (idx % num) * 2U, &entry, sizeof(entry));
	guest_write(s, AVAIL_OFF + 2, &next, sizeof(next));
}

static void check_head(const struct state *s, uint32_t head)
{
	assert(VQ_HEAD_ID(head) < s->vq.num && (head < s->vq.num || s->vq.in_order));
}
