/* SPDX-License-Identifier: MIT */
/* Leases: what is on whose account, and what becomes of what the dead had. */
#include <string.h>

#include "base.h"
#include "checked.h"
#include "leases_impl.h"
#include "log.h"

#define MS         1000000ull
#define RECOVER_NS (2 * MS) /* of one pass of the loop */
#define ORPHANS_NS (1000 * MS)
#define NO_LEASE   0xffffu

/* ---- accounts ---- */

void leases_charge(struct leases *l, struct leases_client *payer, uint32_t first)
{
	struct extent *e = &l->extents.e[first];
	struct lease *lease = &l->lease[portal_owner_id(e->owner)];

	e->payer = payer;
	if (payer)
		payer->n_extents += e->run;
	if (lease->owner == e->owner)
		lease->n_extents += e->run;
}

int leases_give_back(struct leases *l, uint64_t owner, uint32_t first, uint32_t n)
{
	struct lease *lease = &l->lease[portal_owner_id(owner)];
	const struct extent was = first < l->extents.n ? l->extents.e[first] : (struct extent){ 0 };
	int r = extents_put(&l->extents, owner, first, n);

	if (r < 0)
		return r;
	l->n_orphans -= was.orphan;
	if (was.payer)
		was.payer->n_extents -= n;
	if (lease->owner == owner)
		lease->n_extents -= n;
	return 0;
}

void leases_forgive(struct leases *l, const struct leases_client *payer)
{
	for (uint32_t at = 0; extents_find(&l->extents, 0, &at); at += l->extents.e[at].run)
		if (l->extents.e[at].payer == payer)
			l->extents.e[at].payer = NULL;
}

/* The names of `owner` in n extents from `first` on. */
static void withdraw_names(struct leases *l, uint64_t owner, uint32_t first, uint32_t n)
{
	for (uint32_t i = 0; names_next(&l->names, owner, &i); i++) {
		uint64_t at = l->names.entry[i].offset / PORTAL_EXTENT;
		char name[PORTAL_NAME_MAX];

		if (!range_within(at - first, 1, n))
			continue;
		memcpy(name, l->names.entry[i].name, sizeof(name));
		names_withdraw(&l->names, i);
		leases_tell_name(l, i, 0, name);
		l->stats.recovered_names++;
	}
}

static void keep_as_orphan(struct leases *l, uint32_t first)
{
	l->extents.e[first].orphan = true;
	l->n_orphans++;
}

void leases_read_accounts(struct leases *l)
{
	uint32_t run;

	for (uint32_t at = 0; extents_find(&l->extents, 0, &at); at += run) {
		uint64_t owner = l->extents.e[at].owner;
		const struct lease *lease = &l->lease[portal_owner_id(owner)];
		bool known = lease->owner == owner;
		struct leases_client *payer = known ? leases_find_client(l, lease->client_name) :
						      NULL;

		run = l->extents.e[at].run;
		/* Or of a lease that is to come: whoever is given it would have the grant for nothing. */
		if (owner > lease->owner || (payer && run > leases_credit(payer))) {
			extents_quarantine(&l->extents, at);
			continue;
		}
		leases_charge(l, payer, at);
		if (!known || lease->state == PORTAL_LEASE_FREE)
			keep_as_orphan(l, at);
	}
	if (l->n_orphans)
		loop_timer_set(l->loop, &l->orphan_timer, 0);
}

/* A grant that was on nobody's account, and beyond what its client may have. */
static void refuse_grant(struct leases *l, struct lease *lease, uint32_t first)
{
	uint32_t run = l->extents.e[first].run;

	withdraw_names(l, lease->owner, first, run);
	lease->n_extents -= run;
	extents_quarantine(&l->extents, first);
	lease_show(lease);
	leases_show(l);
}

