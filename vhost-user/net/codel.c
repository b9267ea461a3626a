/* SPDX-License-Identifier: MIT */
#include "codel.h"

#include <math.h>

/* A spell that begins within so many intervals of the last goes on where that was (RFC 8289, 4.3). */
#define RECENT_INTERVALS 16

static bool too_long(struct codel *c, uint64_t target_ns, uint64_t interval_ns, uint64_t now_ns,
		     uint64_t sojourn_ns, bool last)
{
	if (sojourn_ns < target_ns || last) {
		c->first_above_ns = 0;
		return false;
	}
	if (c->first_above_ns == 0)
		c->first_above_ns = now_ns + interval_ns;
	return now_ns >= c->first_above_ns;
}

static uint64_t next_drop(const struct codel *c, uint64_t from_ns, uint64_t interval_ns)
{
	return from_ns + (uint64_t)((double)interval_ns / sqrt(c->count));
}

static bool begin(struct codel *c, uint64_t interval_ns, uint64_t now_ns)
{
	uint32_t more = c->count - c->last_count;
	bool recent = (int64_t)(now_ns - c->drop_next_ns) <
		      (int64_t)(RECENT_INTERVALS * interval_ns);

	c->dropping = true;
	c->count = more > 1 && recent ? more : 1;
	c->last_count = c->count;
	c->drop_next_ns = next_drop(c, now_ns, interval_ns);
	return true;
}

bool codel_judge(struct codel *c, uint64_t target_ns, uint64_t interval_ns, uint64_t now_ns,
		 uint64_t sojourn_ns, bool last)
{
	bool ok = too_long(c, target_ns, interval_ns, now_ns, sojourn_ns, last);

	if (!c->dropping)
		return ok && begin(c, interval_ns, now_ns);
	if (!ok) {
		c->dropping = false;
		return false;
	}
	if (now_ns < c->drop_next_ns)
		return false;
	c->count++;
	c->drop_next_ns = next_drop(c, c->drop_next_ns, interval_ns);
	return true;
}
