/* SPDX-License-Identifier: MIT */
/* Leases: what becomes of what the dead had. */
#include <assert.h>
#include <string.h>

#include "base.h"
#include "leases_impl.h"
#include "log.h"

#define MS         1000000ull
#define RECOVER_NS (2 * MS) /* of one pass of the loop */
#define ORPHANS_NS (1000 * MS)
#define NO_LEASE   0xffffu

static void count_recovery(const struct leases *l, uint32_t leases, uint32_t extents)
{
	struct portal_live *live = arena_live(l->arena);

	le64_store(&live->leases_recovered, le64_load(&live->leases_recovered) + leases);
	le64_store(&live->extents_recovered, le64_load(&live->extents_recovered) + extents);
}

static void withdraw_names(struct leases *l, uint64_t owner)
{
	for (uint32_t i = 0; names_next(&l->names, owner, &i); i++) {
		char name[PORTAL_NAME_MAX];

		memcpy(name, l->names.entry[i].name, sizeof(name));
		names_withdraw(&l->names, i);
		leases_tell_name(l, i, 0, name);
		l->stats.recovered_names++;
	}
}

static void take_grant_back(struct leases *l, uint32_t first, uint32_t n, uint64_t owner)
{
	int r = extents_put(&l->extents, owner, first, n);

	assert(r == 0);
	(void)r;
	l->stats.recovered_extents += n;
	count_recovery(l, 0, n);
}

/* An orphan is a grant whose owner is in the table no more.  True: it has gone. */
static bool try_orphan(struct leases *l, uint32_t first, const uint64_t alive[PORTAL_LEASES])
{
	const struct extent *e = &l->extents.e[first];

	if (l->config.heap && !l->config.heap->recover(l->arena, first, e->run, NO_LEASE, alive))
		return false;
	take_grant_back(l, first, e->run, e->owner);
	return true;
}

static bool is_orphan(const struct leases *l, uint64_t owner)
{
	const struct lease *lease = &l->lease[portal_owner_id(owner)];

	return lease->owner != owner || lease->state == PORTAL_LEASE_FREE;
}

/* What the end of `lease` means for one grant. */
static void recover_grant(struct leases *l, struct lease *lease, uint32_t first,
			  const uint64_t alive[PORTAL_LEASES])
{
	const struct leases_heap *heap = l->config.heap;
	const struct extent *e = &l->extents.e[first];
	uint32_t id = lease_id(lease), run = e->run;

	if (e->owner != lease->owner) {
		if (heap)
			heap->visit(l->arena, first, run, id);
		if (is_orphan(l, e->owner) && try_orphan(l, first, alive))
			l->n_orphans--;
	} else if (heap && !heap->recover(l->arena, first, run, id, alive)) {
		l->n_orphans++;
		l->stats.orphans++;
	} else {
		take_grant_back(l, first, run, lease->owner);
	}
}

static bool nobody_left(const struct leases *l)
{
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		if (l->lease[i].state != PORTAL_LEASE_FREE)
			return false;
	return true;
}

/* What was taken back is worth a line; a client that comes and goes with empty hands is not. */
static void log_recovered(const struct lease *lease)
{
	struct leases_client *client = lease->client;

	if (client && lease->n_extents)
		log_limited(&client->log, LOG_LEVEL_INFO, client->name,
			    "lease %u of \"%s\" has ended: %u extents taken back", lease_id(lease),
			    lease->name, lease->n_extents);
}

static void finish(struct leases *l, struct lease *lease)
{
	log_recovered(lease);
	if (lease->client) {
		lease->client->n_extents -= lease->n_extents;
		lease->client->n_leases--;
	}
	lease->n_extents = 0;
	lease->client = NULL;
	l->stats.recovered++;
	count_recovery(l, 1, 0);
	lease_set_state(lease, PORTAL_LEASE_FREE);
	leases_tell_death(l, lease->owner);
	if (l->extents.n_quarantined && nobody_left(l))
		(void)extents_pardon(&l->extents);
	if (l->n_orphans && !l->orphan_timer.set)
		loop_timer_set(l->loop, &l->orphan_timer, loop_now_ns() + ORPHANS_NS);
	leases_show(l);
}

/* Go on with one lease until the time is over.  True: it is done with. */
static bool recover_some(struct leases *l, struct lease *lease, uint64_t until_ns)
{
	uint64_t alive[PORTAL_LEASES];
	uint32_t at = lease->recover_at;

	if (at == 0)
		withdraw_names(l, lease->owner);
	leases_living(l, alive);
	for (; extents_find(&l->extents, 0, &at); lease->recover_at = at) {
		uint32_t first = at;

		at += l->extents.e[first].run;
		recover_grant(l, lease, first, alive);
		if (loop_now_ns() >= until_ns) {
			lease->recover_at = at;
			return false;
		}
	}
	finish(l, lease);
	return true;
}

/* Nothing is changed while somebody copies the arena: the thaw brings us here again. */
void leases_on_recovery(struct loop_work *work)
{
	struct leases *l = container_of(work, struct leases, recovery);
	uint64_t until = loop_now_ns() + RECOVER_NS;

	if (l->quiesce.state == PORTAL_FROZEN)
		return;
	for (uint32_t i = 0; i < PORTAL_LEASES; i++) {
		struct lease *lease = &l->lease[i];

		if (lease->state == PORTAL_LEASE_RECOVERING && !recover_some(l, lease, until)) {
			loop_defer(l->loop, &l->recovery, leases_on_recovery);
			return;
		}
	}
}

/* Whoever held blocks in an orphan may have let go of them meanwhile. */
void leases_on_orphans(struct loop_timer *timer)
{
	struct leases *l = container_of(timer, struct leases, orphan_timer);
	uint64_t alive[PORTAL_LEASES];

	leases_living(l, alive);
	l->n_orphans = 0;
	for (uint32_t at = 0; extents_find(&l->extents, 0, &at);) {
		uint32_t first = at;

		at += l->extents.e[first].run;
		if (is_orphan(l, l->extents.e[first].owner))
			l->n_orphans += l->quiesce.state == PORTAL_FROZEN ||
					!try_orphan(l, first, alive);
	}
	leases_show(l);
	if (l->n_orphans)
		loop_timer_set(l->loop, &l->orphan_timer, loop_now_ns() + ORPHANS_NS);
}

/* Those that nobody in the table answers for: the recovery of their owner was over, or the table lies. */
void leases_count_orphans(struct leases *l)
{
	for (uint32_t at = 0; extents_find(&l->extents, 0, &at); at += l->extents.e[at].run)
		l->n_orphans += is_orphan(l, l->extents.e[at].owner);
	if (l->n_orphans)
		loop_timer_set(l->loop, &l->orphan_timer, 0);
}
