/* SPDX-License-Identifier: MIT */
#include "ring_check.h"

#include "ring.h"

#define TRIES 8 /* to find a place that its consumer stays at */

static const char *check_end(const struct ring_end *end)
{
	uint32_t state = le32_load_acquire(&end->state);
	uint64_t owner = le64_load(&end->owner);

	if (state > RING_END_POISONED)
		return "an end in no state";
	if (owner && !portal_owner_valid(owner))
		return "an end of no lease there can be";
	return state == RING_END_POISONED ? "an end that has seen the other break a rule" : NULL;
}

/* The records between the consumer and the producer; of a broadcast there are none that one could hold fast. */
static const char *check_records(const uint8_t *data, const struct ring_geometry *geo,
				 const struct ring_end *place)
{
	for (unsigned i = 0; i < TRIES; i++) {
		uint64_t from = le64_load_acquire(&place->position), tail;
		const char *what = NULL;

		if (from % sizeof(le64_t) != 0)
			what = "a position between two words";
		else if (lane_find_tail(data, geo->size, geo->max_record, from, &tail) < 0)
			what = "a record that is none, or lies elsewhere";
		/* Nobody writes what lies behind a place that the consumer has not left. */
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!what || le64_load(&place->position) == from)
			return what;
	}
	return NULL;
}

static const char *check_lane(const uint8_t *lane, const struct ring_geometry *geo)
{
	const struct ring_end *producer = (const struct ring_end *)(const void *)lane;
	const struct ring_end *place = geo->kind == PORTAL_BROADCAST ? producer : producer + 1;
	const char *what = check_end(producer);

	if (!what)
		what = check_end(producer + 1);
	return what ? what : check_records((const uint8_t *)(producer + 2), geo, place);
}

bool ring_check(const void *mem, uint64_t len, struct ring_flaw *ret_flaw)
{
	const uint8_t *start = mem;
	struct ring_geometry geo;
	struct ring_flaw flaw = { 0 };

	if ((uintptr_t)mem % RING_PAGE != 0 || ring_look(mem, len, &geo) < 0)
		flaw.what = "a head that is no ring's, or of another size";
	else if (geo.kind != PORTAL_BROADCAST)
		flaw.what = check_end((const struct ring_end *)(const void *)(start + RING_PAGE));
	for (uint32_t i = 0; !flaw.what && i < geo.lanes; i++)
		flaw = (struct ring_flaw){ check_lane(start + ring_lane_offset(i, geo.size), &geo),
					   i };
	*ret_flaw = flaw;
	return !flaw.what;
}
