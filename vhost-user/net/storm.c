/* SPDX-License-Identifier: MIT */
#include "storm.h"

#include "base.h"

#define SECOND_NS UINT64_C(1000000000)
#define FRAME     UINT64_C(1000000000) /* of a level */

static uint64_t depth(const struct storm_bucket *b)
{
	return max(FRAME, b->pps * (FRAME / 10));
}

void storm_set(struct storm *s, enum storm_kind kind, uint32_t pps, uint64_t now_ns)
{
	struct storm_bucket *b = &s->bucket[kind];

	*b = (struct storm_bucket){ .pps = pps, .at_ns = now_ns };
	b->level = depth(b);
	s->on = false;
	for (unsigned i = 0; i < STORM_N_KINDS; i++)
		s->on |= s->bucket[i].pps != 0;
}

bool storm_pass(struct storm *s, enum storm_kind kind, uint64_t now_ns)
{
	struct storm_bucket *b = &s->bucket[kind];
	uint64_t ns = now_ns - b->at_ns;

	if (b->pps == 0)
		return true;
	if (ns > SECOND_NS)
		ns = SECOND_NS; /* fills any bucket, and bounds the product */
	b->at_ns = now_ns;
	b->level = min(b->level + ns * b->pps, depth(b));
	if (b->level < FRAME)
		return false;
	b->level -= FRAME;
	return true;
}
