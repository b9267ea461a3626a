/* SPDX-License-Identifier: MIT */
/* What an engine decided about a frame, done to its bytes: always in a copy, since the frame is a guest's or others'
 * as well.
 *
 * Threads: those of the pool of buffers. */
#ifndef NET_IMPAIR_FRAME_H
#define NET_IMPAIR_FRAME_H

#include "buf.h"
#include "impair.h"

/* Does copy i of a frame differ from it? */
static inline bool impair_changes(const struct impair_verdict *v, unsigned i)
{
	return v->mark || v->corrupt[i];
}

/* Copy i: marked, with a bit flipped.  One reference; NULL: the pool's bound is reached. */
struct sw_buf *impair_copy(struct sw_bufs *bufs, const struct sw_frame *f,
			   const struct impair_verdict *v, unsigned i);

/* The same frame, marked (ECN).  Takes the reference of `b` and returns one. */
struct sw_buf *impair_marked(struct sw_bufs *bufs, struct sw_buf *b);

/* To what a link must cut frames before it looks at them: enum offload bits that they may keep. */
static inline uint32_t impair_cut_to(const struct impair_config *c)
{
	return c->corrupt > 0 ? 0 : OFFLOAD_CSUM;
}

/* Does it ask of frames whether they may be marked? */
static inline bool impair_asks_ecn(const struct impair_config *c)
{
	return c->ecn || (c->codel && c->codel_ecn);
}

#endif
