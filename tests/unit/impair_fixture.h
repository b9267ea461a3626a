/* SPDX-License-Identifier: MIT */
/* A direction of a link whose frames are numbers, for the tests of the engine. */
#ifndef TESTS_IMPAIR_FIXTURE_H
#define TESTS_IMPAIR_FIXTURE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "impair.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

struct road {
	struct impair im;
	struct impair_config c;
	unsigned n_taken;
	struct impair_out taken[4096];
};

static unsigned road_dropped; /* by the engine, after it had taken them */

static inline void road_drop(void *frame)
{
	road_dropped++;
}

static inline void *road_frame(uintptr_t n)
{
	return (void *)(n + 1);
}

static inline unsigned road_number(const struct impair_out *o)
{
	return (unsigned)((uintptr_t)o->frame - 1);
}

static inline void road_init(struct road *r, uint64_t seed)
{
	memset(r, 0, sizeof(*r));
	impair_init(&r->im, road_drop);
	impair_config_init(&r->c);
	r->c.seed = seed;
	road_dropped = 0;
}

/* Put r->c into force. */
static inline void road_set(struct road *r, uint64_t now_ns)
{
	assert_null(impair_config_wrong(&r->c));
	impair_set(&r->im, &r->c, now_ns, false);
}

/* A frame comes; returns how many copies of it go on, held or straight. */
static inline unsigned road_send(struct road *r, uint64_t now_ns, unsigned number, uint32_t len)
{
	struct impair_verdict v;

	impair_judge(&r->im, now_ns, len, false, &v);
	for (unsigned i = 0; i < v.copies; i++) {
		if (v.straight)
			impair_went(&r->im, len);
		else
			impair_push(&r->im, now_ns, road_frame(number), len, false);
	}
	return v.copies;
}

/* Take what is due, into r->taken from its beginning. */
static inline unsigned road_take(struct road *r, uint64_t now_ns)
{
	r->n_taken = impair_take(&r->im, now_ns, r->taken, array_size(r->taken));
	return r->n_taken;
}

static inline void road_check_sums(const struct road *r)
{
	const struct impair_stats *s = &r->im.stats;
	uint64_t frames, bytes;

	impair_held(&r->im, &frames, &bytes);
	assert_int_equal(s->in_frames + s->duplicated,
			 s->out_frames + frames + s->dropped_loss + s->dropped_flap +
				 s->dropped_limit + s->dropped_codel + s->dropped_memory +
				 s->dropped_reset);
}

static inline void road_done(struct road *r)
{
	road_check_sums(r);
	impair_done(&r->im);
	road_check_sums(r);
}

#endif