void leases_charge_late(struct leases *l, struct leases_client *payer)
{
	uint32_t run;

	for (uint32_t at = 0; extents_find(&l->extents, 0, &at); at += run) {
		struct extent *e = &l->extents.e[at];
		struct lease *lease = &l->lease[portal_owner_id(e->owner)];

		run = e->run;
		if (e->payer || lease->owner != e->owner ||
		    strcmp(lease->client_name, payer->name) != 0)
			continue;
		/* What is being taken back counts, however much it is. */
		if (lease->state == PORTAL_LEASE_LOST && run > leases_credit(payer)) {
			refuse_grant(l, lease, at);
			continue;
		}
		e->payer = payer;
		payer->n_extents += run;
	}
}

/* ---- recovery ---- */

static void count_recovery(const struct leases *l, uint32_t leases, uint32_t extents)
{
	struct portal_live *live = arena_live(l->arena);

	le64_store(&live->leases_recovered, le64_load(&live->leases_recovered) + leases);
	le64_store(&live->extents_recovered, le64_load(&live->extents_recovered) + extents);
}

/* Take a grant of lease `dead` (NO_LEASE: an orphan) back, unless somebody who lives has something in it. */
static bool take_back(struct leases *l, uint32_t first, uint32_t dead,
		      const uint64_t alive[PORTAL_LEASES])
{
	const struct leases_heap *heap = l->config.heap;
	uint32_t run = l->extents.e[first].run;

	if (heap && !heap->recover(l->arena, first, run, dead, alive))
		return false;
	(void)leases_give_back(l, l->extents.e[first].owner, first, run);
	l->stats.recovered_extents += run;
	count_recovery(l, 0, run);
	return true;
}

/* What the end of `lease` means for one grant. */
static void recover_grant(struct leases *l, const struct lease *lease, uint32_t first,
			  const uint64_t alive[PORTAL_LEASES])
{
	const struct leases_heap *heap = l->config.heap;
	const struct extent *e = &l->extents.e[first];
	uint32_t id = lease_id(lease);

	if (e->orphan) {
		(void)take_back(l, first, NO_LEASE, alive);
	} else if (e->owner == lease->owner) {
		if (take_back(l, first, id, alive))
			return;
		keep_as_orphan(l, first);
		l->stats.orphans++;
	} else if (heap) {
		heap->visit(l->arena, first, e->run, id);
	}
}

static bool nobody_left(const struct leases *l)
{
	for (uint32_t i = 0; i < PORTAL_LEASES; i++)
		if (l->lease[i].state != PORTAL_LEASE_FREE)
			return false;
	return true;
}

void leases_pardon(struct leases *l)
{
	if (l->extents.n_quarantined && nobody_left(l))
		(void)extents_pardon(&l->extents);
}

static void finish(struct leases *l, struct lease *lease)
{
	if (lease->client)
		lease->client->n_leases--;
	lease->client = NULL;
	l->stats.recovered++;
	count_recovery(l, 1, 0);
	lease_set_state(lease, PORTAL_LEASE_FREE);
	leases_tell_death(l, lease->owner);
	leases_pardon(l);
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
		withdraw_names(l, lease->owner, 0, l->extents.n);
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

/* Look through orphans until the time is over.  True: all have been seen. */
static bool sweep_orphans(struct leases *l, uint64_t until_ns)
{
	uint64_t alive[PORTAL_LEASES];
	uint32_t at = l->orphan_at;

	leases_living(l, alive);
	while (extents_find(&l->extents, 0, &at)) {
		uint32_t first = at;

		at += l->extents.e[first].run;
		if (!l->extents.e[first].orphan)
			continue;
		(void)take_back(l, first, NO_LEASE, alive);
		if (loop_now_ns() >= until_ns) {
			l->orphan_at = at;
			return false;
		}
	}
	l->orphan_at = 0;
	return true;
}

/* Whoever held blocks in an orphan may have let go of them meanwhile. */
void leases_on_orphans(struct loop_timer *timer)
{
	struct leases *l = container_of(timer, struct leases, orphan_timer);
	uint64_t now = loop_now_ns();
	bool done = l->quiesce.state == PORTAL_FROZEN || sweep_orphans(l, now + RECOVER_NS);

	leases_show(l);
	if (l->n_orphans)
		loop_timer_set(l->loop, timer, done ? now + ORPHANS_NS : 0);
}
