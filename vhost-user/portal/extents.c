/* SPDX-License-Identifier: MIT */
#include "extents.h"

#include <errno.h>
#include <stdlib.h>

#include "base.h"
#include "checked.h"

#define SYSTEM_EXTENTS 2

static uint64_t what_of(const struct extent *e)
{
	return PORTAL_WHAT(e->kind, e->back, e->run, e->serial);
}

/* Pairs with the acquire loads of a reader: no owner, then the new `what`, then the owner. */
static void show(const struct extents *x, uint32_t i)
{
	le64_store_release(&x->mirror[i].owner, 0);
	le64_store_release(&x->mirror[i].what, what_of(&x->e[i]));
	le64_store_release(&x->mirror[i].owner, x->e[i].owner);
}

static void set(struct extents *x, uint32_t i, const struct extent *e)
{
	x->e[i] = *e;
	show(x, i);
}

/* ---- reading a mirror back ---- */

static struct extent read_entry(const struct portal_extent *mirror)
{
	uint64_t what = le64_load(&mirror->what);

	return (struct extent){
		.owner = le64_load(&mirror->owner),
		.serial = PORTAL_WHAT_SERIAL(what),
		.back = (uint16_t)PORTAL_WHAT_BACK(what),
		.run = (uint16_t)PORTAL_WHAT_RUN(what),
		.kind = (uint8_t)PORTAL_WHAT_KIND(what),
	};
}

static bool is_grant(unsigned kind, uint32_t n)
{
	return (kind == PORTAL_EXTENT_SEGMENT && n == 1) || (kind == PORTAL_EXTENT_HUGE && n >= 1);
}

/* Is there a grant that begins at i, each of whose entries says so?  Its length, or 0. */
static uint32_t whole_grant(const struct extents *x, uint32_t i)
{
	const struct extent *first = &x->e[i];

	if (!portal_owner_valid(first->owner) || first->back != 0 ||
	    !is_grant(first->kind, first->run) || !range_within(i, first->run, x->n))
		return 0;
	for (uint32_t k = 1; k < first->run; k++) {
		const struct extent *e = first + k;

		if (e->owner != first->owner || e->kind != first->kind || e->run != first->run ||
		    e->back != k)
			return 0;
	}
	return first->run;
}

/* An entry without an owner is free: its grant was not yet answered, or is being taken back. */
static void judge_single(struct extents *x, uint32_t i)
{
	struct extent *e = &x->e[i];
	bool is_free = e->owner == 0 && e->kind != PORTAL_EXTENT_QUARANTINE;

	e->owner = 0;
	e->back = 0;
	e->run = 0;
	e->kind = is_free ? PORTAL_EXTENT_FREE : PORTAL_EXTENT_QUARANTINE;
	x->n_free += is_free;
	x->n_quarantined += !is_free;
}

static void load_mirror(struct extents *x)
{
	for (uint32_t i = SYSTEM_EXTENTS; i < x->n; i++)
		x->e[i] = read_entry(&x->mirror[i]);
	for (uint32_t i = SYSTEM_EXTENTS; i < x->n;) {
		uint32_t run = whole_grant(x, i);

		if (run == 0)
			judge_single(x, i);
		i += max(run, 1u);
	}
}

int extents_init(struct extents *x, struct portal_extent *mirror, uint32_t n, bool load)
{
	*x = (struct extents){
		.e = calloc(n, sizeof(*x->e)),
		.mirror = mirror,
		.n = n,
		.low = SYSTEM_EXTENTS,
	};
	if (!x->e)
		return -ENOMEM;
	for (uint32_t i = 0; i < SYSTEM_EXTENTS; i++)
		x->e[i] = (struct extent){ .kind = PORTAL_EXTENT_SYSTEM };
	if (load)
		load_mirror(x);
	else
		x->n_free = n - SYSTEM_EXTENTS;
	for (uint32_t i = 0; i < n; i++)
		show(x, i);
	return 0;
}

void extents_done(struct extents *x)
{
	free(x->e);
	*x = (struct extents){ 0 };
}

/* ---- granting ---- */

static bool find_lowest(struct extents *x, uint32_t *ret_first)
{
	while (x->low < x->n && x->e[x->low].kind != PORTAL_EXTENT_FREE)
		x->low++;
	*ret_first = x->low;
	return x->low < x->n;
}

static bool find_highest_run(const struct extents *x, uint32_t n, uint32_t *ret_first)
{
	uint32_t have = 0;

	for (uint32_t i = x->n; i-- > x->low;) {
		have = x->e[i].kind == PORTAL_EXTENT_FREE ? have + 1 : 0;
		if (have == n) {
			*ret_first = i;
			return true;
		}
	}
	return false;
}

/* The first entry is shown last: a grant of which a part is missing has no beginning. */
static void grant(struct extents *x, uint32_t first, uint32_t n, uint64_t owner, unsigned kind)
{
	for (uint32_t k = n; k-- > 0;) {
		const struct extent e = {
			.owner = owner,
			.serial = (x->e[first + k].serial + 1) & 0xffffff,
			.back = (uint16_t)k,
			.run = (uint16_t)n,
			.kind = (uint8_t)kind,
		};

		set(x, first + k, &e);
	}
	x->n_free -= n;
}

int extents_get(struct extents *x, uint64_t owner, uint32_t n, enum portal_extent_kind kind,
		uint32_t *ret_first)
{
	uint32_t first = 0;

	if (!is_grant(kind, n) || n > PORTAL_EXTENTS_MAX)
		return -EINVAL;
	if (n > x->n_free)
		return -ENOSPC;
	if (!(n == 1 ? find_lowest(x, &first) : find_highest_run(x, n, &first)))
		return -ENOSPC;
	grant(x, first, n, owner, kind);
	*ret_first = first;
	return 0;
}

int extents_put(struct extents *x, uint64_t owner, uint32_t first, uint32_t n)
{
	if (n == 0 || !range_within(first, n, x->n))
		return -EINVAL;
	if (x->e[first].owner == 0 || x->e[first].owner != owner)
		return -EPERM;
	if (x->e[first].back != 0 || x->e[first].run != n)
		return -EINVAL;
	for (uint32_t i = first; i < first + n; i++) {
		const struct extent e = { .serial = x->e[i].serial };

		set(x, i, &e);
	}
	x->n_free += n;
	x->low = min(x->low, first);
	return 0;
}

/* ---- asking ---- */

bool extents_find(const struct extents *x, uint64_t owner, uint32_t *at)
{
	for (uint32_t i = max(*at, (uint32_t)SYSTEM_EXTENTS); i < x->n; i++) {
		const struct extent *e = &x->e[i];

		if (e->owner == 0 || e->back != 0 || (owner != 0 && e->owner != owner))
			continue;
		*at = i;
		return true;
	}
	return false;
}

bool extents_hold(const struct extents *x, uint64_t owner, uint64_t offset, uint64_t len)
{
	uint64_t first = offset / PORTAL_EXTENT;
	const struct extent *e;

	if (len == 0 || !range_within(offset, len, (uint64_t)x->n * PORTAL_EXTENT))
		return false;
	e = &x->e[first];
	return e->owner != 0 && e->owner == owner &&
	       range_within(offset - (first - e->back) * PORTAL_EXTENT, len,
			    (uint64_t)e->run * PORTAL_EXTENT);
}

void extents_quarantine(struct extents *x, uint32_t first)
{
	uint32_t n = x->e[first].run;

	for (uint32_t i = first; i < first + n; i++) {
		const struct extent e = { .kind = PORTAL_EXTENT_QUARANTINE,
					  .serial = x->e[i].serial };

		set(x, i, &e);
	}
	x->n_quarantined += n;
}

uint32_t extents_pardon(struct extents *x)
{
	uint32_t n = 0;

	for (uint32_t i = SYSTEM_EXTENTS; i < x->n; i++) {
		const struct extent e = { .serial = x->e[i].serial };

		if (x->e[i].kind != PORTAL_EXTENT_QUARANTINE)
			continue;
		set(x, i, &e);
		n++;
	}
	x->low = SYSTEM_EXTENTS;
	x->n_free += n;
	x->n_quarantined -= n;
	return n;
}
